package sketch

import "math/bits"

// Logarithms are in milli-nats (thousandths of a natural logarithm unit) as
// int32: the unit in which all evidence is added.

const (
	lnBits = 10
	// lnTwoNano is ln 2 in units of 1e-9.
	lnTwoNano = 693147181
)

// lnTable[i] is ln(1 + i/1024) in units of 1e-6; exp2Table[i] is 2^(-i/256) in
// 16.16 fixed point. Both are made by integer arithmetic only, so that they are
// the same on every architecture.
var (
	lnTable   = makeLnTable()
	exp2Table = makeExp2Table()
	// lnPowers[e] is ln(2^e) in units of 1e-6.
	lnPowers = func() (t [64]uint64) {
		for e := range t {
			t[e] = uint64(e) * lnTwoNano / 1000
		}
		return t
	}()
)

func makeLnTable() (t [1<<lnBits + 1]uint32) {
	for i := range t[:1<<lnBits] {
		// log2 by repeated squaring of a number in [1,2) with 31 fraction bits.
		x := uint64(1<<lnBits+i) << (31 - lnBits)
		var log2 uint64 // 24 fraction bits
		for range 24 {
			x = x * x >> 31
			log2 <<= 1
			if x >= 2<<31 {
				x >>= 1
				log2 |= 1
			}
		}
		t[i] = uint32((log2*lnTwoNano>>24 + 500) / 1000)
	}
	t[1<<lnBits] = (lnTwoNano + 500) / 1000
	return t
}

func makeExp2Table() (t [256]uint32) {
	// step is 2^(-1/256) with 32 fraction bits: the eighth square root of 1/2.
	step := uint64(1) << 31
	for range 8 {
		step = sqrt(step) << 16
	}
	// The root is refined so that step^256 is 1/2 within one part in 2^30.
	step = refineRoot(step)
	v := uint64(1) << 32
	for i := range t {
		t[i] = uint32(v >> 16)
		v = mulHi32(v, step)
	}
	return t
}

func mulHi32(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi<<32 | lo>>32
}

// refineRoot finds the largest s <= 2^32 with s^256 <= 1/2 by bisection around
// the estimate.
func refineRoot(estimate uint64) uint64 {
	lo, hi := estimate-1<<20, estimate+1<<20
	for lo < hi {
		mid := (lo + hi + 1) / 2
		p := mid
		for range 8 {
			p = mulHi32(p, p)
		}
		if p <= 1<<31 {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

func sqrt(x uint64) uint64 {
	var r uint64
	for b := uint64(1) << 31; b != 0; b >>= 1 {
		if (r|b)*(r|b) <= x {
			r |= b
		}
	}
	return r
}

// Ln returns the natural logarithm of x in milli-nats, at most 1 milli-nat off;
// Ln(0) is that of 1.
func Ln(x uint64) int32 {
	if x <= 1 {
		return 0
	}
	e := uint(bits.Len64(x)-1) & 63
	m := x << (63 - e)                        // leading one at bit 63
	i := m >> (63 - lnBits) & (1<<lnBits - 1) // next ten bits
	rest := m >> (63 - 2*lnBits) & (1<<lnBits - 1)
	low := uint64(lnTable[i])
	micro := lnPowers[e] + low + (uint64(lnTable[i+1])-low)*rest>>lnBits
	return int32((micro + 500) / 1000)
}

// LnRatio returns ln(a/b) in milli-nats; zero counts as one.
func LnRatio(a, b uint64) int32 {
	if a == b {
		return 0
	}
	return Ln(a) - Ln(b)
}

// Decay returns v after dt at the given half-life, both in the same unit,
// rounded towards zero. A half-life of zero does not decay.
func Decay(v int32, dt, half uint32) int32 {
	if dt == 0 || half == 0 || v == 0 {
		return v
	}
	n := dt / half
	if n >= 31 {
		return 0
	}
	f := int64(exp2Table[uint64(dt%half)*256/uint64(half)])
	return int32(int64(v) * f / (1 << 16) / (1 << n))
}

// Mix is a 64-bit finaliser (splitmix64): a bijection that spreads every bit.
func Mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Join hashes two values into one; it is not symmetric.
func Join(a, b uint64) uint64 {
	return Mix(a*0x9e3779b97f4a7c15 ^ Mix(b+0x632be59bd9b4e019))
}

// HashString is Hash without a seed: use it for values that are no secret and
// whose collisions harm nobody.
func HashString(s string) uint64 { return Hash(0, s) }

// Hash mixes 8 bytes at a time by a 64x64 bit product, the construction of
// wyhash (Wang Yi, public domain). It is seeded, not cryptographic.
func Hash(seed uint64, s string) uint64 {
	h := seed ^ 0xa0761d6478bd642f ^ uint64(len(s))
	for len(s) >= 8 {
		v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		h = fold(h^v, 0xe7037ed1a0b428db)
		s = s[8:]
	}
	var v uint64
	switch n := len(s); {
	case n >= 4:
		v = uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[n-4])<<32 | uint64(s[n-3])<<40 | uint64(s[n-2])<<48 | uint64(s[n-1])<<56
	case n > 0:
		v = uint64(s[0]) | uint64(s[n/2])<<8 | uint64(s[n-1])<<16
	}
	return fold(fold(h^v, 0x8ebc6af09c88c6e3)^seed, 0x589965cc75374cc3)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Clamp bounds v to [-limit, limit].
func Clamp(v, limit int32) int32 { return max(-limit, min(limit, v)) }
