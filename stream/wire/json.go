package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weirproject/weir/stream/verdict"
)

// Bounds of the JSON records. The element bounds keep one record from filling an
// enforcer's table or a screen; the engine's own are far below them.
const (
	MaxVerdictBytes  = 256 << 10
	MaxDecisionBytes = 64 << 10
	MaxControlBytes  = MaxVerdictBytes + 16<<10

	maxNesting  = 16
	maxGroups   = 64
	maxBinds    = 1024 // of one group or allow list
	maxElements = 1024 // of any other list
	maxName     = 256  // bytes of an id, name or site
)

// ErrRecord marks a verdict, decision or control record that cannot be used.
var ErrRecord = errors.New("unusable record")

// AppendVerdict appends v's canonical JSON (CONTRACTS.md section 8).
func AppendVerdict(dst []byte, v *verdict.Verdict) ([]byte, error) {
	if b, ok := appendCanonical(dst, v); ok {
		return b, nil
	}
	return appendJSON(dst, v)
}

// AppendDecision appends d's JSON (CONTRACTS.md section 6).
func AppendDecision(dst []byte, d *verdict.Decision) ([]byte, error) { return appendJSON(dst, d) }

// AppendControl appends c's JSON.
func AppendControl(dst []byte, c *verdict.Control) ([]byte, error) { return appendJSON(dst, c) }

// appendJSON writes JSON without a newline and without HTML escapes, which would
// only make "<" and "&" in paths hard to read.
func appendJSON(dst []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// ParseVerdict reads a verdict. Unknown fields are ignored, so that a newer
// minor version is read; errors wrap ErrRecord.
func ParseVerdict(b []byte) (v verdict.Verdict, err error) {
	if len(b) > MaxVerdictBytes || !readCanonical(b, &v) {
		v = verdict.Verdict{}
		err = parseJSON(b, MaxVerdictBytes, &v)
	}
	if err == nil {
		err = checkVerdict(&v)
	}
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("verdict: %w", err)
	}
	return v, nil
}

// ParseDecision reads a decision.
func ParseDecision(b []byte) (d verdict.Decision, err error) {
	if err = parseJSON(b, MaxDecisionBytes, &d); err == nil {
		err = errors.Join(
			need("id", d.ID), need("site", d.Site),
			count("threats", len(d.Threats), maxElements), count("matched", len(d.Matched), maxElements))
	}
	if err != nil {
		return verdict.Decision{}, fmt.Errorf("decision: %w", err)
	}
	return d, nil
}

// ParseControl reads an operator's record.
func ParseControl(b []byte) (c verdict.Control, err error) {
	if err = parseJSON(b, MaxControlBytes, &c); err == nil {
		err = checkControl(&c)
	}
	if err != nil {
		return verdict.Control{}, fmt.Errorf("control: %w", err)
	}
	return c, nil
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRecord, fmt.Sprintf(format, args...))
}

// parseJSON bounds size and nesting before it decodes.
func parseJSON(b []byte, limit int, v any) error {
	if len(b) > limit {
		return unusable("%d bytes, limit %d", len(b), limit)
	}
	depth, text, escaped := 0, false, false
	for i, c := range b {
		switch {
		case escaped:
			escaped = false
		case text && c == '\\':
			escaped = true
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return unusable("nested deeper than %d at byte %d", maxNesting, i)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if err := json.Unmarshal(b, v); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return unusable("byte %d: %v", syntax.Offset, err)
		}
		return unusable("%v", err)
	}
	return nil
}

func need(name, value string) error {
	switch {
	case value == "":
		return unusable("%s is missing", name)
	case len(value) > maxName:
		return unusable("%s has %d bytes, limit %d", name, len(value), maxName)
	}
	return nil
}

func count(name string, n, limit int) error {
	if n > limit {
		return unusable("%s has %d elements, limit %d", name, n, limit)
	}
	return nil
}

func checkVerdict(v *verdict.Verdict) error {
	errs := []error{
		need("id", v.ID), need("site", v.Site),
		count("binds", len(v.Binds), maxGroups), count("threats", len(v.Threats), maxElements),
		count("features", len(v.Evidence.Features), maxElements), count("links", len(v.Evidence.Links), maxElements),
		count("events", len(v.Evidence.Events), maxElements), count("caps", len(v.Evidence.Caps), maxElements),
	}
	if v.Revision == 0 {
		errs = append(errs, unusable("revision is missing"))
	}
	for i := range v.Binds {
		g := &v.Binds[i]
		if len(g.All) == 0 {
			// An empty conjunction would match every request of the site.
			errs = append(errs, unusable("binds[%d].all is empty", i))
		}
		if checkBinds("", g.All, false) == nil && checkBinds("", g.None, true) == nil && len(g.Routes) <= maxElements {
			continue // most verdicts have many groups: no names for good ones
		}
		errs = append(errs, checkBinds(fmt.Sprintf("binds[%d].all", i), g.All, false),
			checkBinds(fmt.Sprintf("binds[%d].none", i), g.None, true),
			count(fmt.Sprintf("binds[%d].routes", i), len(g.Routes), maxElements))
	}
	return errors.Join(errs...)
}

func checkBinds(name string, binds []verdict.Bind, anyValue bool) error {
	if err := count(name, len(binds), maxBinds); err != nil {
		return err
	}
	for i, b := range binds {
		if b.Kind == "" || len(b.Kind) > maxName || b.Value == 0 && !anyValue {
			return unusable("%s[%d] needs a kind and a value", name, i)
		}
	}
	return nil
}

func checkControl(c *verdict.Control) error {
	errs := []error{need("kind", c.Kind), need("site", c.Site), checkBinds("allow", c.Allow, false)}
	switch c.Kind {
	case "verdict":
		if c.Verdict == nil {
			errs = append(errs, unusable("kind verdict without a verdict"))
		} else {
			errs = append(errs, checkVerdict(c.Verdict))
		}
	case "revoke":
		errs = append(errs, need("id", c.ID))
	case "allow", "disallow":
		if len(c.Allow) == 0 {
			errs = append(errs, unusable("kind %s without identifiers", c.Kind))
		}
	case "":
	default:
		errs = append(errs, unusable("kind %.40q is not verdict, revoke, allow or disallow", c.Kind))
	}
	return errors.Join(errs...)
}
