package ingress

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// answer is a final response's head as the client gets it, whatever it speaks.
type answer struct {
	id     string
	status int
	// fields are the response's, hop-by-hop ones too; they are sorted out here.
	fields []flow.Field
	// length is that of the body to come, negative when it is not known.
	length int64
	// close: the connection ends after it.
	close bool
}

// answering is the writing side of an h1Conn. What is written gathers in out, so
// that a head and a short body leave in one piece.
type answering struct {
	out        *[]byte // from answerBuffers, nil between answers
	chunked    bool
	bodyless   bool
	untilClose bool  // the connection's end is the body's
	closing    bool  // the connection ends after this answer
	broken     bool  // this answer never ends
	err        error // of the first write that failed
	pace       *download
}

// gather is how much of an answer is gathered before it is written, in bytes.
const gather = 32 << 10

var answerBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// interim sends a 1xx answer; HTTP/1.0 knows none.
func (c *h1Conn) interim(status int, fields []flow.Field) {
	if c.head.http10 {
		return
	}
	b := appendFields(appendStatus(c.buffer(), status), fields, func(k responseField) bool { return k == fieldLength })
	*c.out = append(b, "\r\n"...)
	c.flush()
}

// begin writes a final answer's head: end-to-end fields in the order and spelling
// in which they came, and our own framing.
func (c *h1Conn) begin(a *answer) {
	c.bodyless = c.head.method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified
	unknown := a.length < 0 && !c.bodyless
	c.chunked, c.untilClose = unknown && !c.head.http10, unknown && c.head.http10
	// A client that still waits to be asked for its body may send it or not.
	c.closing = a.close || !c.head.keepAlive || c.untilClose || c.expect
	length, date := false, false
	b := appendFields(appendStatus(c.buffer(), a.status), a.fields, func(k responseField) bool {
		switch k {
		case fieldLength:
			drop := length || unknown || a.status == http.StatusNoContent
			length = true
			return drop
		case fieldDate:
			date = true
		case fieldTrailer:
			return !c.chunked
		default:
		}
		return false
	})
	b = appendField(b, flow.Field{Name: headerRequestID, Value: a.id})
	if !date { // RFC 9110 section 6.6.1
		b = append(time.Now().UTC().AppendFormat(append(b, "Date: "...), http.TimeFormat), "\r\n"...)
	}
	switch {
	case c.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case !length && !c.bodyless && !c.untilClose:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), a.length, 10), "\r\n"...)
	}
	if c.closing {
		b = append(b, "Connection: close\r\n"...)
	} else if c.head.http10 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	*c.out = append(b, "\r\n"...)
}

// write sends body bytes, now or with what follows.
func (c *h1Conn) write(p []byte) error {
	if c.bodyless || len(p) == 0 {
		return c.err
	}
	b := c.buffer()
	if len(b)+len(p) > gather {
		*c.out = b
		c.flush()
		b = c.buffer()
	}
	switch {
	case c.chunked:
		b = appendChunk(b, p)
	case len(p) > gather/2 && len(b) == 0:
		*c.out = b
		c.send(p)
		return c.err
	default:
		b = append(b, p...)
	}
	*c.out = b
	return c.err
}

// end completes the answer.
func (c *h1Conn) end(trailers []flow.Field) {
	if c.chunked {
		b := append(c.buffer(), "0\r\n"...)
		for _, f := range trailers {
			b = appendField(b, f)
		}
		*c.out = append(b, "\r\n"...)
	}
	c.flush()
	c.release()
}

// abort leaves the answer incomplete for the client to see.
func (c *h1Conn) abort() {
	c.flush()
	c.broken = true
}

// flush sends what was gathered.
func (c *h1Conn) flush() {
	if c.out != nil && len(*c.out) > 0 {
		c.send(*c.out)
		*c.out = (*c.out)[:0]
	}
}

func (c *h1Conn) send(p []byte) {
	if c.err != nil {
		return
	}
	c.pace.writing()
	if _, c.err = c.conn.Write(p); c.err != nil {
		c.broken = true
	}
	c.pace.wrote()
}

// buffer returns what is gathered, to append to.
func (c *h1Conn) buffer() []byte {
	if c.out == nil {
		c.out = answerBuffers.Get().(*[]byte) //nolint:forcetypeassert // the pool's New
	}
	return *c.out
}

// release gives the buffer back: idle connections hold none.
func (c *h1Conn) release() {
	if c.out != nil && cap(*c.out) <= 2*gather {
		*c.out = (*c.out)[:0]
		answerBuffers.Put(c.out)
	}
	c.out = nil
}

func appendStatus(b []byte, status int) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
	return append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
}

// appendFields writes the end-to-end fields that drop does not want gone.
func appendFields(b []byte, fields []flow.Field, drop func(responseField) bool) []byte {
	nominated := nominatedBy(fields)
next:
	for _, f := range fields {
		if k := responseFieldOf(f.Name); k.hop() || k != fieldOther && drop(k) {
			continue
		}
		for _, n := range nominated {
			if strings.EqualFold(n, f.Name) {
				continue next
			}
		}
		b = appendField(b, f)
	}
	return b
}
