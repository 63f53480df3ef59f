package route

import "math/bits"

// The child table maps (parent, segment) to a node: open addressing, linear
// probing, at most half full, no deletion (a removal rehashes). Entries are
// node index + 1; 0 is free.

func (l *Learner) slot(parent int32, hash uint64) uint64 {
	hi, lo := bits.Mul64(hash^uint64(parent)*0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return (hi ^ lo) & uint64(len(l.table)-1)
}

func (l *Learner) child(parent int32, hash uint64, seg string) int32 {
	mask := uint64(len(l.table) - 1)
	for i := l.slot(parent, hash); ; i = (i + 1) & mask {
		at := l.table[i]
		if at == 0 {
			return none
		}
		if nd := &l.nodes[at-1]; nd.hash == hash && nd.parent == parent && nd.seg == seg {
			return at - 1
		}
	}
}

func (l *Learner) insert(n int32) {
	if l.used*2 >= len(l.table) {
		l.rehash() // puts n in as well
		return
	}
	l.place(n)
}

func (l *Learner) place(n int32) {
	mask := uint64(len(l.table) - 1)
	i := l.slot(l.nodes[n].parent, l.nodes[n].hash)
	for l.table[i] != 0 {
		i = (i + 1) & mask
	}
	l.table[i] = n + 1
	l.used++
}

func (l *Learner) rehash() {
	size := 128
	for size < 4*l.live {
		size *= 2
	}
	if size == len(l.table) {
		clear(l.table)
	} else {
		l.table = make([]int32, size)
	}
	l.used = 0
	for i := 1; i < len(l.nodes); i++ {
		if l.nodes[i].parent != none {
			l.place(int32(i))
		}
	}
}
