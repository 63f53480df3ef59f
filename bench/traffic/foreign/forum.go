package foreign

import (
	"fmt"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// browse is a visit to the swap shop and its forum.
func (a *agent) browse(t float64) {
	w, r, p := a.w, a.r, a.p
	n := int(r.Exp(6)) + 1
	if a.class == "comparer" && r.Chance(.5) {
		n = between(r, 40, 90)
	}
	if a.class == "tabs" && r.Chance(.6) {
		a.page(t, "/c/bikes", 2, call{})
		t += 4
		for range between(r, 8, 22) {
			a.page(t, choice(r, w.threads).path(), 0, call{})
			t += uniform(r, .5, 3)
		}
	}
	if r.Chance(.5) {
		a.page(t, "/", 2, call{})
		t += a.pause(7)
	}
	if p.account && a.dev.owner != p.mail && r.Chance(.5) {
		t = a.signin(t)
	}
	member := a.dev.owner == p.mail
	if !p.account && r.Chance(.08) {
		t, member = a.joinForum(t), true
	}
	for range n {
		switch x := r.Float64(); {
		case x < .5:
			t = a.readThread(t, member)
		case x < .75:
			t = a.seeLot(t, member)
		case x < .9:
			a.page(t, fmt.Sprintf("/c/%s?p=%d", choice(r, []string{"bikes", "audio", "garden", "books", "games"}), 1+int(r.Exp(1/.8))), 3, call{})
			t += a.pause(11)
		case x < .96:
			a.page(t, "/find?q="+choice(r, words), 2, call{})
			t += a.pause(11)
		default:
			a.do(t, "GET", fmt.Sprintf("/out/%d", between(r, 1, 40)), call{kind: nav, status: 302})
			t += a.pause(8)
		}
		if a.class == "comparer" {
			t -= 5
		}
	}
	if member && r.Chance(.02) {
		a.do(t, "GET", "/my/export.csv", call{kind: nav, produces: "text/csv"})
	}
}

// joinForum makes an account and logs in.
func (a *agent) joinForum(t float64) float64 {
	r, p := a.r, a.p
	a.page(t, "/join", 0, call{})
	t += a.think(50, .4)
	body := func() string {
		return formBody("csrf", hex(r, 16), "user", p.mail, "email", p.mail+"@"+pick(r, mails), "pw", p.password)
	}
	if r.Chance(.3) {
		a.do(t, "POST", "/join", call{kind: form, form: body()})
		t += a.pause(15)
	}
	a.do(t, "POST", "/join", call{kind: form, form: body(), status: 302, headers: []traffic.Header{{Name: "Location", Value: "/welcome"}}})
	p.account = true
	a.w.accounts = append(a.w.accounts, p)
	return a.signin(t + 3)
}

// readThread reads one, and a member may answer or vote.
func (a *agent) readThread(t float64, member bool) float64 {
	r := a.r
	th := a.w.threads[min(len(a.w.threads)-1, int(r.Exp(250)))]
	a.page(t, th.path(), 1, call{})
	t += a.pause(25)
	if member && r.Chance(.08) {
		t += a.think(40, .6)
		post := "thanks"
		if r.Chance(.93) {
			post = text(r, between(r, 3, 60))
		}
		if r.Chance(.07) {
			post += " https://example.org/" + hex(r, 4)
		}
		a.do(t, "POST", fmt.Sprintf("/t/%d/reply", th.n), call{
			kind: form, form: formBody("csrf", hex(r, 16), "text", post), status: 302, headers: []traffic.Header{{Name: "Location", Value: "/t/x"}},
		})
		t += a.pause(4)
	}
	if member && r.Chance(.12) {
		a.do(t, "POST", fmt.Sprintf("/t/%d/vote", th.n), call{kind: xhr, form: formBody("dir", "up"), answer: object("n", between(r, 1, 90))})
		t += a.pause(4)
	}
	if r.Chance(.12) {
		a.do(t, "POST", fmt.Sprintf("/p/%d/like", th.n*10+between(r, 0, 9)), call{kind: xhr, form: formBody("v", "1"), answer: object("n", between(r, 1, 90))})
		t += a.pause(3)
	}
	return t
}

// seeLot looks at an auction, and a member may bid; one in ten waits for its end.
func (a *agent) seeLot(t float64, member bool) float64 {
	w, r := a.w, a.r
	var open []lot
	for _, l := range w.lots {
		if l.closes > t-day && len(open) < 120 {
			open = append(open, l)
		}
	}
	if len(open) == 0 {
		open = w.lots
	}
	l := choice(r, open)
	closes := []traffic.Header{{Name: "X-Closes", Value: w.stamp(l.closes)}}
	target := fmt.Sprintf("/lot/%d", l.n)
	a.page(t, target, 4, call{headers: closes})
	t += a.pause(15)
	if !member || l.closes <= t || !r.Chance(.12) {
		return t
	}
	if !r.Chance(.9) {
		if at := l.closes - r.Exp(60) - 2; at >= t && at <= t+1500 {
			t = at
			a.page(t-20, target, 4, call{headers: closes})
		}
	}
	c := call{kind: form, form: formBody("csrf", hex(r, 16), "amount", digit(between(r, 5, 300))), headers: closes, status: 302}
	if !r.Chance(.85) {
		c.status = 200
	}
	a.do(t, "POST", target+"/bid", c)
	return t + a.pause(8)
}

// stamp writes t as the application does in its headers.
func (w *world) stamp(t float64) string {
	return time.Unix(0, w.c.Start+int64(t*1e6)*1000).UTC().Format("2006-01-02T15:04:05.000000Z")
}
