package ingress

import (
	"maps"
	"net/http"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// interim passes a 1xx response on, 103 (Early Hints) for one.
func (x *exchange) interim() {
	h := x.w.Header()
	kept := h.Clone()
	x.copyFields(h, x.res.fields)
	x.w.WriteHeader(x.res.status)
	clear(h)
	maps.Copy(h, kept)
}

// writeHead passes status and fields on.
func (x *exchange) writeHead(res *upResponse) {
	h := x.w.Header()
	x.copyFields(h, res.fields)
	if res.status == http.StatusNotModified {
		// net/http drops these two from a 304 under their canonical names; RFC 9110
		// section 15.4.5 allows them, and the client should see what was sent.
		rename(h, "Content-Type", "content-type")
		rename(h, "Content-Length", "content-length")
	} else if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // no sniffing
	}
	x.raw.Status = res.status
	x.raw.ResponseHeaders = append(x.raw.ResponseHeaders, res.fields...)
	x.w.WriteHeader(res.status)
}

func rename(h http.Header, from, to string) {
	if v, ok := h[from]; ok {
		delete(h, from)
		h[to] = v
	}
}

// copyFields copies end-to-end fields. Names that net/http looks at get their
// canonical spelling, others keep the upstream's.
func (x *exchange) copyFields(h http.Header, fields []flow.Field) {
	var nominated []string
	for _, f := range fields {
		if len(f.Name) == 10 && strings.EqualFold(f.Name, "Connection") {
			for part := range strings.SplitSeq(f.Value, ",") {
				if part = trimOWS(part); part != "" && !knownHop(part) {
					nominated = append(nominated, part)
				}
			}
		}
	}
	x.values = make([]string, len(fields))
next:
	for i, f := range fields {
		name := f.Name
		for _, n := range nominated {
			if strings.EqualFold(n, name) {
				continue next
			}
		}
		if known, ok := responseName(name); ok {
			if known == "" {
				continue
			}
			name = known
		}
		x.values[i] = f.Value
		if old, ok := h[name]; ok {
			if name == "Content-Length" {
				continue // equal values, see upResponse.frame
			}
			h[name] = append(old, f.Value)
		} else {
			h[name] = x.values[i : i+1 : i+1]
		}
	}
}

// responseName gives the canonical spelling of the names that net/http treats
// specially, and "" for those that end here.
func responseName(name string) (canonical string, ok bool) {
	switch len(name) {
	case 4:
		return equal(name, "Date", "Date")
	case 7:
		if strings.EqualFold(name, "Trailer") {
			return "Trailer", true
		}
		return equal(name, "Upgrade", "")
	case 10:
		if strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive") {
			return "", true
		}
	case 12:
		return equal(name, "Content-Type", "Content-Type")
	case 14:
		return equal(name, "Content-Length", "Content-Length")
	case 16:
		if strings.EqualFold(name, "Proxy-Connection") {
			return "", true
		}
		return equal(name, "Content-Encoding", "Content-Encoding")
	case 17:
		if strings.EqualFold(name, "Transfer-Encoding") {
			return "", true
		}
		return equal(name, headerRequestID, "")
	}
	return "", false
}

func equal(name, want, to string) (string, bool) { return to, strings.EqualFold(name, want) }
