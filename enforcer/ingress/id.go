package ingress

import (
	"math/rand/v2"
	"time"
)

const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// newID makes a request id: 26 digits of base 32, 48 bits of Unix milliseconds
// and 80 random bits (the layout of a ULID), so that ids sort by time.
func newID(t time.Time) string {
	var b [26]byte
	hi := uint64(t.UnixMilli())
	for i := 9; i >= 0; i-- {
		b[i] = idAlphabet[hi&31]
		hi >>= 5
	}
	lo, mid := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[10+i] = idAlphabet[lo>>(5*i)&31]
		b[18+i] = idAlphabet[mid>>(5*i)&31]
	}
	return string(b[:])
}

func newIDNow() string { return newID(time.Now()) }
