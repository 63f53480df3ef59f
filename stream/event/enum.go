package event

import (
	"fmt"
	"strings"
)

// Kind is a kind of identifier that a verdict can bind. The list is closed
// (CONTRACTS.md section 8); objects are bound by name beside it.
type Kind uint8

// The kinds. Fingerprint joins JA4, header order and user agent;
// ClientFingerprint joins address and fingerprint; RequestTemplate joins header
// order, parameter-name shape and absent headers.
const (
	KindSession Kind = iota
	KindDevice
	KindAccount
	KindClient
	KindClientNet
	KindASN
	KindFingerprint
	KindClientFingerprint
	KindTargetAccount
	KindRequestTemplate
	NumKinds
)

var kindNames = [NumKinds]string{
	"session", "device", "account", "client", "client_net", "asn", "fingerprint", "client_fingerprint",
	"target_account", "request_template",
}

func (k Kind) String() string { return nameOf(kindNames[:], int(k)) }

// ParseKind reads a kind's name.
func ParseKind(s string) (Kind, error) { return parse[Kind]("identifier kind", kindNames[:], s) }

// Keys are the identifier hashes of one request, indexed by Kind; 0 is absent.
type Keys [NumKinds]Hash

// Source says who captured an event.
type Source uint8

// The sources. Per site and capture point the engine is fed by the first that
// is present of enforcer, ebpf, accesslog.
const (
	SourceUnknown Source = iota
	SourceEBPF
	SourceEnforcer
	SourceAccessLog
	SourceReplay
)

var sourceNames = []string{"", "ebpf", "enforcer", "accesslog", "replay"}

func (s Source) String() string { return nameOf(sourceNames, int(s)) }

// ParseSource reads a source's name.
func ParseSource(s string) (Source, error) { return parse[Source]("source", sourceNames, s) }

// Role is what a route means in the application (flow map).
type Role uint8

// The roles of CONTRACTS.md section 7.
const (
	RoleNone Role = iota
	RoleLogin
	RoleLogout
	RoleReset
	RoleSignup
	RoleOTPSend
	RoleOTPVerify
	RoleCaptchaIssue
	RoleCaptchaVerify
	RolePayAuth
	RoleCouponApply
	RoleCartAdd
	RoleCartRemove
	RoleCheckoutStep
	RoleOrder
	RoleReserve
	RoleRelease
	RolePayout
	RoleTransfer
	RoleAddressChange
	RolePost
	RoleVote
	RoleLike
	RoleClick
	RoleBid
	RoleSearch
	RoleItemView
	RoleListView
	RoleExport
	RoleChargeableCall
	RoleLLMCall
	NumRoles
)

var roleNames = [NumRoles]string{
	"", "login", "logout", "reset", "signup", "otp_send", "otp_verify", "captcha_issue", "captcha_verify",
	"pay_auth", "coupon_apply", "cart_add", "cart_remove", "checkout_step", "order", "reserve", "release",
	"payout", "transfer", "address_change", "post", "vote", "like", "click", "bid", "search", "item_view",
	"list_view", "export", "chargeable_call", "llm_call",
}

func (r Role) String() string { return nameOf(roleNames[:], int(r)) }

// ParseRole reads a role's name; "" is RoleNone.
func ParseRole(s string) (Role, error) { return parse[Role]("role", roleNames[:], s) }

// RoleNames lists the roles a flow map may name.
func RoleNames() []string { return append([]string(nil), roleNames[1:]...) }

// Outcome is how the application answered, by the flow map's rule.
type Outcome uint8

// The outcomes; none means the map has no rule or it did not match.
const (
	OutcomeNone Outcome = iota
	OutcomeSuccess
	OutcomeFailure
)

var outcomeNames = []string{"", "success", "failure"}

func (o Outcome) String() string { return nameOf(outcomeNames, int(o)) }

// ParseOutcome reads an outcome's name.
func ParseOutcome(s string) (Outcome, error) { return parse[Outcome]("outcome", outcomeNames, s) }

// Action is what a verdict proposes or an enforcer does, weakest first, so that
// comparing Actions compares strength.
type Action uint8

// The actions of CONTRACTS.md section 8. ActionNone marks an event that no
// enforcer has seen.
const (
	ActionNone Action = iota
	ActionAllow
	ActionObserve
	ActionRateLimit
	ActionChallenge
	ActionRedirect
	ActionRewrite
	ActionBlock
)

