package ingress

import (
	"net/url"
	"path"
	"strings"

	"github.com/weirproject/weir/stream/event"
)

// site is a Site made ready: its upstream and its routes.
type site struct {
	Site
	mode     event.Mode // of Config and Site together
	upstream *upstream
	routes   []compiledRoute
}

// policy is what the ingress itself needs to know about a route.
type policy struct {
	failClosed bool
	mode       event.Mode
	bodyLimit  int64 // negative: none
	unreadable *bool // nil: as the flow map says
}

type compiledRoute struct {
	method   string
	segments []string
	below    bool // a final "/*"
	policy   policy
}

// joinMode joins two levels of mode: shadow always wins, ModeNone is absent.
func joinMode(a, b event.Mode) event.Mode {
	switch {
	case a == event.ModeShadow || b == event.ModeShadow:
		return event.ModeShadow
	case a == event.ModeEnforce || b == event.ModeEnforce:
		return event.ModeEnforce
	default:
		return event.ModeShadow
	}
}

func compileSite(c *Config, s Site, up *upstream) *site {
	out := &site{Site: s, mode: joinMode(c.Mode, s.Mode), upstream: up}
	for _, r := range s.Routes {
		p := out.defaultPolicy(c.BodyLimit)
		p.mode = joinMode(p.mode, r.Mode)
		if r.FailClosed != nil {
			p.failClosed = *r.FailClosed
		}
		if r.BodyLimit != 0 {
			p.bodyLimit = r.BodyLimit
		}
		p.unreadable = r.Unreadable
		tmpl, below := strings.CutSuffix(r.Path, "/*")
		out.routes = append(out.routes, compiledRoute{
			method: r.Method, segments: strings.Split(strings.Trim(tmpl, "/"), "/"), below: below, policy: p,
		})
	}
	return out
}

func (s *site) defaultPolicy(bodyLimit int64) policy {
	if bodyLimit == 0 {
		bodyLimit = DefaultConfig().BodyLimit
	}
	return policy{failClosed: s.FailClosed, mode: s.mode, bodyLimit: bodyLimit}
}

// policyFor finds the first route that matches target, which is path and query.
// The path is decoded and cleaned first, so that "/api//transfer" or
// "/api/%74ransfer" finds the same one.
func (s *site) policyFor(method, target string, bodyLimit int64) policy {
	if len(s.routes) == 0 {
		return s.defaultPolicy(bodyLimit)
	}
	rest, _, _ := strings.Cut(target, "?")
	if plain, err := url.PathUnescape(rest); err == nil {
		rest = plain
	}
	rest = strings.Trim(path.Clean("/"+rest), "/")
	for i := range s.routes {
		if s.routes[i].matches(method, rest) {
			return s.routes[i].policy
		}
	}
	return s.defaultPolicy(bodyLimit)
}

func (c *compiledRoute) matches(method, rest string) bool {
	if c.method != "" && c.method != method {
		return false
	}
	if c.below && len(c.segments) == 1 && c.segments[0] == "" {
		return true
	}
	ended := false
	for _, want := range c.segments {
		if ended {
			return false
		}
		seg, after, more := strings.Cut(rest, "/")
		wild := len(want) > 2 && want[0] == '{' && want[len(want)-1] == '}'
		if want != seg && (!wild || seg == "") {
			return false
		}
		rest, ended = after, !more
	}
	return ended || c.below
}

// siteTable finds a site by host.
type siteTable struct {
	exact    map[string]*site
	wildcard map[string]*site // ".example.org"
	any      *site
}

func (t *siteTable) add(s *site) {
	for _, h := range s.Hosts {
		h = strings.ToLower(h)
		switch {
		case h == "*":
			t.any = s
		case strings.HasPrefix(h, "*."):
			t.wildcard[h[1:]] = s
		default:
			t.exact[h] = s
		}
	}
}

func (t *siteTable) find(host string) *site {
	if len(t.exact) == 0 && len(t.wildcard) == 0 {
		return t.any
	}
	host = strings.TrimSuffix(strings.ToLower(stripPort(host)), ".")
	if s := t.exact[host]; s != nil {
		return s
	}
	for rest := host; len(t.wildcard) > 0; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		if s := t.wildcard[rest[i:]]; s != nil {
			return s
		}
		rest = rest[i+1:]
	}
	return t.any
}

func stripPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") && i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}
