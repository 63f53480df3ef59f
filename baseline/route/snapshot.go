package route

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weirproject/weir/baseline/sketch"
)

// ErrSnapshot is wrapped by every error about a snapshot's content.
var ErrSnapshot = errors.New("route snapshot is not usable")

const snapshotVersion = 1

// Snapshot writes the state: all that decides what later observations give. The
// path cache is not part of it. The caller adds framing and a checksum.
func (l *Learner) Snapshot(w io.Writer) error {
	e := encoder{w: bufio.NewWriter(w)}
	e.uint(snapshotVersion)
	e.uint(uint64(l.refusedSinceSweep))
	e.int(l.free)
	e.int(l.freeEndpoint)
	e.uint(uint64(len(l.nodes)))
	for i := range l.nodes {
		n := &l.nodes[i]
		e.int(n.parent)
		e.int(n.kids)
		e.int(n.next)
		e.int(n.endpoints)
		e.uint(uint64(n.count))
		e.uint(uint64(n.points))
		e.uint(uint64(n.check))
		e.bool(n.variable)
		e.bool(n.words)
		e.string(n.seg)
	}
	e.uint(uint64(len(l.endpoints)))
	for i := range l.endpoints {
		p := &l.endpoints[i]
		e.int(p.node)
		e.int(p.next)
		e.uint(uint64(p.method))
		e.uint(uint64(p.first))
		e.uint(uint64(p.last))
		e.uint(p.count)
		e.uint(p.otherStatuses)
		e.uint(p.paramsLost)
		e.uint(uint64(p.statusCount))
		for _, s := range p.statuses[:p.statusCount] {
			e.uint(uint64(s.status))
			e.uint(s.count)
		}
		e.uint(uint64(len(p.params)))
		for _, name := range p.params {
			e.string(name)
		}
	}
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.err
}

// Restore replaces the state by a snapshot's. On an error the Learner is empty.
// r is read no further than the snapshot's end when it is an io.ByteReader.
func (l *Learner) Restore(r io.Reader) error {
	l.reset()
	br, ok := r.(byteReader)
	if !ok {
		br = bufio.NewReader(r)
	}
	d := decoder{r: br}
	l.decode(&d)
	if d.err == nil {
		l.relink(&d)
	}
	if d.err != nil {
		l.nodes = l.nodes[:0]
		l.reset()
		return fmt.Errorf("%w: %w", ErrSnapshot, d.err)
	}
	l.rehash()
	return nil
}

func (l *Learner) decode(d *decoder) {
	if v := d.uint(); d.err == nil && v != snapshotVersion {
		d.fail("version %d, this build reads %d", v, snapshotVersion)
		return
	}
	l.refusedSinceSweep = int(d.uint() & (1<<31 - 1))
	l.free, l.freeEndpoint = d.int(), d.int()
	n := d.length(l.cfg.MaxNodes + 1)
	l.nodes = l.nodes[:0]
	for i := 0; i < n && d.err == nil; i++ {
		nd := node{parent: d.int(), kids: d.int(), next: d.int(), endpoints: d.int()}
		nd.count, nd.points, nd.check = uint32(d.uint()), uint32(d.uint()), uint32(d.uint())
		nd.variable, nd.words = d.uint() != 0, d.uint() != 0
		nd.seg = d.string(maxSegmentBytes)
		nd.hash = sketch.Hash(l.cfg.Seed, nd.seg)
		l.nodes = append(l.nodes, nd)
	}
	n = d.length(l.cfg.MaxNodes)
	for i := 0; i < n && d.err == nil; i++ {
		p := endpoint{node: d.int(), next: d.int(), method: uint8(min(d.uint(), uint64(len(methods)-1)))}
		p.first, p.last, p.count = int64(d.uint()), int64(d.uint()), d.uint()
		p.otherStatuses, p.paramsLost = d.uint(), d.uint()
		p.statusCount = uint8(d.length(maxStatuses))
		for j := range p.statuses[:p.statusCount] {
			p.statuses[j] = statusCount{uint16(d.uint()), d.uint()}
		}
		for k := d.length(maxParams); k > 0 && d.err == nil; k-- {
			p.params = append(p.params, d.string(maxParamBytes))
		}
		l.endpoints = append(l.endpoints, p)
	}
}

