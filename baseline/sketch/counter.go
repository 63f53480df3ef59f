package sketch

import "math/bits"

// Distinct is a 64-bit linear counter (Whang, Vander-Zanden and Taylor 1990):
// the number of different values seen, about 10 % off below 60, saturating at
// 266. It merges by OR.
type Distinct uint64

// distinctTable[k] is the estimate when k bits are set: -64 ln((64-k)/64).
var distinctTable = func() (t [65]uint16) {
	for k := range 64 {
		t[k] = uint16((64*int64(LnRatio(64, uint64(64-k))) + 500) / 1000)
	}
	t[64] = 266
	return t
}()

// Bit is the counter of one value: or it to a counter to count the value there.
func Bit(v uint64) Distinct { return 1 << (Mix(v^0x51ed270b) >> 58) }

// Add counts a value and says whether its bit was new.
func (d *Distinct) Add(v uint64) bool {
	bit := Bit(v)
	isNew := *d&bit == 0
	*d |= bit
	return isNew
}

// Has says whether v may have been counted.
func (d Distinct) Has(v uint64) bool { return d&Bit(v) != 0 }

// Bits is the number of set bits: a lower bound of the distinct values.
func (d Distinct) Bits() int { return bits.OnesCount64(uint64(d)) }

// Count is the estimate.
func (d Distinct) Count() uint32 { return uint32(distinctTable[d.Bits()]) }

// Bloom is a 512-bit set with two hash functions: membership of up to about a
// hundred values with few false hits.
type Bloom [8]uint64

// Add inserts v and says whether it was surely new.
func (b *Bloom) Add(v uint64) bool {
	h := Mix(v + 0x2545f491)
	i, j := h>>55, h>>46&511
	isNew := b[i>>6]&(1<<(i&63)) == 0 || b[j>>6]&(1<<(j&63)) == 0
	b[i>>6] |= 1 << (i & 63)
	b[j>>6] |= 1 << (j & 63)
	return isNew
}

// Has says whether v may have been inserted.
func (b *Bloom) Has(v uint64) bool {
	h := Mix(v + 0x2545f491)
	i, j := h>>55, h>>46&511
	return b[i>>6]&(1<<(i&63)) != 0 && b[j>>6]&(1<<(j&63)) != 0
}

// Cell is one learned probability: Ones of All observations, in units of 1/16.
type Cell struct{ Ones, All uint32 }

// cellUnit is one observation; cellMemory is where a cell halves, so that it
// remembers about its last 20,000 observations.
const (
	cellUnit   = 16
	cellMemory = 20000 * cellUnit
)

// NewCell returns a prior: permille ones at the weight of n observations.
func NewCell(permille, n uint32) Cell {
	return Cell{Ones: max(1, n*cellUnit*permille/1000), All: n * cellUnit}
}

// Add counts one observation.
func (c *Cell) Add(one bool) {
	if one {
		c.Ones += cellUnit
	}
	c.All += cellUnit
	if c.All > cellMemory {
		c.Ones, c.All = max(1, c.Ones/2), c.All/2
	}
}

// Seen and Again count the two halves of an observation apart: that a state was
// reached, and later that it was left for the next.
func (c *Cell) Seen() {
	if c.All += cellUnit; c.All > cellMemory {
		c.Ones, c.All = max(1, c.Ones/2), c.All/2
	}
}

// Again is the second half of Seen.
func (c *Cell) Again() { c.Ones = min(c.All, c.Ones+cellUnit) }

// Observations is the weight of what the cell remembers, its prior included.
func (c Cell) Observations() uint32 { return c.All / cellUnit }

// Share is the probability of a one in parts per million, kept within
// [0.005, 0.995]: no single observation is ever proof.
func (c Cell) Share() uint32 {
	if c.All == 0 {
		return 500000
	}
	return min(995000, max(5000, uint32(uint64(c.Ones)*1000000/uint64(c.All))))
}

// LogLikelihood returns ln(P1/P0) of an observation, in milli-nats, for the
// probabilities p1 and p0 of a one in parts per million, clamped to +-4 nats.
func LogLikelihood(one bool, p1, p0 uint32) int32 {
	if !one {
		p1, p0 = 1000000-min(p1, 999999), 1000000-min(p0, 999999)
	}
	return Clamp(LnRatio(uint64(max(1, p1)), uint64(max(1, p0))), 4000)
}

// Urn is a table of predictive distributions, P0(next is one | k of the last n
// were): a Polya urn without parameters, after Javed and Paxson's beta-binomial
// use in 2013. It learns heavy tails, such as "who failed five of five fails
// the sixth time with probability 0.8 here".
type Urn [8][8]Cell

// NewUrn returns an urn filled with the predictive of Beta(a/10, b/10) at the
// weight of 20 observations.
func NewUrn(a, b uint32) (u Urn) {
	for n := range uint32(8) {
		for k := range uint32(8) {
			u[n][k] = NewCell((a+10*k)*1000/(a+b+10*max(n, k)), 20)
		}
	}
	return u
}

func (u *Urn) cell(n, k uint16) *Cell {
	if n > 7 {
		k = uint16((uint32(min(k, n))*7 + uint32(n)/2) / uint32(n))
		n = 7
	}
	return &u[n][min(k, n)]
}

// Share is P0 in parts per million.
func (u *Urn) Share(n, k uint16) uint32 { return u.cell(n, k).Share() }

// Learn counts one observation.
func (u *Urn) Learn(n, k uint16, one bool) { u.cell(n, k).Add(one) }
