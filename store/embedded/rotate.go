package embedded

import (
	"fmt"
	"os"
	"sync"
)

// rotatingLog writes to a file and keeps at most one older one beside it, so
// that the two together never exceed twice the limit. The engine logs a stack
// trace for every failed query, which any client can cause at will.
type rotatingLog struct {
	mu    sync.Mutex
	path  string
	limit int64
	file  *os.File
	size  int64
	tail  []byte // the last tailBytes written, for error messages
}

const tailBytes = 16 << 10

func openLog(path string, limit int64) (*rotatingLog, error) {
	l := &rotatingLog{path: path, limit: limit}
	return l, l.open()
}

func (l *rotatingLog) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("engine log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("engine log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write never fails: a full disk must not end the engine through its own log.
func (l *rotatingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, p...)
	if n := len(l.tail) - tailBytes; n > 0 {
		l.tail = append(l.tail[:0], l.tail[n:]...)
	}
	if l.file != nil && l.size+int64(len(p)) > l.limit {
		_ = l.file.Close()
		_ = os.Rename(l.path, l.path+".1")
		l.file = nil
		_ = l.open()
	}
	if l.file != nil {
		n, _ := l.file.Write(p)
		l.size += int64(n)
	}
	return len(p), nil
}

// Tail returns the last lines written in this run, at most 16 KiB.
func (l *rotatingLog) Tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail)
}

func (l *rotatingLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
