package assembly

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/collector/bpf"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// tape writes records of one connection, as the kernel would.
type tape struct {
	records []*bpf.Record
	pos     [2]uint64
	at      uint64
	conn    uint64
}

// say moves text in a direction; only the first captured bytes are visible.
func (p *tape) say(dir uint8, text string, captured int) {
	p.at += 1000
	r := &bpf.Record{
		Kind: bpf.KindData, Dir: dir, Proto: 1, Role: 1, Time: p.at, Conn: p.conn + 1, Pos: p.pos[dir],
		Len: uint32(len(text)), Data: []byte(text[:min(captured, len(text))]),
	}
	if captured < len(text) && len(text) >= 8 {
		r.Tail = []byte(text[len(text)-8:])
	}
	p.pos[dir] += uint64(len(text))
	p.records = append(p.records, r)
}

func (p *tape) in(text string)  { p.say(bpf.In, text, len(text)) }
func (p *tape) out(text string) { p.say(bpf.Out, text, len(text)) }
func (p *tape) close() {
	p.records = append(p.records, &bpf.Record{Kind: bpf.KindClose, Time: p.at, Conn: p.conn + 1})
}

// run feeds the tape and describes each exchange in one line.
func run(t *testing.T, p *tape) ([]string, Counters) {
	t.Helper()
	var got []string
	a := New(Config{Wall: func(ns uint64) time.Time { return time.Unix(0, int64(ns)) }}, func(x *flow.Exchange) {
		line := fmt.Sprintf("%s %s %d req=%q resp=%q in=%d out=%d", x.Method, x.Target, x.Status, x.Body, x.ResponseBody, x.RequestBytes, x.ResponseBytes)
		if x.Flags != 0 {
			line += " " + x.Flags.String()
		}
		got = append(got, line)
	})
	for _, r := range p.records {
		a.Handle(r)
	}
	a.Flush()
	if a.Live() != 0 {
		t.Errorf("%d connections live after Flush", a.Live())
	}
	return got, a.Counters()
}

