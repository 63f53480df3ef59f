// Package wire owns the bytes on the topics: events as Arrow IPC streams with
// their record headers, verdicts, decisions and operators' control records as
// JSON, and the stitching of many event records into one ClickHouse insert.
//
// It promises that a decoded event equals the encoded one (durations are
// multiples of a microsecond), that the same events give the same bytes, that a
// reader of the next or the previous minor version reads this one's records
// (unknown columns are ignored, missing ones read as zero), and that no input,
// however corrupt, panics or allocates more than its own size warrants: every
// length is checked before it is used.
//
// The IPC messages are read and written here rather than by arrow-go's ipc
// package, which the tests use as the judge in both directions: with a linger
// of 10 ms most records hold tens of events, and there its fixed cost per record
// (about 90 us and 70 allocations) would outweigh everything else on the line.
//
// It never looks at what an event means, never talks to a broker, and does not
// check that strings are UTF-8; stream/flow has done that.
package wire
