package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/ipc"

	"github.com/weirproject/weir/stream/event"
)

func TestLimitsHold(t *testing.T) {
	value := encode(t, EncoderConfig{}, makeEvents(100, 1))[0].Value
	for name, l := range map[string]Limits{
		"bytes": {Bytes: len(value) - 1}, "rows": {Rows: 99}, "dictionary": {DictionaryEntries: 5},
	} {
		if _, err := NewDecoder(l).DecodeValue(value); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := NewDecoder(Limits{Layouts: 2})
	for minor := range 7 {
		if _, err := d.DecodeValue(rewrite(t, value, minor+1, nil)); err != nil || len(d.layouts) > 2 {
			t.Errorf("minor %d: %v, %d layouts kept", minor+1, err, len(d.layouts))
		}
	}
}

func TestHeaderAndValueMustAgree(t *testing.T) {
	rec := encode(t, EncoderConfig{}, makeEvents(10, 1))[0]
	for name, change := range map[string]func(*Info){
		"count": func(i *Info) { i.Count++ }, "schema": func(i *Info) { i.Schema++ },
		"kind": func(i *Info) { i.Kind = KindControl },
	} {
		info := rec.Info
		change(&info)
		if _, err := NewDecoder(Limits{}).Decode(info, rec.Value); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// use reads everything a batch offers.
func use(tb testing.TB, b *Batch) {
	tb.Helper()
	var ev event.Event
	for i := range b.Len() {
		b.Event(i, &ev)
		if c := ev.Clone(); len(c.Objects) > event.MaxObjects {
			tb.Fatalf("%d objects", len(c.Objects))
		}
	}
	var out bytes.Buffer
	s := NewStitcher(&out)
	if err := errors.Join(s.Add(b, 1, 2, nil, nil), s.Close()); err != nil {
		tb.Fatal(err)
	}
}

func TestDamagedRecordsAreRefusedOrReadableButNeverPanic(t *testing.T) {
	value := encode(t, EncoderConfig{}, makeEvents(40, 1))[0].Value
	next := rewrite(t, value, 1, nextColumns())
	d := NewDecoder(Limits{})
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for round := range 6_000 {
		b := bytes.Clone(value)
		if round%2 == 1 {
			b = bytes.Clone(next)
		}
		if round%10 == 0 {
			b = b[:r.IntN(len(b))]
		}
		for range 1 + r.IntN(4) {
			if len(b) == 0 {
				break
			}
			at := r.IntN(len(b))
			if round%4 == 0 {
				at = r.IntN(min(len(b), 9000)) // schema and dictionaries
			}
			b[at] = byte([]uint32{0, 1, 0x7f, 0x80, 0xff, r.Uint32()}[r.IntN(6)])
		}
		batch, err := d.DecodeValue(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("round %d: %v is neither corrupt nor of another version", round, err)
			}
			refused++
			continue
		}
		use(t, batch)
	}
	if refused < 600 {
		t.Errorf("only %d of 6,000 refused", refused)
	}
}

func TestEveryPrefixIsRefused(t *testing.T) {
	value := encode(t, EncoderConfig{}, makeEvents(2, 1))[0].Value
	d := NewDecoder(Limits{})
	// The end-of-stream mark may be absent (Arrow format, streaming): only a cut
	// exactly there is a whole record.
	for n := range len(value) - len(endOfStream) {
		if _, err := d.DecodeValue(value[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("prefix of %d bytes: %v", n, err)
		}
	}
	if _, err := d.DecodeValue(append(bytes.Clone(value), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte after the end: %v", err)
	}
}

func TestCompressedBodiesAreRefusedWithTheRemedy(t *testing.T) {
	value := encode(t, EncoderConfig{}, makeEvents(200, 1))[0].Value
	r, err := ipc.NewReader(bytes.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	rec, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(r.Schema()), ipc.WithZstd())
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := NewDecoder(Limits{}).DecodeValue(out.Bytes()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	value := encode(f, EncoderConfig{}, makeEvents(7, 1))[0].Value
	f.Add(value)
	f.Add(rewrite(f, value, 1, nextColumns()))
	f.Add(rewrite(f, value, 1, nil, colObjects, colID))
	f.Add(viaArrow(f, value))
	if golden, err := os.ReadFile(filepath.Join("testdata", "record_v1.arrow")); err == nil {
		f.Add(golden)
	}
	d := NewDecoder(Limits{Bytes: 1 << 20, Rows: 4096})
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := d.DecodeValue(b)
		if err != nil {
			return
		}
		use(t, batch)
		sameByNext(t, batch)
	})
}

func FuzzParseInfo(f *testing.F) {
	for _, h := range Headers[Header](Info{Schema: Schema, Major: Major, Count: 1, Producer: "p", First: 1}) {
		f.Add(h.Key, h.Value)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		hs := append(Headers[Header](Info{Schema: Schema, Major: Major, Count: 1, Producer: "p", First: 1}), Header{key, value})
		info, err := ParseInfo(hs)
		if err == nil && info.Kind == KindEvents {
			if again, err := ParseInfo(Headers[Header](info)); err != nil || again != info {
				t.Fatalf("%+v came back as %+v, %v", info, again, err)
			}
		}
	})
}
