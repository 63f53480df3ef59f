package flow

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/weirproject/weir/stream/event"
)

// The fixed head of a flow map.
const (
	APIVersion = "weir/v1"
	MapKind    = "FlowMap"
)

// Bounds of a flow map.
const (
	maxRoutes   = 4096
	maxPointers = 48
)

// plan is what one compiled route asks of a request and its answer. A site has
// one plan per route and one for everything undeclared.
type plan struct {
	template string
	role     event.Role
	flags    event.Flags
	step     uint8
	cost     int64
	reject   bool // answer unreadable claims with 413

	session, device, account []selector
	claim, secret            []selector
	opens, closes            []selector
	objects                  []objectPlan
	answers                  bool // opens, closes or an object may stand in the answer
	// redact lists the path parameters that are stored as {name}.
	redact []string
	params []string // names of the template's segments, "" for literals
	rest   bool     // the last of params stands for all that follow

	body, response           pointerNode
	bodySlots, responseSlots int
	needsBody, needsForm     bool
	needsResponseBody        bool
	success, failure         *condition
}

// newPlan selects nothing: the whole of a body is no value of it, unless a
// pointer names it.
func newPlan(template string) *plan {
	p := &plan{template: template}
	p.body.slot, p.response.slot = -1, -1
	return p
}

// param names the template's parameter at a segment of a path, or is "".
func (p *plan) param(index int) string {
	if p.rest && index >= len(p.params) {
		index = len(p.params) - 1
	}
	if index >= len(p.params) {
		return ""
	}
	return p.params[index]
}

type objectPlan struct {
	name      string
	class     objectClassID
	hashed    bool
	code      bool // a coupon, a voucher or the like
	selectors []selector
}

// condition is a compiled Condition.
type condition struct {
	status  []statusRange
	body    []bodyCheck
	headers []headerCheck
}

type statusRange struct{ low, high int }

type bodyCheck struct {
	slot int
	want string // "*" is present
}

type headerCheck struct{ name, want string }

// siteMap is a compiled map.
type siteMap struct {
	routes     Table[*plan]
	undeclared *plan
	newSession []selector // where an answer sets a session
	newDevice  []selector
	// vouching is where an answer names the account.
	vouching []selector
}

// Check reports all faults of a map, each with its YAML path; nil when it can
// be used.
func (m *Map) Check() []Fault {
	_, faults := m.compile()
	return faults
}

