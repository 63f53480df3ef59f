package flow

import (
	"hash/fnv"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// addObject appends an object unless the event is full.
func addObject(ev *event.Event, o event.Object) {
	if len(ev.Objects) < event.MaxObjects {
		ev.Objects = append(ev.Objects, o)
	}
}

// objects extracts what the plan names, in its order, each followed by what is
// derived from it.
func (r *request) objects(ev *event.Event, claimed string) {
	p := r.plan
	card := ""
	for i := range p.objects {
		if p.objects[i].class == classCard {
			if v, ok := r.find(p.objects[i].selectors); ok {
				card = keepDigits(strings.TrimSpace(v), false)
				break
			}
		}
	}
	content := ""
	for i := range p.objects {
		o := &p.objects[i]
		v, ok := r.find(o.selectors)
		if !ok {
			continue
		}
		if o.class == classContent && content == "" {
			content = v
		}
		r.object(ev, o, v, card, claimed)
	}
	if p.role == event.RolePost {
		if content == "" {
			content = string(r.body)
		}
		r.content(ev, content)
	}
}

func (r *request) object(ev *event.Event, o *objectPlan, v, card, claimed string) {
	kind := "object:" + o.name
	normal := Normalise(kind, v)
	if normal == "" {
		return
	}
	if o.class.ephemeral() {
		// Together with what it belongs to, so that equal codes of two cards
		// do not meet.
		owner := card
		if owner == "" {
			owner = claimed
		}
		if owner == "" {
			owner = ev.Keys[event.KindAccount].String()
		}
		h := r.key.forDay(ev.Time).hashOnce(kind, owner+"\x00"+normal)
		addObject(ev, event.Object{Name: o.name, Hash: h, Ephemeral: true})
		return
	}
	out := event.Object{Name: o.name, Hash: r.key.hash(kind, normal)}
	if !o.hashed {
		// A person's e-mail address or card number stays hidden wherever it
		// turns up.
		if s := sensitive(normal); s != "email" && s != "card" {
			readable, _ := clean(normal, maxPlainBytes)
			out.Value = strings.Clone(readable)
		}
	}
	addObject(ev, out)
	switch o.class {
	case classCard:
		if len(normal) >= 13 && len(normal) <= 19 && isDigits(normal) {
			r.derived(ev, o.name+".bin", normal[:8])
			r.derived(ev, o.name+".iin", normal[:6])
		}
	case classPhone:
		country, prefix := phoneParts(normal)
		r.derived(ev, o.name+".country", country)
		r.derived(ev, o.name+".prefix", prefix)
	case classEmail:
		domain, pattern := emailParts(normal)
		r.derived(ev, o.name+".domain", domain)
		r.derived(ev, o.name+".pattern", pattern)
	case classSecret:
		if n := len(normal) - untoldCode; n >= 3 && o.code {
			name := o.name + ".prefix"
			addObject(ev, event.Object{Name: name, Hash: r.key.hash("object:"+name, asciiLower(normal[:n]))})
		}
	case classUnknown, classPlain, classAccount, classCSC, classExpiry, classPassword, classContent:
	}
}

// untoldCode is how many of its last characters a code's prefix leaves out: codes
// that are tried one after the other differ there.
const untoldCode = 4

// isCode reports whether an object is a coupon, a voucher or the like, by the words
// of its name: a "gift_code" is one as well.
func isCode(name string) bool {
	for _, word := range words(name) {
		switch word {
		case "coupon", "voucher", "promo", "code", "gift", "giftcard":
			return true
		}
	}
	return false
}

// derived adds a readable object that says less than its origin.
func (r *request) derived(ev *event.Event, name, v string) {
	if v != "" {
		addObject(ev, event.Object{Name: name, Value: v, Hash: r.key.hash("object:"+name, v)})
	}
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// twoDigitCodes are the country codes of ITU-T E.164 that have two digits; 1
// and 7 have one, all others three.
const twoDigitCodes = " 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 "

// phoneParts returns the country code and the number's first digits: the code
// and three more, but never more than leaves five digits unsaid. A number
// without + has a prefix only.
func phoneParts(s string) (country, prefix string) {
	digits, international := strings.CutPrefix(s, "+")
	if len(digits) < 7 || len(digits) > 15 || !isDigits(digits) {
		return "", ""
	}
	n := 3
	if international {
		code := 3
		switch {
		case digits[0] == '1' || digits[0] == '7':
			code = 1
		case strings.Contains(twoDigitCodes, " "+digits[:2]+" "):
			code = 2
		}
		country, n = digits[:code], code+3
	}
	return country, digits[:min(n, len(digits)-5)]
}

// emailParts returns the domain and the pattern class of the local part: runs
// of letters become "a", of digits "9", punctuation stays ("alice.s99" is
// "a.a9"); a long part without vowels or with many changes is "random".
func emailParts(s string) (domain, pattern string) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return "", ""
	}
	domain = hostName(s[at+1:])
	local := s[:at]
	out := make([]byte, 0, 16)
	letters, vowels, changes := 0, 0, 0
	var last byte
	for i := 0; i < len(local); i++ {
		c := local[i]
		switch {
		case c >= '0' && c <= '9':
			c = '9'
		case isAlnum(c) || c >= 0x80:
			letters++
			if strings.IndexByte("aeiouy", c) >= 0 {
				vowels++
			}
			c = 'a'
		}
		if c == last && (c == 'a' || c == '9') {
			continue
		}
		if last == '9' && c == 'a' || last == 'a' && c == '9' {
			changes++
		}
		if last = c; len(out) < 16 {
			out = append(out, c)
		}
	}
	if changes > 3 || letters >= 8 && vowels*6 < letters {
		return domain, "random"
	}
	return domain, string(out)
}

