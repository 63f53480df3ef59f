package route

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// Bounds of a survey. What finds no room is left out; Survey.lost counts it.
const (
	maxMarks     = 4096
	maxFields    = 48
	maxNameBytes = 80
	maxCookies   = 64
	maxCodes     = 24
	maxBefore    = 12
	maxClients   = 8192
	maxBodyBytes = 64 << 10
	maxBodyDepth = 5
	// visitGap in nanoseconds ends a visit.
	visitGap = int64(30 * 60 * 1e9)
)

// Survey gathers what exchanges show about an application beyond the inventory:
// the names of parameters, body fields, cookies and header fields, the mix of
// answers, and what visitors asked for before. It keeps names, counts and the
// look of values (a card number, an e-mail address), never a value. The same
// exchanges in the same order give the same proposal. Not safe for concurrent
// use.
type Survey struct {
	learner *Learner
	marks   map[spot]*mark
	cookies map[string]*cookie
	clients map[string]*client
	// tokens counts requests with an Authorization field, device those with a
	// header field that names a device.
	tokens    uint64
	device    map[string]uint64
	exchanges uint64
	headers   uint64
	lost      uint64
}

// spot is a template and a method, as they were known at the time.
type spot struct{ template, method string }

// split counts something on answers that succeeded and on the others.
type split struct{ good, bad uint64 }

func (s *split) count(good bool, n uint64) {
	if good {
		s.good += n
	} else {
		s.bad += n
	}
}

// mark is the evidence about one spot.
type mark struct {
	count     uint64
	codes     map[int]uint64
	query     map[string]*field
	body      map[string]*field // JSON pointers
	form      map[string]*field
	html      uint64
	sets      map[string]*split
	vouches   map[string]*split
	bools     map[string]*split // pointers of JSON booleans in 2xx answers: true, false
	before    map[spot]uint64   // spots of the same visit before
	redirects uint64
}

// cookie is what a cookie's traffic showed.
type cookie struct{ set, sent, lasting, httpOnly uint64 }

// client is one visitor's last spots, newest first.
type client struct {
	at   int64
	last [4]spot
}

// NewSurvey makes an empty survey.
func NewSurvey() *Survey {
	l, _ := New(Config{}) // cannot fail: the defaults are valid
	return &Survey{learner: l, marks: map[spot]*mark{}, cookies: map[string]*cookie{}, clients: map[string]*client{}, device: map[string]uint64{}}
}

// AddCount counts n answers that only a log or a table of them shows.
func (s *Survey) AddCount(o Observation, n uint64) {
	if m, _ := s.mark(o, n); m != nil {
		for name := range strings.SplitSeq(o.QueryKeys, "&") {
			s.note(&m.query, name, "", n)
		}
	}
}

// Add takes one exchange. Nothing of x is kept but names.
func (s *Survey) Add(x *flow.Exchange) {
	path, query, _ := strings.Cut(x.Target, "?")
	m, at := s.mark(Observation{Time: x.Time.UnixNano(), Method: x.Method, Path: path, Status: uint16(x.Status)}, 1)
	s.requestHeaders(x)
	if m == nil {
		return
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil {
			s.note(&m.query, name, value, 1)
		}
	}
	s.requestBody(m, x)
	s.answer(m, x)
	s.visit(m, at, x)
}

// mark finds the evidence of a spot, nil for a path the application does not
// know, for static files, and when there is no room.
func (s *Survey) mark(o Observation, n uint64) (*mark, spot) {
	s.exchanges += n
	match := s.learner.Observe(o)
	at := spot{match.Template, o.Method}
	if match.Unknown || match.Asset {
		return nil, at
	}
	m := s.marks[at]
	if m == nil {
		if len(s.marks) >= maxMarks || methodIndex(o.Method) == 8 {
			s.lost++
			return nil, at
		}
		at.method = strings.Clone(o.Method)
		m = &mark{codes: map[int]uint64{}}
		s.marks[at] = m
	}
	m.count += n
	if _, known := m.codes[int(o.Status)]; known || len(m.codes) < maxCodes {
		m.codes[int(o.Status)] += n
	}
	return m, at
}