func TestExchangesOfOneConnection(t *testing.T) {
	const get, ok = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	big := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "400\r\n" + strings.Repeat("x", 1024) + "\r\n0\r\n\r\n"
	cases := []struct {
		name string
		tape func(p *tape)
		want []string
	}{
		{"keep-alive", func(p *tape) { p.in(get); p.out(ok); p.in(get); p.out(ok) }, []string{
			`GET /a 200 req="" resp="ok" in=28 out=40`, `GET /a 200 req="" resp="ok" in=28 out=40`,
		}},
		{"first byte alone, as net/http reads it", func(p *tape) { p.in("G"); p.in(get[1:]); p.out(ok) }, []string{
			`GET /a 200 req="" resp="ok" in=28 out=40`,
		}},
		{"pipelined", func(p *tape) { p.in(get + strings.Replace(get, "/a", "/b", 1)); p.out(ok + ok) }, []string{
			`GET /a 200 req="" resp="ok" in=28 out=40`, `GET /b 200 req="" resp="ok" in=28 out=40`,
		}},
		{"body in pieces", func(p *tape) {
			p.in("POST /p HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
			p.in("def")
			p.out("HTTP/1.1 204 No Content\r\n\r\n")
		}, []string{`POST /p 204 req="abcdef" resp="" in=45 out=27`}},
		{"chunked both ways", func(p *tape) {
			p.in("POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			p.in("2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n")
			p.out("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
		}, []string{`POST /p 200 req="abcde" resp="hi" in=78 out=59`}},
		{"chunked body cut by the budget ends by its tail", func(p *tape) { p.in(get); p.say(bpf.Out, big, 100); p.in(get); p.out(ok) }, []string{
			`GET /a 200 req="" resp="` + strings.Repeat("x", 48) + `" in=28 out=1083 truncated`,
			`GET /a 200 req="" resp="ok" in=28 out=40`,
		}},
		{"head", func(p *tape) {
			p.in("HEAD /a HTTP/1.1\r\n\r\n")
			p.out("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
			p.in(get)
			p.out(ok)
		}, []string{`HEAD /a 200 req="" resp="" in=20 out=38`, `GET /a 200 req="" resp="ok" in=28 out=40`}},
		{"100-continue", func(p *tape) {
			p.in("POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
			p.out("HTTP/1.1 100 Continue\r\n\r\n")
			p.in("abc")
			p.out(ok)
		}, []string{`POST /p 200 req="abc" resp="ok" in=42 out=40`}},
		{"until close", func(p *tape) { p.in(get); p.out("HTTP/1.1 200 OK\r\n\r\nall "); p.out("of it"); p.close() }, []string{
			`GET /a 200 req="" resp="all of it" in=28 out=28`,
		}},
		{"close before the last send", func(p *tape) { p.in(get); p.close(); p.out(ok) }, []string{
			`GET /a 200 req="" resp="ok" in=28 out=40`,
		}},
		{"answered before the request's body ended", func(p *tape) {
			p.in("POST /p HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc")
			p.out("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		}, []string{`POST /p 413 req="abc" resp="" in=45 out=45 partial`}},
		{"head cut by the budget", func(p *tape) {
			p.say(bpf.In, "GET /long HTTP/1.1\r\nX: "+strings.Repeat("y", 9000)+"\r\n\r\n", 64)
			p.out(ok)
		}, []string{`GET /long 200 req="" resp="ok" in=64 out=40 truncated`}},
		{"lost record", func(p *tape) {
			p.in(get)
			p.out(ok)
			p.pos[bpf.Out] += 40
			p.pos[bpf.In] += 28
			p.in(get)
			p.out(ok)
		}, []string{`GET /a 200 req="" resp="ok" in=28 out=40`, `GET /a 200 req="" resp="ok" in=28 out=40`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := &tape{}
			c.tape(p)
			got, n := run(t, p)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(c.want, "\n"), n)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	var n int
	a := New(Config{MaxConns: 10}, func(*flow.Exchange) { n++ })
	for i := range 100 {
		p := &tape{conn: uint64(i)}
		p.in("GET / HTTP/1.1\r\n\r\n")
		a.Handle(p.records[0])
	}
	if a.Live() != 10 || a.Counters().Evicted != 90 || a.Counters().Incomplete != 90 {
		t.Fatalf("live %d, %+v", a.Live(), a.Counters())
	}
}

// FuzzHandle feeds records cut, moved and repeated at will: no panic, no more
// exchanges than requests, no memory beyond the bounds.
func FuzzHandle(f *testing.F) {
	f.Add([]byte("\x00\x10GET /a HTTP/1.1\r\n\r\n\x01\x20HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n"))
	f.Add([]byte("\x00\x00POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"))
	f.Add([]byte("\x01\x00HTTP/1.1 999 x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := New(Config{MaxConns: 4, MessageBytes: 256}, func(x *flow.Exchange) {
			if x.Method == "" || x.Source != event.SourceEBPF || len(x.Body) > 256 {
				t.Fatalf("exchange %+v", x)
			}
		})
		for len(b) > 3 {
			n := min(int(b[1])+1, len(b)-2)
			r := bpf.Record{
				Kind: b[0]>>1&3 + 1, Dir: b[0] & 1, Conn: uint64(b[0] >> 5), Pos: uint64(b[0]>>3&3) * 16,
				Len: uint32(n) + uint32(b[2]>>6), Data: b[2 : 2+n], Tail: b[2 : 2+min(n, 8)], Time: uint64(binary.LittleEndian.Uint16(b)),
			}
			if r.Kind == bpf.KindOpen {
				r.Kind = bpf.KindData
			}
			a.Handle(&r)
			b = b[2+n:]
		}
		a.Flush()
		if a.Live() != 0 {
			t.Fatal("connections left")
		}
	})
}

func BenchmarkHandle(b *testing.B) {
	p := &tape{}
	p.in("GET /api/items/12 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\nCookie: sid=abc; did=x\r\n\r\n")
	p.out("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"ok\":true, 1:1}")
	a := New(Config{}, func(*flow.Exchange) {})
	in, out := uint64(p.records[0].Len), uint64(p.records[1].Len)
	b.ReportAllocs()
	for b.Loop() {
		a.Handle(p.records[0])
		a.Handle(p.records[1])
		p.records[0].Pos += in
		p.records[1].Pos += out
	}
}
