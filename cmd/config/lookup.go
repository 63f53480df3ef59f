package config

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of look-up files: iptoasn.com's combined file has 0.6 million ranges in
// 35 MB, the search engines' published lists a few thousand networks.
const (
	MaxLookupBytes  = 512 << 20 // unpacked
	maxLookupLine   = 4096
	maxNetworks     = 8 << 20
	maxBots         = 1 << 17
	maxBotRules     = 256
	maxLookupFaults = 20
)

// Source says which data a look-up works with.
type Source struct {
	Name string
	// Modified is the file's time, Version the first half of its SHA-256, hex.
	Modified time.Time
	Version  string
}

func (s Source) String() string {
	return fmt.Sprintf("%s of %s, sha256 %.12s", s.Name, s.Modified.UTC().Format(time.DateOnly), s.Version)
}

// Networks tells AS number and country of an address: 16 bytes per IPv4 range,
// 48 per IPv6 range. It is immutable.
type Networks struct {
	Source Source
	v4     []range4
	v6     []range6
}

type (
	range4 struct {
		first, last uint32
		asn         uint32
		country     [2]byte
	}
	range6 struct {
		first, last netip.Addr
		asn         uint32
		country     [2]byte
	}
)

// Len is the number of ranges.
func (n *Networks) Len() int { return len(n.v4) + len(n.v6) }

// Find returns 0 and "" for an address that no range holds.
func (n *Networks) Find(a netip.Addr) (asn uint32, country string) {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		x := word(a)
		i, found := slices.BinarySearchFunc(n.v4, x, func(r range4, x uint32) int { return cmp.Compare(r.first, x) })
		if !found {
			i--
		}
		if i < 0 || n.v4[i].last < x {
			return 0, ""
		}
		return n.v4[i].asn, countryName(n.v4[i].country)
	}
	i, found := slices.BinarySearchFunc(n.v6, a, func(r range6, a netip.Addr) int { return r.first.Compare(a) })
	if !found {
		i--
	}
	if i < 0 || n.v6[i].last.Less(a) {
		return 0, ""
	}
	return n.v6[i].asn, countryName(n.v6[i].country)
}

func word(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// countryNames holds all pairs of letters, so that a name needs no memory.
var countryNames = func() string {
	var b strings.Builder
	for i := range 26 * 26 {
		b.WriteByte('A' + byte(i/26))
		b.WriteByte('A' + byte(i%26))
	}
	return b.String()
}()

func countryName(c [2]byte) string {
	if c[0] == 0 {
		return ""
	}
	i := 2 * (int(c[0]-'A')*26 + int(c[1]-'A'))
	return countryNames[i : i+2]
}

// LoadNetworks reads "first address, last address, AS number, country" lines
// (tab separated, as iptoasn.com publishes them; more fields are ignored, .gz is
// unpacked). The error joins faults with file and line.
func LoadNetworks(path string) (*Networks, error) {
	n := &Networks{}
	src, err := eachLine(path, func(fields []string) error {
		if n.Len() == maxNetworks {
			return fmt.Errorf("more than %d ranges", maxNetworks)
		}
		return n.add(fields)
	})
	if err != nil {
		return nil, err
	}
	n.Source = src
	slices.SortFunc(n.v4, func(a, b range4) int { return cmp.Compare(a.first, b.first) })
	slices.SortFunc(n.v6, func(a, b range6) int { return a.first.Compare(b.first) })
	for i := 1; i < len(n.v4); i++ {
		if n.v4[i-1].last >= n.v4[i].first {
			return nil, &FileError{File: path, Text: fmt.Sprintf("two ranges overlap at %v", address(n.v4[i].first))}
		}
	}
	for i := 1; i < len(n.v6); i++ {
		if !n.v6[i-1].last.Less(n.v6[i].first) {
			return nil, &FileError{File: path, Text: fmt.Sprintf("two ranges overlap at %v", n.v6[i].first)}
		}
	}
	return n, nil
}

func address(x uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
}

func (n *Networks) add(f []string) error {
	if len(f) < 4 {
		return fmt.Errorf("want first address, last address, AS number and country, tab separated; got %d fields", len(f))
	}
	first, err1 := netip.ParseAddr(f[0])
	last, err2 := netip.ParseAddr(f[1])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if first.Is4() != last.Is4() || last.Less(first) {
		return fmt.Errorf("%s to %s is no range", f[0], f[1])
	}
	asn, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		return fmt.Errorf("AS number %q: want 0 to 4294967295", f[2])
	}
	var country [2]byte
	switch c := f[3]; {
	case c == "" || c == "None" || c == "Unknown" || c == "-" || c == "ZZ":
	case len(c) == 2 && upper(c[0]) && upper(c[1]):
		country = [2]byte{c[0], c[1]}
	default:
		return fmt.Errorf("country %q: want two upper-case letters or None", c)
	}
	switch {
	case asn == 0 && country[0] == 0: // not routed: nothing is known
	case first.Is4():
		n.v4 = append(n.v4, range4{first: word(first), last: word(last), asn: uint32(asn), country: country})
	default:
		n.v6 = append(n.v6, range6{first: first, last: last, asn: uint32(asn), country: country})
	}
	return nil
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

// eachLine calls f with the fields of every line that is neither empty nor a
// comment. It goes on after a fault and returns the first few, with their lines.
func eachLine(path string, f func(fields []string) error) (Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return Source{}, fmt.Errorf("look-up data: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return Source{}, fmt.Errorf("look-up data: %w", err)
	}
	sum := sha256.New()
	var in io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(file); err != nil {
			return Source{}, fmt.Errorf("look-up data %s: %w", path, err)
		}
	}
	limited := &io.LimitedReader{R: in, N: MaxLookupBytes + 1}
	lines := bufio.NewScanner(io.TeeReader(limited, sum))
	lines.Buffer(make([]byte, 0, maxLookupLine), maxLookupLine)
	var faults []error
	n, used := 0, 0
	for len(faults) < maxLookupFaults && lines.Scan() {
		n++
		text := strings.TrimRight(lines.Text(), "\r")
		if text == "" || text[0] == '#' {
			continue
		}
		used++
		if err := f(strings.Split(text, "\t")); err != nil {
			faults = append(faults, &FileError{File: path, Line: n, Text: err.Error()})
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		faults = append(faults, &FileError{File: path, Line: n + 1, Text: fmt.Sprintf("longer than %d bytes", maxLookupLine)})
	case err != nil:
		faults = append(faults, &FileError{File: path, Line: n + 1, Text: err.Error()})
	case limited.N <= 0:
		faults = append(faults, &FileError{File: path, Line: n, Text: fmt.Sprintf("the file is larger than %d bytes", MaxLookupBytes)})
	case used == 0:
		faults = append(faults, &FileError{File: path, Text: "holds no line of data"})
	}
	return Source{Name: filepath.Base(path), Modified: info.ModTime(), Version: hex.EncodeToString(sum.Sum(nil)[:16])}, errors.Join(faults...)
}
