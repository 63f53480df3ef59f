package traffic

import (
	"math"
	"math/rand/v2"
)

// Rand is a seeded source with the distributions the models use.
type Rand struct{ *rand.Rand }

// NewRand returns the stream number stream of seed; streams are independent.
func NewRand(seed, stream uint64) *Rand { return &Rand{rand.New(rand.NewPCG(seed, stream))} }

// Chance is true with probability p.
func (r *Rand) Chance(p float64) bool { return r.Float64() < p }

// LogNormal has the given median and sigma of the logarithm.
func (r *Rand) LogNormal(median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

// Exp is exponential with the given mean.
func (r *Rand) Exp(mean float64) float64 { return mean * r.ExpFloat64() }

// Poisson draws a count with the given mean.
func (r *Rand) Poisson(mean float64) int {
	if mean > 30 {
		return max(0, int(mean+math.Sqrt(mean)*r.NormFloat64()+.5))
	}
	n, p, limit := 0, r.Float64(), math.Exp(-mean)
	for p > limit {
		p *= r.Float64()
		n++
	}
	return n
}

// Zipf draws 0..n-1 with weights 1/(k+1)^s by inversion on a table.
type Zipf struct{ cumulative []float64 }

// NewZipf makes the table.
func NewZipf(n int, s float64) *Zipf {
	z := &Zipf{cumulative: make([]float64, n)}
	sum := 0.0
	for i := range z.cumulative {
		sum += math.Pow(float64(i+1), -s)
		z.cumulative[i] = sum
	}
	return z
}

// Draw draws one rank.
func (z *Zipf) Draw(r *Rand) int {
	x := r.Float64() * z.cumulative[len(z.cumulative)-1]
	lo, hi := 0, len(z.cumulative)-1
	for lo < hi {
		if mid := (lo + hi) / 2; z.cumulative[mid] < x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// Mix is a fixed 64-bit mixing function (splitmix64), for values that must not
// depend on the order of draws.
func Mix(a, b uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 + b + 0x632be59bd9b4e019
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