// relink checks that the indexes form a tree with lists that end, so that a
// damaged snapshot cannot make a walk loop or leave the tables, and rebuilds
// what is derived.
func (l *Learner) relink(d *decoder) {
	if len(l.nodes) == 0 || l.nodes[0].parent != none {
		d.fail("no root")
		return
	}
	seen := make([]bool, len(l.nodes))
	seenEndpoint := make([]bool, len(l.endpoints))
	l.live, l.liveEndpoint = 0, 0
	l.relinkNode(d, 0, none, 0, seen, seenEndpoint)
	for i := l.free; i != none && d.err == nil; i = l.nodes[i].next {
		if i < 0 || int(i) >= len(seen) || seen[i] {
			d.fail("free list leaves the node table")
			return
		}
		seen[i] = true
		l.nodes[i].parent = none
	}
	for i := l.freeEndpoint; i != none && d.err == nil; i = l.endpoints[i].next {
		if i < 0 || int(i) >= len(seenEndpoint) || seenEndpoint[i] {
			d.fail("free list leaves the endpoint table")
			return
		}
		seenEndpoint[i] = true
		l.endpoints[i].node = none
	}
	if d.err == nil && (slices.Contains(seen, false) || slices.Contains(seenEndpoint, false)) {
		d.fail("an entry belongs to nothing")
	}
}

func (l *Learner) relinkNode(d *decoder, n, parent int32, depth int, seen, seenEndpoint []bool) {
	if n < 0 || int(n) >= len(seen) || seen[n] || l.nodes[n].parent != parent || depth > maxDepth+1 {
		d.fail("node %d is not part of a tree", n)
		return
	}
	seen[n] = true
	l.live++
	nd := &l.nodes[n]
	if parent == none {
		nd.template = "/"
	} else if nd.seg == "" {
		d.fail("node %d has no segment", n)
		return
	} else {
		nd.template = join(l.nodes[parent].template, nd.seg)
	}
	nd.asset = assetPath(nd.seg)
	for e := nd.endpoints; e != none; e = l.endpoints[e].next {
		if e < 0 || int(e) >= len(seenEndpoint) || seenEndpoint[e] || l.endpoints[e].node != n {
			d.fail("endpoint %d does not belong to node %d", e, n)
			return
		}
		seenEndpoint[e] = true
		l.liveEndpoint++
	}
	for k := nd.kids; k != none && d.err == nil; k = l.nodes[k].next {
		l.relinkNode(d, k, n, depth+1, seen, seenEndpoint)
		if d.err != nil {
			return
		}
	}
}

type byteReader interface {
	io.Reader
	io.ByteReader
}

type encoder struct {
	w   *bufio.Writer
	buf [binary.MaxVarintLen64]byte
	err error
}

func (e *encoder) uint(v uint64) {
	if e.err == nil {
		_, e.err = e.w.Write(e.buf[:binary.PutUvarint(e.buf[:], v)])
	}
}
func (e *encoder) int(v int32) { e.uint(uint64(v + 1)) }
func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
	}
}

type decoder struct {
	r   byteReader
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) uint() uint64 {
	if d.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(d.r)
	if err != nil {
		d.err = fmt.Errorf("cut short: %w", err)
	}
	return v
}

func (d *decoder) int() int32 {
	v := d.uint()
	if v > 1<<31-1 {
		d.fail("index %d is out of range", v)
		return none
	}
	return int32(v) - 1
}

func (d *decoder) length(limit int) int {
	v := d.uint()
	if d.err == nil && v > uint64(limit) {
		d.fail("length %d exceeds %d", v, limit)
		return 0
	}
	return int(v)
}

func (d *decoder) string(limit int) string {
	b := make([]byte, d.length(limit))
	if d.err == nil {
		if _, err := io.ReadFull(d.r, b); err != nil {
			d.err = fmt.Errorf("cut short: %w", err)
		}
	}
	return string(b)
}
