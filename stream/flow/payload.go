package flow

import (
	"embed"
	"fmt"
	"strings"
	"sync"

	"github.com/weirproject/weir/stream/event"
)

// Payload classes are found by patterns that stand as data in payload/*.txt,
// one file per class, each entry with its source and date. They are evidence
// beside behaviour: a person who searches for "union select" is no attacker,
// so no class ever blocks by itself.

//go:embed payload/*.txt
var payloadFiles embed.FS

// maxPayloadBody bounds the body bytes that are matched.
const maxPayloadBody = 8 << 10

// payloads are the compiled pattern sets by what they are matched on.
type payloads struct {
	injection matcher // target, referer, user agent, body
	path      matcher // decoded path
	agent     matcher // user agent
}

// loadPayloads compiles the embedded lists once; they are checked by a test, so
// a fault here is a programming error.
var loadPayloads = sync.OnceValue(func() *payloads {
	p := &payloads{}
	for _, c := range []struct {
		file  string
		class event.Payload
		into  *matcher
	}{
		{"traversal", event.PayloadTraversal, &p.injection},
		{"sql", event.PayloadSQL, &p.injection},
		{"xss", event.PayloadXSS, &p.injection},
		{"command", event.PayloadCommand, &p.injection},
		{"template", event.PayloadTemplate, &p.injection},
		{"probe_path", event.PayloadProbePath, &p.path},
		{"tool", event.PayloadTool, &p.agent},
	} {
		if err := c.into.load("payload/"+c.file+".txt", c.class); err != nil {
			panic(err)
		}
	}
	p.injection.build()
	p.path.build()
	p.agent.build()
	return p
})

// load adds the patterns of one file.
func (m *matcher) load(file string, class event.Payload) error {
	text, err := payloadFiles.ReadFile(file)
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		pattern, origin, ok := strings.Cut(line, "\t")
		if source, date, dated := strings.Cut(origin, "\t"); !ok || !dated || source == "" || len(date) != 10 {
			return fmt.Errorf("%s: %q: want pattern, source and date", file, line)
		}
		if err := m.add(pattern, class); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s holds no pattern", file)
	}
	return nil
}

// classify finds the payload classes of a request. text is scratch space.
func (e *Extractor) classify(r *request, ev *event.Event) {
	p := e.payloads
	text := r.text[:0]
	odd := oddRequest(r.x)

	text = appendNormal(text, r.path, false)
	found := p.path.find(text) | p.injection.find(text)
	if r.query != "" {
		text = appendNormal(text[:0], r.query, true)
		found |= p.injection.find(text) | tautology(text)
	}
	if i := strings.IndexByte(r.heads.referer, '?'); i >= 0 || suspicious(r.heads.referer) {
		text = appendNormal(text[:0], r.heads.referer, true)
		class := p.injection.find(text)
		if own := refererHost(r.heads.referer); own == ev.Host || ev.Host == "" {
			// The page before, perhaps a search for these very words: its own
			// request has been classified. A log does not show the host.
			class &= event.PayloadTemplate | event.PayloadCommand
		}
		found |= class
	}
	if len(r.body) > 0 && len(r.body) <= maxPayloadBody {
		text = appendNormal(text[:0], string(r.body), true)
		found |= p.injection.find(text) | tautology(text)
	}
	r.text = text
	found |= e.agentClasses(r, ev.UserAgent)
	if odd {
		found |= event.PayloadMalformed
	}
	ev.Payload = found
}

// agentClasses matches a user agent through the pseudonyms' cache: the same few
// come again and again.
func (e *Extractor) agentClasses(r *request, agent string) event.Payload {
	if agent == "" {
		return 0
	}
	c := &r.key.cache
	r.text = append(append(r.text[:0], "\x00agent\x00"...), agent...)
	id := c.id(r.text)
	if v, ok := c.get(id); ok {
		return event.Payload(v)
	}
	r.text = appendNormal(r.text[:0], agent, false)
	found := e.payloads.agent.find(r.text)
	if suspicious(agent) {
		// A user agent has parentheses and semicolons of its own.
		found |= e.payloads.injection.find(r.text) & (event.PayloadTemplate | event.PayloadTraversal | event.PayloadXSS)
	}
	if strings.HasPrefix(agent, "() {") || strings.HasPrefix(agent, "(){") { // CVE-2014-6271
		found |= event.PayloadCommand
	}
	c.put(id, uint64(found))
	return found
}

// suspicious reports bytes that injections into headers need: one of the marked
// ones, or two dots in a row.
func suspicious(s string) bool {
	dot := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if marked[c] || dot && c == '.' {
			return true
		}
		dot = c == '.'
	}
	return false
}

var marked = func() (set [256]bool) {
	for _, c := range []byte("<$'\"{`|") {
		set[c] = true
	}
	return set
}()