// note counts a field; value only lends its look.
func (s *Survey) note(to *map[string]*field, name, value string, n uint64) {
	if name == "" || len(name) > maxNameBytes || !tame(name) {
		return
	}
	f := (*to)[name]
	if f == nil {
		if len(*to) >= maxFields {
			s.lost++
			return
		}
		if *to == nil {
			*to = map[string]*field{}
		}
		f = &field{}
		(*to)[strings.Clone(name)] = f
	}
	f.count += n
	if value != "" {
		f.looks[lookOf(value)] += n
	}
}

// tame keeps names that can be written into a map as they are.
func tame(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// isToken reports whether name is a token of RFC 9110 5.6.2, as names of cookies
// and header fields are.
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != "" && len(name) <= maxNameBytes
}

func (s *Survey) requestHeaders(x *flow.Exchange) {
	if !x.HeadersKnown {
		return
	}
	s.headers++
	for _, h := range x.Headers {
		switch name := strings.ToLower(h.Name); {
		case name == "cookie":
			for pair := range strings.SplitSeq(h.Value, ";") {
				name, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
				if c := s.cookie(name); c != nil {
					c.sent++
				}
			}
		case name == "authorization":
			s.tokens++
		case strings.Contains(name, "device") && isToken(h.Name):
			if _, known := s.device[h.Name]; known || len(s.device) < 8 {
				s.device[strings.Clone(h.Name)]++
			}
		}
	}
}

func (s *Survey) cookie(name string) *cookie {
	c := s.cookies[name]
	if c == nil {
		if !isToken(name) || len(s.cookies) >= maxCookies {
			return nil
		}
		c = &cookie{}
		s.cookies[strings.Clone(name)] = c
	}
	return c
}

// requestBody notes the names of a JSON or form body's fields.
func (s *Survey) requestBody(m *mark, x *flow.Exchange) {
	body := bytes.TrimSpace(x.Body)
	switch {
	case len(body) == 0 || len(body) > maxBodyBytes || x.BodyTruncated:
	case body[0] == '{' || body[0] == '[':
		walk(body, func(pointer string, value any) {
			text, _ := value.(string)
			if n, ok := value.(json.Number); ok {
				text = n.String()
			}
			s.note(&m.body, pointer, text, 1)
		})
	case body[0] != '<' && bytes.IndexByte(body, '=') > 0 && bytes.IndexByte(body, '\n') < 0:
		for pair := range strings.SplitSeq(string(body), "&") {
			name, value, _ := strings.Cut(pair, "=")
			name, err1 := url.QueryUnescape(name)
			value, err2 := url.QueryUnescape(value)
			if err1 == nil && err2 == nil {
				s.note(&m.form, name, value, 1)
			}
		}
	}
}

// walk calls leaf for each value of a JSON document with its pointer (RFC
// 6901); of an array only for the first element. It ends at the first fault.
func walk(body []byte, leaf func(pointer string, value any)) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	_ = walkValue(d, "", 0, leaf) // what was read before a fault counts
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

func walkValue(d *json.Decoder, pointer string, depth int, leaf func(string, any)) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	delim, ok := t.(json.Delim)
	switch {
	case !ok:
		leaf(pointer, t)
		return nil
	case depth == maxBodyDepth:
		return io.EOF
	}
	for i := 0; d.More(); i++ {
		at := pointer + "/0"
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string)
			at = pointer + "/" + escapePointer.Replace(text)
		}
		to := leaf
		if delim == '[' && i > 0 {
			to = func(string, any) {}
		}
		if err := walkValue(d, at, depth+1, to); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// vouching are the words of response fields that name the signed-in account.
var vouching = []string{"xuser", "xuserid", "xaccount", "xaccountid", "xauthuser", "xremoteuser", "xauthenticateduser", "xmember", "xcustomer"}

