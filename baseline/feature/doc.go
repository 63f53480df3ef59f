// Package feature owns the features that every detector shares: what one event
// means (Input), how an actor conducts itself over all its requests (Conduct),
// what one subject has done in one role (Stats), what is usual on a route or a
// path, and the site's learned baselines.
//
// It promises fixed memory, no allocation per event, integers only, and that a
// detector sees the state before the event beside the event itself, so that a
// predictive test can ask "given k of the last n, is this one expected?".
// It never judges: that is baseline/threat.
package feature
