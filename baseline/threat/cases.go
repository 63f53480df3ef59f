package threat

import (
	"github.com/weirproject/weir/baseline/sketch"
)

// caseTable finds cases by key. Cases are large, so that the keys stand apart:
// a look-up that finds nothing, as most do, touches two cache lines.
type caseTable struct {
	index *sketch.Table[uint64]
	// cases has one place for each row of the index.
	cases sketch.Flat[Case]
}

func newCaseTable(n int) *caseTable {
	index := sketch.NewTable[uint64](n)
	return &caseTable{index: index, cases: sketch.NewFlat[Case](index.Len())}
}

func (t *caseTable) find(key uint64) *Case {
	if at := t.index.FindAt(key); at >= 0 {
		return t.cases.At(at)
	}
	return nil
}

// get returns the case of key; a fresh one holds what its place held before.
func (t *caseTable) get(key uint64, now uint32) (c *Case, fresh bool) {
	at, fresh := t.index.GetAt(key, now)
	return t.cases.At(at), fresh
}

func (t *caseTable) delete(key uint64) {
	if at := t.index.FindAt(key); at >= 0 {
		t.index.Delete(key)
		// Snapshots leave out what is zero.
		*t.cases.At(at) = Case{}
	}
}

func (t *caseTable) bytes() int { return t.index.Bytes() + t.cases.Bytes() }

func (t *caseTable) cut(c *sketch.Cut) {
	t.index.Cut(c)
	sketch.Freeze(c, &t.cases)
}

func (t *caseTable) setState(r *sketch.Reader) error {
	if err := t.index.SetState(r); err != nil {
		return err
	}
	return t.cases.Take(r)
}
