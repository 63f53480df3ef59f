// Package ocsf writes verdicts and decisions as documents of the Open
// Cybersecurity Schema Framework: a verdict as Detection Finding (2004), a
// decision as HTTP Activity (4002) with the security_control profile.
//
// It promises that every document is valid under schema version SchemaVersion
// (a test resolves the schema and checks each), that the same record gives the
// same bytes, and that it adds nothing to what the record says. It never drops
// a field in silence: what the schema has no place for stands in unmapped.
package ocsf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// SchemaVersion is the OCSF version that the documents follow.
const SchemaVersion = "1.9.0-dev"

// Format writes documents.
type Format struct {
	// Version of weir, for metadata.product.
	Version string
}

// threatNames are the OWASP Automated Threats by code (OWASP Automated Threat
// Handbook 1.3).
var threatNames = map[verdict.Threat]string{
	"OAT-001": "Carding", "OAT-002": "Token Cracking", "OAT-003": "Cost-Inflation Fraud", "OAT-004": "Fingerprinting", "OAT-005": "Scalping",
	"OAT-006": "Expediting", "OAT-007": "Credential Cracking", "OAT-008": "Credential Stuffing", "OAT-009": "CAPTCHA Defeat",
	"OAT-010": "Card Cracking", "OAT-011": "Scraping", "OAT-012": "Cashing Out", "OAT-013": "Sniping",
	"OAT-014": "Vulnerability Scanning", "OAT-015": "Denial of Service", "OAT-016": "Skewing", "OAT-017": "Spamming",
	"OAT-018": "Footprinting", "OAT-019": "Account Creation", "OAT-020": "Account Aggregation",
	"OAT-021": "Denial of Inventory",
}

// severity grades what weir proposes: informational, low, medium, high.
func severity(a event.Action) (id int, caption string) {
	switch {
	case a >= event.ActionBlock:
		return 4, "High"
	case a >= event.ActionRateLimit:
		return 3, "Medium"
	case a == event.ActionObserve:
		return 2, "Low"
	default:
		return 1, "Informational"
	}
}

// riskLevels are the captions of risk_level_id for each severity above.
var riskLevels = [...]string{"Info", "Low", "Medium", "High"}

// millis is OCSF's timestamp_t.
func millis(t verdict.Time) int64 { return int64(t) / 1e6 }

func (f Format) metadata(uid, correlation, topic, site string) metadata {
	return metadata{
		Version: SchemaVersion, UID: uid, CorrelationUID: correlation, LogName: topic, TenantUID: site,
		Product:  product{Name: "weir", UID: "weir", VendorName: "weir", Version: f.Version},
		Profiles: []string{"security_control"},
	}
}

// Verdict writes a Detection Finding. Revisions of one verdict are updates of
// one finding: finding_info.uid is the verdict's id, metadata.uid names the
// revision.
func (f Format) Verdict(v *verdict.Verdict) ([]byte, error) {
	activity, name, status, statusName := 1, "Create", 1, "New"
	switch {
	case v.Revoked:
		activity, name, status, statusName = 3, "Close", 4, "Resolved"
	case v.Revision > 1:
		activity, name, status, statusName = 2, "Update", 2, "In Progress"
	}
	severityID, severityName := severity(v.Action)
	confidence := int(v.Confidence / 10_000)
	confidenceID, confidenceName := grade(confidence)
	actionID, action, dispositionID, disposition := control(v.Action, v.Action, v.Mode)
	d := finding{
		header: header{
			ActivityID: activity, ActivityName: name, CategoryUID: 2, CategoryName: "Findings", ClassUID: 2004, ClassName: "Detection Finding",
			TypeUID: 200_400 + int64(activity), TypeName: "Detection Finding: " + name, Time: millis(v.Time),
			SeverityID: severityID, Severity: severityName, StatusID: status, Status: statusName, Message: v.Evidence.Summary,
			Metadata: f.metadata(fmt.Sprintf("%s:%d", v.ID, v.Revision), v.ID, "weir.verdicts", v.Site),
			ActionID: actionID, Action: action, DispositionID: dispositionID, Disposition: disposition,
			IsAlert: v.Action > event.ActionObserve && !v.Revoked, Attacks: attacks(v.Threats),
		},
		ConfidenceID: confidenceID, Confidence: confidenceName, ConfidenceScore: confidence,
		// The score in whole bits; the level says what weir does about it.
		RiskLevelID: severityID - 1, RiskLevel: riskLevels[severityID-1], RiskScore: int64(v.Score+500) / 1000,
		FindingInfo: findingInfo(v), StartTime: millis(v.Time), Evidences: evidences(v),
		AnomalyAnalyses: anomalies(v),
	}
	if v.Policy != "" {
		d.Policy = &policy{UID: v.Policy, Version: v.Policy, IsApplied: v.Mode == event.ModeEnforce}
	}
	d.Unmapped = map[string]any{
		"time": v.Time, "site": v.Site, "scope": v.Scope, "actor": v.Actor, "action": v.Action, "mode": v.Mode, "expires": v.Expires, "revision": v.Revision,
		"score_bits": v.Score, "false_positive_bound": v.FalsePositiveBound, "bound": v.Bound, "sequence": v.Sequence,
		"baseline": v.Baseline, "maturity": v.Maturity, "limit": v.Limit,
	}
	return marshal(d)
}