// maxContentBytes bounds the text whose similarity hash is taken.
const maxContentBytes = 16 << 10

// fewWords: people who never met write the same text of fewer words, "thanks" and
// "is this still available", so that its similarity tells nothing.
const fewWords = 6

// content adds the similarity hash of a text that says more than people say all the
// time, and its number of links; the text itself is not kept.
func (r *request) content(ev *event.Event, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	text = strings.ToLower(text[:min(len(text), maxContentBytes)])
	links := strings.Count(text, "http://") + strings.Count(text, "https://") + strings.Count(text, "www.") -
		strings.Count(text, "://www.")
	if similar, shingle, words := simhash(text); words >= fewWords || links > 0 {
		r.derived(ev, "content.simhash", hex64(similar))
		if words > 3 {
			r.derived(ev, "content.shingle", hex64(shingle))
		}
	}
	r.derived(ev, "content.links", strconv.Itoa(links))
}

func hex64(v uint64) string {
	digits := strconv.FormatUint(v, 16)
	return strings.Repeat("0", 16-len(digits)) + digits
}

// simhash is Charikar's 64-bit similarity hash (STOC 2002) over pairs of
// neighbouring words: near-duplicates differ in few bits. Beside it stands the
// least hash of four neighbouring words (Broder's min-wise sketch, 1997), which
// two texts share as probably as their wordings overlap, and the number of words.
func simhash(text string) (similar, shingle uint64, words int) {
	var weight [64]int32
	var last [3]uint64
	h := fnv.New64a()
	shingle = ^uint64(0)
	for _, w := range strings.FieldsFunc(text, func(r rune) bool {
		return r < 0x80 && !isAlnum(byte(r))
	}) {
		h.Reset()
		_, _ = h.Write([]byte(w))
		one := h.Sum64()
		if words++; words > 1 || len(text) == len(w) {
			vote(&weight, mix(last[0]*31+one))
		}
		if words > 3 {
			shingle = min(shingle, mix(mix(mix(last[2]*31+last[1])*31+last[0])*31+one))
		}
		last[2], last[1], last[0] = last[1], last[0], one
	}
	if words == 1 {
		vote(&weight, mix(last[0]))
	}
	for i, w := range weight {
		if w > 0 {
			similar |= 1 << i
		}
	}
	return similar, shingle, words
}

func vote(weight *[64]int32, h uint64) {
	for i := range weight {
		weight[i] += int32(h>>i&1)*2 - 1
	}
}

// mix spreads a hash over all bits (the finaliser of MurmurHash3).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return bits.RotateLeft64(h^h>>33, 17)
}

// parseTime reads the time of an object: RFC 3339, a date, or seconds or
// milliseconds since 1970. It returns UTC nanoseconds, 0 when it is no time.
func parseTime(s string) int64 {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		switch {
		case n > 1e8 && n < 1e10:
			return n * int64(time.Second)
		case n >= 1e11 && n < 1e13:
			return n * int64(time.Millisecond)
		}
		return 0
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 1970 && t.Year() < 2200 {
			return t.UnixNano()
		}
	}
	return 0
}