var actionNames = []string{"", "allow", "observe", "rate_limit", "challenge", "redirect", "rewrite", "block"}

func (a Action) String() string { return nameOf(actionNames, int(a)) }

// Refuses reports whether a request with that applied action never reached the
// application, so that its answer says nothing about it.
func (a Action) Refuses() bool {
	switch a {
	case ActionRateLimit, ActionChallenge, ActionRedirect, ActionBlock:
		return true
	default:
		return false
	}
}

// ParseAction reads an action's name.
func ParseAction(s string) (Action, error) { return parse[Action]("action", actionNames, s) }

// Mode says whether decisions are acted upon.
type Mode uint8

// The modes; shadow always wins over enforce.
const (
	ModeNone Mode = iota
	ModeShadow
	ModeEnforce
)

var modeNames = []string{"", "shadow", "enforce"}

func (m Mode) String() string { return nameOf(modeNames, int(m)) }

// ParseMode reads a mode's name.
func ParseMode(s string) (Mode, error) { return parse[Mode]("mode", modeNames, s) }

// Flags qualify an event.
type Flags uint32

// The flags.
const (
	// FlagTruncated: a head or body was cut at a capture bound.
	FlagTruncated Flags = 1 << iota
	// FlagPartial: the exchange had not ended when the event was made.
	FlagPartial
	// FlagNoData: the kernel saw the transfer but not its bytes.
	FlagNoData
	// FlagShadowed: a copy of an exchange that a preferred source also saw; it
	// is stored but does not feed the engine.
	FlagShadowed
	// FlagClaimsUnreadable: the flow map needs the body but it was too large,
	// undecodable or malformed.
	FlagClaimsUnreadable
	// FlagAmbiguous: a selector's name was repeated with differing values.
	FlagAmbiguous
	// FlagClockClamped: a live event's time was outside -24 h / +5 m.
	FlagClockClamped
	// FlagProves: the route proves the claimed account on success.
	FlagProves
	// FlagVouched: the application itself named the account (response header,
	// or a trusted proxy's request header).
	FlagVouched
	// FlagVerifiedBot: a declared search bot whose address was verified.
	FlagVerifiedBot
	// FlagAllowlisted: an allowlist matched; the engine tags but never accuses.
	FlagAllowlisted
	// FlagTeach: the event only teaches; no verdict may result from it.
	FlagTeach
	// FlagSecretReused: the submitted secret failed with another account
	// earlier this UTC day at the same capture point. Secrets are hashed
	// together with their account, so that this flag alone tells of password
	// spraying, and of nothing else.
	FlagSecretReused
	numFlags = iota
)

var flagNames = [numFlags]string{
	"truncated", "partial", "nodata", "shadowed", "claims_unreadable", "ambiguous", "clock_clamped", "proves",
	"vouched", "verified_bot", "allowlisted", "teach",
	"secret_reused",
}

// String joins the names of the set flags with commas.
func (f Flags) String() string { return bitNames(flagNames[:], uint32(f)) }

// Payload is a set of attack payload classes. They are evidence beside
// behaviour, never a lone reason to block.
type Payload uint16

// The payload classes.
const (
	PayloadTraversal Payload = 1 << iota
	PayloadSQL
	PayloadXSS
	PayloadCommand
	PayloadTemplate
	PayloadProbePath
	PayloadTool
	// PayloadMalformed: bytes no ordinary client sends (bad escapes, control
	// characters, TLS bytes on a plain port, unknown methods).
	PayloadMalformed
	numPayloads = iota
)

var payloadNames = [numPayloads]string{
	"traversal", "sql", "xss", "command", "template", "probe_path", "tool", "malformed",
}

// String joins the names of the set classes with commas.
func (p Payload) String() string { return bitNames(payloadNames[:], uint32(p)) }

func bitNames(names []string, bits uint32) string {
	var set []string
	for i, n := range names {
		if bits&(1<<i) != 0 {
			set = append(set, n)
		}
	}
	return strings.Join(set, ",")
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

func parse[T ~uint8](what string, names []string, s string) (T, error) {
	for i, n := range names {
		if n == s {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("%s %q is not known", what, s)
}

// MarshalText writes the action's name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the action's name.
func (a *Action) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAction(string(b))
	return err
}

// MarshalText writes the mode's name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the mode's name.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}
