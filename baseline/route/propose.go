package route

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// route writes a candidate as a flow map's route.
func (c *candidate) route() flow.Route {
	role := c.rule.role
	r := flow.Route{Match: flow.Match{Method: c.method, Path: mapPath(c.template)}, Role: role}
	have := c.classes()
	if role == "login" || role == "reset" || role == "signup" {
		if who := cmp.Or(have[account], have[email], have[phone]); who != "" {
			r.Claims.Account = flow.Selectors{who}
		}
		if have[secret] != "" && role != "reset" {
			r.Claims.Secret = flow.Selectors{have[secret]}
		}
	}
	for _, w := range wanted[role] {
		from := have[w.class]
		if role == "coupon_apply" {
			from = cmp.Or(from, have[otp]) // a field that is only called "code"
		}
		if role == "captcha_issue" || role == "captcha_verify" {
			from = cmp.Or(from, c.named("token"), c.named("nonce"), c.named("response"))
		}
		if from != "" {
			r.Objects = append(r.Objects, flow.NamedSelectors{Name: w.name, Selectors: flow.Selectors{from}})
		}
	}
	c.pathObject(&r)
	if slices.Contains(judged, role) {
		r.Outcome = c.outcome()
		if r.Outcome.Success != nil && len(r.Claims.Account) > 0 && (role == "login" || role == "signup") {
			r.Proves = "account"
		}
	}
	return r
}

// named finds a field whose last word is name.
func (c *candidate) named(name string) string {
	for _, in := range [...]struct {
		prefix string
		fields map[string]*field
	}{{"body:", c.body}, {"form:", c.form}, {"query:", c.query}} {
		for _, f := range slices.Sorted(maps.Keys(in.fields)) {
			if slices.Contains(tokens(f), name) {
				return in.prefix + f
			}
		}
	}
	return ""
}

func (c *candidate) pathObject(r *flow.Route) {
	name := inPath[r.Role]
	if name == "" {
		return
	}
	variable := ""
	for seg := range strings.SplitSeq(r.Match.Path, "/") {
		if strings.HasPrefix(seg, "{") && !strings.HasSuffix(seg, "...}") {
			variable = strings.Trim(seg, "{}")
		}
	}
	known := slices.ContainsFunc(r.Objects, func(o flow.NamedSelectors) bool { return o.Name == name })
	if variable != "" && !known {
		r.Objects = append(r.Objects, flow.NamedSelectors{Name: name, Selectors: flow.Selectors{"path:" + variable}})
	}
}

// failing are the statuses by which applications say no to a person.
var failing = []int{400, 401, 402, 403, 404, 409, 410, 412, 422, 423, 429}

// outcome tells success from failure by the mix of answers.
func (c *candidate) outcome() (o flow.Outcome) {
	var good, bad, moved []string
	for _, code := range slices.Sorted(maps.Keys(c.codes)) {
		switch {
		case code >= 200 && code < 300:
			good = append(good, strconv.Itoa(code))
		case code == 301 || code == 302 || code == 303:
			moved = append(moved, strconv.Itoa(code))
		case slices.Contains(failing, code) && code != 404 && code != 429:
			bad = append(bad, strconv.Itoa(code))
		}
	}
	switch {
	case len(bad) == 0 && len(moved) > 0 && len(good) > 0 && c.html > 0:
		// A form that is shown again on failure and redirects on success.
		return flow.Outcome{Success: &flow.Condition{Status: strings.Join(moved, ",")}, Failure: &flow.Condition{Status: strings.Join(good, ",")}}
	case len(good)+len(moved) == 0:
		return o
	}
	o.Success = &flow.Condition{Status: strings.Join(append(good, moved...), ",")}
	if len(bad) > 0 {
		o.Failure = &flow.Condition{Status: strings.Join(bad, ",")}
	}
	if at := c.telling(); at != "" {
		o.Success.ResponseBody = map[string]string{at: "true"}
		if o.Failure == nil && c.bools[at].bad > 0 {
			o.Failure = &flow.Condition{Status: o.Success.Status, ResponseBody: map[string]string{at: "false"}}
		}
	}
	return o
}

// telling finds a boolean of the answer that says whether it worked: one of a
// telling name, or one that is sometimes true and sometimes false.
func (c *candidate) telling() string {
	var named string
	for _, at := range slices.Sorted(maps.Keys(c.bools)) {
		b := c.bools[at]
		if strings.Count(at, "/") != 1 || (b.good+b.bad)*2 < c.count/4 || b.good == 0 {
			continue
		}
		word := hit(tokens(at), []string{"approved", "success", "ok", "valid", "accepted", "authorized", "authenticated"})
		switch {
		case word != "" && b.bad > 0:
			return at
		case word == "approved" || word == "authorized":
			named = at
		}
	}
	return named
}

