package ingress

import (
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// responseField says what a field of a response is to the ingress.
type responseField uint8

const (
	fieldOther responseField = iota
	fieldLength
	fieldDate
	fieldTrailer
	fieldContentType
	fieldContentEncoding
	// Those that end here follow: of this hop, or ours.
	fieldCoding
	fieldConnection
	fieldUpgrade
	fieldHop
)

func (k responseField) hop() bool { return k >= fieldCoding }

func responseFieldOf(name string) responseField {
	is := func(n string, k responseField) responseField {
		if strings.EqualFold(name, n) {
			return k
		}
		return fieldOther
	}
	switch len(name) {
	case 4:
		return is("Date", fieldDate)
	case 7:
		return max(is("Trailer", fieldTrailer), is("Upgrade", fieldUpgrade))
	case 10:
		return max(is("Connection", fieldConnection), is("Keep-Alive", fieldHop))
	case 12:
		return is("Content-Type", fieldContentType)
	case 14:
		return is("Content-Length", fieldLength)
	case 16:
		return max(is("Content-Encoding", fieldContentEncoding), is("Proxy-Connection", fieldHop))
	case 17:
		return max(is("Transfer-Encoding", fieldCoding), is(headerRequestID, fieldHop))
	}
	return fieldOther
}

// nominatedBy lists the fields that the Connection fields declare to be of this
// hop, without those that go or stay in any case.
func nominatedBy(fields []flow.Field) (names []string) {
	for _, f := range fields {
		if len(f.Name) == 10 && strings.EqualFold(f.Name, "Connection") {
			for part := range strings.SplitSeq(f.Value, ",") {
				if part = trimOWS(part); part != "" && !knownHop(part) {
					names = append(names, part)
				}
			}
		}
	}
	return names
}

// appendTokens appends the members of a comma-separated list.
func appendTokens(dst []string, list string) []string {
	for part := range strings.SplitSeq(list, ",") {
		if part = trimOWS(part); part != "" {
			dst = append(dst, part)
		}
	}
	return dst
}
