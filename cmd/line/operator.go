package line

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// operator puts people's changes on the log, where the engine honours them and
// a replay sees them.
type operator struct {
	*processor
	keys *flow.Keyring
}

// manualKinds are the identifiers that a person can bind a verdict to.
var manualKinds = []event.Kind{event.KindClient, event.KindSession, event.KindAccount, event.KindDevice}

// controlTimeout bounds the way of a change through the log and back.
const controlTimeout = 10 * time.Second

func (o *operator) add(w http.ResponseWriter, r *http.Request) {
	v, err := o.addVerdict(r)
	admin.JSON(w, v, err)
}

func (o *operator) addVerdict(r *http.Request) (*verdict.Verdict, error) {
	var q admin.VerdictRequest
	if err := decodeChange(r, &q); err != nil {
		return nil, err
	}
	action, err := event.ParseAction(q.Action)
	switch action {
	case event.ActionAllow, event.ActionObserve, event.ActionRateLimit, event.ActionRedirect, event.ActionBlock:
	default:
		err = errors.New("none that can be ordered")
	}
	if err != nil {
		return nil, admin.Errorf(http.StatusBadRequest, "action %q: want allow, observe, rate_limit, redirect or block", q.Action)
	}
	if q.Kind == "client" {
		if _, err := netip.ParseAddr(q.Value); err != nil {
			return nil, admin.Errorf(http.StatusBadRequest, "client %q: want one address", q.Value)
		}
	}
	if kind, err := event.ParseKind(q.Kind); err != nil || q.Value == "" || !slices.Contains(manualKinds, kind) {
		return nil, admin.Errorf(http.StatusBadRequest, "kind %q and its value: want client, session, account or device", q.Kind)
	}
	span, err := config.ParseDuration(q.For)
	if err != nil || span <= 0 {
		return nil, admin.Errorf(http.StatusBadRequest, "for %q: want a positive duration such as 4h or 7d", q.For)
	}
	site, err := o.site(q.Site)
	if err == nil {
		err = o.able(site, action)
	}
	if err != nil {
		return nil, err
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("verdict id: %w", err)
	}
	now := time.Now()
	v := &verdict.Verdict{
		ID: "v_" + hex.EncodeToString(id[:]), Revision: 1, Site: site, Scope: verdict.ScopeActor, Action: action,
		Time: verdict.Time(now.UnixNano()), Expires: verdict.Time(now.Add(time.Duration(span)).UnixNano()), Mode: event.ModeEnforce,
		Threats: []verdict.Threat{}, Confidence: 1_000_000, Bound: admin.BoundOperator,
		Binds:  []verdict.Group{{All: []verdict.Bind{{Kind: q.Kind, Value: o.keys.Pseudonym(q.Kind, flow.Normalise(q.Kind, q.Value))}}}},
		Engine: baseline.Version,
		Evidence: verdict.Evidence{
			Summary: fmt.Sprintf("Added by %s: %s", q.By, q.Reason), Features: []verdict.Feature{}, Events: []string{},
		},
	}
	if action == event.ActionRateLimit {
		v.Limit = &manualLimit
	}
	c := &verdict.Control{Kind: "verdict", Site: site, Time: v.Time, By: q.By, Reason: q.Reason, ID: v.ID, Verdict: v}
	if action == event.ActionAllow { // the engine accuses nobody of it either
		c.Kind, c.Allow = "allow", v.Binds[0].All
	}
	return o.send(r.Context(), c, func(got *verdict.Verdict) bool { return got != nil })
}

// maxText bounds what a person says in a change, in bytes: it stands in the
// verdict's evidence, which every enforcer holds.
const maxText = 1024

// decodeChange reads a change and bounds each of its texts.
func decodeChange(r *http.Request, q *admin.VerdictRequest) error {
	if err := admin.Decode(r, q); err != nil {
		return err
	}
	for name, text := range map[string]string{"id": q.ID, "site": q.Site, "kind": q.Kind, "value": q.Value, "for": q.For, "reason": q.Reason, "by": q.By} {
		if len(text) > maxText {
			return admin.Errorf(http.StatusBadRequest, "%s has %d bytes, at most %d are taken", name, len(text), maxText)
		}
	}
	return nil
}

// site returns the site named, or the only one there is.
func (o *operator) site(name string) (string, error) {
	var names []string
	for _, s := range o.now.Load().Sites {
		names = append(names, s.Name)
	}
	switch {
	case len(names) == 0:
		names = []string{"default"}
	case name == "" && len(names) > 1:
		return "", admin.Errorf(http.StatusBadRequest, "there are several sites: name one with --site (%s)", strings.Join(names, ", "))
	}
	if name == "" {
		return names[0], nil
	}
	if !slices.Contains(names, name) {
		return "", admin.Errorf(http.StatusBadRequest, "site %q is not configured%s (there are: %s)", name, flow.Nearest(name, names), strings.Join(names, ", "))
	}
	return name, nil
}

// manualLimit is the allowance of a rate limit that a person orders without one.
var manualLimit = verdict.Limit{Per: "1m", Requests: 10, Key: "actor"}

// able says why a site cannot do what is ordered: what would be weakened in
// silence is refused.
func (o *operator) able(site string, action event.Action) error {
	if action != event.ActionRedirect {
		return nil
	}
	for _, s := range o.now.Load().Sites {
		if s.Name == site && s.RedirectTo != "" {
			return nil
		}
	}
	return admin.Errorf(http.StatusBadRequest, "site %s has nowhere to redirect to: set its redirectTo, or order rate_limit, which redirect would be weakened to", site)
}

func (o *operator) revoke(w http.ResponseWriter, r *http.Request) {
	v, err := o.revokeVerdict(r)
	admin.JSON(w, v, err)
}

func (o *operator) revokeVerdict(r *http.Request) (*verdict.Verdict, error) {
	var q admin.VerdictRequest
	if err := decodeChange(r, &q); err != nil {
		return nil, err
	}
	v := o.feed.Get(q.ID)
	if v == nil {
		return nil, admin.Errorf(http.StatusNotFound, "no verdict %s is in force", q.ID)
	}
	c := &verdict.Control{Kind: "revoke", Site: v.Site, Time: verdict.Time(time.Now().UnixNano()), By: q.By, Reason: q.Reason, ID: q.ID}
	if v.Action == event.ActionAllow && len(v.Binds) > 0 {
		c.Kind, c.Allow = "disallow", v.Binds[0].All
	}
	gone := *v
	gone.Revoked = true
	if _, err := o.send(r.Context(), c, func(got *verdict.Verdict) bool { return got == nil }); err != nil {
		return nil, err
	}
	gone.Revision++
	return &gone, nil
}

// send puts a control record on the log and waits until the feed shows its
// effect.
func (o *operator) send(ctx context.Context, c *verdict.Control, done func(*verdict.Verdict) bool) (*verdict.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if _, err := o.control.Control(ctx, c); err != nil {
		return nil, fmt.Errorf("put the change on the log: %w", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if v := o.feed.Get(c.ID); done(v) {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("the change is on the log but no processor has taken it up yet; see `weir status`")
		case <-tick.C:
		}
	}
}
