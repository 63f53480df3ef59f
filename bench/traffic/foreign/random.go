package foreign

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
)

// logn is log-normal with the given mean and deviation of the logarithm.
func logn(r *traffic.Rand, mu, sigma float64) float64 { return math.Exp(mu + sigma*r.NormFloat64()) }

func uniform(r *traffic.Rand, lo, hi float64) float64 { return lo + (hi-lo)*r.Float64() }

// between draws from lo to hi, both included.
func between(r *traffic.Rand, lo, hi int) int { return lo + r.IntN(hi-lo+1) }

func choice[T any](r *traffic.Rand, from []T) T { return from[r.IntN(len(from))] }

// sample draws n different ones.
func sample[T any](r *traffic.Rand, from []T, n int) []T {
	out := make([]T, 0, n)
	for _, i := range r.Perm(len(from))[:min(n, len(from))] {
		out = append(out, from[i])
	}
	return out
}

// pow15 is x to the power of 1.5.
func pow15(x float64) float64 { return x * math.Sqrt(x) }

// hex draws n digits.
func hex(r *traffic.Rand, n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[r.IntN(16)]
	}
	return string(b)
}

// digits draws n decimal digits.
func digits(r *traffic.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + r.IntN(10))
	}
	return string(b)
}

// weighted is a value with its weight.
type weighted[T any] struct {
	weight float64
	value  T
}

func pick[T any](r *traffic.Rand, from []weighted[T]) T {
	sum := 0.
	for i := range from {
		sum += from[i].weight
	}
	x := r.Float64() * sum
	for i := range from {
		if x -= from[i].weight; x <= 0 {
			return from[i].value
		}
	}
	return from[len(from)-1].value
}

const (
	firstNames = "anna ben carla david emma felix greta hugo iris jan kim lena marc nina oscar paula quentin rosa sam tina ugo vera will xenia yann zoe"
	lastNames  = "smith mueller rossi garcia dubois novak kowalski jansen silva brown nowak weber keller ali khan wong tanaka berg lund costa moreau fischer horvat popescu ivanov papas"
	allWords   = "the a of concert lamp old bike really good price shipping question about works fine after repair battery screen very nice thanks offer still there interested maybe tomorrow weekend garden table vintage camera lens box original paper seat row front stage band tour city hall ticket hotel train night coffee music film book game music house kids school"
)

var (
	first = strings.Fields(firstNames)
	lasts = strings.Fields(lastNames)
	words = strings.Fields(allWords)
	mails = mailHosts()
)

func mailHosts() []weighted[string] {
	all := []weighted[string]{{40, "gmail.com"}, {12, "outlook.com"}, {8, "icloud.com"}, {7, "yahoo.com"}, {5, "gmx.net"}, {4, "proton.me"}, {3, "web.de"}, {2, "orange.fr"}}
	for i := range 20 {
		all = append(all, weighted[string]{.4, fmt.Sprintf("company%d.example", i)})
	}
	return all
}

// text is n words that mean nothing.
func text(r *traffic.Rand, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = choice(r, words)
	}
	return strings.Join(out, " ")
}

// raw is JSON that stands as it is.
type raw string

// object writes names and values (string, int, bool, raw) as JSON.
func object(pairs ...any) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(pairs[i].(string)))
		b.WriteString(": ")
		if s, ok := pairs[i+1].(string); ok {
			b.WriteString(strconv.Quote(s))
		} else {
			_, _ = fmt.Fprint(&b, pairs[i+1])
		}
	}
	b.WriteByte('}')
	return b.String()
}

// formBody writes names and values as a form, in their order.
func formBody(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i] + "=" + url.QueryEscape(pairs[i+1]))
	}
	return b.String()
}

func digit(i int) string { return strconv.Itoa(i) }

func upper(s string) string { return strings.ToUpper(s) }

// mistyped is a name with its first a wrong.
func mistyped(s string) string { return strings.Replace(s, "a", "s", 1) }

func beforeAt(s string) string {
	name, _, _ := strings.Cut(s, "@")
	return name
}
