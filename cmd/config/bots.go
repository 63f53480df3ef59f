package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bots are the declared bots whose addresses can be verified: by the networks
// that their owners publish, or by the domains that their addresses' names end
// in (forward-confirmed reverse DNS, as the search engines document it). It is
// immutable.
type Bots struct {
	Source Source
	// networks in order of address, the wider first; parent is the index of the
	// network around it, -1 for none.
	networks []botNetwork
	rules    []BotRule
}

type botNetwork struct {
	prefix netip.Prefix
	parent int
	name   []byte // lower case
}

// BotRule verifies the addresses of one bot by their names.
type BotRule struct {
	// Name is what the bot's user agent contains, lower case.
	Name string
	// Domains end the host names of its addresses (".googlebot.com").
	Domains []string
	name    []byte
}

// LoadBots reads lines of network and bot name, tab separated:
// "66.249.64.0/19<TAB>Googlebot". "*.googlebot.com<TAB>Googlebot" verifies by
// name instead. The name is what the bot's user agent contains, in any case. The
// error joins faults with file and line.
func LoadBots(path string) (*Bots, error) {
	b := &Bots{}
	src, err := eachLine(path, b.add)
	if err != nil {
		return nil, err
	}
	b.Source = src
	slices.SortStableFunc(b.networks, func(x, y botNetwork) int {
		if c := x.prefix.Addr().Compare(y.prefix.Addr()); c != 0 {
			return c
		}
		return x.prefix.Bits() - y.prefix.Bits()
	})
	open := -1
	for i := range b.networks {
		for open >= 0 && !b.networks[open].prefix.Contains(b.networks[i].prefix.Addr()) {
			open = b.networks[open].parent
		}
		b.networks[i].parent, open = open, i
	}
	return b, nil
}

// Len is the number of networks and of domains.
func (b *Bots) Len() (networks, domains int) {
	for i := range b.rules {
		domains += len(b.rules[i].Domains)
	}
	return len(b.networks), domains
}

func (b *Bots) add(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("want network (or *.domain) and bot name, tab separated; got %d fields", len(f))
	}
	name := strings.ToLower(strings.TrimSpace(f[1]))
	if len(name) < 3 || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return fmt.Errorf("bot name %q: want 3 to 64 printable characters, as its user agent has them", f[1])
	}
	if strings.HasPrefix(f[0], "*") {
		return b.addRule(f[0], name)
	}
	p, err := netip.ParsePrefix(f[0])
	if err != nil {
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			return fmt.Errorf("network %q: want 66.249.64.0/19, 2001:4860::/32, an address or *.domain", f[0])
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p = p.Masked(); p.Addr().Is4In6() || p.Bits() < 8 {
		return fmt.Errorf("network %q is wider than /8 or written as IPv6: no bot owns that", f[0])
	}
	if len(b.networks) == maxBots {
		return fmt.Errorf("more than %d networks", maxBots)
	}
	b.networks = append(b.networks, botNetwork{prefix: p, name: []byte(name)})
	return nil
}

func (b *Bots) addRule(pattern, name string) error {
	domain := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(pattern, "*"), "."))
	if !strings.HasPrefix(domain, ".") || strings.Count(domain, ".") < 2 || strings.Contains(domain, "..") || len(domain) > 253 ||
		strings.Trim(domain, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return fmt.Errorf("domain %q: want *.googlebot.com: all below a domain of its owner's", pattern)
	}
	for i := range b.rules {
		if b.rules[i].Name == name {
			b.rules[i].Domains = append(b.rules[i].Domains, domain)
			return nil
		}
	}
	if len(b.rules) == maxBotRules {
		return fmt.Errorf("more than %d bots with domains", maxBotRules)
	}
	b.rules = append(b.rules, BotRule{Name: name, Domains: []string{domain}, name: []byte(name)})
	return nil
}

// maxAgent bounds how much of a user agent is read for a bot's name.
const maxAgent = 512

// Published reports whether the user agent names a bot that publishes the
// address as its own.
func (b *Bots) Published(a netip.Addr, userAgent string) bool {
	a = a.Unmap().WithZone("")
	i, found := slices.BinarySearchFunc(b.networks, a, func(n botNetwork, a netip.Addr) int { return n.prefix.Addr().Compare(a) })
	for found && i+1 < len(b.networks) && b.networks[i+1].prefix.Addr() == a {
		i++ // the narrowest that begins here
	}
	if !found {
		i--
	}
	var buf [maxAgent]byte
	var agent []byte
	for ; i >= 0; i = b.networks[i].parent {
		if !b.networks[i].prefix.Contains(a) {
			continue
		}
		if agent == nil {
			agent = lower(&buf, userAgent)
		}
		if bytes.Contains(agent, b.networks[i].name) {
			return true
		}
	}
	return false
}

// Declared returns the rule of the bot that the user agent names, nil if none
// that is verified by name.
func (b *Bots) Declared(userAgent string) *BotRule {
	if len(b.rules) == 0 {
		return nil
	}
	var buf [maxAgent]byte
	agent := lower(&buf, userAgent)
	for i := range b.rules {
		if bytes.Contains(agent, b.rules[i].name) {
			return &b.rules[i]
		}
	}
	return nil
}

// Owns reports whether a host name is below one of the rule's domains.
func (r *BotRule) Owns(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(r.Domains, func(d string) bool { return strings.HasSuffix(host, d) })
}

// lower copies ASCII text in lower case.
func lower(buf *[maxAgent]byte, s string) []byte {
	n := copy(buf[:], s)
	for i, c := range buf[:n] {
		if upper(c) {
			buf[i] = c + 'a' - 'A'
		}
	}
	return buf[:n]
}
