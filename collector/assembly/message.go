package assembly

import (
	"bytes"
	"strconv"

	"github.com/weirproject/weir/collector/bpf"
)

// bodyKind is how a message's body ends (RFC 9112 section 6.3).
type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyUntilClose
)

// message is one HTTP/1 message while it is received.
type message struct {
	// bytes are the head and a prefix of the body (the chunked coding removed
	// is not worth its cost: chunk framing stays in), bounded by MessageBytes.
	bytes []byte
	// headBytes is the head's length with its empty line; 0: not complete yet.
	headBytes int
	body      bodyKind
	// want is the declared body length of bodyLength, got the body bytes moved.
	want, got uint64
	chunk     chunkReader
	first     uint64
	last      uint64
	status    int
	head      bool // answers HEAD
	done      bool
	cut       bool // bytes are missing at the end or in the middle
	headCut   bool // the head itself is not whole
	partial   bool // answered before it ended
	noData    bool
	malformed bool
}

// interim reports a 1xx response other than 101, which another one follows
// (RFC 9110 section 15.2).
func (m *message) interim() bool { return m.status >= 100 && m.status < 200 && m.status != 101 }

var methods = [...]string{"GET ", "POST ", "PUT ", "HEAD ", "PATCH ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE "}

// startsMessage reports whether b can be the first bytes of a message. A prefix
// is enough: net/http's server reads the first byte of the next request alone.
func startsMessage(b []byte, response bool) bool {
	if len(b) == 0 {
		return false
	}
	begins := func(p string) bool { n := min(len(b), len(p)); return string(b[:n]) == p[:n] }
	if response {
		return begins("HTTP/1.")
	}
	for _, m := range methods {
		if begins(m) {
			return true
		}
	}
	return false
}

// feed takes bytes of the message from a stream of n bytes with a captured
// prefix, and returns how many of the stream and of the capture it used.
func (m *message) feed(captured []byte, n uint64, gap bool, limit int, response bool, request *message, r *bpf.Record) (used uint64, usedCaptured int) {
	if r.Flags&bpf.FlagNoData != 0 {
		m.noData = true
	}
	if m.headBytes == 0 {
		return m.feedHead(captured, n, gap, limit, response, request)
	}
	switch m.body {
	case bodyLength:
		used = min(n, m.want-m.got)
		m.cut = m.cut || gap
		usedCaptured = m.keep(captured, used, limit)
		m.got += used
		m.done = m.got == m.want
	case bodyChunked:
		used, usedCaptured = m.feedChunked(captured, n, gap, limit, r)
	case bodyUntilClose:
		m.cut = m.cut || gap
		usedCaptured = m.keep(captured, n, limit)
		m.got += n
		used = n
	case bodyNone:
		m.done = true
	}
	return used, usedCaptured
}

// feedHead collects the head. A head that is cut by the budget, a gap or the
// bound ends the message: its event carries a flag instead of silence.
func (m *message) feedHead(captured []byte, n uint64, gap bool, limit int, response bool, request *message) (uint64, int) {
	before := len(m.bytes)
	take := captured[:min(len(captured), limit-before)]
	m.bytes = append(m.bytes, take...)
	end := bytes.Index(m.bytes[max(0, before-3):], []byte("\r\n\r\n"))
	if end < 0 {
		if gap || uint64(len(take)) < n {
			if len(m.bytes) == 0 {
				m.malformed = true
				return n, len(captured)
			}
			m.headBytes, m.headCut, m.cut, m.done = len(m.bytes), true, true, true
			m.frame(response, request)
		}
		return n, len(captured)
	}
	m.headBytes = max(0, before-3) + end + 4
	used := m.headBytes - before
	m.bytes = m.bytes[:m.headBytes]
	m.frame(response, request)
	return uint64(used), used
}

