package traffic

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Header is one header line in wire order and spelling.
type Header struct{ Name, Value string }

// Exchange is one request with its answer. ID is given when it is written.
type Exchange struct {
	ID           string
	Time         int64 // UTC nanoseconds
	Client       netip.Addr
	Port         uint16
	JA4          string
	Protocol     string
	Method       string
	Host         string
	Target       string
	Headers      []Header
	Body         string
	Status       int
	RespHeaders  []Header
	RespBody     string
	RequestBytes int
	RespBytes    int
	Duration     time.Duration
}

// Class says what sent a request.
type Class string

// The classes. A service is automation that its owner or the site wants:
// monitors, partners, feed readers, declared bots.
const (
	Person  Class = "person"
	Service Class = "service"
	Bot     Class = "bot"
)

// Label is the truth about one exchange.
type Label struct {
	ID    string `json:"id"`
	Class Class  `json:"class"`
	// Who is the truth actor: a person, a service or a campaign.
	Who string `json:"who"`
	// Kind is the hard-negative class of people and services ("cgnat",
	// "office", ...; "" for an ordinary visit), or the level of a bot.
	Kind string `json:"kind,omitempty"`
	// Session numbers the visits of a population, from 1.
	Session int `json:"session"`
	// Threat is the OWASP code of a bot's campaign; Attempt marks its key
	// requests, by which recall is counted.
	Threat  string `json:"threat,omitempty"`
	Level   string `json:"level,omitempty"`
	Attempt bool   `json:"attempt,omitempty"`
}

// Sink receives exchanges in order of time with their labels; both are valid
// only until it returns.
type Sink func(x *Exchange, l *Label) error

// AppendJSON appends x as one line of an exchange file.
func (x *Exchange) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, x.ID)
	b = append(b, `,"time":"`...)
	b = time.Unix(0, x.Time).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","client":"`...)
	b = netip.AddrPortFrom(x.Client, x.Port).AppendTo(b)
	b = append(b, '"')
	if x.JA4 != "" {
		b = append(b, `,"tls":{"version":"1.3","sni":`...)
		b = appendString(b, x.Host)
		b = append(b, `,"ja4":`...)
		b = appendString(b, x.JA4)
		b = append(b, '}')
	}
	if x.Protocol != "" {
		b = append(b, `,"protocol":`...)
		b = appendString(b, x.Protocol)
	}
	for _, f := range [...]struct{ name, value string }{{`,"method":`, x.Method}, {`,"host":`, x.Host}, {`,"target":`, x.Target}} {
		b = appendString(append(b, f.name...), f.value)
	}
	b = appendHeaders(append(b, `,"headers":`...), x.Headers)
	if x.Body != "" {
		b = appendString(append(b, `,"body":`...), x.Body)
	}
	b = strconv.AppendInt(append(b, `,"status":`...), int64(x.Status), 10)
	if len(x.RespHeaders) > 0 {
		b = appendHeaders(append(b, `,"response_headers":`...), x.RespHeaders)
	}
	if x.RespBody != "" {
		b = appendString(append(b, `,"response_body":`...), x.RespBody)
	}
	b = strconv.AppendInt(append(b, `,"request_bytes":`...), int64(x.RequestBytes), 10)
	b = strconv.AppendInt(append(b, `,"response_bytes":`...), int64(x.RespBytes), 10)
	b = strconv.AppendInt(append(b, `,"duration_us":`...), x.Duration.Microseconds(), 10)
	return append(b, '}', '\n')
}

// AppendCombined appends x as one line of a combined access log.
func (x *Exchange) AppendCombined(b []byte) []byte {
	b = x.Client.AppendTo(b)
	b = append(b, " - - ["...)
	b = time.Unix(0, x.Time).UTC().AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = append(b, x.Method...)
	b = append(b, ' ')
	b = append(b, x.Target...)
	b = append(b, ` HTTP/1.1" `...)
	b = strconv.AppendInt(b, int64(x.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(x.RespBytes), 10)
	b = append(b, ` "`...)
	b = append(b, orDash(x.Header("referer"))...)
	b = append(b, `" "`...)
	b = append(b, orDash(x.Header("user-agent"))...)
	return append(b, '"', '\n')
}

// Header returns the first request header of that lower-case name.
func (x *Exchange) Header(name string) string {
	for _, h := range x.Headers {
		if equalFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

func equalFold(a, lower string) bool {
	if len(a) != len(lower) {
		return false
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// AppendJSON appends l as one line of a labels file.
func (l *Label) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"id":`...), l.ID)
	b = appendString(append(b, `,"class":`...), string(l.Class))
	b = appendString(append(b, `,"who":`...), l.Who)
	if l.Kind != "" {
		b = appendString(append(b, `,"kind":`...), l.Kind)
	}
	b = strconv.AppendInt(append(b, `,"session":`...), int64(l.Session), 10)
	if l.Threat != "" {
		b = appendString(append(b, `,"threat":`...), l.Threat)
	}
	if l.Level != "" {
		b = appendString(append(b, `,"level":`...), l.Level)
	}
	if l.Attempt {
		b = append(b, `,"attempt":true`...)
	}
	return append(b, '}', '\n')
}

func appendHeaders(b []byte, hs []Header) []byte {
	b = append(b, '[')
	for i, h := range hs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, '['), h.Name)
		b = append(appendString(append(b, ','), h.Value), ']')
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c == 0x7f:
			b = fmt.Appendf(b, `\u%04x`, c)
		case c >= 0x80:
			// Bytes that are not ASCII stand as Latin-1 code points.
			b = utf8.AppendRune(b, rune(c))
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// Writer writes exchanges, a combined log and labels; nil parts are left out.
// It numbers the exchanges: "r-0000001", or for the log "BASENAME:LINE".
type Writer struct {
	Exchanges, Combined, Labels io.Writer
	// LogName is the base name by which replay will number the log's lines;
	// with it labels carry those ids.
	LogName string

	n   int
	buf []byte
}

// Write is a Sink.
func (w *Writer) Write(x *Exchange, l *Label) error {
	w.n++
	w.buf = fmt.Appendf(w.buf[:0], "r-%07d", w.n)
	x.ID = string(w.buf)
	l.ID = x.ID
	if w.LogName != "" {
		l.ID = w.LogName + ":" + strconv.Itoa(w.n)
	}
	for _, part := range [...]struct {
		to     io.Writer
		render func([]byte) []byte
	}{{w.Exchanges, x.AppendJSON}, {w.Combined, x.AppendCombined}, {w.Labels, l.AppendJSON}} {
		if part.to == nil {
			continue
		}
		w.buf = part.render(w.buf[:0])
		if _, err := part.to.Write(w.buf); err != nil {
			return fmt.Errorf("write traffic: %w", err)
		}
	}
	return nil
}

// Count is the number of exchanges written.
func (w *Writer) Count() int { return w.n }

// Buffered wraps w for many small writes; the caller flushes.
func Buffered(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, 1<<18) }
