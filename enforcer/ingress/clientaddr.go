package ingress

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// trusts reports whether a is a proxy whose forwarding fields count.
func (c *Config) trusts(a netip.Addr) bool {
	for _, p := range c.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// clientOf resolves the client's address from the fields of a trusted proxy:
// ClientHeader when it is set and holds an address, else the last entry of
// X-Forwarded-For that is not itself a trusted proxy. An entry that is no
// address ends the search at the last good one: what stands before it cannot be
// believed.
func (c *Config) clientOf(peer netip.AddrPort, fields []flow.Field) netip.AddrPort {
	if c.ClientHeader != "" {
		for _, f := range fields {
			if strings.EqualFold(f.Name, c.ClientHeader) {
				if a, ok := parseForwarded(f.Value); ok {
					return a
				}
				break
			}
		}
	}
	client := peer
	for _, f := range slices.Backward(fields) {
		if !strings.EqualFold(f.Name, "X-Forwarded-For") {
			continue
		}
		for list := f.Value; ; {
			j := strings.LastIndexByte(list, ',')
			if entry := trimOWS(list[j+1:]); entry != "" {
				a, ok := parseForwarded(entry)
				if !ok {
					return client
				}
				client = a
				if !c.trusts(a.Addr()) {
					return client
				}
			}
			if j < 0 {
				break
			}
			list = list[:j]
		}
	}
	return client
}

// parseForwarded reads an address with or without a port and brackets; port 0
// when there is none.
func parseForwarded(s string) (netip.AddrPort, bool) {
	s = trimOWS(s)
	if len(s) > 64 {
		return netip.AddrPort{}, false
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.AddrPortFrom(a.Unmap(), 0), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Addr().Zone() == "" {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		if a, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil && a.Zone() == "" {
			return netip.AddrPortFrom(a.Unmap(), 0), true
		}
	}
	return netip.AddrPort{}, false
}
