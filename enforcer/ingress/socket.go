package ingress

import (
	"io"
	"net"
	"os"
	"syscall"
)

// socket reads and writes a TCP connection without telling the scheduler: calls on
// a non-blocking socket return at once, so that nothing is gained by handing the
// processor on meanwhile, which net does and which costs futex calls and wake-ups
// of the runtime's monitor. Waiting, deadlines and closing stay net's.
//
// One goroutine may read and one may write at a time.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn

	in, out operation
	asked   bool // converse has written all
	alive   bool

	// The calls' bodies, made once.
	readSome, writeAll, writeThenRead func(fd uintptr) bool
	peek                              func(fd uintptr)
}

// operation is a read or write in progress.
type operation struct {
	p   []byte
	n   int
	err syscall.Errno
}

// newSocket wraps a TCP connection; any other is returned as it is.
func newSocket(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	s := &socket{TCPConn: t, raw: raw}
	s.readSome = func(fd uintptr) bool { return s.in.call(fd, rawRead) }
	s.writeAll = func(fd uintptr) bool {
		for s.out.n < len(s.out.p) && s.out.err == 0 {
			if !s.out.call(fd, rawWrite) {
				return false
			}
		}
		return true
	}
	s.writeThenRead = func(fd uintptr) bool {
		if s.asked {
			return s.readSome(fd)
		}
		s.asked = s.writeAll(fd) && s.out.err == 0
		return !s.asked // what is left or went wrong is not waited for here
	}
	s.peek = func(fd uintptr) {
		_, errno := rawPeek(fd)
		s.alive = errno == syscall.EAGAIN
	}
	return s
}

// call runs f on what is left of p; false: it would block.
func (o *operation) call(fd uintptr, f func(fd uintptr, p []byte) (int, syscall.Errno)) bool {
	for {
		n, errno := f(fd, o.p[o.n:])
		switch errno {
		case 0:
			o.n += n
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			o.err = errno
			return true
		}
	}
}

// fault is the error of the system call that failed.
func (o *operation) fault(name string, c *net.TCPConn) error {
	if o.err == 0 {
		return nil
	}
	return &net.OpError{Op: name, Net: "tcp", Addr: c.RemoteAddr(), Err: os.NewSyscallError(name, o.err)}
}

func (s *socket) Read(p []byte) (int, error) {
	return s.read(p, s.readSome)
}

func (s *socket) read(p []byte, f func(uintptr) bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.in = operation{p: p}
	err := s.raw.Read(f)
	n, fault := s.in.n, s.in.fault("read", s.TCPConn)
	s.in.p = nil
	switch {
	case err != nil:
		return n, err
	case fault != nil:
		return n, fault
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(p []byte) (int, error) {
	s.out = operation{p: p}
	err := s.raw.Write(s.writeAll)
	n := s.out.n
	if err == nil {
		err = s.out.fault("write", s.TCPConn)
	}
	s.out.p = nil
	return n, err
}

// converse writes q and reads what comes back into p, as Write and Read would.
// An answer does not come before its question, so that there is no first read in
// vain: the poller was told to look before q was written.
func (s *socket) converse(q, p []byte) (n int, writeErr, err error) {
	s.out, s.asked = operation{p: q}, false
	n, err = s.read(p, s.writeThenRead)
	if !s.asked {
		if writeErr = s.out.fault("write", s.TCPConn); writeErr == nil {
			_, writeErr = s.Write(q[s.out.n:])
		}
		n, err = s.Read(p)
	}
	s.out.p = nil
	return n, writeErr, err
}

// quiet reports whether the peer neither closed nor sent anything, without
// waiting and whatever the deadline.
func (s *socket) quiet() bool {
	s.alive = false
	return s.raw.Control(s.peek) == nil && s.alive
}
