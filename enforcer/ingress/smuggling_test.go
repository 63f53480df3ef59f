package ingress_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestRejectsAmbiguousMessages sends what two parsers could frame differently
// and checks that it is refused with the right cause and that not one byte of it
// reaches the upstream.
func TestRejectsAmbiguousMessages(t *testing.T) {
	get := func(s string) string { return "GET / HTTP/1.1\r\nHost: a\r\n" + s + "\r\n" }
	post := func(s, body string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + s + "\r\n" + body }
	for _, tc := range []struct{ name, raw, status, cause string }{
		{"two content lengths that differ", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), "400", "duplicate_content_length"},
		{"two content lengths that agree", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), "400", "duplicate_content_length"},
		{"a content length list", post("Content-Length: 3, 3\r\n", "abc"), "400", "bad_content_length"},
		{"a signed content length", post("Content-Length: +3\r\n", "abc"), "400", "bad_content_length"},
		{"a negative content length", post("Content-Length: -1\r\n", ""), "400", "bad_content_length"},
		{"a hexadecimal content length", post("Content-Length: 0x3\r\n", "abc"), "400", "bad_content_length"},
		{"an empty content length", post("Content-Length: \r\n", ""), "400", "bad_content_length"},
		{"a content length with a space inside", post("Content-Length: 1 2\r\n", "abc"), "400", "bad_content_length"},
		{"a content length beyond 63 bits", post("Content-Length: 99999999999999999999\r\n", ""), "400", "bad_content_length"},
		{"CL and TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nX"), "400", "length_and_transfer_encoding"},
		{"TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\nX"), "400", "length_and_transfer_encoding"},
		{"TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "501", "unsupported_transfer_encoding"},
		{"TE identity after chunked", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), "501", "unsupported_transfer_encoding"},
		{"TE list", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501", "unsupported_transfer_encoding"},
		{"TE with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), "400", "bad_field_value"},
		{"TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), "501", "unsupported_transfer_encoding"},
		{"TE misspelt", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), "501", "unsupported_transfer_encoding"},
		{"TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "length_and_transfer_encoding"},
		{"TE with a space before its colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), "400", "space_before_colon"},
		{"TE folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), "400", "obs_fold"},
		{"obs-fold", get("A: b\r\n c\r\n"), "400", "obs_fold"},
		{"obs-fold by tab", get("A: b\r\n\tc\r\n"), "400", "obs_fold"},
		{"a fold before the first field", "GET / HTTP/1.1\r\n A: b\r\nHost: a\r\n\r\n", "400", "obs_fold"},
		{"a space before the colon", get("A : b\r\n"), "400", "space_before_colon"},
		{"a tab before the colon", get("A\t: b\r\n"), "400", "space_before_colon"},
		{"a space in a name", get("A b: c\r\n"), "400", "bad_field_name"},
		{"a line without colon", get("Abc\r\n"), "400", "bad_field_name"},
		{"an empty name", get(": b\r\n"), "400", "bad_field_name"},
		{"a name beyond ASCII", get("\xc3\xa9: b\r\n"), "400", "bad_field_name"},
		{"NUL in a value", get("A: b\x00c\r\n"), "400", "bad_field_value"},
		{"NUL in a name", get("A\x00: b\r\n"), "400", "bad_field_name"},
		{"a bare CR in a value", get("A: b\rTransfer-Encoding: chunked\r\n"), "400", "bare_cr"},
		{"a bare LF", "GET / HTTP/1.1\nHost: a\n\n", "400", "bare_lf"},
		{"a bare LF after a field", get("A: b\nC: d\r\n"), "400", "bare_lf"},
		{"a bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", "400", "bare_lf"},
		{"two hosts", get("Host: b\r\n"), "400", "duplicate_host"},
		{"two hosts that agree", get("Host: a\r\n"), "400", "duplicate_host"},
		{"no host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", "400", "missing_host"},
		{"a host with user information", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400", "bad_host"},
		{"a host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400", "bad_host"},
		{"a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400", "bad_host"},
		{"an absolute target that differs from host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "host_mismatch"},
		{"an absolute target with user information", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"an absolute target without host", "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"an authority target", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"a relative target", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"an asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"a tab in the target", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"a bare CR in the target", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_target"},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "405", "connect"},
		{"HTTP/0.9", "GET /\r\n\r\n", "400", "bad_request_line"},
		{"HTTP/2.0 in clear text", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505", "bad_version"},
		{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", "505", "bad_version"},
		{"a method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad_method"},
		{"a lone space as request line", " \r\n\r\n", "400", "bad_request_line"},
		{"TLS on the plain port", "\x16\x03\x01\x00\x05hello\r\n\r\n", "400", "tls_on_plain_port"},
		{"an announced trailer that frames", post("Transfer-Encoding: chunked\r\nTrailer: X, Content-Length\r\n", "0\r\n\r\n"), "400", "bad_trailer"},
		{"an unknown expectation", post("Expect: magic\r\nContent-Length: 1\r\n", "x"), "417", "bad_expectation"},
		{"too many fields", get(strings.Repeat("A: b\r\n", 300)), "431", "too_many_fields"},
		{"a head that is too large", get("A: " + strings.Repeat("b", 70<<10) + "\r\n"), "431", "head_too_large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRawRecorder(t)
			p := start(t, "http://"+r.addr, nil, nil)
			got := ask(t, p.addr, tc.raw)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tc.status+" ") || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("answer %q, want one %s", got, tc.status)
			}
			if !strings.Contains(got, "\r\nX-Weir-Request-Id: ") {
				t.Errorf("no request id in %q", got)
			}
			if n := p.counter(t, "weir_ingress_rejects_total", "cause", tc.cause); n != 1 {
				t.Errorf("%v rejects for %s, want 1", n, tc.cause)
			}
			if r.bytes() != "" {
				t.Errorf("upstream got %q", r.bytes())
			}
		})
	}
}

// TestRejectsBadChunks: a request whose chunked body turns out malformed is never
// completed towards the upstream, and nothing after it is taken for a request.
func TestRejectsBadChunks(t *testing.T) {
	for _, tc := range []struct{ name, body, cause string }{
		{"a size that is no number", "xyz\r\n", "bad_chunk"},
		{"an empty size", "\r\n", "bad_chunk"},
		{"a signed size", "+5\r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a negative size", "-5\r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a prefixed size", "0x5\r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a size beyond 60 bits", "FFFFFFFFFFFFFFFFF\r\nhello", "bad_chunk"},
		{"a leading space", " 5\r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a trailing space", "5 \r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a bare LF after the size", "5\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a bare CR after the size", "5\rhello\r\n0\r\n\r\n", "bad_chunk"},
		{"a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"data longer than its size", "5\r\nhello world\r\n0\r\n\r\n", "bad_chunk"},
		{"data without CRLF", "5\r\nhello0\r\n\r\n", "bad_chunk"},
		{"data ended by LF", "5\r\nhello\n0\r\n\r\n", "bad_chunk"},
		{"a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "bad_trailer"},
		{"a trailer with a space before its colon", "0\r\nA : b\r\n\r\n", "bad_trailer"},
		{"a trailer ended by LF", "0\r\nA: b\n\r\n", "bad_trailer"},
		{"a last line ended by LF", "0\r\n\n", "bad_trailer"},
		{"an endless extension", "5;" + strings.Repeat("a", 5000) + "\r\nhello\r\n0\r\n\r\n", "bad_chunk"},
		{"an endless trailer", "0\r\nA: " + strings.Repeat("b", 10000) + "\r\n\r\n", "bad_trailer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			completed := make(chan struct{}, 8)
			up := origin(t, func(_ http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					completed <- struct{}{}
				}
			})
			p := start(t, "http://"+up, nil, nil)
			got := ask(t, p.addr, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+tc.body+
				"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			if got != "" && !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") > 1 {
				t.Errorf("answer %q", got)
			}
			if n := p.counter(t, "weir_ingress_rejects_total", "cause", tc.cause); n != 1 {
				t.Errorf("%v rejects for %s, want 1", n, tc.cause)
			}
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			if len(completed) != 0 {
				t.Error("the upstream saw a complete request")
			}
		})
	}
}

// TestNormalisesWhatIsAllowed sends unusual but valid messages and compares the
// bytes that the upstream gets.
func TestNormalisesWhatIsAllowed(t *testing.T) {
	const end = "Connection: close\r\n\r\n"
	for _, tc := range []struct{ name, raw, want string }{
		{"empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n" + end, "GET / HTTP/1.1\r\nHost: a\r\n"},
		{"an absolute target", "GET http://a/x?y HTTP/1.1\r\nHost: a\r\n" + end, "GET /x?y HTTP/1.1\r\nHost: a\r\n"},
		{"an absolute target without path", "GET http://a?y HTTP/1.1\r\nHost: a\r\n" + end, "GET /?y HTTP/1.1\r\nHost: a\r\n"},
		{"OPTIONS for the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n" + end, "OPTIONS * HTTP/1.1\r\nHost: a\r\n"},
		{"blanks around a value", "GET / HTTP/1.1\r\nHost: \t a \t\r\n" + end, "GET / HTTP/1.1\r\nHost: a\r\n"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"},
		{"bytes beyond ASCII in target and value", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\nA: \xff\r\n" + end, "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\nA: \xff\r\n"},
		{"an odd path", "GET //a/../b;c?d#e HTTP/1.1\r\nHost: a\r\n" + end, "GET //a/../b;c?d#e HTTP/1.1\r\nHost: a\r\n"},
		{"a chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n" + end[:19] + "\r\n5;a=\"b\"\r\nhello\r\n0\r\n\r\n", "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"a body with GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + end + "abc", "Content-Length: 3\r\n\r\nabc"},
		{"a length of zero", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + end, "Content-Length: 0\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRawRecorder(t)
			p := start(t, "http://"+r.addr, nil, nil)
			if got := ask(t, p.addr, tc.raw); !strings.Contains(got, " 200 OK\r\n") {
				t.Fatalf("answer %q", got)
			}
			if got := r.bytes(); !strings.Contains(got, tc.want) || r.count() != 1 {
				t.Errorf("upstream got %q, want %q in it", got, tc.want)
			}
		})
	}
}

func TestPipelinedRequestsKeepTheirHeads(t *testing.T) {
	r := newRawRecorder(t)
	p := start(t, "http://"+r.addr, nil, nil)
	got := ask(t, p.addr, "GET /1 HTTP/1.1\r\nHost: a\r\nOne: 1\r\n\r\n"+
		"POST /2 HTTP/1.1\r\nHost: a\r\ntwo: 2\r\nContent-Length: 3\r\n\r\nabc"+
		"POST /3 HTTP/1.1\r\nHost: a\r\nTHREE: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+
		"\r\nGET /4 HTTP/1.1\r\nHost: a\r\nFour: 4\r\nConnection: close\r\n\r\n")
	if n := strings.Count(got, "HTTP/1.1 200 OK\r\n"); n != 4 {
		t.Fatalf("%d answers in %q", n, got)
	}
	p.brain.wait(t, 4)
	var names []string
	for _, x := range p.brain.exchanges {
		names = append(names, x.Target+" "+x.Headers[1].Name)
	}
	if got := strings.Join(names, ","); got != "/1 One,/2 two,/3 THREE,/4 Four" {
		t.Errorf("heads %s", got)
	}
}

func TestBadPipelinedRequestDoesNotHarmTheOneBefore(t *testing.T) {
	r := newRawRecorder(t)
	p := start(t, "http://"+r.addr, nil, nil)
	got := ask(t, p.addr, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || strings.Count(got, "HTTP/1.1 400 ") != 1 || r.count() != 1 {
		t.Errorf("answer %q, %d requests upstream", got, r.count())
	}
}

// TestPassesTargetsThatNetHTTPRefuses: what a target means is the application's
// business.
func TestPassesTargetsThatNetHTTPRefuses(t *testing.T) {
	heads := make(chan string, 1)
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		head, _ := readHead(br)
		heads <- head
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	p := start(t, "http://"+up, nil, nil)
	for _, target := range []string{"/%zz?%z", "/%", "//evil/x", "/a|b<c>\"\\", "/?a=b?c#d"} {
		got := ask(t, p.addr, "GET "+target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%s: answer %q", target, got)
			continue
		}
		if head := <-heads; !strings.HasPrefix(head, "GET "+target+" HTTP/1.1\r\n") {
			t.Errorf("%s: upstream got %q", target, head)
		}
	}
}
