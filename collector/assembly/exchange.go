package assembly

import (
	"bytes"
	"strconv"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// maxFields bounds the header fields of one message.
const maxFields = 128

// emit makes the exchange of a request and its response and hands it out.
func (a *Assembler) emit(c *conn, req, resp *message) {
	x := &a.x
	*x = flow.Exchange{Headers: x.Headers[:0], ResponseHeaders: x.ResponseHeaders[:0]}
	if !a.request(x, req) {
		a.count.Malformed++
		return
	}
	a.sequence++
	x.ID = "k" + strconv.FormatUint(c.id, 36) + "-" + strconv.FormatUint(req.first, 36) + "-" + strconv.FormatUint(a.sequence, 36)
	x.Source, x.Node = event.SourceEBPF, a.cfg.Node
	x.Client = c.open.Remote
	if a.cfg.Workload != nil {
		x.Workload = a.cfg.Workload(c.tgid, c.open.Comm)
	}
	if a.cfg.Wall != nil {
		x.Time = a.cfg.Wall(req.first)
	}
	x.Duration = time.Duration(max(resp.last, req.first) - req.first)
	x.Status = resp.status
	x.ResponseHeaders = fields(x.ResponseHeaders, resp.bytes[:resp.headBytes])
	x.ResponseBody, x.ResponseBodyTruncated = body(resp)
	x.RequestBytes = size(req)
	x.ResponseBytes = size(resp)
	if req.cut || resp.cut {
		x.Flags |= event.FlagTruncated
		a.count.Truncated++
	}
	if req.partial {
		x.Flags |= event.FlagPartial
	}
	if req.noData || resp.noData {
		x.Flags |= event.FlagNoData
	}
	a.count.Exchanges++
	a.out(x)
}

// request reads the request line, the fields and the body.
func (a *Assembler) request(x *flow.Exchange, m *message) bool {
	head := m.bytes[:m.headBytes]
	line, rest, whole := bytes.Cut(head, []byte("\r\n"))
	method, target, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(method) == 0 || len(target) == 0 {
		return false
	}
	if t, proto, ok := bytes.Cut(target, []byte(" ")); ok {
		target = t
		x.Protocol = string(proto)
	} else if whole {
		return false // HTTP/0.9: no server we watch answers it
	}
	x.Method, x.Target = string(method), string(target)
	x.Headers, x.HeadersKnown = fields(x.Headers, rest), !m.headCut
	for _, f := range x.Headers {
		if asciiEqualFold([]byte(f.Name), "host") {
			x.Host = f.Value
			break
		}
	}
	x.Body, x.BodyTruncated = body(m)
	return true
}

// fields reads header field lines; a line that is none is skipped, as a cut one
// at the end is.
func fields(dst []flow.Field, b []byte) []flow.Field {
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || len(dst) >= maxFields {
			continue
		}
		dst = append(dst, flow.Field{Name: string(name), Value: string(bytes.TrimSpace(value))})
	}
	return dst
}

// body returns the captured body without the chunked coding.
func body(m *message) ([]byte, bool) {
	b := m.bytes[m.headBytes:]
	if m.body != bodyChunked {
		return b, m.cut
	}
	return dechunk(b), m.cut
}

// dechunk removes the chunked coding of a captured prefix, in place.
func dechunk(b []byte) []byte {
	out := b[:0]
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok {
			break
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 40)
		if err != nil || n == 0 {
			break
		}
		k := min(n, uint64(len(rest)))
		out = append(out, rest[:k]...)
		b = rest[k:]
		b = bytes.TrimPrefix(b, []byte("\r\n"))
	}
	return out
}

// size is what the message moved on the wire.
func size(m *message) int64 { return int64(m.headBytes) + int64(m.got) }
