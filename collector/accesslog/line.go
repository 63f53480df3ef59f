package accesslog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineReader cuts lines out of a stream in bounded memory.
type lineReader struct {
	r     *bufio.Reader
	limit int
	buf   []byte
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 256<<10), limit: limit}
}

// reset goes on with another stream, or the same one elsewhere.
func (l *lineReader) reset(r io.Reader) { l.r.Reset(r) }

// line is one line without its newline; valid until the next call.
type line struct {
	text []byte
	size int64 // bytes consumed, with the newline
	// long: text is only the line's start, the rest was skipped.
	long bool
	// partial: the stream ended without a newline.
	partial bool
}

// next returns the next line. At the end of the stream it returns io.EOF, with
// a partial line if there is one.
func (l *lineReader) next() (line, error) {
	chunk, err := l.r.ReadSlice('\n')
	if err == nil && len(chunk) <= l.limit+1 {
		return line{text: chunk[:len(chunk)-1], size: int64(len(chunk))}, nil
	}
	// Rare: longer than the buffer, too long, or the end of the stream.
	l.buf = l.buf[:0]
	var out line
	for {
		out.size += int64(len(chunk))
		if room := l.limit - len(l.buf); len(bytes.TrimSuffix(chunk, []byte{'\n'})) > room {
			out.long = true
			l.buf = append(l.buf, chunk[:max(0, room)]...)
		} else {
			l.buf = append(l.buf, chunk...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
		chunk, err = l.r.ReadSlice('\n')
	}
	out.text = bytes.TrimSuffix(l.buf, []byte{'\n'})
	if err != nil {
		out.partial = out.size > 0
		return out, err
	}
	return out, nil
}
