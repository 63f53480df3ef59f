package flow

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirproject/weir/stream/event"
)

// DefaultSessions is how many sessions' proven owners an Extractor remembers
// unless told otherwise; about 60 bytes each, taken as they come.
const DefaultSessions = 1 << 18

// failedSecrets bounds the secrets whose failure is remembered.
const failedSecrets = 1 << 16

// Config says what an Extractor works with.
type Config struct {
	// Keys makes the pseudonyms; required.
	Keys *Keyring
	// Sites are the protected applications.
	Sites []Site
	// DefaultSite names the site of hosts that no site declares; empty is
	// "default".
	DefaultSite string
	// Lookup says what is known of a client address at capture, and whether the
	// bot that the user agent declares is what it says; nil when there is no
	// data. It must be safe for concurrent use, must not block, and keeps nothing.
	Lookup func(client netip.Addr, userAgent string) Network
	// Sessions bounds the sessions whose proven owner is remembered; 0 is
	// DefaultSessions.
	Sessions int
	// Inherit is the extractor that this one replaces on a reload; it hands on
	// whose sessions are whose. Both may still be in use.
	Inherit *Extractor
}

// Network is what look-up data knows of an address.
type Network struct {
	ASN     uint32
	Country string
	// VerifiedBot: a declared search bot whose address was verified.
	VerifiedBot bool
}

// Site is one protected application.
type Site struct {
	Name string
	// Hosts are host names; "*" is all, "*.shop.example" all below.
	Hosts []string
	// Map may be nil: everything that needs no declaration works without it.
	Map *Map
}

// Extractor turns exchanges into events. It is safe for concurrent use.
type Extractor struct {
	keys     *Keyring
	sites    map[string]*siteMap
	hosts    map[string]string
	suffixes []hostSuffix
	fallback string
	lookup   func(netip.Addr, string) Network
	owners   *owners
	failed   *owners // secrets that failed -> the first account they failed with
	payloads *payloads
}

type hostSuffix struct{ suffix, site string }

// empty is the map of a site without one.
var empty = &siteMap{undeclared: newPlan("")}

