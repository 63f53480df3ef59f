// Package broker owns the embedded log: a single-node Kafka-protocol broker for
// evaluation and small sites, built on franz-go's kfake and run as a process of
// its own (Serve), and the set-up of weir's topics on it or on Apache Kafka
// (EnsureTopics).
//
// It promises that no bytes from the network stop the process (every frame is
// checked before kfake sees it), that only clients with the generated
// credentials get past the handshake, that acknowledged records and committed
// offsets survive kill -9, and that offsets never start again under the same
// incarnation. The log is bounded in two ways: when a topic reaches its size, its
// oldest records go first, read or not, which a reader that fell behind sees as a
// start offset beyond its position and counts as lost; when the disk runs low,
// produce requests are refused with a retriable error until space returns, so
// that producers shed at their own bounded queues, with counters, while reading
// goes on.
//
// Memory at start is about the size of the log after a crash, which is why the
// log is kept to a fraction of the machine's memory. A lost machine (power) may
// lose the last second of records.
//
// It is not Apache Kafka: no replication, no compaction, no TLS port; it never
// listens beyond the loopback interface.
package broker
