package wire

import (
	"bytes"
	"errors"
	"hash/fnv"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirproject/weir/stream/event"
)

var sameEvents = []cmp.Option{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

// encode puts all events into records.
func encode(tb testing.TB, cfg EncoderConfig, evs []event.Event) []Record {
	tb.Helper()
	e := NewEncoder(cfg)
	var recs []Record
	first := uint64(1)
	flush := func() {
		if rec, ok := e.Flush("node-1/test", first); ok {
			recs = append(recs, rec)
			first += uint64(rec.Info.Count)
		}
	}
	for i := range evs {
		err := e.Append(&evs[i])
		if errors.Is(err, ErrFull) {
			flush()
			err = e.Append(&evs[i])
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	flush()
	return recs
}

func decode(tb testing.TB, recs []Record) []event.Event {
	tb.Helper()
	d := NewDecoder(Limits{})
	var all []event.Event
	for _, rec := range recs {
		info, err := ParseInfo(Headers[Header](rec.Info))
		if err != nil {
			tb.Fatal(err)
		}
		b, err := d.Decode(info, rec.Value)
		if err != nil {
			tb.Fatal(err)
		}
		for _, ev := range b.Events(nil) {
			all = append(all, *ev.Clone())
		}
	}
	return all
}

func TestEventsComeBackIdentical(t *testing.T) {
	for _, n := range []int{1, 2, 16, 700, 4096, 9000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			evs := makeEvents(n, uint64(n))
			recs := encode(t, EncoderConfig{}, evs)
			if d := cmp.Diff(evs, decode(t, recs), sameEvents...); d != "" {
				t.Fatal(d)
			}
			want := uint64(1)
			for _, r := range recs {
				if r.Info.First != want || r.Info.Count > 4096 || len(r.Value) > 900_000 {
					t.Errorf("record of %d events from %d (want %d), %d bytes", r.Info.Count, r.Info.First, want, len(r.Value))
				}
				want += uint64(r.Info.Count)
			}
		})
	}
}

func TestSameEventsGiveSameBytes(t *testing.T) {
	evs := makeEvents(300, 1)
	a, b := encode(t, EncoderConfig{}, evs), encode(t, EncoderConfig{}, evs)
	if !bytes.Equal(a[0].Value, b[0].Value) {
		t.Error("two encoders differ")
	}
	e := NewEncoder(EncoderConfig{})
	for round := range 2 {
		for i := range evs {
			if err := e.Append(&evs[i]); err != nil {
				t.Fatal(err)
			}
		}
		if rec, ok := e.Flush("p", 1); !ok || !bytes.Equal(rec.Value, a[0].Value) {
			t.Errorf("round %d of a reused encoder differs", round)
		}
	}
}

func TestGoldenRecordKeepsItsBytes(t *testing.T) {
	const file = "testdata/record_v1.arrow"
	rec := encode(t, EncoderConfig{}, makeEvents(23, 5))[0]
	if *update {
		if err := os.WriteFile(file, rec.Value, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, rec.Value) {
		t.Errorf("the format changed: %d bytes, golden has %d. Records on logs must stay readable", len(rec.Value), len(want))
	}
	b, err := NewDecoder(Limits{}).DecodeValue(want)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(makeEvents(23, 5), b.Events(nil), sameEvents...); d != "" {
		t.Error(d)
	}
}

func TestRecordIsCutAtItsByteLimit(t *testing.T) {
	evs := makeEvents(4000, 2)
	for i := range evs {
		evs[i].UserAgent = strconv.Itoa(i) + strings.Repeat("x", 1000)
	}
	recs := encode(t, EncoderConfig{MaxBytes: 300_000}, evs)
	for _, r := range recs {
		if len(r.Value) > 300_000 || len(r.Value) < 200_000 && r.Info.First+uint64(r.Info.Count) != 4001 {
			t.Errorf("record of %d bytes", len(r.Value))
		}
	}
	if got := decode(t, recs); len(got) != len(evs) {
		t.Errorf("%d events, want %d", len(got), len(evs))
	}
}

func TestEventThatFitsInNoRecordIsRefusedAlone(t *testing.T) {
	e := NewEncoder(EncoderConfig{})
	big := event.Event{ID: "big", UserAgent: strings.Repeat("x", MaxEventBytes)}
	if err := e.Append(&big); !errors.Is(err, ErrEventTooLarge) {
		t.Errorf("too long: %v", err)
	}
	many := event.Event{ID: "many", Objects: make([]event.Object, event.MaxObjects+1)}
	if err := e.Append(&many); !errors.Is(err, ErrEventTooLarge) {
		t.Errorf("too many objects: %v", err)
	}
	if _, ok := e.Flush("p", 1); ok {
		t.Error("a refused event left something behind")
	}
}

func TestArrowReadsOurRecords(t *testing.T) {
	evs := makeEvents(1000, 3)
	rec := encode(t, EncoderConfig{}, evs)[0]
	r, err := ipc.NewReader(bytes.NewReader(rec.Value))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	got, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	if got.NumRows() != 1000 || got.NumCols() != numColumns {
		t.Fatalf("%d rows, %d columns", got.NumRows(), got.NumCols())
	}
	ua := got.Column(colUserAgent).(*array.Dictionary)
	objects := got.Column(colObjects).(*array.Map)
	keys := objects.Keys().(*array.String)
	for i := range evs {
		if s := ua.Dictionary().(*array.String).Value(ua.GetValueIndex(i)); s != evs[i].UserAgent {
			t.Fatalf("row %d: user agent %q, want %q", i, s, evs[i].UserAgent)
		}
		if s := got.Column(colPath).(*array.String).Value(i); s != evs[i].Path {
			t.Fatalf("row %d: path %q, want %q", i, s, evs[i].Path)
		}
		from, to := objects.ValueOffsets(i)
		for _, o := range evs[i].Objects {
			if o.Ephemeral {
				continue
			}
			if from >= to || keys.Value(int(from)) != o.Name {
				t.Fatalf("row %d: object %s is missing", i, o.Name)
			}
			from++
		}
	}
}

// viaArrow writes a record batch with arrow-go's own writer.
func viaArrow(tb testing.TB, value []byte) []byte {
	tb.Helper()
	r, err := ipc.NewReader(bytes.NewReader(value))
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Release()
	rec, err := r.Read()
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(r.Schema()))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestWeReadWhatArrowWrites(t *testing.T) {
	evs := makeEvents(500, 4)
	b, err := NewDecoder(Limits{}).DecodeValue(viaArrow(t, encode(t, EncoderConfig{}, evs)[0].Value))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(evs, b.Events(nil), sameEvents...); d != "" {
		t.Error(d)
	}
}

func TestDecoderReusesItsMemory(t *testing.T) {
	recs := encode(t, EncoderConfig{}, makeEvents(4000, 6))
	d := NewDecoder(Limits{})
	var evs []event.Event
	run := func() {
		for i := range recs {
			b, err := d.Decode(recs[i].Info, recs[i].Value)
			if err != nil {
				t.Fatal(err)
			}
			evs = b.Events(evs)
		}
	}
	run()
	if n := testing.AllocsPerRun(5, run); n > 4 {
		t.Errorf("%v allocations per record", n)
	}
}

func TestEnumerationUnknownToThisVersionReadsAsNone(t *testing.T) {
	rec := encode(t, EncoderConfig{}, []event.Event{{ID: "a", Role: event.RoleItemView}})[0]
	value := bytes.Replace(rec.Value, []byte("item_view"), []byte("item_VIEW"), 1)
	b, err := NewDecoder(Limits{}).DecodeValue(value)
	if err != nil {
		t.Fatal(err)
	}
	if ev := b.Events(nil)[0]; ev.Role != event.RoleNone || ev.ID != "a" {
		t.Errorf("role %v of %s", ev.Role, ev.ID)
	}
}

func TestSitesKeepTheirPartition(t *testing.T) {
	for _, c := range []struct {
		site string
		n    int
		want int32
	}{{"shop", 1, 0}, {"shop", 0, 0}, {"", 4, 1}, {"shop", 4, 1}, {"blog", 4, 1}, {"default", 4, 2}, {"shop", 1000, 41}} {
		if got := Partition(c.site, c.n); got != c.want {
			t.Errorf("Partition(%q, %d) = %d, want %d", c.site, c.n, got, c.want)
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(c.site))
		if c.n > 0 && h.Sum64()%uint64(c.n) != uint64(c.want) {
			t.Errorf("FNV-1a of %q modulo %d is %d", c.site, c.n, h.Sum64()%uint64(c.n))
		}
	}
}

func TestHeadersComeBack(t *testing.T) {
	type kafkaHeader struct {
		Key   string
		Value []byte
	}
	want := Info{
		Schema: Schema, Major: Major, Minor: 7, Count: 12, MinTime: -5, MaxTime: 1 << 60, Producer: "n1/9f", First: 1 << 63,
	}
	hs := append(Headers[kafkaHeader](want), kafkaHeader{"traceparent", bytes.Repeat([]byte("x"), 4000)})
	got, err := ParseInfo(hs)
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseInfo(Headers[kafkaHeader](Info{Kind: KindControl})); err != nil || got.Kind != KindControl {
		t.Errorf("control: %+v, %v", got, err)
	}
}

func TestBadHeadersAreNamed(t *testing.T) {
	good := Headers[Header](Info{Schema: Schema, Major: Major, Count: 1, Producer: "p", First: 1})
	for _, c := range []struct {
		key, value, want string
		is               error
	}{
		{"kind", "events2", "header kind", ErrCorrupt},
		{"schema", "zz", "header schema", ErrCorrupt},
		{"version", "1.x", "header version", ErrCorrupt},
		{"version", "2.0", "record has 2.0", ErrVersion},
		{"count", "-1", "header count", ErrCorrupt},
		{"min_time", "9999999999999999999999", "header min_time", ErrCorrupt},
		{"first", "", "header first", ErrCorrupt},
		{"producer", strings.Repeat("p", MaxProducerBytes+1), "header producer", ErrCorrupt},
	} {
		hs := append([]Header(nil), good...)
		for i := range hs {
			if hs[i].Key == c.key {
				hs[i].Value = []byte(c.value)
			}
		}
		if _, err := ParseInfo(hs); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%.20q: %v", c.key, c.value, err)
		}
	}
	for i := range good {
		hs := append(append([]Header(nil), good[:i]...), good[i+1:]...)
		if _, err := ParseInfo(hs); !errors.Is(err, ErrCorrupt) {
			t.Errorf("without %s: %v", good[i].Key, err)
		}
	}
}
