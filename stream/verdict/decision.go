package verdict

import "github.com/weirproject/weir/stream/event"

// Decision is what an enforcer did with one request. The JSON fields from ID to
// Reason are the --decisions line of CONTRACTS.md section 6; the topic
// weir.decisions and the table carry the rest as well.
type Decision struct {
	ID       string       `json:"id"`
	Time     Time         `json:"time"`
	Site     string       `json:"site"`
	Action   event.Action `json:"action"`
	Proposed event.Action `json:"proposed"`
	Mode     event.Mode   `json:"mode"`
	// Verdict is the id of the strongest verdict that matched, "" for none.
	Verdict string   `json:"verdict"`
	Actor   string   `json:"actor"`
	Scope   Scope    `json:"scope"`
	Threats []Threat `json:"threats"`
	Reason  string   `json:"reason"`

	// Revision of Verdict, and Matched: all verdict ids that matched.
	Revision uint32   `json:"revision,omitempty"`
	Matched  []string `json:"matched,omitempty"`
	// Group is the index of the verdict's bind group that matched.
	Group int `json:"group,omitempty"`
	// Rule and Policy name what proposed the action ("verdict",
	// "allowlist:office", a policy rule) and the policy's hash.
	Rule   string `json:"rule,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Fuel and Nanoseconds are the cost of deciding.
	Fuel        int64 `json:"fuel,omitempty"`
	Nanoseconds int64 `json:"nanoseconds,omitempty"`
	// RetryAfterSeconds accompanies a 429; Location a redirect.
	RetryAfterSeconds int64  `json:"retry_after,omitempty"`
	Location          string `json:"location,omitempty"`
	// Request is the redacted request; nil in --decisions files.
	Request *Request `json:"request,omitempty"`
}

// WouldBlock says that the request passed in shadow only: in enforce it would have
// been refused, challenged or sent elsewhere.
func (d *Decision) WouldBlock() bool {
	return d.Action <= event.ActionObserve && d.Proposed > event.ActionObserve && (d.Proposed != event.ActionRateLimit || d.RetryAfterSeconds > 0)
}

// Request is the redacted request of a decision record: no header value but
// the user agent, no query value, no body.
type Request struct {
	Client    string `json:"client"`
	Method    string `json:"method"`
	Host      string `json:"host"`
	Path      string `json:"path"`
	Route     string `json:"route,omitempty"`
	QueryKeys string `json:"query_keys,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	JA4       string `json:"ja4,omitempty"`
	Session   string `json:"session,omitempty"`
	Account   string `json:"account,omitempty"`
	Device    string `json:"device,omitempty"`
	// Target is the claimed account's target_account pseudonym.
	Target string `json:"target_account,omitempty"`
	Role   string `json:"role,omitempty"`
}

// Control is an operator's record on the site's partition of weir.events: the
// engine honours it and replay sees it.
type Control struct {
	// Kind is "verdict" (a manual one), "revoke", "allow" or "disallow".
	Kind    string   `json:"kind"`
	Site    string   `json:"site"`
	Time    Time     `json:"time"`
	By      string   `json:"by,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	ID      string   `json:"id,omitempty"`
	Verdict *Verdict `json:"verdict,omitempty"`
	Allow   []Bind   `json:"allow,omitempty"`
}
