// Package baseline owns the engine: events in, verdicts with evidence out. It
// joins the actor resolver, the shared features and the detectors, keeps the
// verdicts in force, and says what a verdict binds so that an enforcer can act
// on the next request although it comes from a new address.
//
// It promises to be a pure fold in event time: no wall clock, no goroutine, no
// randomness, no map iteration and no floating point in state or score, so that
// the same events give the same verdicts byte for byte, on any architecture and
// over a snapshot in between. Memory is fixed by the configuration. It does no
// I/O of its own and never blocks a person on an aggregate: scope and caps bound
// every action.
package baseline
