package wire

import (
	"fmt"
	"strconv"
)

// Kind says what the records of weir.events hold.
type Kind uint8

// The kinds of records.
const (
	KindEvents  Kind = iota // an Arrow batch of events
	KindControl             // one operator's record, JSON (ParseControl)
)

var recordKinds = [...]string{"events", "control"}

func (k Kind) String() string {
	if int(k) < len(recordKinds) {
		return recordKinds[k]
	}
	return fmt.Sprintf("unknown(%d)", uint8(k))
}

// Info is what a record's headers say about its value.
type Info struct {
	Kind   Kind
	Schema Fingerprint
	// Major and Minor are the schema's version.
	Major, Minor int
	// Count is the number of events, MinTime and MaxTime the bounds of their
	// event times in UTC nanoseconds.
	Count            int
	MinTime, MaxTime int64
	// Producer is the incarnation of the producer: a name that is new at each of
	// its starts, at most MaxProducerBytes. First is the number that it gave the
	// first event; the others follow without a gap. Numbers start at 1 and count
	// per producer and partition.
	Producer string
	First    uint64
}

// MaxProducerBytes bounds the producer's name.
const MaxProducerBytes = 128

// Header is one header of a Kafka record; it converts to and from the client
// library's type.
type Header struct {
	Key   string
	Value []byte
}

// Headers writes info as record headers; values are text, so that people can
// read them with any Kafka tool.
func Headers[H ~struct {
	Key   string
	Value []byte
}](info Info) []H {
	if info.Kind == KindControl {
		return []H{H(Header{"kind", []byte(KindControl.String())})}
	}
	// One buffer for all values keeps a record at two allocations.
	buf := make([]byte, 0, 128+len(info.Producer))
	hs := make([]H, 0, 8)
	add := func(key string, from int) { hs = append(hs, H(Header{key, buf[from:len(buf):len(buf)]})) }
	number := func(key string, v int64) {
		from := len(buf)
		buf = strconv.AppendInt(buf, v, 10)
		add(key, from)
	}
	buf = append(buf, info.Kind.String()...)
	add("kind", 0)
	from := len(buf)
	buf = append(buf, info.Schema.String()...)
	add("schema", from)
	from = len(buf)
	buf = strconv.AppendInt(buf, int64(info.Major), 10)
	buf = append(buf, '.')
	buf = strconv.AppendInt(buf, int64(info.Minor), 10)
	add("version", from)
	number("count", int64(info.Count))
	number("min_time", info.MinTime)
	number("max_time", info.MaxTime)
	from = len(buf)
	buf = append(buf, info.Producer...)
	add("producer", from)
	from = len(buf)
	buf = strconv.AppendUint(buf, info.First, 10)
	add("first", from)
	return hs
}

// ParseInfo reads a record's headers. Unknown headers are ignored; for events
// all of ours are required.
func ParseInfo[H ~struct {
	Key   string
	Value []byte
}](headers []H) (Info, error) {
	var p infoParser
	for _, h := range headers {
		p.header(Header(h))
	}
	if p.err != nil {
		return Info{}, p.err
	}
	if !p.seenKind {
		return Info{}, corrupt("header kind is missing")
	}
	if p.info.Kind == KindControl {
		return Info{Kind: KindControl}, nil
	}
	const all = 1<<7 - 1
	if p.seen != all {
		return Info{}, corrupt("a header of kind, schema, version, count, min_time, max_time, producer, first is missing")
	}
	if p.info.Major != Major {
		return Info{}, fmt.Errorf("%w: record has %d.%d, this reader knows %d.x", ErrVersion, p.info.Major, p.info.Minor, Major)
	}
	return p.info, nil
}

type infoParser struct {
	info     Info
	seen     int
	seenKind bool
	err      error
}

func (p *infoParser) header(h Header) {
	if p.err != nil {
		return
	}
	if len(h.Value) > MaxProducerBytes {
		switch h.Key {
		case "kind", "schema", "version", "count", "min_time", "max_time", "producer", "first":
			p.err = corrupt("header %s of %d bytes", h.Key, len(h.Value))
		}
		return
	}
	v := string(h.Value)
	var err error
	var bit int
	var n int64
	switch h.Key {
	case "kind":
		p.seenKind = true
		switch v {
		case "events":
			p.info.Kind = KindEvents
		case "control":
			p.info.Kind = KindControl
		default:
			err = fmt.Errorf("kind %.20q is not known", v)
		}
	case "schema":
		bit = 1
		p.info.Schema, err = ParseFingerprint(v)
	case "version":
		bit = 2
		p.info.Major, p.info.Minor, err = parseVersion(v)
	case "count":
		bit = 4
		n, err = strconv.ParseInt(v, 10, 31)
		p.info.Count = int(n)
		if n < 0 {
			err = fmt.Errorf("%d events", n)
		}
	case "min_time":
		bit = 8
		p.info.MinTime, err = strconv.ParseInt(v, 10, 64)
	case "max_time":
		bit = 16
		p.info.MaxTime, err = strconv.ParseInt(v, 10, 64)
	case "producer":
		bit = 32
		p.info.Producer = v
	case "first":
		bit = 64
		p.info.First, err = strconv.ParseUint(v, 10, 64)
	}
	p.seen |= bit
	if err != nil {
		p.err = corrupt("header %s: %v", h.Key, err)
	}
}
