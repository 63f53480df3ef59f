package ingress

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"slices"
)

// ja4 computes the JA4 fingerprint of a ClientHello: FoxIO's public
// specification, technical_details/JA4.md (the JA4 of TLS over TCP is under the
// BSD 3-clause licence). GREASE values (RFC 8701) count nowhere.
func ja4(h *tls.ClientHelloInfo) string {
	ciphers := withoutGrease(h.CipherSuites)
	exts := withoutGrease(h.Extensions)
	b := make([]byte, 0, 36)
	b = append(b, 't')
	b = append(b, ja4Version(h.SupportedVersions)...)
	sni := byte('i')
	if slices.Contains(exts, extServerName) {
		sni = 'd'
	}
	b = append(b, sni)
	b = appendCount(b, len(ciphers))
	b = appendCount(b, len(exts))
	b = append(b, ja4ALPN(h.SupportedProtos)...)

	slices.Sort(ciphers)
	b = append(b, '_')
	b = appendDigest(b, appendHexList(nil, ciphers))

	exts = slices.DeleteFunc(exts, func(e uint16) bool { return e == extServerName || e == extALPN })
	slices.Sort(exts)
	list := appendHexList(nil, exts)
	if len(h.SignatureSchemes) > 0 && len(list) > 0 {
		list = append(list, '_')
		for i, s := range h.SignatureSchemes {
			if i > 0 {
				list = append(list, ',')
			}
			list = appendHex16(list, uint16(s))
		}
	}
	b = append(b, '_')
	return string(appendDigest(b, list))
}

const (
	extServerName uint16 = 0
	extALPN       uint16 = 16
)

func isGrease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func withoutGrease(in []uint16) []uint16 {
	out := make([]uint16, 0, len(in))
	for _, v := range in {
		if !isGrease(v) {
			out = append(out, v)
		}
	}
	return out
}

func ja4Version(versions []uint16) string {
	var top uint16
	for _, v := range versions {
		if !isGrease(v) && v > top {
			top = v
		}
	}
	switch top {
	case tls.VersionTLS13:
		return "13"
	case tls.VersionTLS12:
		return "12"
	case tls.VersionTLS11:
		return "11"
	case tls.VersionTLS10:
		return "10"
	case 0x0300:
		return "s3"
	default:
		return "00"
	}
}

// ja4ALPN is the first and last character of the first protocol, or of its hex
// form when one of them is not alphanumeric.
func ja4ALPN(protos []string) string {
	if len(protos) == 0 || protos[0] == "" {
		return "00"
	}
	p := protos[0]
	first, last := p[0], p[len(p)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		h := hex.EncodeToString([]byte(p))
		first, last = h[0], h[len(h)-1]
	}
	return string([]byte{first, last})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func appendCount(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

func appendHexList(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendHex16(b, v)
	}
	return b
}

func appendHex16(b []byte, v uint16) []byte {
	return hex.AppendEncode(b, []byte{byte(v >> 8), byte(v)})
}

// appendDigest appends the first 12 hex digits of list's SHA-256, or zeros for
// an empty list.
func appendDigest(b, list []byte) []byte {
	if len(list) == 0 {
		return append(b, "000000000000"...)
	}
	sum := sha256.Sum256(list)
	return hex.AppendEncode(b, sum[:6])
}
