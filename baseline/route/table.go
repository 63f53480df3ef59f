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

// hash64 mixes 8 bytes at a time by a 64x64 bit product, the construction of
// wyhash (Wang Yi, public domain). It is keyed, not cryptographic; every hit is
// confirmed by comparing the bytes.
func hash64(seed uint64, s string) uint64 {
	h := seed ^ 0xa0761d6478bd642f ^ uint64(len(s))
	for len(s) >= 8 {
		v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		hi, lo := bits.Mul64(h^v, 0xe7037ed1a0b428db)
		h = hi ^ lo
		s = s[8:]
	}
	var v uint64
	for i := 0; i < len(s); i++ {
		v |= uint64(s[i]) << (8 * i)
	}
	hi, lo := bits.Mul64(h^v, 0x8ebc6af09c88c6e3)
	h = hi ^ lo
	hi, lo = bits.Mul64(h^seed, 0x589965cc75374cc3)
	return hi ^ lo
}
