package feature

import (
	"net/http"
	"strings"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Input is one event as detectors see it. It is valid during one Observe only.
type Input struct {
	Event *event.Event
	// Now is the site's clock in UTC nanoseconds, Sec in seconds, Milli the low
	// half of the event's Unix milliseconds.
	Now   int64
	Sec   uint32
	Milli uint32
	Site  *Site
	// SiteIndex names the site in keys.
	SiteIndex uint16

	// Actor is the resolved actor's index, Resolution how it was found.
	Actor      uint32
	Resolution actor.Resolution
	Identity   *actor.Actor
	// Conduct includes this event; Gap is the time since the actor's last
	// request in milliseconds, -1 for the first.
	Conduct *Conduct
	Gap     int64

	// Role and Outcome are declared by the flow map, or guessed from path and
	// status where the site has no map (Guessed).
	Role    event.Role
	Outcome event.Outcome
	Guessed bool
	// Refused: an enforcer answered in the application's place. Teach: learn
	// only. Exempt: allowlisted or a verified bot; tagged, never accused.
	Refused, Teach, Exempt bool
	// Strange: an account with history is tried from a context it does not know.
	Strange bool

	// Chain: the actor's request before was less than 2 s earlier. Edge: within
	// a second of the object's opening or before it, or in the last three seconds
	// before it closes; for a view, the same item by the same route
	// within ten seconds. Direct: the actor has fetched no page in this episode.
	// Unowned: no proved owner shares the fingerprint. Hold: something is
	// held again although the actor has bought nothing.
	Chain, Edge, Direct, Unowned, Hold bool
	// Fresh: nothing is known of who attempts it, no account, no owner, nor an hour
	// of history.
	Fresh bool
	// Newcomer: the account that acts has been known for less than an hour, on a site
	// that has been watched for days.
	Newcomer bool

	// Object is what the attempt tries (account, card, coupon, item ...) and
	// ObjectName its name; Group its class (card BIN, phone prefix, e-mail
	// domain); Secret what is guessed with it.
	Object, Group, Secret uint64
	ObjectName, GroupName string
	// User tells those who act on an object apart: see Stats.Users.
	User uint64
	// Novel: the group appeared lately on a site that is known well.
	Novel bool
	// Tool names the program: its fingerprint, or its TLS hello where it claims to be
	// a browser and nobody at home has that hello (Hello). Masked: several browsers
	// are claimed under it.
	Tool          uint64
	Hello, Masked bool
	// Mature: the site has taught for long enough.
	Mature bool
	// Session is the session's hash, or address and fingerprint on plain logs.
	Session uint64

	// Route and Path are hashes; PathActors is how many actors were given an
	// answer for the path before (saturating), RouteStats the route's row.
	Route, Path uint64
	PathActors  uint32
	PathNew     bool
	RouteStats  *Route
	// Attack weighs the payload classes.
	Attack Attack
	// Page compares a document request with the ones before.
	Page PageStep
	// Asset: a sub-resource such as an image or a style sheet.
	Asset bool
	// Stray: the route hardly ever answers with anything but "not found".
	Stray bool
	// Item is the item seen (declared, or the last number of the path), and
	// ItemNumber that number, 0 when there is none.
	Item       uint64
	ItemNumber uint32

	// Naked: neither sub-resources nor a referer in the episode, on a log that
	// shows them of others. Crowd is what crowds that go the same way say, by Way.
	// Rotates: a log's address whose requests come under ever new user agents.
	Naked, Rotates bool
	Crowd          [NumWays]Company
	// Program is the row of a naked actor's program on a log; see Layer.program.
	Program *Stats

	// Actors, ByObject, ByPrint and ByGroup are the rows of Stats of this
	// event's role (after counting it) with what the event changed in each; nil
	// where the event has no role or no such value.
	ByActor, ByObject, ByGroup, ByTool         *Stats
	ActorStep, ObjectStep, GroupStep, ToolStep Step

	// bits are the event's values in the counters of all rows.
	bits struct{ client, print, session, object, user, secret sketch.Distinct }
}

// count finds the bits.
func (in *Input) count() {
	k, b := &in.Event.Keys, &in.bits
	b.client, b.print = sketch.Bit(uint64(k[event.KindClient])), sketch.Bit(uint64(k[event.KindFingerprint]))
	if in.Asset {
		return // no row but its actor's
	}
	b.session, b.object = sketch.Bit(in.Session), sketch.Bit(in.Object)
	b.user, b.secret = sketch.Bit(in.User), sketch.Bit(in.Secret)
}

// isAsset says that a sub-resource is fetched, by the suffix of its path.
func isAsset(e *event.Event) bool {
	if e.Method != http.MethodGet && e.Method != http.MethodHead {
		return false
	}
	dot := strings.LastIndexByte(e.Path[max(0, len(e.Path)-6):], '.')
	if dot < 0 {
		return false
	}
	switch e.Path[max(0, len(e.Path)-6)+dot:] {
	case ".css", ".js", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".woff", ".woff2", ".ttf", ".webp", ".avif", ".map", ".mp4", ".mjs":
		return true
	}
	return false
}

// loginWords are parts of paths where applications log people in.
var loginWords = [...]string{"login", "signin", "sign-in", "sign_in", "logon", "wp-login", "xmlrpc", "/auth", "/session", "/token"}

// guess finds role and outcome where the site has no flow map.
func (in *Input) guess() {
	e := in.Event
	if e.Method != http.MethodPost || e.Status == 0 {
		return
	}
	for _, w := range loginWords {
		if !containsFold(e.Path, w) {
			continue
		}
		in.Role, in.Guessed = event.RoleLogin, true
		switch s := e.Status; {
		case s == 401 || s == 403 || s == 422 || s == 400 || s == 429:
			in.Outcome = event.OutcomeFailure
			if s == 401 || s == 422 || s == 400 && containsFold(e.Path, "/token") { // RFC 6749 section 5.2
				in.Site.Refuses = 1
			}
		case s == 200 && in.Site.Refuses != 0 && !containsFold(e.Path, "wp-login"):
			in.Outcome = event.OutcomeSuccess
		case s == 301 || s == 302 || s == 303:
			in.Outcome = event.OutcomeSuccess
		case s == 200 && containsFold(e.Path, "wp-login"):
			// WordPress shows the form again with 200 and redirects on success.
			in.Outcome = event.OutcomeFailure
		}
		return
	}
}

func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		j := 0
		for j < len(lower) && s[i+j]|0x20 == lower[j]|0x20 {
			j++
		}
		if j == len(lower) {
			return true
		}
	}
	return false
}

