package flow_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// BenchmarkManyClients has addresses, sessions and paths that do not repeat, so
// that the cache of pseudonyms does not help.
func BenchmarkManyClients(b *testing.B) {
	e := newExtractor(b)
	xs := make([]*flow.Exchange, 1<<16)
	for i := range xs {
		xs[i] = request("GET", fmt.Sprintf("/item/%d", i), "Accept-Encoding", "gzip, deflate, br", "Accept-Language", "en-GB,en;q=0.9",
			"Cookie", fmt.Sprintf("sid=%x; did=%x", i*7919, i*104729), "Referer", "https://shop.example/list", "Connection", "keep-alive")
		xs[i].Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		xs[i].Status = 200
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var ev event.Event
		for i := 0; pb.Next(); i++ {
			x := *xs[i%len(xs)]
			e.Begin(&x, &ev)
			e.End(&x, &ev)
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	for name, x := range map[string]*flow.Exchange{
		"item": request("GET", "/item/17", "Accept-Encoding", "gzip, deflate, br", "Accept-Language", "en-GB,en;q=0.9",
			"Cookie", "sid=0123456789abcdef; did=fedcba9876543210", "Referer", "https://shop.example/list?page=3", "Connection", "keep-alive"),
		"login": login(`{"user":"alice","password":"x"}`, "Cookie", "sid=abc; did=xyz", "Accept-Encoding", "gzip"),
	} {
		b.Run(name, func(b *testing.B) {
			e := newExtractor(b)
			x.Headers[1].Value = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36"
			x.Status = 200
			x.ResponseHeaders = []flow.Field{{"Content-Type", "text/html; charset=utf-8"}, {"Set-Cookie", "x=y"}, {"Date", "now"}}
			var ev event.Event
			b.ReportAllocs()
			for b.Loop() {
				e.Begin(x, &ev)
				e.End(x, &ev)
			}
		})
	}
}
