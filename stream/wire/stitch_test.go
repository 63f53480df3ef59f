package wire

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"github.com/weirproject/weir/stream/event"
)

// row is what the test reads back from a stitched insert with arrow-go.
type row struct {
	id, path, ua, learned, objects string
	actor, session                 uint64
	status                         uint16
	partition, row                 int32
	offset                         int64
}

func readInsert(t *testing.T, body []byte) (rows []row, batches int) {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	index := map[string]int{}
	for i, f := range r.Schema().Fields() {
		index[f.Name] = i
	}
	for r.Next() {
		rec := r.Record()
		batches++
		col := func(name string) arrow.Array { return rec.Column(index[name]) }
		lc := func(name string, i int) string {
			d := col(name).(*array.Dictionary)
			return d.Dictionary().(*array.String).Value(d.GetValueIndex(i))
		}
		objects := col("objects").(*array.Map)
		keys, vals := objects.Keys().(*array.String), objects.Items().(*array.String)
		hashes := col("object_keys").(*array.List)
		items := hashes.ListValues().(*array.Uint64)
		for i := range int(rec.NumRows()) {
			x := row{
				id: col("id").(*array.String).Value(i), path: col("path").(*array.String).Value(i),
				ua: lc("user_agent", i), learned: lc("learned_route", i),
				actor: col("actor").(*array.Uint64).Value(i), session: col("session").(*array.Uint64).Value(i),
				status:    col("status").(*array.Uint16).Value(i),
				partition: col("partition").(*array.Int32).Value(i), row: col("row").(*array.Int32).Value(i),
				offset: col("offset").(*array.Int64).Value(i),
			}
			from, to := objects.ValueOffsets(i)
			hfrom, _ := hashes.ValueOffsets(i)
			for ; from < to; from, hfrom = from+1, hfrom+1 {
				x.objects += fmt.Sprintf("%s=%s/%x ", keys.Value(int(from)), vals.Value(int(from)), items.Value(int(hfrom)))
			}
			rows = append(rows, x)
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return rows, batches
}

func wantRow(ev *event.Event, partition int32, offset int64, i int) row {
	w := row{
		id: ev.ID, path: ev.Path, ua: ev.UserAgent, learned: fmt.Sprint("/route/", i%7), actor: uint64(i) * 3,
		session: uint64(ev.Keys[event.KindSession]), status: ev.Status, partition: partition, row: int32(i), offset: offset,
	}
	for _, o := range ev.Objects {
		if o.Ephemeral {
			continue
		}
		value := o.Value
		if value == "" {
			value = o.Hash.String()
		}
		w.objects += fmt.Sprintf("%s=%s/%x ", o.Name, value, uint64(o.Hash))
	}
	return w
}

func TestManyRecordsBecomeOneInsert(t *testing.T) {
	var out bytes.Buffer
	s := NewStitcher(&out)
	d := NewDecoder(Limits{})
	var want []row
	for k := range 130 { // 50,000 rows and more, of records small and large, of three schemas
		n := []int{1, 3, 40, 700, 1300}[k%5]
		evs := makeEvents(n, uint64(k))
		value := encode(t, EncoderConfig{}, evs)[0].Value
		switch k % 7 {
		case 3:
			value = rewrite(t, value, 1, nextColumns()[:4])
		case 5:
			value = rewrite(t, value, 0, nil, colCost, colWorkload)
		}
		b, err := d.DecodeValue(value)
		if err != nil {
			t.Fatal(err)
		}
		actors, routes := make([]event.Hash, n), make([]string, n)
		for i := range n {
			actors[i], routes[i] = event.Hash(i*3), fmt.Sprint("/route/", i%7)
			want = append(want, wantRow(&evs[i], int32(k%4), int64(k), i))
		}
		if err := s.Add(b, int32(k%4), int64(k), actors, routes); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, batches := readInsert(t, out.Bytes())
	if len(got) != len(want) || s.Rows() != len(want) || len(want) < 50_000 {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
	if batches > len(want)/batchRows+2 {
		t.Errorf("%d batches for %d rows", batches, len(want))
	}
}

func TestInsertCarriesNoLogOnlyColumn(t *testing.T) {
	evs := []event.Event{{
		ID: "a", Secret: 0x1122334455667788,
		Objects: []event.Object{{Name: "csc_planted", Hash: 0x99aabbccddeeff01, Ephemeral: true}},
	}}
	rec := encode(t, EncoderConfig{}, evs)[0]
	b, err := NewDecoder(Limits{}).DecodeValue(rec.Value)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := NewStitcher(&out)
	if err := errors.Join(s.Add(b, 0, 0, nil, nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	for what, needle := range map[string][]byte{
		"the secret's hash": appendU64(nil, 0x1122334455667788), "an ephemeral name": []byte("csc_planted"),
		"an ephemeral hash": appendU64(nil, 0x99aabbccddeeff01), "a column of secrets": []byte("ephemeral"),
	} {
		if !bytes.Contains(rec.Value, needle) && what != "a column of secrets" {
			t.Errorf("the record lacks %s, so the test proves nothing", what)
		}
		if bytes.Contains(out.Bytes(), needle) {
			t.Errorf("the insert carries %s", what)
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("connection reset")
	}
	return len(b), nil
}

func TestStitcherKeepsTheWritersError(t *testing.T) {
	b, err := NewDecoder(Limits{}).DecodeValue(encode(t, EncoderConfig{}, makeEvents(4000, 1))[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	s := NewStitcher(&failing{after: 1})
	for range 30 {
		err = s.Add(b, 0, 0, nil, nil)
	}
	if err == nil || s.Close() == nil {
		t.Error("a lost connection went unnoticed")
	}
	var out bytes.Buffer
	s.Reset(&out)
	if err := errors.Join(s.Add(b, 0, 0, nil, nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	if rows, _ := readInsert(t, out.Bytes()); len(rows) != b.Len() {
		t.Errorf("%d rows after Reset", len(rows))
	}
	if err := NewStitcher(&out).Add(b, 0, 0, make([]event.Hash, 3), nil); err == nil {
		t.Error("3 actors for more events were accepted")
	}
}

func TestStitcherStartsABatchBeforeADictionaryOverflows(t *testing.T) {
	d := NewDecoder(Limits{})
	var out bytes.Buffer
	s := NewStitcher(&out)
	n := 0
	for k := range 12 { // 12 x 1,500 distinct user agents and routes
		evs := make([]event.Event, 1500)
		for i := range evs {
			evs[i] = event.Event{ID: fmt.Sprint(k, "-", i), UserAgent: fmt.Sprint(k, " ", i)}
		}
		b, err := d.DecodeValue(encode(t, EncoderConfig{}, evs)[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(b, 0, int64(k), nil, nil); err != nil {
			t.Fatal(err)
		}
		n += b.Len()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rows, _ := readInsert(t, out.Bytes())
	if len(rows) != n {
		t.Fatalf("%d rows, want %d", len(rows), n)
	}
	for i, r := range rows {
		if want := fmt.Sprint(i/1500, " ", i%1500); r.ua != want {
			t.Fatalf("row %d: user agent %q, want %q", i, r.ua, want)
		}
	}
}