// preferred names the object that an attempt in a role is about, best first.
var preferred = [event.NumRoles][]string{
	event.RoleSignup:         {"email", "account", "user", "phone"},
	event.RoleOTPSend:        {"phone", "email", "account"},
	event.RoleOTPVerify:      {"phone", "email", "code", "otp"},
	event.RoleCaptchaIssue:   {"token", "captcha"},
	event.RoleCaptchaVerify:  {"token", "captcha"},
	event.RolePayAuth:        {"card", "pan", "instrument"},
	event.RoleCouponApply:    {"coupon", "code", "voucher", "gift_card", "giftcard"},
	event.RoleCartAdd:        {"item", "sku", "product"},
	event.RoleCartRemove:     {"item", "sku", "product"},
	event.RoleOrder:          {"item", "sku", "card", "address"},
	event.RoleReserve:        {"item", "sku", "seat", "slot"},
	event.RoleRelease:        {"item", "sku", "seat", "slot"},
	event.RolePayout:         {"payee", "iban", "address"},
	event.RoleTransfer:       {"payee", "iban", "address"},
	event.RoleAddressChange:  {"address", "email", "payee"},
	event.RolePost:           {"content", "content.simhash", "text"},
	event.RoleVote:           {"item", "post", "target", "poll", "option"},
	event.RoleLike:           {"item", "post", "target"},
	event.RoleClick:          {"item", "ad", "affiliate", "campaign"},
	event.RoleBid:            {"auction", "lot", "item"},
	event.RoleItemView:       {"item", "sku", "product"},
	event.RoleChargeableCall: {"phone", "api_key", "affiliate"},
}

// companion is what package flow derives from the object that an attempt in a role
// is about, whatever the map calls it: a "payment_card" has a "payment_card.iin".
var companion = [event.NumRoles]string{
	event.RoleSignup: ".domain", event.RoleOTPSend: ".prefix", event.RolePayAuth: ".iin", event.RoleCouponApply: ".prefix",
}

