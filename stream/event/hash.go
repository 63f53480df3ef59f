package event

import (
	"encoding/hex"
	"fmt"
)

// Hash is a pseudonym: HMAC-SHA-256(key, kind, 0, normalised value) truncated
// to its first 64 bits, big endian. Zero means absent.
type Hash uint64

// String returns 16 lower-case hex digits, or "" for the absent hash.
func (h Hash) String() string {
	if h == 0 {
		return ""
	}
	b, _ := h.MarshalText()
	return string(b)
}

// MarshalText writes 16 lower-case hex digits; the absent hash is empty.
func (h Hash) MarshalText() ([]byte, error) {
	if h == 0 {
		return []byte{}, nil
	}
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(h >> (56 - 8*i))
	}
	return hex.AppendEncode(nil, raw[:]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	v, err := ParseHash(string(text))
	if err == nil {
		*h = v
	}
	return err
}

// ParseHash reads 16 hex digits; "" is the absent hash.
func ParseHash(s string) (Hash, error) {
	if s == "" {
		return 0, nil
	}
	var raw [8]byte
	if len(s) != 16 {
		return 0, fmt.Errorf("pseudonym %q: want 16 hex digits, got %d characters", s, len(s))
	}
	if _, err := hex.Decode(raw[:], []byte(s)); err != nil {
		return 0, fmt.Errorf("pseudonym %q: %w", s, err)
	}
	var h Hash
	for _, b := range raw {
		h = h<<8 | Hash(b)
	}
	return h, nil
}
