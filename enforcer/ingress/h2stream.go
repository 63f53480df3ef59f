package ingress

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// h2Stream is a request over HTTP/2. net/http speaks that protocol: it keeps
// neither the order nor the spelling of header fields (HTTP/2 has no spelling).
type h2Stream struct {
	w      http.ResponseWriter
	r      *http.Request
	values []string // backs the header map
	cut    bool     // the answer broke off
	pace   *download
}

func (s *h2Stream) Read(p []byte) (int, error) { return s.r.Body.Read(p) }

// proceed: net/http asks by itself at the first Read.
func (*h2Stream) proceed() {}

func (s *h2Stream) announced() []string { return slices.Sorted(maps.Keys(s.r.Trailer)) }

func (s *h2Stream) trailers() (out []flow.Field) {
	for n, vs := range s.r.Trailer {
		for _, v := range vs {
			if isToken(n) && validValue(v) {
				out = append(out, flow.Field{Name: n, Value: v})
			}
		}
	}
	return out
}

// malformed: a malformed stream is reset before anybody reads its body.
func (*h2Stream) malformed() bool { return false }

func (s *h2Stream) stopReading() {
	_ = http.NewResponseController(s.w).SetReadDeadline(past)
}

func (s *h2Stream) context() context.Context { return s.r.Context() }
func (s *h2Stream) gone() bool               { return s.r.Context().Err() != nil }

// watch: net/http sees a reset by itself.
func (*h2Stream) watch() {}

func (s *h2Stream) interim(status int, fields []flow.Field) {
	h := s.w.Header()
	s.copyFields(h, fields)
	s.w.WriteHeader(status)
	clear(h)
}

func (s *h2Stream) begin(a *answer) {
	h := s.w.Header()
	s.copyFields(h, a.fields)
	h[headerRequestID] = []string{a.id}
	if a.close {
		h["Connection"] = []string{"close"} // net/http makes it a GOAWAY
	}
	if a.status == http.StatusNotModified {
		// net/http drops these two from a 304 under their canonical names; RFC 9110
		// section 15.4.5 allows them, and the client should see what was sent.
		rename(h, "Content-Type", "content-type")
		rename(h, "Content-Length", "content-length")
	} else if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // no sniffing
	}
	s.w.WriteHeader(a.status)
}

func rename(h http.Header, from, to string) {
	if v, ok := h[from]; ok {
		delete(h, from)
		h[to] = v
	}
}

func (s *h2Stream) write(p []byte) error {
	s.pace.writing()
	defer s.pace.wrote()
	_, err := s.w.Write(p)
	return err
}

func (s *h2Stream) flush() {
	if f, ok := s.w.(http.Flusher); ok {
		s.pace.writing()
		defer s.pace.wrote()
		f.Flush()
	}
}

// stopWriting fails a write in progress and all later ones.
func (s *h2Stream) stopWriting() {
	_ = http.NewResponseController(s.w).SetWriteDeadline(past)
}

func (s *h2Stream) end(trailers []flow.Field) {
	if len(trailers) == 0 {
		return
	}
	s.flush() // trailers follow a body of unknown length
	h := s.w.Header()
	for _, f := range trailers {
		k := http.TrailerPrefix + f.Name
		h[k] = append(h[k], f.Value)
	}
}

func (s *h2Stream) abort() { s.cut = true }

// copyFields copies end-to-end fields. Names that net/http looks at get their
// canonical spelling, others keep the upstream's.
func (s *h2Stream) copyFields(h http.Header, fields []flow.Field) {
	nominated := nominatedBy(fields)
	s.values = make([]string, len(fields))
next:
	for i, f := range fields {
		for _, n := range nominated {
			if strings.EqualFold(n, f.Name) {
				continue next
			}
		}
		k := responseFieldOf(f.Name)
		if k.hop() {
			continue
		}
		name := f.Name
		if k != fieldOther {
			name = http.CanonicalHeaderKey(name)
		}
		s.values[i] = f.Value
		if old, ok := h[name]; ok {
			if k == fieldLength {
				continue // equal values, see upResponse.frame
			}
			h[name] = append(old, f.Value)
		} else {
			h[name] = s.values[i : i+1 : i+1]
		}
	}
}

// ServeHTTP takes a request over HTTP/2 from net/http.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := r.Context().Value(connKey{}).(*connInfo)
	if !ok { // a connection that front did not make
		http.Error(w, "unknown connection", http.StatusInternalServerError)
		return
	}
	x := s.exchangeFor(time.Now())
	x.conn = info
	x.h2 = h2Stream{w: w, r: r}
	x.client = &x.h2
	x.raw.Method, x.raw.Host, x.raw.Target, x.raw.Protocol = r.Method, r.Host, r.RequestURI, "HTTP/2"
	x.fields = sortedFields(x.fields, r.Header)
	x.raw.Headers = x.fields
	for _, f := range x.fields {
		x.headLen += int64(len(f.Name) + len(f.Value) + 4)
	}
	length, declared := r.ContentLength, r.ContentLength > 0
	if r.Body == nil || r.Body == http.NoBody {
		length = 0
	}
	if m := r.Method; length == 0 && (m == "POST" || m == "PUT" || m == "PATCH") {
		declared = true
	}
	x.serve(checkHTTP2(r), length, declared)
	cut := x.h2.cut
	x.release()
	if cut {
		// The answer broke off: the client must not take it for a whole one.
		panic(http.ErrAbortHandler)
	}
}

// checkHTTP2 rejects what net/http lets through in HTTP/2 and HTTP/1 cannot
// carry on unchanged.
func checkHTTP2(r *http.Request) cause {
	switch {
	case r.Method == http.MethodConnect:
		return causeConnect
	case !isToken(r.Method):
		return causeMethod
	case !validTarget(r.RequestURI) || r.RequestURI[0] != '/' && (r.RequestURI != "*" || r.Method != http.MethodOptions):
		return causeTarget
	case r.Host == "" || !validHost(r.Host):
		return causeHost
	}
	if hs := r.Header["Host"]; len(hs) > 1 {
		return causeHostTwice
	} else if len(hs) == 1 && hs[0] != r.Host {
		return causeHostMismatch
	}
	if cl := r.Header["Content-Length"]; len(cl) > 1 {
		return causeLengthTwice
	} else if len(cl) == 1 && (cl[0] == "" || parseLength(cl[0]) != r.ContentLength) {
		return causeLength
	}
	if e := r.Header["Expect"]; len(e) > 1 || len(e) == 1 && e[0] != "100-continue" {
		return causeExpect
	}
	return causeNone
}
