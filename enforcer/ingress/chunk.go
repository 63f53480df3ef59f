package ingress

// chunkScanner follows the framing of a chunked message (RFC 9112 section 7.1)
// without changing it, so that the end of the message is known and everything
// that parsers are known to disagree on is rejected: bad or over-long sizes,
// bare line feeds, control characters in extensions, folded or malformed
// trailers. Well-formed extensions pass here and are dropped when the body is
// decoded; they are never sent on.
type chunkScanner struct {
	state   chunkState
	remain  uint64 // data bytes left in this chunk
	digits  int
	line    int // bytes of this extension, or of the trailer section
	nameLen int // bytes of this trailer's name
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

// scan reads p and returns how many bytes belong to the message and whether the
// message ended there.
func (s *chunkScanner) scan(p []byte) (n int, done bool, bad cause) {
	for n < len(p) {
		if s.state == chunkData {
			k := min(uint64(len(p)-n), s.remain)
			n += int(k)
			if s.remain -= k; s.remain == 0 {
				s.state = chunkDataCR
			}
			continue
		}
		c := p[n]
		n++
		if s.state >= trailerStart {
			if done, bad = s.trailer(c); done || bad != causeNone {
				return n, done, bad
			}
			continue
		}
		if !s.framing(c) {
			return n, false, causeChunk
		}
	}
	return n, false, causeNone
}

func (s *chunkScanner) framing(c byte) bool {
	switch s.state {
	case chunkSize:
		return s.size(c)
	case chunkExt:
		s.line++
		if c == '\r' {
			s.state = chunkSizeLF
			return true
		}
		return s.line <= maxChunkExt && valueByte[c]
	case chunkSizeLF:
		if c != '\n' {
			return false
		}
		s.digits, s.line = 0, 0
		s.state = chunkData
		if s.remain == 0 {
			s.state = trailerStart
		}
		return true
	case chunkDataCR:
		s.state = chunkDataLF
		return c == '\r'
	default: // chunkDataLF
		s.state = chunkSize
		return c == '\n'
	}
}

func (s *chunkScanner) size(c byte) bool {
	var d byte
	switch {
	case c >= '0' && c <= '9':
		d = c - '0'
	case c >= 'a' && c <= 'f':
		d = c - 'a' + 10
	case c >= 'A' && c <= 'F':
		d = c - 'A' + 10
	case s.digits == 0:
		return false
	case c == '\r':
		s.state = chunkSizeLF
		return true
	case c == ';':
		s.state = chunkExt
		return true
	default:
		return false
	}
	// 15 digits cannot overflow a signed 64-bit size in any parser.
	if s.digits++; s.digits > 15 {
		return false
	}
	s.remain = s.remain<<4 | uint64(d)
	return true
}

func (s *chunkScanner) trailer(c byte) (done bool, bad cause) {
	if s.line++; s.line > maxTrailerBytes {
		return false, causeTrailer
	}
	switch s.state {
	case trailerStart:
		if c == '\r' {
			s.state = trailerEndLF
			return false, causeNone
		}
		s.state, s.nameLen = trailerName, 0
		fallthrough
	case trailerName:
		if c == ':' && s.nameLen > 0 {
			s.state = trailerValue
			return false, causeNone
		}
		if s.nameLen++; !tokenByte[c] {
			return false, causeTrailer
		}
	case trailerValue:
		if c == '\r' {
			s.state = trailerLF
			return false, causeNone
		}
		if !valueByte[c] {
			return false, causeTrailer
		}
	case trailerLF:
		s.state = trailerStart
		if c != '\n' {
			return false, causeTrailer
		}
	default: // trailerEndLF
		if c != '\n' {
			return false, causeTrailer
		}
		return true, causeNone
	}
	return false, causeNone
}
