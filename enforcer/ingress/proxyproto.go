package ingress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a PROXY header. Version 1 fits in 107 bytes (specification section
// 2.1); version 2 announces its length, of which we accept addresses and a
// reasonable number of TLVs.
const (
	maxProxyV1 = 107
	maxProxyV2 = 16 + 2048
)

var proxyV2Signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errProxyHeader = errors.New("malformed PROXY header")

// readProxyHeader reads a PROXY protocol header, version 1 or 2, from r. It
// returns the source address, the zero AddrPort for LOCAL, UNKNOWN and socket
// kinds without an address, and the bytes read past the header.
// Source: www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
func readProxyHeader(r io.Reader) (src netip.AddrPort, rest []byte, err error) {
	buf := make([]byte, 0, 256)
	for {
		src, n, err := parseProxyHeader(buf)
		if err != nil || n > 0 {
			return src, buf[n:], err
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, maxProxyV2), buf...)
		}
		k, err := r.Read(buf[len(buf):cap(buf)])
		if buf = buf[:len(buf)+k]; k == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return src, nil, fmt.Errorf("PROXY header: %w", err)
		}
	}
}

// parseProxyHeader reads the header at the start of b. n is its length, 0 when b
// holds only a part of one.
func parseProxyHeader(b []byte) (src netip.AddrPort, n int, err error) {
	sig := min(len(b), len(proxyV2Signature))
	if sig > 0 && bytes.Equal(b[:sig], proxyV2Signature[:sig]) {
		return parseProxyV2(b)
	}
	if k := min(len(b), 6); string(b[:k]) != "PROXY "[:k] {
		return src, 0, fmt.Errorf("%w: neither version 1 nor 2", errProxyHeader)
	}
	i := bytes.Index(b, []byte("\r\n"))
	if i < 0 || i+2 > maxProxyV1 {
		if len(b) >= maxProxyV1 {
			return src, 0, fmt.Errorf("%w: version 1 line longer than %d bytes", errProxyHeader, maxProxyV1)
		}
		return src, 0, nil
	}
	src, err = parseProxyV1(string(b[:i]))
	return src, i + 2, err
}

func parseProxyV1(line string) (src netip.AddrPort, err error) {
	part := strings.Split(line, " ")
	if len(part) >= 2 && part[1] == "UNKNOWN" {
		return src, nil
	}
	if len(part) != 6 || part[1] != "TCP4" && part[1] != "TCP6" {
		return src, fmt.Errorf("%w: %q", errProxyHeader, line)
	}
	from, err1 := netip.ParseAddr(part[2])
	to, err2 := netip.ParseAddr(part[3])
	port, err3 := strconv.ParseUint(part[4], 10, 16)
	_, err4 := strconv.ParseUint(part[5], 10, 16)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return src, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	if v4 := part[1] == "TCP4"; from.Is4() != v4 || to.Is4() != v4 || from.Zone() != "" {
		return src, fmt.Errorf("%w: address family differs from %s", errProxyHeader, part[1])
	}
	return netip.AddrPortFrom(from.Unmap(), uint16(port)), nil
}

func parseProxyV2(b []byte) (src netip.AddrPort, n int, err error) {
	if len(b) < 16 {
		return src, 0, nil
	}
	size := 16 + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case b[12]>>4 != 2:
		return src, 0, fmt.Errorf("%w: version %d", errProxyHeader, b[12]>>4)
	case b[12]&15 > 1:
		return src, 0, fmt.Errorf("%w: command %d", errProxyHeader, b[12]&15)
	case size > maxProxyV2:
		return src, 0, fmt.Errorf("%w: %d bytes", errProxyHeader, size)
	case len(b) < size:
		return src, 0, nil
	case b[12]&15 == 0: // LOCAL: the proxy's own health check
		return src, size, nil
	}
	body := b[16:size]
	switch b[13] {
	case 0x11: // TCP over IPv4
		if len(body) < 12 {
			return src, 0, fmt.Errorf("%w: IPv4 block of %d bytes", errProxyHeader, len(body))
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])), size, nil
	case 0x21: // TCP over IPv6
		if len(body) < 36 {
			return src, 0, fmt.Errorf("%w: IPv6 block of %d bytes", errProxyHeader, len(body))
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:])), size, nil
	default:
		return src, size, nil
	}
}
