// Package embedded owns the ClickHouse engine that weir starts for itself: one
// child process on one machine, without a server to install.
//
// The child is this very program, started again, which loads libchdb.so (real
// ClickHouse 26.7 as a shared library, fetched once and checked by its SHA-256)
// and runs it in its interactive local mode under a pseudo terminal, with the
// native and HTTP ports open on 127.0.0.1. Where a `clickhouse` program is named
// by WEIR_CLICKHOUSE, or is all there is, that one runs with the same arguments.
//
// It promises that no client can end the engine with malformed bytes (that is
// what the terminal is for), that only the three generated users can log in,
// that the child dies with its parent, and that its log, memory and spill files
// are bounded. It never writes SQL about weir's own tables; that is
// store/clickhouse. It is meant for evaluation and small sites: one node, no
// TLS, loopback only. Set clickhouse.addr for a server or a cluster.
package embedded
