package route

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// Suggestion proposes what an endpoint means in the application. It is for a
// person to check: nothing acts on it.
type Suggestion struct {
	Method, Template string
	// Role is a role of CONTRACTS.md section 7.
	Role string
	// Strength is the number of independent reasons.
	Strength int
	Reasons  []string
	// Success and Failure are proposed status conditions, "" for none.
	Success, Failure string
	Count            uint64
}

// rule is one way to recognise a role.
type rule struct {
	role   string
	method string // "" any, "write" is POST, PUT or PATCH
	// words are path words that name the role, params query parameters.
	words, params []string
	// statuses support it.
	statuses []uint16
	// variable: the template's last segment is a variable; 1 wanted, -1 unwanted.
	variable int
	// structure alone may suggest it: statuses and method without a word.
	structural bool
}

// rules in order of preference: the first whose words match names the role.
var rules = []rule{
	{role: "logout", words: []string{"logout", "signout", "logoff"}},
	{role: "reset", method: "write", words: []string{"reset", "forgot", "recover", "lostpassword"}},
	{role: "signup", method: "write", words: []string{"signup", "register", "registration", "join", "enroll"}, statuses: []uint16{201, 409, 422}},
	{role: "otp_verify", method: "write", words: []string{"otp/verify", "verify-code", "2fa/verify", "mfa/verify"}, statuses: []uint16{401, 422}},
	{role: "otp_send", method: "write", words: []string{"otp", "sms", "send-code", "2fa", "mfa"}},
	{role: "captcha_verify", method: "write", words: []string{"captcha"}},
	{role: "captcha_issue", method: "GET", words: []string{"captcha"}},
	{role: "login", method: "write", words: []string{"login", "signin", "logon", "session", "sessions", "authenticate", "auth", "token", "wp-login.php"}, statuses: []uint16{401, 403}, variable: -1, structural: true},
	{role: "pay_auth", method: "write", words: []string{"pay", "payment", "payments", "charge", "authorize", "authorise"}, statuses: []uint16{402}, structural: true},
	{role: "coupon_apply", method: "write", words: []string{"coupon", "coupons", "voucher", "promo", "giftcard", "gift-card", "discount"}, statuses: []uint16{422, 404}},
	{role: "cart_remove", method: "write", words: []string{"cart/remove", "basket/remove", "cart/delete"}},
	{role: "cart_add", method: "write", words: []string{"cart", "basket", "bag"}, statuses: []uint16{409}},
	{role: "checkout_step", method: "write", words: []string{"checkout"}},
	{role: "release", method: "write", words: []string{"release", "unreserve"}},
	{role: "reserve", method: "write", words: []string{"reserve", "reservation", "reservations", "hold", "book", "booking"}, statuses: []uint16{409}},
	{role: "address_change", method: "write", words: []string{"address", "addresses", "profile"}},
	{role: "payout", method: "write", words: []string{"payout", "payouts", "withdraw", "withdrawal"}},
	{role: "transfer", method: "write", words: []string{"transfer", "transfers"}},
	{role: "vote", method: "write", words: []string{"vote", "votes", "poll", "rate"}},
	{role: "like", method: "write", words: []string{"like", "likes", "favorite", "favourite"}},
	{role: "bid", method: "write", words: []string{"bid", "bids", "offer"}},
	{role: "post", method: "write", words: []string{"review", "reviews", "comment", "comments", "post", "posts", "message", "messages", "wp-comments-post.php"}},
	{role: "llm_call", method: "write", words: []string{"chat", "assistant", "completion", "completions", "ask"}},
	{role: "order", method: "write", words: []string{"order", "orders", "purchase"}, statuses: []uint16{201}},
	{role: "export", method: "GET", words: []string{"export", "download", "report"}},
	{role: "search", method: "GET", words: []string{"search", "find", "suche", "recherche"}, params: []string{"q", "query", "search", "s", "keyword", "keywords", "term"}, structural: true},
	{role: "item_view", method: "GET", words: []string{"item", "items", "product", "products", "p", "article", "articles", "dp", "lot", "listing", "hotel", "hotels", "stock"}, variable: 1, structural: true},
	{role: "list_view", method: "GET", words: []string{"c", "category", "categories", "collection", "collections", "catalog", "catalogue", "list", "tag", "tags"}, params: []string{"page", "sort"}},
}

// minSuggested is how many requests an endpoint needs before its statuses and
// parameters say anything.
const minSuggested = 5

// Suggest proposes roles for the endpoints seen so far, most requested first.
// An endpoint without a reason is left out.
func (l *Learner) Suggest() []Suggestion {
	var out []Suggestion
	for _, e := range l.Inventory() {
		if e.Count < minSuggested || assetPath(e.Template) || e.Method == "HEAD" || e.Method == "OPTIONS" {
			continue
		}
		if s, ok := suggest(&e); ok {
			out = append(out, s)
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].Count != out[j].Count {
			return out[i].Count > out[j].Count
		}
		return out[i].Template+out[i].Method < out[j].Template+out[j].Method
	})
	return out
}

