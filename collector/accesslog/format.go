package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// Format is the syntax of a log's lines.
type Format uint8

// The formats. FormatAuto takes that of the first line that one of them parses.
const (
	FormatAuto Format = iota
	FormatCombined
	FormatCommon
	FormatJSON
	FormatExchange
)

var formatNames = [...]string{"auto", "combined", "common", "json", "exchange"}

func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return fmt.Sprintf("unknown(%d)", uint8(f))
}

// ParseFormat reads a format's name; "" is auto.
func ParseFormat(s string) (Format, error) {
	if s == "" {
		return FormatAuto, nil
	}
	for i, n := range formatNames {
		if n == s {
			return Format(i), nil
		}
	}
	return 0, fmt.Errorf("log format %.40q is not known: want %s", s, strings.Join(formatNames[:], ", "))
}

// Bounds on a line. A log line longer than a server's header buffers is no
// request that the server served; exchange lines hold bodies.
const (
	MaxLine         = 64 << 10
	MaxExchangeLine = flow.MaxExchangeLine
)

func (f Format) maxLine() int {
	if f == FormatExchange || f == FormatAuto {
		return MaxExchangeLine
	}
	return MaxLine
}

// Reasons for which lines are rejected; errors.Is finds them in what Parse
// returns.
var (
	ErrSyntax = errors.New("line does not have the format's syntax")
	ErrValue  = errors.New("a field's value is not usable")
	ErrLong   = errors.New("line is too long (over 64 KiB; of an exchange, 1 MiB)")
	ErrEmpty  = errors.New("line is empty")
	// ErrRepeated: an exchange's id occurred before.
	ErrRepeated = errors.New("id is repeated")
)

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

func badValue(field, value string) error {
	return fmt.Errorf("%w: %s %.60q", ErrValue, field, value)
}

// Parser parses lines of one source. It is not safe for concurrent use.
type Parser struct {
	format Format
	json   jsonParser
	clock  clock
	buf    []byte
	// chunk, where chunked, is what the text of many lines is cut from.
	chunk   strings.Builder
	chunked bool
}

// chunkBytes is what one string that is kept for long holds in memory at most,
// where lines share chunks.
const chunkBytes = 32 << 10

// text is line as a string. A follower's events leave at once, so that its lines
// share chunks: one allocation for tens of lines.
func (p *Parser) text(line []byte) string {
	if !p.chunked || len(line) > chunkBytes/8 {
		return string(line)
	}
	if p.chunk.Cap()-p.chunk.Len() < len(line) {
		p.chunk.Reset()
		p.chunk.Grow(chunkBytes)
	}
	at := p.chunk.Len()
	p.chunk.Write(line)
	return p.chunk.String()[at:]
}

// NewParser returns a parser.
func NewParser(f Format) *Parser { return &Parser{format: f} }

// Format is the format in use; FormatAuto until a line was recognised.
func (p *Parser) Format() Format { return p.format }

