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
func (h *heads) scan(fields []Field) {
	*h = heads{order: fnvOffset, core: fnvOffset, stable: fnvOffset, absent: 0x1f}
	for i := range fields[:min(len(fields), maxHeaders)] {
		f := &fields[i]
		one := uint64(fnvOffset)
		order := h.order
		for j := 0; j < len(f.Name); j++ {
			c := uint64(lower(f.Name[j]))
			one = (one ^ c) * fnvPrime
			order = (order ^ c) * fnvPrime
		}
		h.order = (order ^ '\n') * fnvPrime
		class := classify(one, f.Name)
		if class != hdrVolatile && class != hdrReferer {
			h.stable = fnvWord(h.stable, one)
		}
		switch class {
		case hdrUserAgent:
			first(&h.userAgent, f.Value)
			h.absent &^= 1
		case hdrAccept:
			h.absent &^= 2
		case hdrAcceptLanguage:
			first(&h.acceptLanguage, f.Value)
			h.absent &^= 4
		case hdrAcceptEncoding:
			h.absent &^= 8
		case hdrSecFetchSite:
			h.absent &^= 16
		case hdrReferer:
			first(&h.referer, f.Value)
		case hdrContentType:
			first(&h.contentType, f.Value)
		case hdrContentEncoding:
			first(&h.contentEncoding, f.Value)
		case hdrOther, hdrVolatile, hdrHost, hdrConnection:
		}
		switch class {
		case hdrUserAgent, hdrAccept, hdrAcceptLanguage, hdrAcceptEncoding, hdrHost, hdrConnection:
			h.core = fnvWord(h.core, one)
		case hdrOther, hdrVolatile, hdrReferer, hdrContentType, hdrContentEncoding, hdrSecFetchSite:
		}
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