// suggest takes the first rule that the path or a parameter names; if there is
// none, the first whose structure fits.
func suggest(e *Endpoint) (Suggestion, bool) {
	words := pathWords(e.Template)
	var fallback Suggestion
	for i := range rules {
		r := &rules[i]
		if !r.applies(e) {
			continue
		}
		s := Suggestion{Method: e.Method, Template: e.Template, Role: r.role, Count: e.Count}
		byName := r.explain(e, words, &s)
		switch {
		case byName:
		case fallback.Role == "" && r.structural && structural(r, e, &s):
			fallback = s
			continue
		default:
			continue
		}
		s.Strength = len(s.Reasons)
		s.conditions(e)
		return s, true
	}
	fallback.Strength = len(fallback.Reasons)
	fallback.conditions(e)
	return fallback, fallback.Role != ""
}

func (r *rule) applies(e *Endpoint) bool {
	write := e.Method == "POST" || e.Method == "PUT" || e.Method == "PATCH"
	variable := strings.HasSuffix(e.Template, "}")
	switch {
	case r.method == "write" && !write, r.method != "" && r.method != "write" && r.method != e.Method:
		return false
	case r.variable > 0 && !variable, r.variable < 0 && variable:
		return false
	}
	return true
}

// explain collects the reasons for a rule and says whether one names the role.
func (r *rule) explain(e *Endpoint, words []string, s *Suggestion) (byName bool) {
	if w := named(r.words, words, e.Template); w != "" {
		byName = true
		s.Reasons = append(s.Reasons, fmt.Sprintf("the path says %q", w))
	}
	for _, p := range r.params {
		if contains(e.Parameters, p) {
			s.Reasons = append(s.Reasons, fmt.Sprintf("it takes the parameter %q", p))
			byName = byName || r.structural
			break
		}
	}
	for _, code := range r.statuses {
		if n := statusCountOf(e, code); n > 0 {
			s.Reasons = append(s.Reasons, fmt.Sprintf("%d of %d answers are %d", n, e.Count, code))
			break
		}
	}
	return byName
}

// structural accepts a role without a name: log-ins are refused with 401 now
// and then, payments with 402, and the page with most variety is an item's.
func structural(r *rule, e *Endpoint, s *Suggestion) bool {
	switch r.role {
	case "login":
		return statusCountOf(e, 401) > 0 && statusCountOf(e, 200)+statusCountOf(e, 302)+statusCountOf(e, 303) > 0
	case "pay_auth":
		return statusCountOf(e, 402) > 0
	case "item_view":
		if e.Count < 50 || strings.Count(e.Template, "{") != 1 || strings.HasPrefix(e.Template, "/api/") {
			return false
		}
		s.Reasons = append(s.Reasons, "a page with many values in its place")
		return true
	}
	return false
}

func (s *Suggestion) conditions(e *Endpoint) {
	var good, bad []string
	for _, st := range e.Statuses {
		text := fmt.Sprint(st.Code)
		switch {
		case st.Code >= 200 && st.Code < 400:
			good = append(good, text)
		case st.Code >= 400 && st.Code < 500 && st.Code != 404 && st.Code != 400 && st.Code != 429:
			bad = append(bad, text)
		}
	}
	sort.Strings(good)
	sort.Strings(bad)
	s.Success, s.Failure = strings.Join(good, ","), strings.Join(bad, ",")
}

// pathWords are the lower-case words of a template's literal segments.
func pathWords(template string) []string {
	var words []string
	for _, seg := range strings.Split(strings.ToLower(template), "/") {
		if seg != "" && seg[0] != '{' {
			words = append(words, seg)
			words = append(words, strings.FieldsFunc(seg, func(r rune) bool { return r == '-' || r == '_' || r == '.' })...)
		}
	}
	return words
}

func named(names, words []string, template string) string {
	for _, n := range names {
		if strings.Contains(n, "/") {
			if strings.Contains(strings.ToLower(template), n) {
				return n
			}
			continue
		}
		if contains(words, n) {
			return n
		}
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

func statusCountOf(e *Endpoint, code uint16) uint64 {
	for _, s := range e.Statuses {
		if s.Code == code {
			return s.Count
		}
	}
	return 0
}

// WriteFlowMap writes suggestions as a flow map in YAML, the reasons as
// comments, for a person to edit: selectors of accounts, cards and other
// objects need the application's knowledge.
func WriteFlowMap(w io.Writer, site string, list []Suggestion) error {
	if _, err := fmt.Fprintf(w, "# Proposed from observed traffic. Check every line; add identifiers, claims and objects.\napiVersion: weir/v1\nkind: FlowMap\nsite: %s\nroutes:\n", quote(site)); err != nil {
		return fmt.Errorf("write flow map: %w", err)
	}
	for _, s := range list {
		text := fmt.Sprintf("  # %d requests; %s\n  - match: {method: %s, path: %s}\n    role: %s\n", s.Count, strings.Join(s.Reasons, "; "), quote(s.Method), quote(s.Template), s.Role)
		if s.Success != "" && s.Failure != "" {
			text += fmt.Sprintf("    outcome: {success: {status: %s}, failure: {status: %s}}\n", quote(s.Success), quote(s.Failure))
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("write flow map: %w", err)
		}
	}
	return nil
}

// quote makes a YAML double-quoted scalar.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
