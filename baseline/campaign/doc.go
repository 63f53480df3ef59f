// Package campaign owns the question "which convicted visits are one attack?".
// Where address, program and cookie all change between visits, the resolver
// (package actor) rightly sees strangers: for people that is what they are. Once
// verdicts have convicted them, more may be said. Visits of one act by one program
// that nobody owns, within the pace of an attack, are one campaign; a program not
// seen before joins a running campaign that does the same in the same order with
// the same TLS library, while what it tries and where it comes from do not speak
// against it.
//
// It promises that only sightings of convicted visits are united, that a campaign
// never holds an owner at home, that every membership has a weight in milli-nats
// and ends when evidence turns against it or the attack falls silent, and that
// memory is fixed. It decides nothing: the resolver's actors, on which baselines and
// verdicts rest, stay as they are.
package campaign
