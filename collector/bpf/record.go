// Package bpf owns the kernel programs and the layout of what they write: the C
// sources, the committed objects with their generated Go, and Record, the
// record on the ring buffer in Go.
//
// It promises that the committed object is what the sources give (a check
// regenerates it), that ParseRecord never reads outside its input, and that the
// layouts in C and Go agree (a test compares them through BTF). It attaches
// nothing; that is collector/probe's work.
package bpf

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// RecordBytes is the size of the header of each record (record.h).
const RecordBytes = 64

// openBytes is the size of a KindOpen record.
const openBytes = RecordBytes + 72

// Kinds of records.
const (
	KindData  = 1
	KindOpen  = 2
	KindClose = 3
)

// Directions, seen from the process that owns the socket.
const (
	In  = 0
	Out = 1
)

// Flags of a data record.
const (
	FlagNewTurn = 1
	FlagNoData  = 2
	FlagFault   = 4
	FlagLost    = 8
	FlagShed    = 16
)

// ErrShort says that a record is shorter than its own header says.
var ErrShort = errors.New("ring record shorter than its header says")

// Record is one record of the ring buffer. Data and Tail alias the input.
type Record struct {
	Kind, Dir, Flags, Proto, Role uint8
	Syscall                       uint16
	// Time is CLOCK_MONOTONIC in nanoseconds.
	Time uint64
	// Conn is the socket's cookie: unique while the machine runs.
	Conn uint64
	// Pos is the offset of the first byte in this direction's stream, Len how
	// many bytes the operation moved; Data holds the first of them.
	Pos      uint64
	Len      uint32
	TGID     uint32
	TID      uint32
	Lost     uint32
	Data     []byte
	Tail     []byte
	openPart []byte
}

// ParseRecord reads one record of the ring.
func ParseRecord(b []byte, r *Record) error {
	if len(b) < RecordBytes {
		return ErrShort
	}
	le := binary.LittleEndian
	captured := le.Uint32(b[36:])
	*r = Record{
		Kind: b[0], Dir: b[1] & 1, Flags: b[2], Proto: b[3], Role: b[4],
		Syscall: le.Uint16(b[6:]), Time: le.Uint64(b[8:]), Conn: le.Uint64(b[16:]), Pos: le.Uint64(b[24:]),
		Len: le.Uint32(b[32:]), TGID: le.Uint32(b[40:]), TID: le.Uint32(b[44:]), Lost: le.Uint32(b[48:]),
	}
	if n := int(b[5]); n <= 8 {
		r.Tail = b[56 : 56+n]
	}
	switch r.Kind {
	case KindOpen:
		if len(b) < openBytes {
			return ErrShort
		}
		r.openPart = b[RecordBytes:openBytes]
	case KindData:
		if captured > r.Len || uint64(len(b)) < RecordBytes+uint64(captured) {
			return ErrShort
		}
		r.Data = b[RecordBytes : RecordBytes+captured]
	}
	return nil
}

// Open is what a KindOpen record says of a connection.
type Open struct {
	Local, Remote netip.AddrPort
	CgroupID      uint64
	// ProcessStart is boot-time nanoseconds.
	ProcessStart uint64
	Comm         string
}

// Open reads the connection part of a KindOpen record.
func (r *Record) Open() Open {
	p := r.openPart
	if len(p) < openBytes-RecordBytes {
		return Open{}
	}
	le := binary.LittleEndian
	local, remote := le.Uint16(p[48:]), le.Uint16(p[50:])
	o := Open{CgroupID: le.Uint64(p), ProcessStart: le.Uint64(p[8:])}
	if le.Uint16(p[52:]) == 2 { // AF_INET
		o.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[16:20])), local)
		o.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[32:36])), remote)
	} else {
		o.Local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[16:32])).Unmap(), local)
		o.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[32:48])).Unmap(), remote)
	}
	comm := p[56:72]
	for i, c := range comm {
		if c == 0 {
			comm = comm[:i]
			break
		}
	}
	o.Comm = string(comm)
	return o
}

// Counters are the programs' own counts, summed over processors (struct
// counters in capture.bpf.c).
type Counters struct {
	Calls, Records, Dropped, Bytes, Captured, Faults, Shed, NoData, TLSConns, Ignored, HTTPConns, VectorsCut uint64
}
