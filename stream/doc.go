// Package stream owns the way of records through the log: Producer and
// Publisher put them in, Sequence those of a source that can be read again, Tail
// and Reader follow and re-read them, and Group is the processor that owns
// partitions, feeds the engine and the store, and hands a partition over to the
// next owner.
//
// It promises that the effect of processing is exactly once on both the
// embedded log and Apache Kafka, without transactions: offsets are committed
// with the announced next range, an announced range is repeated with the same
// deduplication token, verdicts carry deterministic ids, and a partition's state
// is its last snapshot plus the log after it. Verdicts never wait for the store.
// Every event that a caller hands in is delivered, counted as lost with its
// cause, or still in flight, and every queue is bounded.
//
// It never decides what an event means (that is the engine's work), never
// writes to a table itself, and never blocks the caller of Producer.Emit.
package stream
