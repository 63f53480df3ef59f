package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

var (
	errResponseHead = errors.New("upstream's response head is malformed or too large")
	errResponseBody = errors.New("upstream's response body is malformed")
)

// maxResponseFields bounds a response's field lines.
const maxResponseFields = 1000

// framing is how a response's body ends (RFC 9112 section 6.3).
type framing uint8

const (
	bodyNone framing = iota
	bodyLength
	bodyChunked
	bodyClose // at the connection's end
)

// upResponse is an HTTP/1 response's head and the state of its body.
type upResponse struct {
	status   int
	fields   []flow.Field // end to end and hop by hop, as they came
	framing  framing
	length   int64 // Content-Length, -1 when absent
	close    bool  // the connection cannot be used again
	upgrade  string
	trailers []flow.Field

	remain  uint64
	inChunk bool
	ended   bool
}

// readResponse reads the head of a response to method.
func (c *upConn) readResponse(wt *waiter, method string, res *upResponse) error {
	searched := 0
	for {
		b := c.buf[c.r:c.w]
		if end := headEnd(b, searched); end > 0 {
			text := string(b[:end])
			c.r += end
			return res.parse(text, method)
		}
		searched = max(0, len(b)-3)
		if err := c.fill(wt, maxResponseHead); err != nil {
			return err
		}
	}
}

// headEnd finds the empty line; it allows bare line feeds, which are normalised
// because the head is written anew.
func headEnd(b []byte, from int) int {
	for i := from; i < len(b); {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		if rest := b[i:]; len(rest) > 0 && rest[0] == '\n' {
			return i + 1
		} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 2
		}
	}
	return 0
}

func (res *upResponse) parse(text, method string) error {
	*res = upResponse{fields: res.fields[:0], length: -1}
	line, rest, _ := strings.Cut(text, "\n")
	line = strings.TrimSuffix(line, "\r")
	if len(line) < 12 || line[:7] != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return fmt.Errorf("%w: status line %.80q", errResponseHead, line)
	}
	for _, d := range []byte(line[9:12]) {
		if d < '0' || d > '9' {
			return fmt.Errorf("%w: status line %.80q", errResponseHead, line)
		}
		res.status = res.status*10 + int(d-'0')
	}
	if res.status < 100 {
		return fmt.Errorf("%w: status %d", errResponseHead, res.status)
	}
	http10 := line[7] == '0'
	if !http10 && line[7] != '1' {
		return fmt.Errorf("%w: version %q", errResponseHead, line[:8])
	}
	if err := res.parseFields(rest); err != nil {
		return err
	}
	return res.frame(method, http10)
}

func (res *upResponse) parseFields(rest string) error {
	for {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			return nil
		}
		if n := len(res.fields); (line[0] == ' ' || line[0] == '\t') && n > 0 {
			// RFC 9112 section 5.2: a proxy replaces a fold in a response by spaces.
			v := trimOWS(line)
			if !validValue(v) {
				return fmt.Errorf("%w: field value %.80q", errResponseHead, v)
			}
			res.fields[n-1].Value += " " + v
			continue
		}
		if len(res.fields) == maxResponseFields {
			return fmt.Errorf("%w: more than %d fields", errResponseHead, maxResponseFields)
		}
		f, bad := parseField(line)
		if bad != causeNone {
			return fmt.Errorf("%w: %s in %.80q", errResponseHead, bad, line)
		}
		res.fields = append(res.fields, f)
	}
}

// frame decides where the body ends. Lengths that contradict each other make the
// response unusable; a length beside chunked is dropped with the connection.
func (res *upResponse) frame(method string, http10 bool) error {
	chunked, keepAlive := false, false
	for _, f := range res.fields {
		switch responseFieldOf(f.Name) {
		case fieldLength:
			n := parseLength(f.Value)
			if f.Value == "" || n < 0 || res.length >= 0 && res.length != n {
				return fmt.Errorf("%w: Content-Length %.40q", errResponseHead, f.Value)
			}
			res.length = n
		case fieldCoding:
			if !foldASCII(f.Value, "chunked") || chunked || http10 {
				return fmt.Errorf("%w: Transfer-Encoding %.40q", errResponseHead, f.Value)
			}
			chunked = true
		case fieldConnection:
			res.close = res.close || hasToken(f.Value, "close")
			keepAlive = keepAlive || hasToken(f.Value, "keep-alive")
		case fieldUpgrade:
			res.upgrade = f.Value
		default:
		}
	}
	if http10 && !keepAlive {
		res.close = true
	}
	switch {
	case res.status == 101:
		res.framing = bodyNone
	case res.status < 200, res.status == 204, res.status == 304, method == "HEAD":
		res.framing = bodyNone
	case chunked:
		if res.length >= 0 {
			res.length, res.close = -1, true
			res.fields = slices.DeleteFunc(res.fields, func(f flow.Field) bool { return strings.EqualFold(f.Name, "Content-Length") })
		}
		res.framing = bodyChunked
	case res.length >= 0:
		res.framing, res.remain = bodyLength, uint64(res.length)
	default:
		res.framing, res.close = bodyClose, true
	}
	res.ended = res.framing == bodyNone || res.framing == bodyLength && res.remain == 0
	return nil
}

