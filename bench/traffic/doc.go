// Package traffic simulates what a web application's clients do, so that
// detection can be developed and scored with known truth. It owns the browsers
// and tools that speak, the applications that answer (a shop with every role of
// a flow map, a web log without one), and the form in which exchanges, access
// logs and labels are written.
//
// People and bots are separate models in packages of their own
// (bench/traffic/people, bench/traffic/bots); they meet only here, as requests
// to the same application. The same seed gives the same bytes. Everything is
// invented: no figure from it says more about real traffic than its assumptions
// do, and those are written where they are made.
package traffic
