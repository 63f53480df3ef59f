package accesslog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// DeadLetter keeps samples of rejected lines for people to look at. It is safe
// for concurrent use; a nil one keeps nothing.
//
// Values after "=" are masked, since a query may carry a secret, and lines of
// formats with bodies (JSON, exchange) are described but not quoted.
type DeadLetter struct {
	mu       sync.Mutex
	path     string
	maxBytes int64
	size     int64
	window   int64 // second
	inWindow int
	now      func() time.Time
}

// Bounds on samples.
const (
	maxSampleBytes      = 512
	maxSamplesPerSecond = 10
	// DefaultDeadLetterBytes bounds the file; a full one is renamed to ".1".
	DefaultDeadLetterBytes = 1 << 20
)

// NewDeadLetter returns a dead letter file at path, made with mode 0600 when the
// first sample comes. maxBytes 0 is DefaultDeadLetterBytes; on disk there are at
// most twice as many.
func NewDeadLetter(path string, maxBytes int64) *DeadLetter {
	if maxBytes <= 0 {
		maxBytes = DefaultDeadLetterBytes
	}
	return &DeadLetter{path: path, maxBytes: maxBytes, size: -1, now: time.Now}
}

// Add samples one rejected line, which stands at where ("file:line").
func (d *DeadLetter) Add(where string, f Format, reason error, text []byte) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.now().Unix(); s != d.window {
		d.window, d.inWindow = s, 0
	}
	if d.inWindow++; d.inWindow > maxSamplesPerSecond {
		return nil
	}
	if d.size < 0 {
		d.size = 0
		if st, err := os.Stat(d.path); err == nil {
			d.size = st.Size()
		}
	}
	entry := fmt.Appendf(nil, "%s: %v: %q\n", where, reasonText(f, reason), mask(f, text))
	if d.size > 0 && d.size+int64(len(entry)) > d.maxBytes {
		if err := os.Rename(d.path, d.path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("dead letter: %w", err)
		}
		d.size = 0
	}
	file, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	n, err := file.Write(entry)
	d.size += int64(n)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	return nil
}

// quotable reports whether a format's lines may be shown at all: JSON and
// exchange lines may hold anything under any name.
func quotable(f Format, text []byte) bool {
	return f != FormatExchange && f != FormatJSON && (len(text) == 0 || text[0] != '{')
}

// reasonText drops quoted values from the reasons of formats with bodies.
func reasonText(f Format, reason error) error {
	if f == FormatCombined || f == FormatCommon {
		return reason
	}
	for _, known := range []error{ErrSyntax, ErrValue, ErrLong, ErrEmpty} {
		if errors.Is(reason, known) {
			return known
		}
	}
	return errors.New("rejected")
}

// mask returns the start of a line without values.
func mask(f Format, text []byte) []byte {
	if !quotable(f, text) {
		return fmt.Appendf(nil, "(%d bytes, not shown)", len(text))
	}
	out := make([]byte, 0, maxSampleBytes)
	masking := false
	for _, c := range text {
		switch {
		case len(out) >= maxSampleBytes:
			return append(out, "..."...)
		case c == '=' && !masking:
			out = append(out, "=*"...)
			masking = true
		case masking && (c == '&' || c == ' ' || c == '"'):
			out, masking = append(out, c), false
		case !masking:
			out = append(out, c)
		}
	}
	return out
}
