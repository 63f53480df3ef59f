package enforcer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Config is what an enforcer acts by. The zero value is shadow mode, failing
// open, with no site declared.
type Config struct {
	// Mode of the installation (enforce.mode); none counts as shadow.
	Mode event.Mode
	// KillSwitch passes every request and records what would have happened.
	KillSwitch bool
	// Sites by name. A site that is not listed has Mode and fails open.
	Sites []Site
	// Allowlists are asked first, in order.
	Allowlists []Allowlist
	// StaleAfter is how old the verdict feed may be before a route that fails
	// closed is closed; 0 never closes for that reason (replay).
	StaleAfter time.Duration
	// ScopeCaps is the strongest action per verdict scope; default challenge
	// for site, block for the others.
	ScopeCaps map[verdict.Scope]event.Action
	// Actions this enforcer can carry out beside allow, observe and block; nil
	// means all. A stronger one that it cannot is replaced by the strongest
	// weaker one that it can.
	Actions []event.Action
	// DefaultLimit serves rate_limit verdicts without an allowance; default 10
	// requests per minute and actor.
	DefaultLimit verdict.Limit
	// MaxBuckets bounds the rate-limit buckets; default 262,144 (4 MiB). When
	// they are full the one that is nearest to idle gives way, counted.
	MaxBuckets int
	// PolicyMode is the policy's own mode; none counts as enforce.
	PolicyMode event.Mode
	// PolicyFailClosed blocks when the policy traps or runs out of fuel and the
	// route does not say otherwise.
	PolicyFailClosed bool
	Table            table.Config
	// Clock, if set, is a wall clock in UTC nanoseconds. It measures the cost of
	// a decision and how long a verdict took to arrive, and decides nothing;
	// without it these are not measured and decisions are reproducible.
	Clock func() int64
}

// Fail says what happens to requests that weir cannot judge.
type Fail uint8

// The choices; FailInherit takes the site's, and for a site means open.
const (
	FailInherit Fail = iota
	FailOpen
	FailClosed
)

// ParseFail reads "open", "closed" or "" (inherit).
func ParseFail(s string) (Fail, error) {
	switch s {
	case "":
		return FailInherit, nil
	case "open":
		return FailOpen, nil
	case "closed":
		return FailClosed, nil
	}
	return 0, fmt.Errorf("fail %q: want open or closed", s)
}

// Site is one protected application.
type Site struct {
	Name string
	// Mode narrows Config.Mode; none inherits it.
	Mode event.Mode
	Fail Fail
	// Rollout is the share of actors that verdicts act on, in basis points;
	// 0 means all (10,000). The others are decided as in shadow.
	Rollout int
	// RedirectTo is where redirected requests are sent; without it a redirect
	// verdict is weakened like an action that cannot be carried out.
	RedirectTo string
	// Routes are asked in order, the first that fits counts.
	Routes []Route
}

// Route overrides its site for the requests that fit.
type Route struct {
	// Method, or "" for any.
	Method string
	// Path is a template: "/item/{id}", "/api/*".
	Path    string
	Mode    event.Mode
	Fail    Fail
	Rollout int
}

// Allowlist names requests that are never acted on. A request fits when every
// criterion that is given fits; within one criterion any value does.
type Allowlist struct {
	// Name and Reason stand in the decision record.
	Name, Reason string
	// Expires in UTC nanoseconds, 0 never.
	Expires int64
	// Sites limits the list to some sites.
	Sites   []string
	Clients []netip.Prefix
	// Binds are pseudonyms: accounts, devices, sessions, any identifier kind.
	Binds []verdict.Bind
	// UserAgents are exact, or end in "*". Anybody can send them: join them
	// with clients or ASNs.
	UserAgents []string
	ASNs       []uint32
	// VerifiedBots fits declared bots whose address was verified at capture.
	VerifiedBots bool
}

// Validate returns all faults.
func (c Config) Validate() error {
	errs := []error{c.Table.Validate()}
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.StaleAfter < 0 {
		fault("staleAfter %s: want 0 or more", c.StaleAfter)
	}
	if c.MaxBuckets < 0 || c.MaxBuckets > 1<<26 {
		fault("maxBuckets %d: want 1 to %d", c.MaxBuckets, 1<<26)
	}
	if err := checkLimit(c.DefaultLimit); err != nil {
		fault("defaultLimit: %w", err)
	}
	names := map[string]bool{}
	for i, s := range c.Sites {
		if s.Name == "" || names[s.Name] {
			fault("sites[%d].name %q: want a name of its own", i, s.Name)
		}
		names[s.Name] = true
		if s.Rollout < 0 || s.Rollout > fullRollout {
			fault("sites[%d].rollout %d: want 1 to %d basis points", i, s.Rollout, fullRollout)
		}
		for j, r := range s.Routes {
			if !strings.HasPrefix(r.Path, "/") && r.Path != "*" {
				fault("sites[%d].routes[%d].match.path %q: want a template that begins with /", i, j, r.Path)
			}
			if r.Rollout < 0 || r.Rollout > fullRollout {
				fault("sites[%d].routes[%d].rollout %d: want 1 to %d basis points", i, j, r.Rollout, fullRollout)
			}
		}
	}
	for i, a := range c.Allowlists {
		if err := a.validate(); err != nil {
			fault("allowlists[%d]: %w", i, err)
		}
	}
	return errors.Join(errs...)
}

func (a Allowlist) validate() error {
	switch {
	case a.Name == "":
		return errors.New("name is missing")
	case a.Reason == "":
		return fmt.Errorf("%s: reason is missing", a.Name)
	case len(a.Clients)+len(a.Binds)+len(a.UserAgents)+len(a.ASNs) == 0 && !a.VerifiedBots:
		return fmt.Errorf("%s: names nobody; it would allow everything", a.Name)
	case slices.ContainsFunc(a.UserAgents, func(s string) bool { return s == "" || s == "*" }):
		return fmt.Errorf("%s: a user agent that fits everybody", a.Name)
	case slices.ContainsFunc(a.Clients, func(p netip.Prefix) bool { return !p.IsValid() }):
		return fmt.Errorf("%s: an address range is not valid", a.Name)
	}
	for _, b := range a.Binds {
		if _, err := event.ParseKind(b.Kind); err != nil || b.Value == 0 {
			return fmt.Errorf("%s: bind %s of value %q", a.Name, b.Kind, b.Value)
		}
	}
	return nil
}

// fullRollout is everybody, in basis points.
const fullRollout = 10_000

func (c Config) withDefaults() Config {
	if c.Mode == event.ModeNone {
		c.Mode = event.ModeShadow
	}
	if c.PolicyMode == event.ModeNone {
		c.PolicyMode = event.ModeEnforce
	}
	if c.DefaultLimit == (verdict.Limit{}) {
		c.DefaultLimit = verdict.Limit{Per: "1m", Requests: 10, Key: "actor"}
	}
	if c.MaxBuckets == 0 {
		c.MaxBuckets = 1 << 18
	}
	return c
}
