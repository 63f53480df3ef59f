package ingress

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// act carries out the decision as far as it ends here; false: the request goes
// on to the upstream, tagged if it is to be observed.
func (x *exchange) act() bool {
	d := &x.decision
	switch d.Action {
	case event.ActionRateLimit:
		seconds := strconv.FormatInt(max(d.RetryAfterSeconds, 1), 10)
		x.deny(http.StatusTooManyRequests, flow.Field{Name: "Retry-After", Value: seconds})
	case event.ActionRedirect:
		if !validLocation(d.Location) {
			x.deny(http.StatusForbidden)
			break
		}
		x.deny(http.StatusFound, flow.Field{Name: "Location", Value: d.Location})
	case event.ActionBlock:
		x.deny(http.StatusForbidden)
	case event.ActionNone, event.ActionAllow, event.ActionObserve, event.ActionChallenge, event.ActionRewrite:
		// Challenge and rewrite have no form here yet: they pass, tagged, since a
		// block would be stronger than what the verdict allows.
		return false
	}
	return true
}

// tag is the value of X-Weir-Tag towards the application: the action and, when
// there is one, the verdict. In shadow mode there is none.
func (x *exchange) tag() string {
	d := &x.decision
	if d.Mode != event.ModeEnforce || d.Action < event.ActionObserve || d.Action == event.ActionNone {
		return ""
	}
	v := d.Action.String()
	if d.Verdict != "" {
		v += "; verdict=" + d.Verdict
	}
	var sb strings.Builder
	sb.WriteString(v)
	for _, t := range d.Threats {
		sb.WriteString("; threat=" + string(t))
	}
	if v = sb.String(); !validValue(v) {
		return d.Action.String()
	}
	return v
}

func validLocation(s string) bool {
	return validTarget(s) && (s[0] == '/' || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://"))
}

// deny refuses the request on a decision: the id and nothing about the reason.
func (x *exchange) deny(status int, extra ...flow.Field) {
	if v := x.decision.Verdict; v != "" && validValue(v) {
		extra = append(extra, flow.Field{Name: headerVerdict, Value: v})
	}
	x.page(status, extra)
}

// refuse answers with status for a reason that is no decision; outcome is the
// metric's label, "" for a request that is counted as a reject only.
func (x *exchange) refuse(status int, outcome string, extra ...flow.Field) {
	x.outcome = outcome
	x.page(status, extra)
}

// page writes a short answer of our own as JSON or HTML.
func (x *exchange) page(status int, extra []flow.Field) {
	body, kind := pageBody(status, x.raw.ID, wantsHTML(x.raw.Headers))
	fields := append(append(x.res.fields[:0], extra...), flow.Field{Name: "Cache-Control", Value: "no-store"},
		flow.Field{Name: "Content-Type", Value: kind}, flow.Field{Name: "Content-Length", Value: strconv.Itoa(len(body))},
		flow.Field{Name: "X-Content-Type-Options", Value: "nosniff"})
	x.res.status, x.res.fields = status, fields
	x.begin(int64(len(body)))
	// The client may be gone; there is nobody to tell.
	_ = x.client.write(body)
	x.client.end(nil)
	if x.raw.Method != http.MethodHead {
		x.written.Add(int64(len(body)))
	}
}

func pageBody(status int, id string, html bool) (body []byte, kind string) {
	text := http.StatusText(status)
	if html {
		return []byte("<!doctype html><html lang=en><meta charset=utf-8><title>" + text + "</title><h1>" + text +
			"</h1><p>Request <code>" + id + "</code></p></html>\n"), "text/html; charset=utf-8"
	}
	return []byte(`{"status":` + strconv.Itoa(status) + `,"error":"` + strings.ToLower(text) + `","id":"` + id + "\"}\n"),
		"application/json"
}

// wantsHTML reports whether Accept names HTML before JSON.
func wantsHTML(fields []flow.Field) bool {
	for _, f := range fields {
		if len(f.Name) == 6 && strings.EqualFold(f.Name, "Accept") {
			i, j := strings.Index(f.Value, "text/html"), strings.Index(f.Value, "json")
			return i >= 0 && (j < 0 || i < j)
		}
	}
	return false
}

// rejectHead counts a head that was refused on the connection and makes the
// answer. There is no request yet, so there is no event.
func (s *Server) rejectHead(c cause) []byte {
	s.metrics.reject(c)
	return rejection(c.status(), newIDNow())
}

func rejection(status int, id string) []byte {
	body, kind := pageBody(status, id, false)
	b := append([]byte("HTTP/1.1 "), strconv.Itoa(status)+" "+http.StatusText(status)...)
	b = append(b, "\r\nDate: "+time.Now().UTC().Format(http.TimeFormat)+"\r\nContent-Type: "+kind+"\r\nContent-Length: "+strconv.Itoa(len(body))+
		"\r\nCache-Control: no-store\r\nConnection: close\r\n"+headerRequestID+": "+id+"\r\n\r\n"...)
	return append(b, body...)
}
