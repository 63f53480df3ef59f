// Package accesslog turns web servers' access logs into exchanges: Follower
// tails a live file, Replay reads recorded ones. It knows the combined and
// common formats (nginx, Apache, LiteSpeed; also with a leading virtual host),
// JSON lines (nginx with escape=json, Caddy, Envoy) and weir's own exchange
// format.
//
// It promises that each line of a live log is delivered once, over rotation by
// rename, over copytruncate and over restarts and kills, to an outlet that knows
// a batch again (but for lines that are cut off, without a copy, between two
// looks: that is counted); that each line is parsed, or counted with its reason
// and sampled into a bounded dead-letter file; and that no line, however long or
// malformed, stops it or costs more than a fixed amount of memory.
//
// An access log shows a fraction of an exchange: a few header fields in no known
// order, no bodies, and no TLS handshake. Exchanges say so (HeadersKnown is
// false). It never writes to a server's log and never resolves names.
package accesslog
