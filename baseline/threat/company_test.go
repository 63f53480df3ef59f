package threat

import (
	"testing"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
)

// TestCompany holds that several accounts under suspicion at once say more about each
// than one, that one without suspicion of its own gains nothing, and that what is
// usual on a site says nothing.
func TestCompany(t *testing.T) {
	r, err := actor.New(actor.Config{Identifiers: 64, Actors: 16, Accounts: 64, Popular: 1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := feature.New(feature.Config{Stats: 64, Routes: 64, Paths: 64}, r)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSet(l, 16, Detectors())
	if err != nil {
		t.Fatal(err)
	}
	in := &feature.Input{ObjectName: "account", Sec: 1e6}
	in.SiteIndex, in.Site = l.AddSite(1)
	of := func(account int, own int32) int32 {
		in.Object = sketch.Mix(uint64(account))
		c := &Case{}
		c.Parts[4] = own
		s.company(c, in)
		return c.Parts[PartCompany]
	}
	if got := of(1, 5000); got != 0 {
		t.Errorf("one account alone: %d", got)
	}
	for n := 2; n < 12; n++ {
		of(n, 5000)
	}
	if got := of(12, 5000); got < 2000 || got > 4000 {
		t.Errorf("the last of twelve: %d, want 2000 to 4000", got)
	}
	if got := of(13, suspicion-1); got != 0 {
		t.Errorf("an account that is not suspected: %d", got)
	}
	for half := range 60 {
		in.Sec += 43200
		for n := range 6 {
			of(100*half+n, 5000)
		}
	}
	if got := of(9999, 5000); got != 0 {
		t.Errorf("six every half day for a month, and one more: %d", got)
	}
}
