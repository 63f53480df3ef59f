package verdict

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Milli is a number in thousandths; JSON shows it as a decimal with up to three
// digits after the point, made by integer arithmetic.
type Milli int64

// Micro is a number in millionths.
type Micro int64

// Nano is a number in units of 1e-9.
type Nano int64

// MarshalJSON writes the decimal.
func (m Milli) MarshalJSON() ([]byte, error) { return appendDecimal(nil, int64(m), 3), nil }

// UnmarshalJSON reads a decimal and rounds down to thousandths.
func (m *Milli) UnmarshalJSON(b []byte) error { return parseDecimal((*int64)(m), b, 3) }

func (m Milli) String() string { return string(m.Append(nil)) }

// Append appends what String gives.
func (m Milli) Append(dst []byte) []byte { return appendDecimal(dst, int64(m), 3) }

// MarshalJSON writes the decimal.
func (m Micro) MarshalJSON() ([]byte, error) { return appendDecimal(nil, int64(m), 6), nil }

// UnmarshalJSON reads a decimal.
func (m *Micro) UnmarshalJSON(b []byte) error { return parseDecimal((*int64)(m), b, 6) }

// MarshalJSON writes the decimal.
func (n Nano) MarshalJSON() ([]byte, error) { return appendDecimal(nil, int64(n), 9), nil }

// UnmarshalJSON reads a decimal.
func (n *Nano) UnmarshalJSON(b []byte) error { return parseDecimal((*int64)(n), b, 9) }

func appendDecimal(dst []byte, v int64, digits int) []byte {
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	scale := uint64(1)
	for range digits {
		scale *= 10
	}
	dst = strconv.AppendUint(dst, u/scale, 10)
	rest := u % scale
	if rest == 0 {
		return dst
	}
	dst = append(dst, '.')
	for ; rest > 0; rest %= scale { // the zeros at the end are left out
		scale /= 10
		dst = append(dst, byte('0'+rest/scale))
	}
	return dst
}

func parseDecimal(dst *int64, b []byte, digits int) error {
	s := string(b)
	if strings.ContainsAny(s, "eE") {
		// Other writers may use exponents (1e-4); they are exact enough there.
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("number %q: %w", s, err)
		}
		s = strconv.FormatFloat(f, 'f', digits, 64)
	}
	neg := strings.HasPrefix(s, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	for len(frac) < digits {
		frac += "0"
	}
	v, err := strconv.ParseInt(whole+frac[:digits], 10, 64)
	if err != nil {
		return fmt.Errorf("number %q: %w", s, err)
	}
	if neg {
		v = -v
	}
	*dst = v
	return nil
}

// Time is a point in event time in UTC nanoseconds since 1970; 0 is absent.
// JSON shows RFC 3339 with up to nine digits.
type Time int64

// Std returns the standard library's form.
func (t Time) Std() time.Time { return time.Unix(0, int64(t)).UTC() }

// MarshalJSON writes RFC 3339 in UTC, or null when absent.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	return t.Std().AppendFormat(nil, `"`+time.RFC3339Nano+`"`), nil
}

// UnmarshalJSON reads RFC 3339 or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = 0
		return nil
	}
	v, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(b))
	if err != nil {
		return fmt.Errorf("time %s: %w", b, err)
	}
	*t = Time(v.UnixNano())
	return nil
}