// Validate is Check as one error.
func (m *Map) Validate() error {
	var errs []error
	for _, f := range m.Check() {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

// compiler collects faults while it builds the plans.
type compiler struct {
	m      *Map
	faults []Fault
}

func (c *compiler) fault(path, format string, args ...any) {
	c.faults = append(c.faults, Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (m *Map) compile() (*siteMap, []Fault) {
	c := &compiler{m: m}
	if m.APIVersion != APIVersion {
		c.fault("apiVersion", "%q is not supported, want %q", m.APIVersion, APIVersion)
	}
	if m.Kind != MapKind {
		c.fault("kind", "%q is not a flow map, want %q", m.Kind, MapKind)
	}
	if m.Site == "" {
		c.fault("site", "is required: the name of the protected application")
	}
	if len(m.Routes) > maxRoutes {
		c.fault("routes", "%d routes, at most %d", len(m.Routes), maxRoutes)
		return nil, c.faults
	}
	s := &siteMap{undeclared: newPlan("")}
	c.overrides("", m.Hash, m.Plain)
	c.identifiers(s, s.undeclared, true)
	if s.undeclared.needsBody {
		// Reading every body of the site would be the wrong default.
		strip := func(list []selector) []selector {
			return slices.DeleteFunc(slices.Clone(list), func(s selector) bool { return s.from == fromBody || s.from == fromForm })
		}
		u := s.undeclared
		u.session, u.device, u.account = strip(u.session), strip(u.device), strip(u.account)
		u.needsBody, u.needsForm = false, false
	}
	for i := range m.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		p := c.route(s, &m.Routes[i], path)
		if m.Routes[i].Match.Path == "" {
			c.fault(path+".match.path", "is required, for example /item/{id}")
		} else if err := s.routes.Add(m.Routes[i].Match.Method, m.Routes[i].Match.Path, p); err != nil {
			c.fault(path+".match", "%v", err)
		}
	}
	return s, c.faults
}

func (c *compiler) overrides(path string, hash, plain []string) {
	for i, name := range plain {
		if neverPlain(name) {
			c.fault(fmt.Sprintf("%splain[%d]", path, i), "%q is a secret or a card number and can never stay readable", name)
		}
		if slices.Contains(hash, name) {
			c.fault(fmt.Sprintf("%splain[%d]", path, i), "%q is in hash as well", name)
		}
	}
}

// identifiers compiles the site's identifiers into p. Response sources yield
// what the application sets (or, for accounts, vouches for); request sources
// are what a request carries.
func (c *compiler) identifiers(s *siteMap, p *plan, first bool) {
	take := func(name string, list Selectors) (request, response []selector) {
		for i, text := range list {
			path := fmt.Sprintf("identifiers.%s[%d]", name, i)
			sel, ok := c.selector(p, path, text, true, first)
			switch {
			case !ok:
			case sel.from.inResponse():
				response = append(response, sel)
			case sel.from == fromPath && first:
				c.fault(path, "path: selectors depend on a route and cannot identify")
			default:
				request = append(request, sel)
			}
		}
		return request, response
	}
	ids := &c.m.Identifiers
	var set, setDevice, vouch []selector
	p.session, set = take("session", ids.Session)
	p.device, setDevice = take("device", ids.Device)
	p.account, vouch = take("account", ids.Account)
	if first {
		s.newSession, s.newDevice, s.vouching = issued(p.session, set), issued(p.device, setDevice), vouch
	}
}

// issued lists where an answer sets an identifier: the declared response
// sources, then Set-Cookie for each cookie that requests carry.
func issued(request, response []selector) []selector {
	out := slices.Clone(response)
	for _, s := range request {
		if s.from == fromCookie {
			out = append(out, selector{from: fromSetCookie, name: s.name})
		}
	}
	return out
}

// selector compiles one selector of plan p; quiet suppresses faults that a
// first pass has reported.
func (c *compiler) selector(p *plan, path, text string, allowResponse, report bool) (selector, bool) {
	sel, err := parseSelector(text)
	if err == nil && sel.from.inResponse() && !allowResponse {
		err = fmt.Errorf("selector %q reads the response; only identifiers, outcomes, objects, opens and closes can", text)
	}
	if err == nil && sel.from == fromPath && !slices.Contains(p.params, sel.name) && p.template != "" {
		err = fmt.Errorf("selector %q: the route's path has no segment {%s}%s", text, sel.name, Nearest(sel.name, p.params))
	}
	if err != nil {
		if report {
			c.fault(path, "%v", err)
		}
		return sel, false
	}
	switch sel.from {
	case fromBody:
		sel.slot = p.body.add(sel.name, &p.bodySlots)
		p.needsBody = true
	case fromForm:
		p.needsBody, p.needsForm = true, true
	case fromResponseBody:
		sel.slot = p.response.add(sel.name, &p.responseSlots)
		p.needsResponseBody = true
	default: // the others stand in the head
	}
	return sel, true
}

// selectors compiles a list; answered is true for what the answer may name too.
func (c *compiler) selectors(p *plan, path string, list Selectors, answered bool) (out []selector) {
	for i, text := range list {
		at := path
		if len(list) > 1 {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		sel, ok := c.selector(p, at, text, answered, true)
		switch {
		case !ok:
		case sel.from == fromSetCookie:
			c.fault(at, "selector %q: a cookie that is being set can only identify", text)
		default:
			out = append(out, sel)
			p.answers = p.answers || sel.from.inResponse()
		}
	}
	return out
}

func (c *compiler) route(s *siteMap, r *Route, path string) *plan {
	p := newPlan(r.Match.Path)
	if segments, err := parseTemplate(r.Match.Path); err == nil {
		for _, seg := range segments {
			if !seg.param && !seg.rest {
				seg.text = ""
			}
			p.params = append(p.params, seg.text)
			p.rest = seg.rest
		}
	}
	var err error
	if p.role, err = event.ParseRole(r.Role); err != nil {
		c.fault(path+".role", "%v%s", err, Nearest(r.Role, event.RoleNames()))
	}
	c.identifiers(s, p, false)
	p.claim = c.selectors(p, path+".claims.account", r.Claims.Account, false)
	p.secret = c.selectors(p, path+".claims.secret", r.Claims.Secret, false)
	p.opens = c.selectors(p, path+".opens", r.Opens, true)
	p.closes = c.selectors(p, path+".closes", r.Closes, true)
	c.objects(p, r, path)
	c.outcome(p, r, path+".outcome")
	c.numbers(p, r, path)
	switch {
	case r.Proves == "":
	case r.Proves != "account":
		c.fault(path+".proves", "%q cannot be proved: did you mean \"account\"?", r.Proves)
	case len(r.Claims.Account) == 0:
		c.fault(path+".proves", "needs claims.account, the account that is proved")
	case r.Outcome.Success == nil:
		c.fault(path+".proves", "needs outcome.success, otherwise nothing ever proves the claim")
	default:
		p.flags |= event.FlagProves
	}
	switch r.Unreadable {
	case "":
		p.reject = p.role == event.RoleLogin
	case UnreadablePass, UnreadableReject:
		p.reject = r.Unreadable == UnreadableReject
	default:
		c.fault(path+".unreadable", "%q is not known%s", r.Unreadable, Nearest(r.Unreadable, []string{UnreadablePass, UnreadableReject}))
	}
	if p.bodySlots > maxPointers || p.responseSlots > maxPointers {
		c.fault(path, "more than %d JSON pointers in one route", maxPointers)
	}
	p.needsBody = p.needsBody || p.role == event.RolePost // its content is compared
	p.redact = redactedParams(p)
	return p
}

func (c *compiler) objects(p *plan, r *Route, path string) {
	if len(r.Objects) > event.MaxObjects {
		c.fault(path+".objects", "%d objects, at most %d", len(r.Objects), event.MaxObjects)
	}
	c.overrides(path+".", r.Hash, r.Plain)
	seen := map[string]bool{}
	for _, o := range r.Objects {
		at := path + ".objects." + o.Name
		switch {
		case !isName(strings.ReplaceAll(o.Name, ".", "_")):
			c.fault(at, "object name %q must be letters, digits, _ and -", o.Name)
		case seen[o.Name]:
			c.fault(at, "is declared twice")
		case len(o.Selectors) == 0:
			c.fault(at, "has no selector")
		}
		seen[o.Name] = true
		op := objectPlan{name: o.Name, class: objectClass(o.Name), code: isCode(o.Name), selectors: c.selectors(p, at, o.Selectors, true)}
		op.hashed = op.class.hashed()
		if slices.Contains(c.m.Hash, o.Name) {
			op.hashed = true
		}
		if slices.Contains(c.m.Plain, o.Name) {
			op.hashed = false
		}
		if slices.Contains(r.Hash, o.Name) {
			op.hashed = true
		}
		if slices.Contains(r.Plain, o.Name) {
			op.hashed = false
		}
		op.hashed = op.hashed || neverPlain(o.Name)
		p.objects = append(p.objects, op)
	}
	for i, name := range append(slices.Clone(r.Hash), r.Plain...) {
		if !seen[name] {
			var names []string
			for _, o := range r.Objects {
				names = append(names, o.Name)
			}
			list := "hash"
			if i >= len(r.Hash) {
				list, i = "plain", i-len(r.Hash)
			}
			c.fault(fmt.Sprintf("%s.%s[%d]", path, list, i), "the route has no object %q%s", name, Nearest(name, names))
		}
	}
}

func (c *compiler) outcome(p *plan, r *Route, path string) {
	p.success = c.condition(p, r.Outcome.Success, path+".success")
	p.failure = c.condition(p, r.Outcome.Failure, path+".failure")
}

func (c *compiler) condition(p *plan, in *Condition, path string) *condition {
	if in == nil {
		return nil
	}
	out := &condition{}
	if in.Status == "" && len(in.ResponseBody) == 0 && len(in.ResponseHeader) == 0 {
		c.fault(path, "is empty: want status, response_body or response_header")
	}
	var err error
	if out.status, err = parseStatus(in.Status); err != nil {
		c.fault(path+".status", "%v", err)
	}
	for _, pointer := range sortedKeys(in.ResponseBody) {
		if err := checkPointer(pointer); err != nil {
			c.fault(path+".response_body", "%v", err)
			continue
		}
		slot := p.response.add(pointer, &p.responseSlots)
		out.body = append(out.body, bodyCheck{slot: slot, want: in.ResponseBody[pointer]})
		p.needsResponseBody = true
	}
	for _, name := range sortedKeys(in.ResponseHeader) {
		if !isToken(name) {
			c.fault(path+".response_header", "%q is no header name", name)
		}
		out.headers = append(out.headers, headerCheck{name: name, want: in.ResponseHeader[name]})
	}
	return out
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (c *compiler) numbers(p *plan, r *Route, path string) {
	if r.Cost < 0 || r.Cost > 1e9 || math.IsNaN(r.Cost) {
		c.fault(path+".cost", "%v is not between 0 and 1e9", r.Cost)
	} else {
		p.cost = int64(math.Round(r.Cost * 1000))
	}
	switch {
	case r.Step < 0 || r.Step > 255:
		c.fault(path+".step", "%d is not between 1 and 255", r.Step)
	case r.Step > 0 && p.role != event.RoleCheckoutStep:
		c.fault(path+".step", "only a route with role checkout_step has a step")
	case r.Step == 0 && p.role == event.RoleCheckoutStep:
		c.fault(path+".step", "is required for role checkout_step")
	default:
		p.step = uint8(r.Step)
	}
}

// parseStatus reads "200,204,300-399,5xx".
func parseStatus(s string) ([]statusRange, error) {
	if s == "" {
		return nil, nil
	}
	var out []statusRange
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if len(part) == 3 && strings.EqualFold(part[1:], "xx") && part[0] >= '1' && part[0] <= '5' {
			low := int(part[0]-'0') * 100
			out = append(out, statusRange{low, low + 99})
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		low, err := strconv.Atoi(strings.TrimSpace(from))
		high := low
		if err == nil && isRange {
			high, err = strconv.Atoi(strings.TrimSpace(to))
		}
		if err != nil || low < 100 || high > 599 || low > high {
			return nil, fmt.Errorf("status %q: want codes (200), ranges (200-299) or classes (2xx) between 100 and 599", part)
		}
		out = append(out, statusRange{low, high})
	}
	return out, nil
}

// redactedParams lists the path parameters that feed a hashed object, a claim,
// or an identifier.
func redactedParams(p *plan) []string {
	var names []string
	take := func(list []selector) {
		for _, s := range list {
			if s.from == fromPath && !slices.Contains(names, s.name) {
				names = append(names, s.name)
			}
		}
	}
	take(p.claim)
	take(p.secret)
	for _, o := range p.objects {
		if o.hashed {
			take(o.selectors)
		}
	}
	return names
}
