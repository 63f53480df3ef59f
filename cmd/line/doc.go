// Package line owns what each process of weir wires together: process (engine,
// store cursor, feed, SQL), enforce (the ingress), collect, sink, and up, which
// runs them all on one machine. It is the one place where folders meet.
//
// It promises that each role does its own work while the others are away, that
// it stops in the order intake, drain, commit, close, and that everything a
// process counts is on its socket (/status, /metrics). It holds no logic of
// detection, decision or storage; it passes values between those who do.
package line
