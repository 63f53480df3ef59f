// Package sinks owns the way of verdicts and decisions to other systems (SIEM,
// data lake, chat): one pipeline per destination, from the topics of the log.
//
// It promises at-least-once delivery with stable ids: a position is saved only
// after the destination has everything before it for good, so that kill -9
// repeats some documents and loses none; that a slow or absent destination
// delays only itself, for as long as the log keeps the records; that what a
// destination refuses for good is kept as a dead letter; and that every record
// is counted by what became of it. It holds one fetch of records in memory per
// destination and nothing else.
//
// It never reads the log itself (cmd passes a Source in) and never changes what
// the engine or the enforcer said.
package sinks
