package ingress

import (
	"crypto/tls"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestJA4Vectors holds fingerprints against published ones: the specification's
// example and readings of tshark and tls.peet.ws, each given by its raw form
// (ciphers, extensions without SNI and ALPN, signature algorithms).
func TestJA4Vectors(t *testing.T) {
	for _, tc := range []struct {
		name, want, ciphers, exts, algs, alpn string
		sni                                   bool
		version                               uint16
	}{
		{
			"the specification's example", "t13d1516h2_8daaf6152771_e5627efa2ab1",
			"002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9",
			"0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01", "0403,0804,0401,0503,0805,0501,0806,0601", "h2", true, 0x0304,
		},
		{
			"Chrome 142", "t13d1516h2_8daaf6152771_d8a2da3f94cd",
			"002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9",
			"0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,fe0d,ff01", "0403,0804,0401,0503,0805,0501,0806,0601", "h2", true, 0x0304,
		},
		{
			"Firefox", "t13d1617h2_86a278354501_3cbfd9057e0d",
			"002f,0035,009c,009d,1301,1302,1303,c00a,c013,c014,c02b,c02c,c02f,c030,cca8,cca9",
			"0005,000a,000b,000d,0012,0017,001b,001c,0022,0023,002b,002d,0033,fe0d,ff01", "0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201", "h2", true, 0x0304,
		},
		{
			"OpenSSL with HTTP/1.1", "t13d4213h1_171bc101b036_5f0018e59d20",
			"002f,0032,0033,0035,0038,0039,003c,003d,0040,0067,006a,006b,009c,009d,009e,009f,00a2,00a3,00ff,1301,1302,1303,1304,c009,c00a,c013,c014,c023,c027,c02b,c02c,c02f,c030,c09c,c09d,c09e,c09f,c0ac,c0ad,cca8,cca9,ccaa",
			"000a,000b,000d,0015,0016,0017,001b,002b,002d,0031,0033", "0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,0601,0303,0301,0402,0502,0602,0302,0203,0201,0202", "http/1.1", true, 0x0304,
		},
		{
			"openssl s_client without ALPN", "t13d041000_16476d049b0b_78f1d400d464",
			"00ff,1301,1302,1303", "000a,000b,000d,0016,0017,0023,002b,002d,0033", "0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,0601", "", true, 0x0304,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &tls.ClientHelloInfo{
				CipherSuites: unhex(t, tc.ciphers), Extensions: unhex(t, tc.exts), SupportedVersions: []uint16{0x0303, tc.version},
			}
			for _, a := range unhex(t, tc.algs) {
				h.SignatureSchemes = append(h.SignatureSchemes, tls.SignatureScheme(a))
			}
			if tc.sni {
				h.Extensions = append(h.Extensions, extServerName)
			}
			if tc.alpn != "" {
				h.Extensions = append(h.Extensions, extALPN)
				h.SupportedProtos = []string{tc.alpn, "other"}
			}
			if got := ja4(h); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			// Order and GREASE mean nothing.
			slices.Reverse(h.CipherSuites)
			slices.Reverse(h.Extensions)
			h.CipherSuites = append([]uint16{0x0a0a}, h.CipherSuites...)
			h.Extensions = append([]uint16{0x1a1a}, append(h.Extensions, 0xfafa)...)
			h.SupportedVersions = append([]uint16{0x3a3a}, h.SupportedVersions...)
			if got := ja4(h); got != tc.want {
				t.Errorf("reordered: got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestJA4Edges(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    tls.ClientHelloInfo
		want string
	}{
		{"nothing", tls.ClientHelloInfo{}, "t00i000000_000000000000_000000000000"},
		{"TLS 1.0", tls.ClientHelloInfo{SupportedVersions: []uint16{0x0301}}, "t10i000000_000000000000_000000000000"},
		{"SSL 3", tls.ClientHelloInfo{SupportedVersions: []uint16{0x0300}}, "ts3i000000_000000000000_000000000000"},
		{"one letter of ALPN", tls.ClientHelloInfo{SupportedProtos: []string{"h"}}, "t00i0000hh_000000000000_000000000000"},
		{"binary ALPN", tls.ClientHelloInfo{SupportedProtos: []string{"\xabc\xcd"}}, "t00i0000ad_000000000000_000000000000"},
		{"GREASE ALPN", tls.ClientHelloInfo{SupportedProtos: []string{"\x0a\x0a"}}, "t00i00000a_000000000000_000000000000"},
		{"over 99", tls.ClientHelloInfo{CipherSuites: make([]uint16, 150)}, "t00i9900"},
	} {
		if got := ja4(&tc.h); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func unhex(t *testing.T, list string) (out []uint16) {
	t.Helper()
	for s := range strings.SplitSeq(list, ",") {
		v, err := strconv.ParseUint(s, 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, uint16(v))
	}
	return out
}
