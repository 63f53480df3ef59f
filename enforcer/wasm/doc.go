// Package wasm owns the policies that run inside the request path: compiled
// WebAssembly modules under the ABI weir_v1, in a sandbox that bounds their
// time (fuel) and memory.
//
// It promises that a guest sees one flat frame and nothing else (no host
// calls, no clock, no randomness), that it can only propose, that it cannot
// stop or slow the process whatever it does, and that the same frame gives the
// same proposal and the same fuel on every machine. It never acts on a request.
//
// # ABI weir_v1
//
// A guest exports "memory", "weir_frame" () -> i32, the address of a buffer of
// at least 16,384 bytes, and "weir_eval" (i32 length) -> i64. It imports
// nothing. The host writes a frame (little endian) into the buffer and calls
// weir_eval:
//
//	     0        4        8        12       16       20     22 23 24
//	     +--------+--------+-----------------+--------+------+--+--+
//	   0 |version |length  |event time, ns   |flags   |payld |ro|st|
//	     +--------+--------+--------+--------+--------+------+--+--+
//	  24 |asn     |port|nv |entries |objects |   port: client port u16
//	     +--------+--------+--------+--------+   nv: verdicts u16
//	  40 |12 slots of offset u32, length u32: site, method, host,
//	     |path, route, query_keys, user_agent, accept_language,
//	     |referer_host, ja4, country, client (0, 0 when not asked for)
//	     +--------------------------------------------------------
//	 136 |10 identifier hashes u64, in the order of event.Kind, 0 absent
//	     +--------------------------------------------------------
//	 216 |claimed account u64 |cost i64 |opens i64 |closes i64
//	     +--------------------------------------------------------
//	 248 |nv verdicts of 40 bytes, strongest first
//	     +--------------------------------------------------------
//	     |bytes of the strings
//
//	verdict:
//	     +--+--+--+--+--------+-----------------+--------+--------+
//	   0 |ac|sc|mo| 0|revision|score, 1/1000 bit|conf ppm|kinds   |
//	     +--+--+--+--+--------+-----------------+--------+--------+
//	  24 |expires, ns          |0                |  ac action, sc scope, mo mode
//	     +---------------------+-----------------+
//
// role is ro, checkout step st; entries is the offset of the first verdict,
// objects the number of objects of the request. The answer packs the proposal:
//
//	 63            32 31      16 15      8 7       0
//	+----------------+----------+---------+---------+
//	| argument       | rule     | verdict | action  |   verdict 255: none
//	+----------------+----------+---------+---------+
//
// The custom section "weir.manifest" holds JSON, see Manifest.
package wasm
