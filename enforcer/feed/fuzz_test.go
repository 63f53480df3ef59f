package feed

import (
	"bytes"
	"testing"

	"github.com/weirproject/weir/stream/verdict"
)

type nothing struct{ open int }

func (*nothing) Receive(*verdict.Verdict, bool) error { return nil }
func (n *nothing) BeginSnapshot()                     { n.open++ }
func (*nothing) EndSnapshot() int                     { return 0 }
func (*nothing) Touch(int64, string)                  {}

// FuzzRead holds that no stream makes the reader panic or keep more than its
// bound.
func FuzzRead(f *testing.F) {
	f.Add([]byte("event: snapshot\n\ndata: {\"id\":\"v\"}\n\nevent: snapshot-end\nid: 7\n\n: x\n"))
	f.Add([]byte("data\nid: \x00\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, err := New(Config{URL: "http://127.0.0.1/", MaxEventBytes: 4096}, &nothing{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.read(bytes.NewReader(stream), func() {}); err == nil {
			t.Error("a stream that ended gave no error")
		}
		if len(c.position) > 4096 {
			t.Errorf("a position of %d bytes", len(c.position))
		}
	})
}
