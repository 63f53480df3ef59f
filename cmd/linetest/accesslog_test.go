package linetest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const besideALog = `
sites: [{name: shop, hosts: ["*"]}]
collect:
  ebpf: {enabled: "off"}
  accessLogs: [{path: %q, format: combined, site: shop}]
`

// logWriter is a web server's log that grows, and is renamed away now and then.
type logWriter struct {
	path  string
	lines int
	stop  chan struct{}
	done  chan error
}

func (l *logWriter) run() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			l.done <- nil
			return
		case <-tick.C:
			if err := l.write(); err != nil {
				l.done <- err
				return
			}
		}
	}
}

// write appends a few lines; one file has 2,000 of them.
func (l *logWriter) write() error {
	if l.lines%2000 == 0 && l.lines > 0 {
		if err := os.Rename(l.path, fmt.Sprintf("%s.%d", l.path, l.lines)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for range 20 {
		l.lines++
		if _, err := fmt.Fprintf(f, "198.51.100.%d - - [%s] \"GET /page/%d HTTP/1.1\" 200 17 \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n",
			l.lines%200, time.Now().Format("02/Jan/2006:15:04:05 -0700"), l.lines); err != nil {
			return err
		}
	}
	return f.Close()
}

// TestALogIsReadOnce ends every part while a log grows and is rotated: each of its
// lines is one row.
func TestALogIsReadOnce(t *testing.T) {
	needEngine(t)
	t.Parallel()
	w := newWeir(t, "logs")
	if err := os.MkdirAll(w.data, 0o700); err != nil {
		t.Fatal(err)
	}
	l := &logWriter{path: filepath.Join(w.data, "access.log"), stop: make(chan struct{}), done: make(chan error, 1)}
	if err := os.WriteFile(l.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.up(t, "-c", w.config(t, fmt.Sprintf(besideALog, l.path)))
	go l.run()
	for _, end := range []struct {
		part string
		by   syscall.Signal
	}{
		{"collect", syscall.SIGTERM},
		{"log", syscall.SIGKILL},
		{"collect", syscall.SIGKILL},
		{"process", syscall.SIGKILL},
		{"collect", syscall.SIGKILL},
		{"store", syscall.SIGKILL},
		{"collect", syscall.SIGKILL},
		{"log", syscall.SIGKILL},
		{"collect", syscall.SIGTERM},
	} {
		w.endPart(t, end.part, end.by)
	}
	close(l.stop)
	if err := <-l.done; err != nil {
		t.Fatal(err)
	}
	lines := int64(l.lines)
	until(t, 3*time.Minute, "all lines", func() bool {
		return w.number(t, "SELECT uniqExact(path) FROM requests") >= lines
	})
	w.settled(t)
	rows, ids := w.number(t, "SELECT count() FROM requests"), w.number(t, "SELECT uniqExact(id) FROM requests")
	if rows != lines || ids != lines {
		t.Errorf("%d lines: %d rows, %d ids", lines, rows, ids)
	}
	t.Logf("%d lines, each one row", lines)
	w.stop(t)
}