// Parse reads a line, without its newline, into x, which it overwrites but whose
// slices it reuses. Strings in x do not alias line. id becomes x.ID unless the
// line carries its own; it is copied.
func (p *Parser) Parse(line, id []byte, x *flow.Exchange) error {
	line = bytes.TrimRight(line, "\r")
	if len(bytes.TrimSpace(line)) == 0 {
		return ErrEmpty
	}
	if p.format != FormatAuto {
		return p.parse(p.format, line, id, x)
	}
	var first error
	for _, f := range guesses(line) {
		err := p.parse(f, line, id, x)
		if err == nil {
			p.format = f
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// guesses orders the formats to try by a line's first byte.
func guesses(line []byte) []Format {
	if line[0] == '{' {
		return []Format{FormatExchange, FormatJSON}
	}
	return []Format{FormatCombined}
}

func (p *Parser) parse(f Format, line, id []byte, x *flow.Exchange) error {
	if f == FormatExchange {
		if len(line) > MaxExchangeLine {
			return ErrLong
		}
		if err := flow.ParseExchangeText(line, p.text(line), x); err != nil {
			return fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		return nil
	}
	if len(line) > MaxLine {
		return ErrLong
	}
	*x = flow.Exchange{
		Source: event.SourceAccessLog, Headers: x.Headers[:0], ResponseHeaders: x.ResponseHeaders[:0],
		Body: x.Body[:0], ResponseBody: x.ResponseBody[:0],
	}
	// One string holds the line and the id; everything in x is cut from it.
	p.buf = append(append(p.buf[:0], line...), id...)
	all := p.text(p.buf)
	x.ID = all[len(line):]
	if f == FormatJSON {
		return p.json.parse(all[:len(line)], x, &p.clock)
	}
	return parseCombined(all[:len(line)], x, f == FormatCombined, &p.clock)
}

// clock remembers the last time stamp: a busy log repeats it many times.
type clock struct {
	text [26]byte
	time time.Time
}

var months = map[string]time.Month{
	"Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}

// clf reads "17/May/2015:10:05:03 +0000".
func (c *clock) clf(s string) (time.Time, error) {
	if s == string(c.text[:]) {
		return c.time, nil
	}
	var n [7]int
	ok := len(s) == 26 && s[2] == '/' && s[6] == '/' && s[11] == ':' && s[14] == ':' && s[17] == ':' && s[20] == ' '
	if ok {
		for i, at := range [...][2]int{{0, 2}, {7, 11}, {12, 14}, {15, 17}, {18, 20}, {22, 24}, {24, 26}} {
			n[i], ok = digits(s[at[0]:at[1]], ok)
		}
	}
	if !ok {
		return time.Time{}, badValue("time", s)
	}
	month := months[s[3:6]]
	day, year, hour, minute, second, zone := n[0], n[1], n[2], n[3], n[4], n[5]*3600+n[6]*60
	if month == 0 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 || n[5] > 14 || n[6] > 59 {
		return time.Time{}, badValue("time", s)
	}
	switch s[21] {
	case '-':
		zone = -zone
	case '+':
	default:
		return time.Time{}, badValue("time", s)
	}
	t := time.Date(year, month, day, hour, minute, second, 0, time.UTC).Add(-time.Duration(zone) * time.Second)
	copy(c.text[:], s)
	c.time = t
	return t, nil
}

func digits(s string, ok bool) (n int, allDigits bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, ok
}

// number reads a non-negative decimal of at most 18 digits; "-" and "" are 0.
func number(s string) (int64, bool) {
	if s == "-" || s == "" {
		return 0, true
	}
	if len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// address reads an address with or without port.
func address(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a.WithZone("").Unmap(), 0), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().WithZone("").Unmap(), ap.Port()), true
	}
	return netip.AddrPort{}, false
}

// setRequestLine splits "METHOD TARGET PROTOCOL". What is no request line stays
// whole as the target, without a method: flow marks it as malformed.
func setRequestLine(s string, x *flow.Exchange) {
	method, rest, ok := strings.Cut(s, " ")
	if !ok || !isToken(method) {
		x.Target = s
		return
	}
	x.Method, x.Target = method, rest
	if i := strings.LastIndexByte(rest, ' '); i >= 0 && strings.HasPrefix(rest[i+1:], "HTTP/") {
		x.Target = rest[:i]
		setProtocol(rest[i+1:], x)
	}
}

// setProtocol takes nginx's "HTTP/2.0" for HTTP/2, as events have it.
func setProtocol(s string, x *flow.Exchange) {
	switch s {
	case "HTTP/2.0":
		s = "HTTP/2"
	case "HTTP/3.0":
		s = "HTTP/3"
	}
	x.Protocol = s[:min(len(s), 16)]
}

// isToken reports whether s is an RFC 9110 token of a method's length.
func isToken(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c-'A' < 26 || c-'a' < 26 || c-'0' < 10 || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// addHeader adds a request header that the log shows.
func addHeader(x *flow.Exchange, name, value string) {
	if value != "" && value != "-" {
		x.Headers = append(x.Headers, flow.Field{Name: name, Value: value})
	}
}