// mapPath writes a template as a flow map's path: variables fill whole segments
// and have names of their own.
func mapPath(template string) string {
	segments := strings.Split(template, "/")
	seen := map[string]int{}
	for i, seg := range segments {
		if !strings.ContainsAny(seg, "{}") && seg != "*" {
			continue
		}
		name := seg[strings.IndexByte(seg, '{')+1:]
		name, _, _ = strings.Cut(name, "}")
		name = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
				return r
			}
			return -1
		}, name)
		if name == "" {
			name = "value"
		}
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprint(name, seen[name])
		}
		if seg == "{rest}" && i == len(segments)-1 {
			name += "..."
		}
		segments[i] = "{" + name + "}"
	}
	return strings.Join(segments, "/")
}

// Words in the names of cookies.
var (
	sessionWords = []string{"sid", "sess", "session", "sessionid", "sessid", "phpsessid", "jsessionid", "connectsid", "auth", "token", "login", "aspnetsessionid", "jwt"}
	deviceWords  = []string{"did", "device", "deviceid", "visitor", "visitorid", "browser", "browserid", "client", "clientid", "cid", "fp", "machine", "vid", "uid"}
	otherWords   = []string{"csrf", "xsrf", "csrftoken", "xsrftoken", "consent", "lang", "language", "locale", "theme", "currency", "cart", "utm"}
)

// identify proposes what names the session, the device and the account.
func (s *Survey) identify(p *Proposal, all []*candidate) {
	best := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(s.cookies)) {
		c := s.cookies[name]
		words := tokens(name)
		if c.set == 0 || c.sent == 0 || hit(words, otherWords) != "" {
			continue // what the application never set, or nobody returns, proves nothing
		}
		lasting := c.lasting*2 > c.set
		session, device := 0, 0
		why := []string{fmt.Sprintf("the application sets cookie %s and %d requests return it", name, c.sent)}
		if hit(words, sessionWords) != "" {
			session += 40
		}
		if hit(words, deviceWords) != "" {
			device += 40
		}
		if lasting {
			device += 20
			why = append(why, "kept over visits")
		} else {
			session += 20
			why = append(why, "gone with the browser")
		}
		if c.httpOnly*2 > c.set {
			session += 10
			why = append(why, "hidden from scripts")
		}
		for _, e := range all {
			if v := e.sets[name]; v != nil && e.rule != nil && e.rule.role == "login" && v.good > v.bad*2 && v.good*2 > e.successes() {
				session += 40
				why = append(why, "new at each log-in")
			}
		}
		if session > device && session >= 30 && session > best["session"] {
			best["session"] = session
			p.Map.Identifiers.Session, p.Identifiers["session"] = flow.Selectors{"cookie:" + name}, strings.Join(why, ", ")
		} else if device >= session && device >= 40 && device > best["device"] {
			best["device"] = device
			p.Map.Identifiers.Device, p.Identifiers["device"] = flow.Selectors{"cookie:" + name}, strings.Join(why, ", ")
		}
	}
	if len(p.Map.Identifiers.Session) == 0 && s.tokens*20 >= s.headers && s.tokens > 0 {
		p.Map.Identifiers.Session = flow.Selectors{"header:Authorization"}
		p.Identifiers["session"] = fmt.Sprintf("no session cookie, and %d requests carry the field Authorization", s.tokens)
	}
	for _, name := range slices.Sorted(maps.Keys(s.device)) {
		p.Map.Identifiers.Device = append(p.Map.Identifiers.Device, "header:"+name)
		p.Identifiers["device"] = strings.TrimPrefix(p.Identifiers["device"]+fmt.Sprintf("; %d requests carry the field %s", s.device[name], name), "; ")
	}
	s.vouched(p, all)
}

// successes counts answers of the classes 2xx and 3xx.
func (m *mark) successes() (n uint64) {
	for code, k := range m.codes {
		if code >= 200 && code < 400 {
			n += k
		}
	}
	return n
}

// vouched finds the response field that names the signed-in account.
func (s *Survey) vouched(p *Proposal, all []*candidate) {
	total := map[string]uint64{}
	for _, e := range all {
		for name, v := range e.vouches {
			total[name] += v.good
		}
	}
	best := uint64(1)
	for _, name := range slices.Sorted(maps.Keys(total)) {
		if total[name] > best {
			best = total[name]
			p.Map.Identifiers.Account = flow.Selectors{"response_header:" + name}
			p.Identifiers["account"] = fmt.Sprintf("%d answers carry the field %s: check that it names the signed-in account, and that no request can set it", best, name)
		}
	}
}
