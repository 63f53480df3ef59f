package flow

import "strings"

// FNV-1a, 64 bit (RFC 9923).
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func fnvString(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func fnvWord(h, w uint64) uint64 {
	for range 8 {
		h = (h ^ w&0xff) * fnvPrime
		w >>= 8
	}
	return h
}

// heads is what one pass over the request's header fields finds.
type heads struct {
	userAgent, acceptLanguage, referer, contentType, contentEncoding string
	// order is the FNV-1a hash of all lower-case names in wire order, each
	// followed by a line feed.
	order uint64
	// core is the order of those fields alone that every request of a client
	// carries, whatever it asks for; it goes into the fingerprint.
	core uint64
	// stable is the order without fields that come and go with circumstances
	// (cookies, lengths, conditions, proxies); it goes into the template.
	stable uint64
	// absent has a bit for each field of browsers that is missing.
	absent byte
}

type headerClass uint8

const (
	hdrOther headerClass = iota
	hdrVolatile
	hdrUserAgent
	hdrAccept
	hdrAcceptLanguage
	hdrAcceptEncoding
	hdrSecFetchSite
	hdrHost
	hdrConnection
	hdrReferer
	hdrContentType
	hdrContentEncoding
)

// headerNames are the fields that matter here, by lower-case name.
var headerNames = map[string]headerClass{
	"user-agent": hdrUserAgent, "accept": hdrAccept, "accept-language": hdrAcceptLanguage,
	"accept-encoding": hdrAcceptEncoding, "sec-fetch-site": hdrSecFetchSite, "host": hdrHost,
	"connection": hdrConnection, "referer": hdrReferer, "content-type": hdrContentType,
	"content-encoding": hdrContentEncoding,
	"cookie":           hdrVolatile, "content-length": hdrVolatile, "transfer-encoding": hdrVolatile,
	"authorization": hdrVolatile, "cache-control": hdrVolatile, "pragma": hdrVolatile, "range": hdrVolatile,
	"if-range": hdrVolatile, "if-none-match": hdrVolatile, "if-modified-since": hdrVolatile,
	"forwarded": hdrVolatile, "via": hdrVolatile, "x-forwarded-for": hdrVolatile, "x-forwarded-host": hdrVolatile,
	"x-forwarded-proto": hdrVolatile, "x-forwarded-port": hdrVolatile, "x-real-ip": hdrVolatile,
	"x-request-id": hdrVolatile, "x-weir-request-id": hdrVolatile, "traceparent": hdrVolatile,
	"tracestate": hdrVolatile, "x-amzn-trace-id": hdrVolatile, "cf-connecting-ip": hdrVolatile, "cf-ray": hdrVolatile,
}

// headerTable finds a class by the hash of the lower-case name: open addressing
// over a power of two, checked by name since an unkeyed hash can be forged.
var headerTable = func() (table [256]struct {
	hash  uint64
	name  string
	class headerClass
},
) {
	for name, class := range headerNames {
		h := fnvString(fnvOffset, name)
		i := h % 256
		for table[i].name != "" {
			i = (i + 1) % 256
		}
		table[i].hash, table[i].name, table[i].class = h, name, class
	}
	return table
}()

func classify(hash uint64, name string) headerClass {
	for i := hash % 256; headerTable[i].name != ""; i = (i + 1) % 256 {
		if e := &headerTable[i]; e.hash == hash && strings.EqualFold(e.name, name) {
			return e.class
		}
	}
	return hdrOther
}

// maxHeaders bounds the header fields that are looked at.
const maxHeaders = 256

// scan reads the header fields once; the first of a repeated field counts.
func (h *heads) scan(fields []Field, known *shapes) {
	fields = fields[:min(len(fields), maxHeaders)]
	s := known.of(fields)
	*h = heads{order: s.order, core: s.core, stable: s.stable, absent: s.absent}
	for _, v := range s.values {
		first(h.value(v.class), fields[v.field].Value)
	}
}

// value is where the value of a class is kept.
func (h *heads) value(class headerClass) *string {
	//exhaustive:ignore
	switch class {
	case hdrUserAgent:
		return &h.userAgent
	case hdrAcceptLanguage:
		return &h.acceptLanguage
	case hdrReferer:
		return &h.referer
	case hdrContentType:
		return &h.contentType
	default:
		return &h.contentEncoding
	}
}

// headShape is what the names of the header fields alone tell.
type headShape struct {
	names               string // each followed by a line feed
	order, core, stable uint64
	absent              byte
	values              []headerValue
}

// headerValue is a field whose value counts.
type headerValue struct {
	class headerClass
	field uint8
}

// shapes remembers what names tell: programs are few, and each sends the same
// names again and again. An entry is checked whole, so that a forged one that
// takes its place costs time only.
type shapes [64]headShape

// maxShapeNames bounds the names of an entry that is kept, in bytes.
const maxShapeNames = 1024

// of returns what the names of fields tell, valid until the next call.
func (t *shapes) of(fields []Field) *headShape {
	size, mix := 0, uint64(len(fields))
	for i := range fields {
		n := fields[i].Name
		size += len(n) + 1
		mix = mix*31 + uint64(len(n))
		if n != "" {
			mix += uint64(n[0]) << 8
		}
	}
	s := &t[mix*fnvPrime>>32%uint64(len(t))]
	if size <= maxShapeNames && size > 0 && s.holds(fields, size) {
		return s
	}
	s.scan(fields)
	s.names = ""
	if size <= maxShapeNames {
		s.keep(fields, size)
	}
	return s
}

// holds reports whether the entry is that of fields, whose names have size bytes
// with their line feeds.
func (s *headShape) holds(fields []Field, size int) bool {
	if len(s.names) != size {
		return false
	}
	rest := s.names
	for i := range fields {
		n := len(fields[i].Name)
		if n >= len(rest) || rest[n] != '\n' || rest[:n] != fields[i].Name {
			return false
		}
		rest = rest[n+1:]
	}
	return true
}

func (s *headShape) keep(fields []Field, size int) {
	var b strings.Builder
	b.Grow(size)
	for i := range fields {
		if strings.IndexByte(fields[i].Name, '\n') >= 0 {
			return
		}
		b.WriteString(fields[i].Name)
		b.WriteByte('\n')
	}
	s.names = b.String()
}

func (s *headShape) scan(fields []Field) {
	*s = headShape{order: fnvOffset, core: fnvOffset, stable: fnvOffset, absent: 0x1f, values: s.values[:0]}
	for i := range fields {
		name := fields[i].Name
		one := uint64(fnvOffset)
		order := s.order
		for j := 0; j < len(name); j++ {
			c := uint64(lower(name[j]))
			one = (one ^ c) * fnvPrime
			order = (order ^ c) * fnvPrime
		}
		s.order = (order ^ '\n') * fnvPrime
		s.add(classify(one, name), one, uint8(i))
	}
}

// add takes a field of a class whose lower-case name has the hash one.
func (s *headShape) add(class headerClass, one uint64, field uint8) {
	if class != hdrVolatile && class != hdrReferer {
		s.stable = fnvWord(s.stable, one)
	}
	switch class {
	case hdrUserAgent:
		s.absent &^= 1
	case hdrAccept:
		s.absent &^= 2
	case hdrAcceptLanguage:
		s.absent &^= 4
	case hdrAcceptEncoding:
		s.absent &^= 8
	case hdrSecFetchSite:
		s.absent &^= 16
	case hdrOther, hdrVolatile, hdrHost, hdrConnection, hdrReferer, hdrContentType, hdrContentEncoding:
	}
	switch class {
	case hdrUserAgent, hdrAccept, hdrAcceptLanguage, hdrAcceptEncoding, hdrHost, hdrConnection:
		s.core = fnvWord(s.core, one)
	case hdrOther, hdrVolatile, hdrReferer, hdrContentType, hdrContentEncoding, hdrSecFetchSite:
	}
	switch class {
	case hdrUserAgent, hdrAcceptLanguage, hdrReferer, hdrContentType, hdrContentEncoding:
		s.values = append(s.values, headerValue{class, field})
	case hdrOther, hdrVolatile, hdrAccept, hdrAcceptEncoding, hdrSecFetchSite, hdrHost, hdrConnection:
	}
}

func first(into *string, v string) {
	if *into == "" {
		*into = v
	}
}

// shape hashes parameter names in order of appearance.
type shape struct {
	hash uint64
	n    int
}

// maxShape bounds the names that count.
const maxShape = 64

func (s *shape) add(name []byte) {
	if s.n++; s.n > maxShape {
		return
	}
	h := s.hash
	for _, c := range name[:min(len(name), 64)] {
		h = (h ^ uint64(c)) * fnvPrime
	}
	s.hash = (h ^ '\n') * fnvPrime
}

func (s *shape) addString(name string) {
	if s.n++; s.n > maxShape {
		return
	}
	s.hash = (fnvString(s.hash, name[:min(len(name), 64)]) ^ '\n') * fnvPrime
}
