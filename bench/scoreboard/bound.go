package scoreboard

import "math"

// PerMillion is a rate with its 95 % confidence bounds (Poisson, exact by
// bisection; Garwood 1936), per million.
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
	r.Low = solve(func(l float64) float64 { return 1 - cdf(k-1, l) - .025 }, 0, float64(k)) * scale
	r.High = min(1e6, solve(func(l float64) float64 { return .025 - cdf(k, l) }, float64(k), float64(k)*3+20)*scale)
	return r
}

// cdf is P(X <= k) for a Poisson variable of that mean.
func cdf(k int, mean float64) float64 {
	if mean <= 0 {
		return 1
	}
	sum := 0.0
	for i := 0; i <= k; i++ {
		l, _ := math.Lgamma(float64(i + 1))
		sum += math.Exp(float64(i)*math.Log(mean) - mean - l)
	}
	return min(1, sum)
}

// solve finds where the rising function f crosses zero.
func solve(f func(float64) float64, lo, hi float64) float64 {
	for range 80 {
		if mid := (lo + hi) / 2; f(mid) < 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
