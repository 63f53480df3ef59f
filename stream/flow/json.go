package flow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxJSONDepth bounds nesting; deeper documents are malformed to us.
const maxJSONDepth = 64

var errJSONDepth = errors.New("nested too deeply")

// pointerNode is a node of the tree of JSON pointers (RFC 6901) that a route
// selects.
type pointerNode struct {
	name     string // reference token, unescaped
	slot     int    // value to fill, or -1
	children []*pointerNode
}

// add puts a checked pointer into the tree and returns its slot.
func (n *pointerNode) add(pointer string, next *int) int {
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		child := n.child(token)
		if child == nil {
			child = &pointerNode{name: token, slot: -1}
			n.children = append(n.children, child)
		}
		n = child
	}
	if n.slot < 0 {
		n.slot = *next
		*next++
	}
	return n.slot
}

func (n *pointerNode) child(name string) *pointerNode {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// member finds the child that a raw key names; folded means that a key matched
// only when case is ignored, which some decoders accept.
func (n *pointerNode) member(raw []byte, escaped bool) (child *pointerNode, folded bool) {
	if escaped {
		raw = []byte(unquote(raw))
	}
	for _, c := range n.children {
		if string(raw) == c.name {
			return c, false
		}
		folded = folded || len(raw) == len(c.name) && strings.EqualFold(string(raw), c.name)
	}
	return nil, folded
}

// pointers collects the selected values of one document.
type pointers struct {
	values []value
	// ambiguous: a selected name was repeated in its object with another value,
	// or in another letter case.
	ambiguous bool
	// names, when not nil, receives the shape of the document: field names in
	// order of appearance.
	names *shape
}

// value is what a selector yields.
type value struct {
	text string
	ok   bool // present: any JSON value but null
}

// parse reads one whole document. Repeated names: the last wins.
func (p *pointers) parse(body []byte, root *pointerNode, slots int) error {
	if cap(p.values) < slots {
		p.values = make([]value, slots)
	}
	p.values = p.values[:slots]
	clear(p.values)
	if len(body) >= 3 && string(body[:3]) == "\ufeff" {
		body = body[3:]
	}
	l := lexer{b: body}
	err := p.value(&l, root)
	if err == nil {
		err = l.end()
	}
	if err != nil {
		clear(p.values)
	}
	return err
}

func (p *pointers) value(l *lexer, n *pointerNode) error {
	if l.depth++; l.depth > maxJSONDepth {
		return l.fail("%w", errJSONDepth)
	}
	defer func() { l.depth-- }()
	set := func(text string, escaped bool, raw []byte) {
		if n == nil || n.slot < 0 {
			return
		}
		if escaped {
			text = unquote(raw)
		} else if raw != nil {
			text = string(raw)
		}
		p.values[n.slot] = value{text: text, ok: true}
	}
	switch c := l.peek(); c {
	case '{':
		set("", false, nil)
		return p.object(l, n)
	case '[':
		set("", false, nil)
		return p.array(l, n)
	case '"':
		raw, escaped, err := l.str()
		if err == nil {
			set("", escaped, raw)
		}
		return err
	case 't':
		set("true", false, nil)
		return l.literal("true")
	case 'f':
		set("false", false, nil)
		return l.literal("false")
	case 'n':
		return l.literal("null")
	default:
		raw, err := l.number()
		if err == nil {
			set("", false, raw)
		}
		return err
	}
}

func (p *pointers) object(l *lexer, n *pointerNode) error {
	l.i++ // {
	if l.peek() == '}' {
		l.i++
		return nil
	}
	var seen uint64 // children already met, by position
	for {
		raw, escaped, err := l.str()
		if err != nil {
			return err
		}
		if err := l.expect(':'); err != nil {
			return err
		}
		if p.names != nil {
			p.names.add(raw)
		}
		if err := p.member(l, n, raw, escaped, &seen); err != nil {
			return err
		}
		switch l.peek() {
		case ',':
			l.i++
		case '}':
			l.i++
			return nil
		default:
			return l.unexpected("',' or '}'")
		}
	}
}

// member reads one member's value. When its name was met before, the earlier
// value is dropped whole, and a difference makes the document ambiguous.
func (p *pointers) member(l *lexer, n *pointerNode, raw []byte, escaped bool, seen *uint64) error {
	if n == nil {
		return p.value(l, nil)
	}
	child, folded := n.member(raw, escaped)
	p.ambiguous = p.ambiguous || folded
	if child == nil {
		return p.value(l, nil)
	}
	bit := uint64(0)
	for i, c := range n.children {
		if c == child {
			bit = 1 << (i % 64)
		}
	}
	if *seen&bit == 0 {
		*seen |= bit
		return p.value(l, child)
	}
	old := append([]value(nil), p.values...)
	p.clear(child)
	if err := p.value(l, child); err != nil {
		return err
	}
	for i, v := range p.values {
		p.ambiguous = p.ambiguous || v != old[i]
	}
	return nil
}

func (p *pointers) clear(n *pointerNode) {
	if n.slot >= 0 {
		p.values[n.slot] = value{}
	}
	for _, c := range n.children {
		p.clear(c)
	}
}

func (p *pointers) array(l *lexer, n *pointerNode) error {
	l.i++ // [
	if l.peek() == ']' {
		l.i++
		return nil
	}
	names := p.names
	defer func() { p.names = names }()
	for i := 0; ; i++ {
		var child *pointerNode
		if n != nil && len(n.children) > 0 {
			child = n.child(strconv.Itoa(i))
		}
		if err := p.value(l, child); err != nil {
			return err
		}
		p.names = nil // elements repeat the shape of the first
		switch l.peek() {
		case ',':
			l.i++
		case ']':
			l.i++
			return nil
		default:
			return l.unexpected("',' or ']'")
		}
	}
}

// checkPointer reports what is wrong with a JSON pointer.
func checkPointer(s string) error {
	if s == "" {
		return nil
	}
	if s[0] != '/' {
		return fmt.Errorf("JSON pointer %q must start with / (RFC 6901)", s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return fmt.Errorf("JSON pointer %q: ~ must be followed by 0 or 1 (RFC 6901)", s)
		}
	}
	return nil
}
