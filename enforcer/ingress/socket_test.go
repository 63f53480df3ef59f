package ingress

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair returns a socket and the connection at its other end.
func pair(t *testing.T) (s *socket, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s = newSocket(c).(*socket)
	t.Cleanup(func() { _, _ = s.Close(), p.Close() })
	_ = p.SetDeadline(time.Now().Add(20 * time.Second))
	return s, p.(*net.TCPConn)
}

// TestConverse: whatever the size of a question, and whatever stands in the way of
// waiting for its answer, it is asked once and the answer is read.
func TestConverse(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "larger than all buffers": 32 << 20} {
		t.Run(name, func(t *testing.T) {
			s, peer := pair(t)
			got := make(chan error, 1)
			go func() {
				n, err := io.ReadFull(peer, make([]byte, size))
				if n == size {
					_, err = io.WriteString(peer, "answer")
				}
				got <- err
			}()
			_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
			b := make([]byte, 100)
			n, writeErr, err := s.converse(make([]byte, size), b)
			if string(b[:n]) != "answer" || writeErr != nil || err != nil {
				t.Errorf("%q %v %v", b[:n], writeErr, err)
			}
			if err := <-got; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("after the deadline", func(t *testing.T) {
		s, peer := pair(t)
		_ = s.SetReadDeadline(past)
		b := make([]byte, 100)
		if n, writeErr, err := s.converse([]byte("question"), b); n != 0 || writeErr != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d %v %v", n, writeErr, err)
		}
		if n, err := peer.Read(b); string(b[:n]) != "question" {
			t.Errorf("%q %v", b[:n], err)
		}
		_, _ = io.WriteString(peer, "answer")
		_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := s.Read(b); string(b[:n]) != "answer" {
			t.Errorf("%q %v", b[:n], err)
		}
	})
	t.Run("to one who left", func(t *testing.T) {
		s, peer := pair(t)
		_ = peer.SetLinger(0)
		_ = peer.Close()
		_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, writeErr, err := s.converse([]byte("question"), make([]byte, 100))
		if n != 0 || writeErr == nil && err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d %v %v", n, writeErr, err)
		}
	})
	t.Run("when closed", func(t *testing.T) {
		s, _ := pair(t)
		_ = s.Close()
		if _, writeErr, err := s.converse([]byte("question"), make([]byte, 100)); !errors.Is(writeErr, net.ErrClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v %v", writeErr, err)
		}
	})
}

func TestQuiet(t *testing.T) {
	s, peer := pair(t)
	_ = s.SetReadDeadline(past)
	if !s.quiet() {
		t.Error("a new connection is not quiet")
	}
	_, _ = io.WriteString(peer, "unasked")
	noise := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); s.quiet(); {
			if time.Now().After(deadline) {
				t.Fatal("a connection stays quiet that is not")
			}
		}
	}
	noise()
	_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _ := s.Read(make([]byte, 100)); n != 7 {
		t.Errorf("%d bytes were there", n)
	}
	_ = peer.CloseWrite()
	noise()
}
