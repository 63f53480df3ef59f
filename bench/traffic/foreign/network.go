package foreign

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/weirproject/weir/bench/traffic"
)

// network is where people's and bots' addresses come from.
type network struct {
	r        *traffic.Rand
	isps     [30][2]byte
	v6       [6][4]byte
	carriers [4][9]netip.Addr
	vpn      [6]netip.Addr
}

func newNetwork(r *traffic.Rand) *network {
	n := &network{r: r}
	for i := range n.isps {
		n.isps[i] = [2]byte{byte(between(r, 60, 99)), byte(between(r, 1, 250))}
	}
	for i := range n.v6 {
		n.v6[i] = [4]byte{0x2a, byte(between(r, 0, 15)), byte(between(r, 1, 15)), byte(r.IntN(256))}
	}
	for i := range n.carriers {
		for k := range n.carriers[i] {
			n.carriers[i][k] = netip.AddrFrom4([4]byte{byte(between(r, 100, 126)), byte(between(r, 1, 250)), byte(between(r, 1, 250)), byte(between(r, 1, 250))})
		}
	}
	for i := range n.vpn {
		n.vpn[i] = n.hosted(r)
	}
	return n
}

// home4 is some line of a household.
func (n *network) home4(r *traffic.Rand) netip.Addr {
	isp := n.isps[r.IntN(len(n.isps))]
	return netip.AddrFrom4([4]byte{isp[0], isp[1], byte(r.IntN(256)), byte(between(r, 1, 254))})
}

// hosted is a machine of a data centre.
func (n *network) hosted(r *traffic.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{choice(r, []byte{45, 51, 144, 159, 188, 193}), byte(between(r, 1, 250)), byte(r.IntN(256)), byte(between(r, 1, 254))})
}

// home is a household's line: an address that may change by day, or an IPv6
// prefix beside it in which each device has another address every day.
type home struct {
	net     *network
	v6      bool
	a       netip.Addr
	prefix  [8]byte
	dynamic bool
	day     int
}

func newHome(r *traffic.Rand, n *network) *home {
	h := &home{net: n, v6: r.Chance(.3), a: n.home4(r), day: -1}
	isp := n.v6[r.IntN(len(n.v6))]
	copy(h.prefix[:], isp[:])
	binary.BigEndian.PutUint16(h.prefix[4:], uint16(r.IntN(1<<16)))
	binary.BigEndian.PutUint16(h.prefix[6:], uint16(r.IntN(1<<12)<<4))
	h.dynamic = r.Chance(.12)
	return h
}

func (h *home) address(r *traffic.Rand, t float64, d *device) netip.Addr {
	today := int(math.Floor(t / day))
	if h.dynamic && today != h.day {
		h.day, h.a = today, h.net.home4(r)
	}
	if !h.v6 || d.n%3 == 0 {
		return h.a
	}
	var a [16]byte
	copy(a[:], h.prefix[:])
	binary.BigEndian.PutUint64(a[8:], traffic.Mix(uint64(d.n), uint64(today)))
	return netip.AddrFrom16(a)
}