// isGroup says that an object is a class of others: an issuer range, the beginning of
// codes or numbers, a mail domain, texts that are nearly the same. Names that are too
// long for a case cannot be bound.
func isGroup(name string) bool {
	if len(name) > MaxName {
		return false
	}
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "iin", "prefix", "domain", "shingle", "affiliate", "event", "show":
		return true
	}
	return false
}

// MaxName bounds the names of objects that a verdict can bind, in bytes.
const MaxName = 48

// aside says that an object's name says how much, when or for which order, not what
// the attempt is about.
func aside(name string) bool {
	switch name {
	case "amount", "order", "quantity", "qty", "count", "price", "total", "currency", "date":
		return true
	}
	return strings.IndexByte(name, '.') >= 0
}

// choose finds object, group, secret and item of the event.
func (in *Input) choose() {
	e := in.Event
	switch in.Role {
	case event.RoleLogin, event.RoleReset, event.RoleLogout:
		in.Object, in.ObjectName = uint64(e.Claimed), "account"
	case event.RoleNone:
	default:
		for _, name := range preferred[in.Role] {
			if o := e.Object(name); o != nil {
				in.Object, in.ObjectName = uint64(o.Hash), name
				break
			}
		}
		if end := companion[in.Role]; end != "" && in.Object == 0 {
			in.chooseBy(end)
		}
		if in.Object == 0 && in.Role == event.RoleSignup {
			in.Object, in.ObjectName = uint64(e.Claimed), "account"
		}
	}
	in.Secret = uint64(e.Secret)
	for i := range e.Objects {
		o := &e.Objects[i]
		switch {
		case o.Ephemeral:
			in.Secret = sketch.Join(in.Secret, uint64(o.Hash))
			continue
		case in.Group == 0 && isGroup(o.Name):
			in.Group, in.GroupName = uint64(o.Hash), o.Name
		}
		if in.Object == 0 && in.Role != event.RoleNone && in.Role != event.RoleLogin && !aside(o.Name) {
			in.Object, in.ObjectName = uint64(o.Hash), o.Name
		}
		if o.Name == "item" || o.Name == "sku" || o.Name == "product" {
			in.Item = uint64(o.Hash)
			in.ItemNumber = number(o.Value)
		}
	}
	if in.Item == 0 && !in.Asset {
		if n := number(e.Path); n != 0 {
			in.Item, in.ItemNumber = sketch.Join(in.Route, uint64(n)), n
		}
	}
}

// chooseBy chooses the object of which something with that ending is derived.
func (in *Input) chooseBy(end string) {
	for i := range in.Event.Objects {
		name, ok := strings.CutSuffix(in.Event.Objects[i].Name, end)
		if !ok {
			continue
		}
		if o := in.Event.Object(name); o != nil {
			in.Object, in.ObjectName = uint64(o.Hash), name
			return
		}
	}
}

// number is the last run of 1 to 9 digits of s, 0 when there is none.
func number(s string) uint32 {
	end := len(s)
	for end > 0 && (s[end-1] < '0' || s[end-1] > '9') {
		end--
	}
	from := end
	for from > 0 && s[from-1] >= '0' && s[from-1] <= '9' {
		from--
	}
	if end-from > 9 {
		return 0
	}
	var n uint32
	for _, c := range []byte(s[from:end]) {
		n = n*10 + uint32(c-'0')
	}
	return n
}

// routeHash is the hash of a declared route, or of the path with its variable
// looking parts (numbers, hex, long tokens) left out.
func routeHash(e *event.Event) uint64 {
	if e.Route != "" {
		return sketch.HashString(e.Route) ^ uint64(methodBit(e.Method))
	}
	var h uint64
	p := e.Path
	for len(p) > 0 {
		end := strings.IndexByte(p[1:], '/') + 1
		if end == 0 {
			end = len(p)
		}
		seg := p[:end]
		p = p[end:]
		if variable(seg) {
			seg = "/{}"
		}
		h = sketch.Hash(h, seg)
	}
	return h ^ uint64(methodBit(e.Method))
}

func variable(seg string) bool {
	digits := 0
	for i := range len(seg) {
		if seg[i] >= '0' && seg[i] <= '9' {
			digits++
		}
	}
	return digits > 0 && digits*3 >= len(seg) || len(seg) > 24 || strings.IndexByte(seg, '{') >= 0
}