// appendNormal appends s as patterns expect it: percent escapes resolved twice
// (plus: + is a blank), lower case, SQL comments and runs of white space one
// blank, none before a parenthesis, JSON's \u00XX resolved, NUL dropped.
func appendNormal(out []byte, s string, plus bool) []byte {
	if strings.IndexByte(s, '%') >= 0 {
		if s = percentDecode(s, plus); strings.IndexByte(s, '%') >= 0 {
			s = percentDecode(s, plus)
		}
	}
	start := len(out)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r' || c == '+' && plus:
			if n := len(out); n == start || out[n-1] != ' ' {
				out = append(out, ' ')
			}
		case c == 0:
		case c == '(' && len(out) > start && out[len(out)-1] == ' ': // "sleep (1)" calls as "sleep(1)" does
			out[len(out)-1] = '('
		case c == '/' && i+1 < len(s) && s[i+1] == '*':
			i = skipComment(s, i)
			if n := len(out); n == start || out[n-1] != ' ' {
				out = append(out, ' ')
			}
		case c == '*' && plus && i+1 < len(s) && s[i+1] == '/': // the end of /*!...*/
			i++
			out = append(out, ' ')
		case c == '\\' && i+5 < len(s) && s[i+1] == 'u' && s[i+2] == '0' && s[i+3] == '0' && unhex(s[i+4]) >= 0 && unhex(s[i+5]) >= 0:
			out = append(out, lower(byte(unhex(s[i+4])<<4|unhex(s[i+5]))))
			i += 5
		default:
			out = append(out, lower(c))
		}
	}
	return out
}

// skipComment returns the index of the last byte of a comment that starts at i,
// or of the marker of a conditional comment (/*!50000 ...), whose inside counts.
func skipComment(s string, i int) int {
	if i+2 < len(s) && s[i+2] == '!' {
		i += 2
		for i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
			i++
		}
		return i
	}
	if end := strings.Index(s[i+2:], "*/"); end >= 0 {
		return i + 2 + end + 1
	}
	return i + 1
}

// knownMethods are those of RFC 9110, RFC 5789 and WebDAV (RFC 4918, 3253,
// 5323, 3744), and PURGE of caches.
var knownMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "CONNECT": true, "OPTIONS": true,
	"TRACE": true, "PATCH": true, "PROPFIND": true, "PROPPATCH": true, "MKCOL": true, "COPY": true, "MOVE": true,
	"LOCK": true, "UNLOCK": true, "REPORT": true, "SEARCH": true, "ACL": true, "MKCALENDAR": true, "PURGE": true,
	"CHECKOUT": true, "CHECKIN": true, "MERGE": true, "MKACTIVITY": true, "VERSION-CONTROL": true, "QUERY": true,
}

// oddRequest reports what no ordinary client sends: unknown methods (TLS bytes
// on a plain port end up there), targets that are neither path nor URL, control
// characters, and UTF-8 in longer form than needed.
func oddRequest(x *Exchange) bool {
	if !knownMethods[x.Method] {
		return true
	}
	t := x.Target
	switch {
	case t == "":
		return true
	case t[0] == '/', t == "*" && x.Method == "OPTIONS", x.Method == "CONNECT": //nolint:usestdlibvars // net/http stays out of wasm guests
	case !strings.HasPrefix(t, "http://") && !strings.HasPrefix(t, "https://"):
		return true
	}
	query := false
	for i := 0; i < len(t); i++ {
		c := t[i]
		switch {
		case c <= 0x20 || c == 0x7f || c == '\\' && !query:
			return true
		case c == '?':
			query = true
		case c == '%':
			if i+2 >= len(t) || unhex(t[i+1]) < 0 || unhex(t[i+2]) < 0 {
				return true
			}
			d := byte(unhex(t[i+1])<<4 | unhex(t[i+2]))
			// Text areas send line breaks in queries.
			if d < 0x20 && (!query || d != '\t' && d != '\n' && d != '\r') || d == 0xc0 || d == 0xc1 {
				return true
			}
		}
	}
	return false
}

// tautology finds comparisons that are there to be true or false: "or 1=1",
// "' and 'a'='a", "1) or (2=3".
func tautology(text []byte) event.Payload {
	for i := 1; i+1 < len(text); i++ {
		if c := text[i]; c != '=' && c != '>' && c != '<' {
			continue
		}
		left, before := operandBefore(text, i)
		right := operandAfter(text, i+1)
		if len(left) == 0 || len(right) == 0 {
			continue
		}
		same := string(left) == string(right)
		if (same || isDigits(string(left)) && isDigits(string(right))) && afterKeyword(text[:before]) {
			return event.PayloadSQL
		}
	}
	return 0
}

func isOperand(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c >= 0x80 }

func isWrap(c byte) bool {
	return c == ' ' || c == '\'' || c == '"' || c == '(' || c == ')' || c == '%' || c == '`' || c == '!' || c == '-'
}

func operandBefore(text []byte, i int) (operand []byte, start int) {
	end := i
	for end > 0 && isWrap(text[end-1]) {
		end--
	}
	start = end
	for start > 0 && isOperand(text[start-1]) {
		start--
	}
	return text[start:end], start
}

func operandAfter(text []byte, i int) []byte {
	// One more comparison byte belongs to the operator ("==", "<>"); to skip any
	// number of them would make a long run of them quadratic.
	if i < len(text) && (text[i] == '=' || text[i] == '>') {
		i++
	}
	for i < len(text) && isWrap(text[i]) {
		i++
	}
	start := i
	for i < len(text) && isOperand(text[i]) {
		i++
	}
	return text[start:i]
}

// afterKeyword reports whether text ends with a logical operator, wrappers
// aside.
func afterKeyword(text []byte) bool {
	end := len(text)
	for end > 0 && isWrap(text[end-1]) {
		end--
	}
	start := end
	for start > 0 && isAlnum(text[start-1]) {
		start--
	}
	switch string(text[start:end]) {
	case "or", "and", "xor", "not", "where", "having", "when", "if", "rlike":
		return start > 0 && end < len(text)
	case "":
		return end > 1 && (string(text[end-2:end]) == "||" || string(text[end-2:end]) == "&&")
	default:
		return false
	}
}
