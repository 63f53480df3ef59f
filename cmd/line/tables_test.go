package line

import (
	"errors"
	"io"
	"runtime"
	"testing"
)

// TestAnInsertEndsWhenNothingReadsItsBatch: a server that answers early leaves the
// client sending; the batch's memory may be used again only when it has stopped.
func TestAnInsertEndsWhenNothingReadsItsBatch(t *testing.T) {
	r, w := io.Pipe()
	reading, faulty := true, errors.New("faulty batch")
	body := &arrowBody{write: func(w io.Writer) (int, error) {
		defer func() { reading = false }()
		for range 3 {
			if _, err := w.Write([]byte("rows")); err != nil {
				return 0, err
			}
		}
		return 0, faulty
	}}
	go func() { _, _ = body.WriteTo(w) }()
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	go func() { // closes the connection some time after the insert has ended
		for range 1000 {
			for !body.over.Load() {
				runtime.Gosched()
			}
			runtime.Gosched()
		}
		_ = r.Close()
	}()
	if err := body.end(); err != nil || reading {
		t.Errorf("%v, still reading %v: a connection's error is no fault of the batch", err, reading)
	}

	bad := &arrowBody{write: func(io.Writer) (int, error) { return 0, faulty }}
	if _, err := bad.Read(make([]byte, 4)); !errors.Is(err, faulty) || !errors.Is(bad.end(), faulty) {
		t.Errorf("%v, want the batch's own fault", err)
	}
}
