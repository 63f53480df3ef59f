package route

import "strings"

// Names of variable segments.
const (
	idName     = "{id}"
	uuidName   = "{uuid}"
	hashName   = "{hash}"
	dateName   = "{date}"
	emailName  = "{email}"
	tokenName  = "{token}"
	longName   = "{long}"
	localeName = "{locale}"
	slugName   = "{slug}"
)

// shape counts the bytes of a segment by class.
type shape struct {
	digits, lower, upper, dashes, dots, other int
	hex                                       bool
	longestDigits                             int
	changes                                   int // between letters and digits
}

func shapeOf(s string) (f shape) {
	f.hex = true
	run, prev := 0, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		var class byte
		switch {
		case c >= '0' && c <= '9':
			f.digits++
			run++
			f.longestDigits = max(f.longestDigits, run)
			class = 'd'
		case c >= 'a' && c <= 'z':
			f.lower++
			f.hex = f.hex && c <= 'f'
			class = 'l'
		case c >= 'A' && c <= 'Z':
			f.upper++
			f.hex = f.hex && c <= 'F'
			class = 'l'
		case c == '-' || c == '_' || c == '+':
			f.dashes++
			f.hex = false
		case c == '.':
			f.dots++
			f.hex = false
		default:
			f.other++
			f.hex = false
		}
		if class != 'd' {
			run = 0
		}
		if class != 0 && prev != 0 && class != prev {
			f.changes++
		}
		prev = class
	}
	return f
}

// classify names the segments that are variable by their shape alone: numbers,
// UUIDs, hashes, dates, e-mail addresses, tokens and over-long ones, and those
// that were redacted to "{name}" at capture.
func classify(seg string) (name string, variable bool) {
	if len(seg) > maxSegmentBytes {
		return longName, true
	}
	if seg[0] == '{' && seg[len(seg)-1] == '}' {
		return seg, true
	}
	// Most literals are short words: they leave here.
	if len(seg) < 10 {
		for i := 0; i < len(seg); i++ {
			if seg[i] < '0' || seg[i] > '9' {
				return seg, false
			}
		}
		return idName, true
	}
	f := shapeOf(seg)
	switch {
	case f.digits == len(seg):
		return idName, true
	case len(seg) == 10 && f.dashes == 2 && f.digits == 8 && seg[4] == '-' && seg[7] == '-':
		return dateName, true
	case len(seg) == 36 && f.dashes == 4 && isUUID(seg):
		return uuidName, true
	case f.hex && f.digits > 0 && f.lower+f.upper > 0 && (len(seg) == 12 || len(seg) >= 16):
		return hashName, true
	case f.other > 0 && strings.IndexByte(seg, '@') > 0:
		return emailName, true
	case len(seg) >= 20 && f.dots <= 2 && f.dashes <= 2 && f.other <= 2 && f.digits >= 2 && f.changes >= 5 && f.lower+f.upper > 4:
		return tokenName, true
	}
	return seg, false
}

func isUUID(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}

// variability says how much a literal segment looks like one value of many:
// the sum over a position's literals decides when the position is tried as a
// variable one (firstCheck). Plain words weigh least: 32 of them are needed.
func variability(seg string) uint32 {
	stem, ext := cutExtension(seg)
	f := shapeOf(stem)
	if asset, known := extensions[ext]; known && asset {
		if f.digits > 1 {
			return 2
		}
		return 1
	}
	switch {
	case isLocale(seg):
		return firstCheck / 2
	case f.longestDigits >= 4, f.digits >= 2 && f.changes >= 3, f.upper > 1 && f.lower > 1 && f.digits > 0:
		return 6
	case f.digits > 0 && f.dashes > 0:
		return 4
	case f.dashes >= 2:
		return 3
	case f.dashes == 1, len(stem) > 20:
		return 2
	}
	return 1
}

// groupOf names the variable that would take seg: "{slug}", or "{slug}.ext" so
// that pictures do not hide pages.
func groupOf(seg string) string {
	_, ext := cutExtension(seg)
	if g, ok := groups[ext]; ok {
		return g
	}
	return slugName
}

// cutExtension splits "a.png" into "a" and "png" when the extension is known.
func cutExtension(seg string) (stem, ext string) {
	for i := len(seg) - 1; i > 0 && i >= len(seg)-7; i-- {
		if seg[i] == '.' {
			if _, ok := extensions[seg[i+1:]]; ok {
				return seg[:i], seg[i+1:]
			}
			break
		}
	}
	return seg, ""
}

// extensions are the file types told apart; true marks sub-resources that a
// browser loads by itself.
var extensions = map[string]bool{
	"css": true, "js": true, "mjs": true, "map": true, "png": true, "jpg": true, "jpeg": true, "gif": true, "svg": true,
	"webp": true, "avif": true, "ico": true, "woff": true, "woff2": true, "ttf": true, "eot": true, "mp4": true, "webm": true,
	"mp3": true, "ogg": true, "wasm": true, "bmp": true, "otf": true,
	"html": false, "htm": false, "php": false, "asp": false, "aspx": false, "jsp": false, "do": false, "cgi": false, "pl": false,
	"json": false, "xml": false, "txt": false, "pdf": false, "zip": false, "gz": false, "tgz": false, "rss": false, "atom": false,
	"rpm": false, "deb": false, "gem": false, "csv": false, "log": false, "md": false, "sql": false, "bak": false,
}

// groups maps an extension to the name of its variable.
var groups = func() map[string]string {
	m := map[string]string{}
	for ext := range extensions {
		m[ext] = slugName + "." + ext
	}
	return m
}()

// assetPath reports whether a path or segment ends in a sub-resource's
// extension.
func assetPath(p string) bool {
	_, ext := cutExtension(p)
	return ext != "" && extensions[ext]
}

// isLocale reports whether seg is a language tag of the languages that sites
// are published in ("en", "pt-BR", "zh_CN").
func isLocale(seg string) bool {
	if len(seg) != 2 && (len(seg) != 5 || seg[2] != '-' && seg[2] != '_') {
		return false
	}
	for i := 0; i < len(seg); i++ {
		c := seg[i] | 0x20
		if i != 2 && (c < 'a' || c > 'z') {
			return false
		}
	}
	return strings.Contains(languages, string([]byte{' ', seg[0] | 0x20, seg[1] | 0x20, ' '}))
}

const languages = " en de fr es it pt nl pl ru uk cs sk sv no nb da fi el tr ar he fa hi bn th vi id ms zh ja ko ro hu bg hr sr sl lt lv et ca eu gl "
