package admin

import (
	"time"

	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/stream/verdict"
)

// Report is what one part says of itself.
type Report struct {
	Part string `json:"part"`
	// Problems make weir status exit 1; Notes are worth knowing.
	Problems []string `json:"problems,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	// Sources count events at this part by source.
	Sources []Source `json:"sources,omitempty"`
	Lag     []Lag    `json:"lag,omitempty"`
	Sites   []Site   `json:"sites,omitempty"`
	// Verdicts in force, where the part knows.
	Verdicts int `json:"verdicts_active,omitempty"`
	// Enforcer is what an ingress says of its verdicts.
	Enforcer *Enforcer `json:"enforcer,omitempty"`
}

// Source is the account of one source of events: Produced = Delivered + the sum
// of Lost + what is still queued.
type Source struct {
	Name      string           `json:"source"`
	Produced  int64            `json:"produced"`
	Delivered int64            `json:"delivered"`
	Queued    int64            `json:"queued"`
	Lost      map[string]int64 `json:"lost"`
}

// Lag is how far a stage of a partition is behind the end of the log.
type Lag struct {
	Stage     string  `json:"stage"`
	Partition int32   `json:"partition"`
	Records   int64   `json:"records"`
	Seconds   float64 `json:"seconds"`
}

// Site is what a part knows of one site.
type Site struct {
	Name     string `json:"name"`
	Mode     string `json:"mode,omitempty"`
	Maturity string `json:"maturity,omitempty"`
	// Detectors are those that work; Missing says which roles the others need,
	// and with which roles those that work would see more.
	Detectors []string `json:"detectors,omitempty"`
	Missing   []string `json:"missing_roles,omitempty"`
}

// Status is the whole answer of /v1/status.
type Status struct {
	Healthy bool              `json:"healthy"`
	Version string            `json:"version"`
	Data    string            `json:"data"`
	Parts   []supervise.State `json:"parts"`
	Reports []Report          `json:"reports"`
	// Problems are those of all parts, each with its part's name.
	Problems []string `json:"problems"`
}

// SQLRequest asks /v1/sql.
type SQLRequest struct {
	Query string `json:"query"`
}

// Table is a query's result; values are what JSON can hold.
type Table struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
}

// ShadowReport answers /v1/shadow: what enforcement would have done.
type ShadowReport struct {
	Since time.Time `json:"since"`
	Rule  string    `json:"rule,omitempty"`
	// Requests that the ingress decided in shadow mode, those of them it would
	// have acted on, and Enforced those that were not decided in shadow mode and
	// count nowhere else.
	Requests int64 `json:"requests"`
	Acted    int64 `json:"acted"`
	Enforced int64 `json:"enforced"`
	// Sessions are all, attackers' among them; Customers those of accounts known
	// for a day or more, which is what false positives are estimated from.
	Sessions  ShadowBound `json:"sessions"`
	Blocked   ShadowBound `json:"blocked"`
	Customers ShadowBound `json:"customers"`
	// Groups are by action, route, threat, account_age, customer_value, country.
	Groups map[string][]ShadowGroup `json:"groups"`
	// Samples are requests that would have been acted on, those of proven
	// accounts first.
	Samples *Table `json:"samples"`
}

// ShadowBound is how many of 10,000 sessions a policy would have hit.
type ShadowBound struct {
	What string `json:"what"`
	Of   string `json:"of"`
	Hit  int64  `json:"hit"`
	Seen int64  `json:"seen"`
	// AtMost is the upper 95 % bound of Hit, per 10,000.
	AtMost    float64 `json:"at_most_of_10000"`
	Statement string  `json:"statement"`
}

// ShadowGroup counts what would have been acted on under one key.
type ShadowGroup struct {
	Key      string `json:"key"`
	Requests int64  `json:"requests"`
	Sessions int64  `json:"sessions"`
	// Accounts are proven ones.
	Accounts int64 `json:"accounts"`
}

// BoundOperator marks a verdict that a person gave, in place of a bound of the
// engine's.
const BoundOperator = "operator"

// VerdictRequest adds a verdict by hand (POST /v1/verdicts) or revokes one
// (POST /v1/verdicts/revoke, with ID and Reason only).
type VerdictRequest struct {
	ID     string `json:"id,omitempty"`
	Site   string `json:"site,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Value  string `json:"value,omitempty"`
	Action string `json:"action,omitempty"`
	For    string `json:"for,omitempty"`
	Reason string `json:"reason"`
	By     string `json:"by,omitempty"`
}

// Explanation answers /v1/explain/{id}.
type Explanation struct {
	ID       string            `json:"id"`
	Kind     string            `json:"kind"` // verdict, decision or request
	Verdict  *verdict.Verdict  `json:"verdict,omitempty"`
	Decision *verdict.Decision `json:"decision,omitempty"`
	// Request is the row of the view requests, Events the evidence's rows.
	Request *Table `json:"request,omitempty"`
	Events  *Table `json:"events,omitempty"`
	// Replay is set when a recomputation was asked for.
	Replay *Replay `json:"replay,omitempty"`
}

// Replay says what recomputing a verdict from the log gave.
type Replay struct {
	Identical bool   `json:"identical"`
	Snapshot  string `json:"snapshot"`
	// Source is where the events came from: the log, or the table events once
	// the log no longer holds them; then Missing says what the rows lack.
	Source  string   `json:"source,omitempty"`
	Missing []string `json:"missing,omitempty"`
	Events  int64    `json:"events"`
	// Difference is the first one, or why it cannot be recomputed.
	Difference string `json:"difference,omitempty"`
}