// next returns the next bytes of the body, which stay valid until the call after
// it, or io.EOF at its end.
func (c *upConn) next(wt *waiter, res *upResponse) ([]byte, error) {
	for !res.ended {
		switch {
		case res.framing == bodyChunked && !res.inChunk:
			if err := c.chunkHeader(wt, res); err != nil {
				return nil, err
			}
			continue
		case c.r == c.w:
			err := c.fill(wt, len(c.buf))
			if errors.Is(err, io.EOF) {
				if res.framing == bodyClose {
					res.ended = true
					return nil, io.EOF
				}
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return nil, err
			}
		}
		b := c.buf[c.r:c.w]
		if res.framing == bodyClose {
			c.r = c.w
			return b, nil
		}
		if uint64(len(b)) > res.remain {
			b = b[:res.remain]
		}
		c.r += len(b)
		if res.remain -= uint64(len(b)); res.remain == 0 {
			if res.framing == bodyLength {
				res.ended = true
			} else {
				// The chunk's CRLF is read with the next size, so that these data
				// are not held back for it.
				res.inChunk, res.remain = false, needCRLF
			}
		}
		return b, nil
	}
	return nil, io.EOF
}

// needCRLF marks in upResponse.remain that a chunk's data ended.
const needCRLF = ^uint64(0)

// chunkHeader reads a chunk's size line, after the CRLF of the chunk before it,
// and at the last chunk the trailers.
func (c *upConn) chunkHeader(wt *waiter, res *upResponse) error {
	if res.remain == needCRLF {
		line, err := c.line(wt)
		if err != nil {
			return err
		}
		if line != "" {
			return fmt.Errorf("%w: chunk longer than its size", errResponseBody)
		}
		res.remain = 0
	}
	line, err := c.line(wt)
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	size = trimOWS(size)
	if size == "" || len(size) > 15 {
		return fmt.Errorf("%w: chunk size %.40q", errResponseBody, size)
	}
	var n uint64
	for _, d := range []byte(size) {
		v, ok := hexDigit(d)
		if !ok {
			return fmt.Errorf("%w: chunk size %.40q", errResponseBody, size)
		}
		n = n<<4 | uint64(v)
	}
	if n > 0 {
		res.remain, res.inChunk = n, true
		return nil
	}
	return c.readTrailers(wt, res)
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func (c *upConn) readTrailers(wt *waiter, res *upResponse) error {
	for size := 0; ; {
		line, err := c.line(wt)
		if err != nil {
			return err
		}
		if line == "" {
			res.ended = true
			return nil
		}
		f, bad := parseField(line)
		if size += len(line); bad != causeNone || size > maxTrailerBytes {
			return fmt.Errorf("%w: trailer %.80q", errResponseBody, line)
		}
		if !forbiddenTrailer(f.Name) {
			res.trailers = append(res.trailers, f)
		}
	}
}

// line reads one line of chunk framing without its end.
func (c *upConn) line(wt *waiter) (string, error) {
	for {
		b := c.buf[c.r:c.w]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			c.r += i + 1
			if i > 0 && b[i-1] == '\r' {
				i--
			}
			return string(b[:i]), nil
		}
		if len(b) > maxTrailerBytes {
			return "", fmt.Errorf("%w: line too long", errResponseBody)
		}
		if err := c.fill(wt, len(c.buf)); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// forbiddenTrailer names fields that mean nothing, or danger, in a trailer
// (RFC 9110 section 6.5.1).
func forbiddenTrailer(name string) bool {
	for _, n := range []string{
		"Transfer-Encoding", "Content-Length", "Host", "Trailer", "Connection", "Upgrade", "TE", "Keep-Alive",
		"Authorization", "Set-Cookie", "Cookie", "Content-Type", "Content-Encoding", "Content-Range", "Proxy-Connection",
		"Expect", "Range", "Cache-Control", "Location", "Retry-After",
	} {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return foldPrefix(name, "x-weir-") || foldPrefix(name, "x-forwarded-")
}

// hasToken reports whether a comma-separated list holds token, in lower case.
func hasToken(list, token string) bool {
	for {
		i := strings.IndexByte(list, ',')
		part := list
		if i >= 0 {
			part = list[:i]
		}
		if foldASCII(trimOWS(part), token) {
			return true
		}
		if i < 0 {
			return false
		}
		list = list[i+1:]
	}
}
