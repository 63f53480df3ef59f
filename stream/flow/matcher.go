package flow

import (
	"fmt"
	"strings"

	"github.com/weirproject/weir/stream/event"
)

// matcher finds many patterns in one pass (Aho and Corasick, CACM 1975), as a
// table over the bytes that occur in patterns.
type matcher struct {
	patterns []pattern
	class    [256]uint8 // byte -> column; 0 is any byte of no pattern
	columns  int
	next     []uint16 // state*columns+column; nil once steps are made
	// steps is next as find walks it: each entry is where the row of the next
	// state begins, and whether a pattern ends there or on its chain of suffixes.
	steps []uint32
	// first is the longest pattern that ends in a state, as index+1; follow
	// leads to the next state on its chain of suffixes that has one.
	first  []uint16
	follow []uint16
}

type pattern struct {
	text               string
	class              event.Payload
	wordStart, wordEnd bool // \< and \>
	begin, end         bool // ^ and $
}

// add enters a pattern in the notation of payload/*.txt.
func (m *matcher) add(notation string, class event.Payload) error {
	p := pattern{class: class}
	s := strings.ReplaceAll(strings.ReplaceAll(notation, `\s`, " "), " (", "(")
	s, p.wordStart = strings.CutPrefix(s, `\<`)
	s, p.wordEnd = strings.CutSuffix(s, `\>`)
	s, p.begin = strings.CutPrefix(s, "^")
	if len(s) > 1 && class == event.PayloadProbePath {
		s, p.end = strings.CutSuffix(s, "$")
	}
	if p.text = s; len(s) < 2 || s != strings.ToLower(s) || strings.Contains(s, "  ") {
		return fmt.Errorf("pattern %q must be two or more lower-case characters with single blanks", notation)
	}
	m.patterns = append(m.patterns, p)
	return nil
}

// build makes the table. All patterns together have fewer than 65,535 bytes.
func (m *matcher) build() {
	m.columns = 1
	for _, p := range m.patterns {
		for i := range len(p.text) {
			if m.class[p.text[i]] == 0 {
				m.class[p.text[i]] = uint8(m.columns)
				m.columns++
			}
		}
	}
	m.grow()
	for i, p := range m.patterns {
		m.insert(i, p.text)
	}
	m.link()
	m.compile()
}

// grow adds a state.
func (m *matcher) grow() uint16 {
	state := len(m.first)
	if state > 65535 {
		panic("flow: too many payload patterns")
	}
	m.next = append(m.next, make([]uint16, m.columns)...)
	m.first, m.follow = append(m.first, 0), append(m.follow, 0)
	return uint16(state)
}

func (m *matcher) insert(i int, text string) {
	state := uint16(0)
	for j := range len(text) {
		at := int(state)*m.columns + int(m.class[text[j]])
		if m.next[at] == 0 {
			n := m.grow()
			m.next[at] = n
		}
		state = m.next[at]
	}
	if m.first[state] != 0 { // the same text again: the looser anchors hold
		old := &m.patterns[m.first[state]-1]
		old.class |= m.patterns[i].class
		old.wordStart, old.wordEnd = old.wordStart && m.patterns[i].wordStart, old.wordEnd && m.patterns[i].wordEnd
		old.begin, old.end = old.begin && m.patterns[i].begin, old.end && m.patterns[i].end
		return
	}
	m.first[state] = uint16(i + 1)
}

// link fills the missing transitions breadth first.
func (m *matcher) link() {
	fail := make([]uint16, len(m.first))
	queue := make([]uint16, 0, len(m.first))
	for c := range m.columns {
		if s := m.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		f := fail[s]
		if m.follow[s] = f; m.first[f] == 0 {
			m.follow[s] = m.follow[f]
		}
		for c := range m.columns {
			at, back := int(s)*m.columns+c, m.next[int(f)*m.columns+c]
			if t := m.next[at]; t != 0 {
				fail[t] = back
				queue = append(queue, t)
			} else {
				m.next[at] = back
			}
		}
	}
}

// endsHere marks an entry of steps whose state ends a pattern.
const endsHere = 1 << 31

// compile makes steps.
func (m *matcher) compile() {
	m.steps = make([]uint32, len(m.next))
	for i, s := range m.next {
		m.steps[i] = uint32(int(s) * m.columns)
		if m.first[s] != 0 || m.follow[s] != 0 {
			m.steps[i] |= endsHere
		}
	}
	m.next = nil
}

// find returns the classes of all patterns in text.
func (m *matcher) find(text []byte) (found event.Payload) {
	steps := m.steps
	row := uint32(0)
	for i, c := range text {
		row = steps[row&^endsHere+uint32(m.class[c])]
		if row&endsHere == 0 {
			continue
		}
		s := uint16(int(row&^endsHere) / m.columns)
		for s != 0 {
			if n := m.first[s]; n != 0 {
				if p := &m.patterns[n-1]; found&p.class != p.class && p.fits(text, i+1) {
					found |= p.class
				}
			}
			s = m.follow[s]
		}
	}
	return found
}

// fits checks the anchors of a pattern whose text ends before end.
func (p *pattern) fits(text []byte, end int) bool {
	start := end - len(p.text)
	return (!p.begin || start == 0) && (!p.end || end == len(text)) &&
		(!p.wordStart || start == 0 || !isWordByte(text[start-1])) &&
		(!p.wordEnd || end == len(text) || !isWordByte(text[end]))
}

func isWordByte(c byte) bool { return isAlnum(c) || c == '_' }