// answer notes what the response's header and body say.
func (s *Survey) answer(m *mark, x *flow.Exchange) {
	good := x.Status >= 200 && x.Status < 400
	if x.Status >= 300 && x.Status < 400 {
		m.redirects++
	}
	for _, h := range x.ResponseHeaders {
		switch name := strings.ToLower(h.Name); {
		case name == "set-cookie":
			s.setCookie(m, h.Value, good)
		case name == "content-type":
			if strings.HasPrefix(h.Value, "text/html") {
				m.html++
			}
		case strings.HasPrefix(name, "x") && isToken(name) && hit(tokens(name), vouching) != "":
			count(&m.vouches, h.Name, good)
		}
	}
	if body := bytes.TrimSpace(x.ResponseBody); good && len(body) > 1 && body[0] == '{' && len(body) <= maxBodyBytes && !x.ResponseBodyTruncated {
		walk(body, func(pointer string, value any) {
			if v, ok := value.(bool); ok && len(pointer) <= maxNameBytes && tame(pointer) {
				count(&m.bools, pointer, v)
			}
		})
	}
}

func count(to *map[string]*split, name string, good bool) {
	if *to == nil {
		*to = map[string]*split{}
	}
	if (*to)[name] == nil {
		if len(*to) >= maxFields {
			return
		}
		(*to)[strings.Clone(name)] = &split{}
	}
	(*to)[name].count(good, 1)
}

func (s *Survey) setCookie(m *mark, value string, good bool) {
	name, rest, _ := strings.Cut(value, "=")
	c := s.cookie(strings.TrimSpace(name))
	if c == nil {
		return
	}
	c.set++
	_, attributes, _ := strings.Cut(strings.ToLower(rest), ";")
	if strings.Contains(attributes, "max-age") || strings.Contains(attributes, "expires") {
		c.lasting++
	}
	if strings.Contains(attributes, "httponly") {
		c.httpOnly++
	}
	count(&m.sets, strings.TrimSpace(name), good)
}

// visit notes what the same visitor asked for before. A visitor is an address
// with a program: an office behind one address blurs it, so that it is a hint
// beside others.
func (s *Survey) visit(m *mark, at spot, x *flow.Exchange) {
	agent := ""
	for _, h := range x.Headers {
		if strings.EqualFold(h.Name, "user-agent") {
			agent = h.Value[:min(len(h.Value), 256)]
		}
	}
	who := x.Client.Addr().String() + " " + agent
	now := x.Time.UnixNano()
	c := s.clients[who]
	if c == nil {
		if len(s.clients) >= maxClients {
			clear(s.clients) // all begin anew: a hint is lost, not an error
		}
		c = &client{}
		s.clients[who] = c
	}
	if now-c.at > visitGap {
		c.last = [4]spot{}
	}
	c.at = now
	for i, b := range c.last {
		if b.template == "" || b == at || slices.Contains(c.last[:i], b) {
			continue
		}
		if _, known := m.before[b]; known || len(m.before) < maxBefore {
			if m.before == nil {
				m.before = map[spot]uint64{}
			}
			m.before[b]++
		}
	}
	if c.last[0] != at {
		copy(c.last[1:], c.last[:3])
		c.last[0] = at
	}
}

// merge adds b to m, whose spot turned out to be the same.
func (m *mark) merge(b *mark) {
	m.count += b.count
	m.html += b.html
	m.redirects += b.redirects
	for k, n := range b.codes {
		m.codes[k] += n
	}
	for _, pair := range [...]struct{ to, from *map[string]*field }{{&m.query, &b.query}, {&m.body, &b.body}, {&m.form, &b.form}} {
		for name, f := range *pair.from {
			if *pair.to == nil {
				*pair.to = map[string]*field{}
			}
			t := (*pair.to)[name]
			if t == nil {
				t = &field{}
				(*pair.to)[name] = t
			}
			t.count += f.count
			for i, n := range f.looks {
				t.looks[i] += n
			}
		}
	}
	for _, pair := range [...]struct{ to, from *map[string]*split }{{&m.sets, &b.sets}, {&m.vouches, &b.vouches}, {&m.bools, &b.bools}} {
		for name, v := range *pair.from {
			if *pair.to == nil {
				*pair.to = map[string]*split{}
			}
			if (*pair.to)[name] == nil {
				(*pair.to)[name] = &split{}
			}
			(*pair.to)[name].good += v.good
			(*pair.to)[name].bad += v.bad
		}
	}
	for k, n := range b.before {
		if m.before == nil {
			m.before = map[spot]uint64{}
		}
		m.before[k] += n
	}
}
