package ingress

import (
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// chunkDecoder takes the framing off a chunked message (RFC 9112 section 7.1) and
// rejects everything that parsers are known to disagree on: bad or over-long
// sizes, bare line feeds, control characters in extensions, folded or malformed
// trailers. Well-formed extensions are dropped.
type chunkDecoder struct {
	state   chunkState
	remain  uint64 // data bytes left in this chunk
	digits  int
	line    int    // bytes of this extension
	nameLen int    // bytes of this trailer's name
	section []byte // the trailer section so far
	// fields is the trailer section once the message ended.
	fields []flow.Field
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	trailerEndLF
)

// maxChunkExt bounds a chunk extension in bytes.
const maxChunkExt = 1024

// decode moves the data in p to its front and returns how many there are, how
// many bytes of p belong to the message and whether it ended there. Before its
// end it uses the whole of p.
func (d *chunkDecoder) decode(p []byte) (data, used int, done bool, bad cause) {
	for used < len(p) {
		if d.state == chunkData {
			k := int(min(uint64(len(p)-used), d.remain))
			if data != used {
				copy(p[data:], p[used:used+k])
			}
			data, used = data+k, used+k
			if d.remain -= uint64(k); d.remain == 0 {
				d.state = chunkDataCR
			}
			continue
		}
		c := p[used]
		used++
		if d.state >= trailerStart {
			if done, bad = d.trailer(c); done || bad != causeNone {
				return data, used, done, bad
			}
			continue
		}
		if !d.framing(c) {
			return data, used, false, causeChunk
		}
	}
	return data, used, false, causeNone
}

func (d *chunkDecoder) framing(c byte) bool {
	switch d.state {
	case chunkSize:
		return d.size(c)
	case chunkExt:
		d.line++
		if c == '\r' {
			d.state = chunkSizeLF
			return true
		}
		return d.line <= maxChunkExt && valueByte[c]
	case chunkSizeLF:
		if c != '\n' {
			return false
		}
		d.digits, d.line = 0, 0
		d.state = chunkData
		if d.remain == 0 {
			d.state = trailerStart
		}
		return true
	case chunkDataCR:
		d.state = chunkDataLF
		return c == '\r'
	default: // chunkDataLF
		d.state = chunkSize
		return c == '\n'
	}
}

func (d *chunkDecoder) size(c byte) bool {
	switch v, ok := hexDigit(c); {
	case ok:
		// 15 digits cannot overflow a signed 64-bit size in any parser.
		if d.digits++; d.digits > 15 {
			return false
		}
		d.remain = d.remain<<4 | uint64(v)
		return true
	case d.digits == 0:
		return false
	case c == '\r':
		d.state = chunkSizeLF
		return true
	case c == ';':
		d.state = chunkExt
		return true
	}
	return false
}

func (d *chunkDecoder) trailer(c byte) (done bool, bad cause) {
	if d.section = append(d.section, c); len(d.section) > maxTrailerBytes {
		return false, causeTrailer
	}
	switch d.state {
	case trailerStart:
		if c == '\r' {
			d.state = trailerEndLF
			return false, causeNone
		}
		d.state, d.nameLen = trailerName, 0
		fallthrough
	case trailerName:
		if c == ':' && d.nameLen > 0 {
			d.state = trailerValue
			return false, causeNone
		}
		if d.nameLen++; !tokenByte[c] {
			return false, causeTrailer
		}
	case trailerValue:
		if c == '\r' {
			d.state = trailerLF
			return false, causeNone
		}
		if !valueByte[c] {
			return false, causeTrailer
		}
	case trailerLF:
		d.state = trailerStart
		if c != '\n' {
			return false, causeTrailer
		}
	default: // trailerEndLF
		if c != '\n' {
			return false, causeTrailer
		}
		return true, d.parseSection()
	}
	return false, causeNone
}

// parseSection reads the trailer fields out of the checked section.
func (d *chunkDecoder) parseSection() cause {
	for rest := string(d.section); ; {
		var line string
		if line, rest, _ = strings.Cut(rest, "\r\n"); line == "" {
			return causeNone
		}
		f, bad := parseField(line)
		if bad != causeNone {
			return causeTrailer
		}
		d.fields = append(d.fields, f)
	}
}