// frame reads from the head how the body ends.
func (m *message) frame(response bool, request *message) {
	head := m.bytes[:m.headBytes]
	length, chunked, declared := uint64(0), false, false
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch {
		case asciiEqualFold(name, "content-length"):
			v, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 62)
			if err == nil {
				length, declared = v, true
			}
		case asciiEqualFold(name, "transfer-encoding"):
			chunked = bytes.Contains(bytes.ToLower(value), []byte("chunked"))
		}
	}
	if response {
		if len(head) < 12 || head[9] < '1' || head[9] > '9' {
			m.malformed = true
			return
		}
		m.status = int(head[9]-'0')*100 + int(head[10]-'0')*10 + int(head[11]-'0')
		m.head = request != nil && bytes.HasPrefix(request.bytes, []byte("HEAD "))
	}
	switch {
	case response && (m.head || m.status < 200 || m.status == 204 || m.status == 304):
		m.body = bodyNone
	case chunked:
		m.body = bodyChunked
	case declared && length > 0:
		m.body, m.want = bodyLength, length
	case response && !declared:
		m.body = bodyUntilClose
	}
	if m.body == bodyNone {
		m.done = true
	}
}

func asciiEqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// keep stores up to n captured body bytes within limit and returns how many of
// captured belong to the message.
func (m *message) keep(captured []byte, n uint64, limit int) int {
	own := captured[:min(uint64(len(captured)), n)]
	room := max(0, limit-len(m.bytes))
	if uint64(min(len(own), room)) < n {
		m.cut = true
	}
	m.bytes = append(m.bytes, own[:min(len(own), room)]...)
	return len(own)
}

// endOfChunked is how a chunked body without trailers ends (RFC 9112 7.1).
var endOfChunked = []byte("0\r\n\r\n")

// feedChunked follows the chunked coding through captured bytes. Bytes that
// were not captured stay in this message; its end shows in the record's tail.
func (m *message) feedChunked(captured []byte, n uint64, gap bool, limit int, r *bpf.Record) (uint64, int) {
	if len(captured) == 0 {
		m.got += n
		m.cut = true
		m.chunk.lost = true
		m.done = !gap && bytes.HasSuffix(r.Tail, endOfChunked)
		return n, 0
	}
	if m.chunk.lost { // no way back into the coding, only its end
		own := m.keep(captured, n, limit)
		m.got += n
		m.done = bytes.HasSuffix(captured, endOfChunked) && uint64(len(captured)) == n || bytes.HasSuffix(r.Tail, endOfChunked)
		return n, own
	}
	k, end := m.chunk.read(captured)
	m.keep(captured[:k], uint64(k), limit)
	m.got += uint64(k)
	m.done = end
	if m.chunk.bad {
		m.body = bodyUntilClose
		m.cut = true
	}
	return uint64(k), k
}

// maxChunkBytes bounds a chunk size: the peer names it.
const maxChunkBytes = 1 << 40

// chunkReader is a state machine over the chunked coding.
type chunkReader struct {
	state   chunkState
	size    uint64
	trailer int // characters of the trailer line so far
	bad     bool
	lost    bool
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkData
	chunkDataEnd
	chunkTrailer
)

// read consumes b and reports how much belongs to the body and whether it ended.
func (c *chunkReader) read(b []byte) (n int, end bool) {
	for n < len(b) {
		ch := b[n]
		switch c.state {
		case chunkSize:
			switch digit, ok := hexDigit(ch); {
			case ok:
				c.size = c.size<<4 | digit
				if c.size > maxChunkBytes {
					c.bad = true
					return len(b), false
				}
			case ch == '\n':
				c.afterSize()
			case ch == ';':
				c.state = chunkExtension
			}
			n++
		case chunkExtension:
			if ch == '\n' {
				c.afterSize()
			}
			n++
		case chunkData:
			k := min(uint64(len(b)-n), c.size)
			n += int(k)
			if c.size -= k; c.size == 0 {
				c.state = chunkDataEnd
			}
		case chunkDataEnd:
			if ch == '\n' {
				c.state, c.size = chunkSize, 0
			}
			n++
		case chunkTrailer:
			n++
			switch {
			case ch == '\n' && c.trailer == 0:
				return n, true
			case ch == '\n':
				c.trailer = 0
			case ch != '\r':
				c.trailer++
			}
		}
	}
	return n, false
}

func (c *chunkReader) afterSize() {
	c.state = chunkData
	if c.size == 0 {
		c.state, c.trailer = chunkTrailer, 0
	}
}

func hexDigit(ch byte) (uint64, bool) {
	switch {
	case ch >= '0' && ch <= '9':
		return uint64(ch - '0'), true
	case ch >= 'a' && ch <= 'f':
		return uint64(ch-'a') + 10, true
	case ch >= 'A' && ch <= 'F':
		return uint64(ch-'A') + 10, true
	}
	return 0, false
}
