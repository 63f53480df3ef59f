package scoreboard

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// PerMillion is a rate with its 95 % confidence bounds (Poisson, exact;
// Garwood 1936), per million.
type PerMillion struct{ Rate, Low, High float64 }

// Rate gives k events among n trials per million.
func Rate(k, n int) PerMillion {
	if n == 0 {
		return PerMillion{0, 0, 1e6}
	}
	scale := 1e6 / float64(n)
	r := PerMillion{Rate: float64(k) * scale}
	if k == 0 {
		r.High = min(1e6, -math.Log(.05)*scale) // the rule of three: one-sided
		return r
	}
	r.Low = mathext.GammaIncRegInv(float64(k), .025) * scale
	r.High = min(1e6, mathext.GammaIncRegInv(float64(k)+1, .975)*scale)
	return r
}

// cdf is P(X <= k) for a Poisson variable of that mean.
func cdf(k int, mean float64) float64 {
	if mean <= 0 {
		return 1
	}
	return mathext.GammaIncRegComp(float64(k)+1, mean)
}
