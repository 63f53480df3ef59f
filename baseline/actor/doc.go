// Package actor owns the question "who is this?": it links the identifiers of
// requests (session, device, address, fingerprint, template, account, target)
// into actors by streaming Fellegi-Sunter record linkage (Fellegi and Sunter
// 1969), where agreeing on a value weighs the less the more proved owners share
// that value.
//
// It promises bounded memory (fixed tables of flat rows), O(1) work per event,
// integer arithmetic in event time only, that an actor never spans two proved
// owners, and that evidence for identity comes from proof (successes from
// contexts that survived probation), never from volume or failures. Every link
// is remembered with its weight, so that it can be explained.
//
// It never decides whether an actor is abusive.
package actor