func grade(score int) (int, string) {
	switch {
	case score >= 99:
		return 3, "High"
	case score >= 90:
		return 2, "Medium"
	default:
		return 1, "Low"
	}
}

func findingInfo(v *verdict.Verdict) info {
	whom := string(v.Scope) + " on site " + v.Site
	if v.Actor != "" {
		whom = v.Actor
	}
	in := info{
		UID: v.ID, Title: title(v.Threats) + " by " + whom, Desc: v.Evidence.Summary, CreatedTime: millis(v.Time), ModifiedTime: millis(v.Time), Attacks: attacks(v.Threats),
		Analytic: analytic{TypeID: 2, Type: "Behavioral", Name: title(v.Threats), UID: firstThreat(v.Threats), Version: v.Engine},
	}
	for _, t := range v.Threats {
		in.Types = append(in.Types, string(t))
		in.Tags = append(in.Tags, tag{Name: "owasp_automated_threat", Value: strings.TrimSpace(string(t) + " " + threatNames[t])})
	}
	for _, id := range v.Evidence.Events {
		in.RelatedEvents = append(in.RelatedEvents, related{UID: id, TypeUID: 400_200, TypeName: "HTTP Activity: Unknown"})
	}
	return in
}

func title(threats []verdict.Threat) string {
	if len(threats) == 0 {
		return "Manual verdict"
	}
	if name := threatNames[threats[0]]; name != "" {
		return name + " (" + string(threats[0]) + ")"
	}
	return string(threats[0])
}

func firstThreat(threats []verdict.Threat) string {
	if len(threats) == 0 {
		return "manual"
	}
	return string(threats[0])
}

// evidences carries what has no place of its own: binds, links, log range.
func evidences(v *verdict.Verdict) []evidence {
	return []evidence{{
		UID: v.ID, Name: "weir evidence",
		Data: map[string]any{
			"binds": v.Binds, "features": v.Evidence.Features, "links": v.Evidence.Links, "range": v.Evidence.Range,
			"caps": v.Evidence.Caps, "counterfactual": v.Evidence.Counterfactual,
		},
	}}
}

// anomalies shows each term of the score beside what the baseline expected.
func anomalies(v *verdict.Verdict) []anomalyAnalysis {
	if len(v.Evidence.Features) == 0 {
		return nil
	}
	target := analysisTarget{Name: v.Actor, Type: string(v.Scope)}
	if target.Name == "" {
		target.Name = v.Site
	}
	a := anomalyAnalysis{Targets: []analysisTarget{target}}
	for _, ft := range v.Evidence.Features {
		a.Anomalies = append(a.Anomalies, observed{
			Parameter: ft.Name, Pattern: ft.Bits.String() + " bits", Observations: []observation{{Value: ft.Value.String()}},
		})
		a.Baselines = append(a.Baselines, observed{Parameter: ft.Name, Observations: []observation{{Value: ft.Expected.String()}}})
	}
	return []anomalyAnalysis{a}
}

// control maps what was proposed and done to the security_control profile:
// action_id and disposition_id with their captions.
func control(applied, proposed event.Action, mode event.Mode) (actionID int, action string, dispositionID int, disposition string) {
	switch {
	case applied == event.ActionBlock && mode == event.ModeEnforce:
		return 2, "Denied", 2, "Blocked"
	case applied == event.ActionRateLimit && mode == event.ModeEnforce:
		return 2, "Denied", 25, "Rejected"
	case applied == event.ActionChallenge && mode == event.ModeEnforce:
		return 2, "Denied", 23, "Challenge"
	case (applied == event.ActionRedirect || applied == event.ActionRewrite) && mode == event.ModeEnforce:
		return 4, "Modified", 7, "Custom Action"
	case mode == event.ModeShadow && proposed > event.ActionObserve:
		return 3, "Observed", 20, "Count" // would have acted
	case applied == event.ActionObserve && mode == event.ModeEnforce:
		return 3, "Observed", 18, "Tagged"
	case proposed > event.ActionAllow:
		return 3, "Observed", 17, "Logged"
	default:
		return 1, "Allowed", 1, "Allowed"
	}
}