// NewExtractor checks and compiles the sites' maps; the error joins all faults.
func NewExtractor(cfg Config) (*Extractor, error) {
	var errs []error
	if cfg.Keys == nil || len(cfg.Keys.keys) == 0 {
		errs = append(errs, errors.New("no pseudonym key"))
	}
	if cfg.Sessions <= 0 {
		cfg.Sessions = DefaultSessions
	}
	if cfg.DefaultSite == "" {
		cfg.DefaultSite = "default"
	}
	e := &Extractor{
		keys: cfg.Keys, sites: map[string]*siteMap{}, hosts: map[string]string{},
		fallback: cfg.DefaultSite, lookup: cfg.Lookup, owners: newOwners(cfg.Sessions), failed: newOwners(failedSecrets),
		payloads: loadPayloads(),
	}
	if cfg.Inherit != nil {
		e.owners, e.failed = cfg.Inherit.owners, cfg.Inherit.failed
	}
	for i, s := range cfg.Sites {
		if s.Name == "" || e.sites[s.Name] != nil {
			errs = append(errs, fmt.Errorf("sites[%d].name: %q is empty or taken", i, s.Name))
		}
		compiled := empty
		if s.Map != nil {
			var faults []Fault
			compiled, faults = s.Map.compile()
			for _, f := range faults {
				errs = append(errs, fmt.Errorf("sites[%d].flows: %v", i, f))
			}
			if s.Map.Site != s.Name {
				errs = append(errs, fmt.Errorf("sites[%d].flows: the map is for site %q, not %q", i, s.Map.Site, s.Name))
			}
		}
		e.sites[s.Name] = compiled
		errs = append(errs, e.addHosts(i, s)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Extractor) addHosts(i int, s Site) (errs []error) {
	for j, h := range s.Hosts {
		name := asciiLower(strings.TrimSuffix(h, "."))
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			e.suffixes = append(e.suffixes, hostSuffix{suffix: suffix, site: s.Name})
			continue
		}
		if name = hostName(name); name == "" {
			errs = append(errs, fmt.Errorf("sites[%d].hosts[%d]: %q is no host name", i, j, h))
		} else if other := e.hosts[name]; other != "" && other != s.Name {
			errs = append(errs, fmt.Errorf("sites[%d].hosts[%d]: %q belongs to site %q", i, j, h, other))
		}
		e.hosts[name] = s.Name
	}
	return errs
}

func (e *Extractor) key() *macKey { return e.keys.keys[0] }

// KeyID names the key that the events' pseudonyms are made with.
func (e *Extractor) KeyID() string { return e.keys.KeyID() }

// SiteOf returns the site of a host name: an exact match, then the longest
// wildcard, then the default.
func (e *Extractor) SiteOf(host string) string { return e.siteOf(hostName(host)) }

// siteOf is SiteOf for a host in stored form.
func (e *Extractor) siteOf(name string) string {
	if s := e.hosts[name]; s != "" {
		return s
	}
	best, length := e.fallback, -1
	for _, w := range e.suffixes {
		if len(w.suffix) > length && strings.HasSuffix(name, w.suffix) {
			best, length = w.site, len(w.suffix)
		}
	}
	return best
}

// Needs says what a route wants of a request before it is forwarded.
type Needs struct {
	// Body: up to MaxBody bytes of the request body must be in the Exchange.
	Body bool
	// ResponseBody: up to MaxBody bytes of the response body must be.
	ResponseBody bool
	// RejectUnreadable: answer 413 when the event carries FlagClaimsUnreadable.
	RejectUnreadable bool
}

// Needs tells what the route of a request wants; path is the request target.
func (e *Extractor) Needs(site, method, path string) Needs {
	path, _ = splitTarget(path)
	var segments pathSegments
	p := e.plan(site, method, path, &segments)
	return Needs{Body: p.needsBody, ResponseBody: p.needsResponseBody, RejectUnreadable: p.needsBody && p.reject}
}

// NeedsBody reports whether the route's selectors read the request body.
func (e *Extractor) NeedsBody(site, method, path string) bool {
	return e.Needs(site, method, path).Body
}

func (e *Extractor) site(name string) *siteMap {
	if s := e.sites[name]; s != nil {
		return s
	}
	return empty
}

func (e *Extractor) plan(site, method, path string, segments *pathSegments) *plan {
	s := e.site(site)
	if s == empty {
		return s.undeclared
	}
	segments.split(path)
	if p, ok := s.routes.find(method, segments); ok {
		return p
	}
	return s.undeclared
}

// Begin fills ev with all that is known of a request before it is answered,
// including the identifiers that a verdict can bind. It overwrites ev but
// reuses the capacity of ev.Objects. x must be the one that End is given.
func (e *Extractor) Begin(x *Exchange, ev *event.Event) { e.begin(x, ev, e.key()) }

// BeginPrevious is Begin under the previous key, while one is being replaced:
// an enforcer looks up a request under both, since verdicts in force may have
// been made before the replacement. It returns false, and leaves ev alone, when
// there is no previous key. Such an event is for look-up only: it is not to be
// completed by End, nor sent.
func (e *Extractor) BeginPrevious(x *Exchange, ev *event.Event) bool {
	if len(e.keys.keys) < 2 {
		return false
	}
	e.begin(x, ev, e.keys.keys[1])
	return true
}

func (e *Extractor) begin(x *Exchange, ev *event.Event, key *macKey) {
	*ev = event.Event{Objects: ev.Objects[:0], KeyID: key.id}
	r := requests.Get().(*request)
	defer r.release()
	r.x, r.key, r.flags = x, key, x.Flags
	current := key == e.key()
	if current {
		x.failing = 0
	}
	r.shape.hash = fnvOffset
	r.path, r.query = splitTarget(x.Target)
	r.heads.scan(x.Headers, &r.shapes)

	e.describe(r, ev)
	r.plan = e.plan(ev.Site, x.Method, r.path, &r.segments)
	p := r.plan
	if current {
		x.plan, x.planner = p, e
	}
	ev.Route, ev.Role, ev.Step, ev.Cost = p.template, p.role, p.step, p.cost
	r.flags |= p.flags
	path := redactPath(r.path, p)
	var cut bool
	if ev.Path, cut = clean(path, maxPathBytes); cut {
		r.flags |= event.FlagTruncated
	}
	ev.QueryKeys = queryKeys(r.query, &r.shape)
	done := r.readBody()
	defer done()
	e.classify(r, ev)
	claimed := e.identify(r, ev)
	r.objects(ev, claimed)
	if v, ok := r.find(p.opens); ok {
		ev.Opens = parseTime(v)
	}
	if v, ok := r.find(p.closes); ok {
		ev.Closes = parseTime(v)
	}
	ev.Flags = r.flags
}

// describe copies and bounds what needs no map.
func (e *Extractor) describe(r *request, ev *event.Event) {
	x := r.x
	ev.ID, ev.Source, ev.Node, ev.Workload = x.ID, x.Source, x.Node, x.Workload
	ev.Time = x.Time.UnixNano()
	ev.Host = hostName(x.Host)
	if ev.Site = x.Site; ev.Site == "" {
		ev.Site = e.siteOf(ev.Host)
	}
	ev.Client = x.Client.Addr().Unmap().WithZone("")
	ev.ClientPort = x.Client.Port()
	ev.UserAgent, _ = clean(r.heads.userAgent, maxUserAgentBytes)
	if e.lookup != nil && ev.Client.IsValid() {
		n := e.lookup(ev.Client, ev.UserAgent)
		ev.ASN, ev.Country = n.ASN, n.Country
		if n.VerifiedBot {
			r.flags |= event.FlagVerifiedBot
		}
	}
	ev.TLSVersion, ev.SNI, ev.JA4 = x.TLS.Version, ev.Host, x.TLS.JA4
	if x.TLS.SNI != x.Host {
		ev.SNI = hostName(x.TLS.SNI)
	}
	ev.Protocol = x.Protocol
	ev.Method, _ = clean(x.Method, 32)
	if x.HeadersKnown {
		ev.HeaderOrder = event.Hash(r.heads.order)
	}
	ev.AcceptLanguage, _ = clean(r.heads.acceptLanguage, 128)
	ev.RefererHost = refererHost(r.heads.referer)
	ev.RequestBytes = x.RequestBytes
	if x.BodyTruncated || x.ResponseBodyTruncated {
		r.flags |= event.FlagTruncated
	}
}

// readBody decodes and parses the body when the route needs it. done releases
// the decoded body.
func (r *request) readBody() (done func()) {
	p, x := r.plan, r.x
	if !p.needsBody || len(x.Body) == 0 && !x.BodyTruncated {
		return func() {}
	}
	if x.BodyTruncated {
		r.flags |= event.FlagClaimsUnreadable
		return func() {}
	}
	body, done, err := decodeBody(x.Body, r.heads.contentEncoding)
	if err == nil {
		r.body = body
		err = r.parseBody(body)
	}
	if err != nil {
		r.flags |= event.FlagClaimsUnreadable
	}
	return done
}

var errBodyKind = errors.New("body is of none of the kinds that the route's selectors read")

// parseBody reads the body as what its content type says, or, where that fits
// no selector of the route, as what its selectors read.
func (r *request) parseBody(body []byte) error {
	p := r.plan
	if p.bodySlots == 0 && !p.needsForm {
		return nil // only its content counts
	}
	media, _, _ := strings.Cut(r.heads.contentType, ";")
	media = strings.TrimSpace(media)
	switch {
	case p.needsForm && strings.EqualFold(media, "multipart/form-data"):
		var err error
		if r.form, err = parseMultipart(body, r.heads.contentType, r.form[:0]); err != nil {
			clear(r.form)
			r.form = r.form[:0]
			return err
		}
	case p.needsForm && (p.bodySlots == 0 || strings.EqualFold(media, "application/x-www-form-urlencoded")):
		r.form = parseForm(body, r.form[:0])
	case p.bodySlots > 0:
		r.ptrs.names = &r.shape
		err := r.ptrs.parse(body, &p.body, p.bodySlots)
		if r.ptrs.names = nil; r.ptrs.ambiguous {
			r.flags |= event.FlagAmbiguous
		}
		return err
	default:
		return errBodyKind
	}
	for _, f := range r.form {
		r.shape.addString(f.name)
	}
	return nil
}

// identify fills the identifiers and claims. It returns the claimed account in
// normal form.
func (e *Extractor) identify(r *request, ev *event.Event) (claimed string) {
	p, k := r.plan, r.key
	r.keysOf(ev)
	if v, ok := r.find(p.account); ok {
		account := Normalise("account", v)
		if r.x.FromTrustedProxy && r.fromHeader(p.account) {
			ev.Keys[event.KindAccount] = k.hash("account", account)
			r.flags |= event.FlagVouched
		} else {
			claimed = account
		}
	}
	if ev.Keys[event.KindAccount] == 0 {
		ev.Keys[event.KindAccount] = e.owners.get(ev.Keys[event.KindSession])
	}
	if v, ok := r.find(p.claim); ok {
		claimed = Normalise("account", v)
	}
	ev.Claimed = k.hash("account", claimed)
	switch ev.Role {
	case event.RoleLogin, event.RoleReset, event.RoleSignup:
		ev.Keys[event.KindTargetAccount] = k.hash("target_account", claimed)
	default:
	}
	if v, ok := r.find(p.secret); ok {
		day := k.forDay(ev.Time)
		ev.Secret = day.hashOnce("secret", claimed+"\x00"+v)
		if claimed != "" && k == e.key() {
			r.x.failing = day.hashOnce("failed secret", v)
			if other := e.failed.get(r.x.failing); other != 0 && other != ev.Claimed {
				r.flags |= event.FlagSecretReused
			}
		}
	}
	return claimed
}

// fromHeader reports whether the first selector that yields is a header.
func (r *request) fromHeader(list []selector) bool {
	for i := range list {
		if v, ok := r.lookup(&list[i]); ok && v != "" {
			return list[i].from == fromHeader
		}
	}
	return false
}