// Decision writes an HTTP Activity.
func (f Format) Decision(d *verdict.Decision) ([]byte, error) {
	severityID, severityName := severity(max(d.Action, d.Proposed))
	actionID, action, dispositionID, disposition := control(d.Action, d.Proposed, d.Mode)
	if d.Action > event.ActionObserve && d.Mode != event.ModeEnforce { // another verdict than the strongest acted
		actionID, action, dispositionID, disposition = control(d.Action, d.Proposed, event.ModeEnforce)
	}
	r := d.Request
	if r == nil {
		r = &verdict.Request{}
	}
	activity, name := method(r.Method)
	doc := activityDoc{
		header: header{
			ActivityID: activity, ActivityName: name, CategoryUID: 4, CategoryName: "Network Activity", ClassUID: 4002, ClassName: "HTTP Activity",
			TypeUID: 400_200 + int64(activity), TypeName: "HTTP Activity: " + name, Time: millis(d.Time),
			SeverityID: severityID, Severity: severityName, Message: d.Reason,
			Metadata: f.metadata(d.ID, d.Verdict, "weir.decisions", d.Site),
			ActionID: actionID, Action: action, DispositionID: dispositionID, Disposition: disposition,
			IsAlert: d.Action > event.ActionObserve, Rule: rule(d), Attacks: attacks(d.Threats),
		},
		HTTPRequest: httpRequest{
			UID: d.ID, Method: knownMethod(r.Method), UserAgent: r.UserAgent,
			URL: &webAddress{Hostname: r.Host, Path: pathOf(r), QueryString: r.QueryKeys},
		},
		HTTPResponse: response(d), Source: source(r),
	}
	if d.Policy != "" {
		doc.Policy = &policy{UID: d.Policy, Version: d.Policy, IsApplied: d.Mode == event.ModeEnforce}
	}
	if r.JA4 != "" {
		doc.JA4 = []ja4{{TypeID: 1, Type: "JA4", Value: r.JA4}}
	}
	if doc.Source.IP != "" {
		doc.Observables = append(doc.Observables, observable{Name: "src_endpoint.ip", TypeID: 2, Type: "IP Address", Value: doc.Source.IP})
	}
	if r.UserAgent != "" {
		doc.Observables = append(doc.Observables, observable{Name: "http_request.user_agent", TypeID: 16, Type: "HTTP User-Agent", Value: r.UserAgent})
	}
	doc.Unmapped = map[string]any{
		"time": d.Time, "site": d.Site, "scope": d.Scope, "actor": d.Actor, "action": d.Action, "proposed": d.Proposed, "mode": d.Mode,
		"threats": d.Threats, "verdict": d.Verdict, "revision": d.Revision, "matched": d.Matched, "group": d.Group,
		"route": r.Route, "role": r.Role, "session": r.Session, "account": r.Account, "device": r.Device, "target_account": r.Target,
		"fuel": d.Fuel, "nanoseconds": d.Nanoseconds, "retry_after": d.RetryAfterSeconds, "location": d.Location, "http_method": r.Method,
	}
	return marshal(doc)
}

// pathOf is never empty: a URL needs one.
func pathOf(r *verdict.Request) string {
	if r.Path == "" {
		return "/"
	}
	return r.Path
}

// source names who sent the request: the address, else the session.
func source(r *verdict.Request) endpoint {
	if a, err := netip.ParseAddr(r.Client); err == nil {
		return endpoint{IP: a.WithZone("").String()}
	}
	if a, err := netip.ParseAddrPort(r.Client); err == nil {
		return endpoint{IP: a.Addr().WithZone("").String(), Port: int(a.Port())}
	}
	if r.Session != "" {
		return endpoint{UID: r.Session}
	}
	return endpoint{Name: "unknown"}
}

// response is the answer that weir itself gave, if it did.
func response(d *verdict.Decision) *httpResponse {
	if d.Mode != event.ModeEnforce && d.Action <= event.ActionObserve {
		return nil
	}
	switch d.Action {
	case event.ActionBlock:
		return &httpResponse{Code: 403}
	case event.ActionRateLimit:
		return &httpResponse{Code: 429}
	case event.ActionRedirect:
		return &httpResponse{Code: 302}
	case event.ActionNone, event.ActionAllow, event.ActionObserve, event.ActionChallenge, event.ActionRewrite:
	}
	return nil
}

func rule(d *verdict.Decision) *firewallRule {
	if d.Rule == "" {
		return nil
	}
	r := &firewallRule{Name: d.Rule, UID: d.Verdict, Condition: d.Reason, MatchDetails: d.Matched}
	if r.UID == "" {
		r.UID = d.Rule
	}
	return r
}

func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("ocsf: %w", err)
	}
	return b, nil
}
