package config

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func lookupFile(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		text = b.String()
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

const networksText = "# ip2asn\n" +
	"203.0.113.0\t203.0.113.255\t64500\tDE\tEXAMPLE-A\n" +
	"198.51.100.0\t198.51.100.127\t64501\tUS\tEXAMPLE B\r\n" +
	"192.0.2.0\t192.0.2.255\t0\tNone\tNot routed\n" +
	"2001:db8::\t2001:db8:0:ffff:ffff:ffff:ffff:ffff\t64502\tNone\tEXAMPLE-C\n"

func TestNetworks(t *testing.T) {
	for _, name := range []string{"asn.tsv", "asn.tsv.gz"} {
		n, err := LoadNetworks(lookupFile(t, name, networksText))
		if err != nil {
			t.Fatal(err)
		}
		if n.Len() != 3 || n.Source.Name != name || len(n.Source.Version) != 32 {
			t.Errorf("%s: %d ranges, source %v", name, n.Len(), n.Source)
		}
		for address, want := range map[string]string{
			"203.0.113.0": "64500 DE", "203.0.113.255": "64500 DE", "::ffff:203.0.113.9": "64500 DE",
			"198.51.100.127": "64501 US", "198.51.100.128": "0 ", "192.0.2.1": "0 ", "0.0.0.0": "0 ", "255.255.255.255": "0 ",
			"2001:db8::1": "64502 ", "2001:db8:1::": "0 ", "::": "0 ",
		} {
			asn, country := n.Find(netip.MustParseAddr(address))
			if got := fmt.Sprint(asn, " ", country); got != want {
				t.Errorf("%s: %q, want %q", address, got, want)
			}
		}
	}
}

func TestLookupFaultsNameTheirLine(t *testing.T) {
	networks := func(path string) error { _, err := LoadNetworks(path); return err }
	bots := func(path string) error { _, err := LoadBots(path); return err }
	good := "203.0.113.0\t203.0.113.255\t64500\tDE\n"
	for name, c := range map[string]struct {
		load func(string) error
		text string
		want string
	}{
		"spaces for tabs":   {networks, good + "198.51.100.0 198.51.100.255 64501 US\n", ":2: want first address"},
		"no address":        {networks, good + "\n# c\nnowhere\t198.51.100.255\t1\tUS\n", ":4: "},
		"backwards":         {networks, "198.51.100.9\t198.51.100.1\t1\tUS\n", ":1: 198.51.100.9 to 198.51.100.1 is no range"},
		"two families":      {networks, "198.51.100.9\t2001:db8::\t1\tUS\n", "is no range"},
		"AS number":         {networks, good + "198.51.100.0\t198.51.100.1\tAS1\tUS\n", `:2: AS number "AS1"`},
		"country":           {networks, good + "198.51.100.0\t198.51.100.1\t1\tusa\n", `:2: country "usa"`},
		"overlap":           {networks, good + "203.0.113.128\t203.0.114.1\t1\tUS\n", "overlap at 203.0.113.128"},
		"empty":             {networks, "# nothing\n\n", "holds no line"},
		"a line of a dump":  {networks, good + strings.Repeat("x", 5000) + "\n", ":2: longer than 4096 bytes"},
		"bot without name":  {bots, "66.249.64.0/19\n", ":1: want network"},
		"a name too short":  {bots, "66.249.64.0/19\tx\n", ":1: bot name"},
		"everybody":         {bots, "66.249.64.0/19\tGooglebot\n0.0.0.0/0\tGooglebot\n", ":2: network"},
		"a public suffix":   {bots, "*.com\tGooglebot\n", `:1: domain "*.com"`},
		"a url for network": {bots, "https://x/y\tGooglebot\n", ":1: network"},
	} {
		if err := c.load(lookupFile(t, "lookup.tsv", c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := networks(filepath.Join(t.TempDir(), "nosuch")); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("a missing file: %v", err)
	}
	many := strings.Repeat("rubbish\n", 1000)
	if err := networks(lookupFile(t, "lookup.tsv", many)); strings.Count(err.Error(), "\n") >= maxLookupFaults {
		t.Errorf("a file of another kind gives %d lines of faults", strings.Count(err.Error(), "\n"))
	}
}

func TestBots(t *testing.T) {
	b, err := LoadBots(lookupFile(t, "bots.tsv", "66.249.64.0/19\tGooglebot\n66.249.64.0/24\tGoogle-InspectionTool\n66.249.72.0/24\tStorebot\n"+
		"2001:4860:4801::/48\tGooglebot\n40.77.167.5\tbingbot\n*.search.msn.com\tbingbot\n*.crawl.example\tbingbot\n*.yandex.ru\tYandexBot\n"))
	if err != nil {
		t.Fatal(err)
	}
	const google, bing = "Mozilla/5.0 (compatible; GoogleBot/2.1)", "Mozilla/5.0 (compatible; bingbot/2.0)"
	for _, c := range []struct {
		address, agent string
		want           bool
	}{
		{"66.249.64.1", google, true},
		{"66.249.64.1", "Google-InspectionTool/1.0", true},
		{"66.249.65.1", "Google-InspectionTool/1.0", false},
		{"66.249.72.9", google, true},
		{"66.249.95.255", google, true},
		{"66.249.96.0", google, false},
		{"66.249.64.1", "curl/8.0", false},
		{"66.249.64.1", bing, false},
		{"203.0.113.7", google, false},
		{"0.0.0.1", google, false},
		{"2001:4860:4801::5", google, true},
		{"40.77.167.5", bing, true},
		{"40.77.167.6", bing, false},
	} {
		if got := b.Published(netip.MustParseAddr(c.address), c.agent); got != c.want {
			t.Errorf("%s as %s: %v, want %v", c.address, c.agent, got, c.want)
		}
	}
	if b.Declared(google) != nil || b.Declared("Firefox") != nil {
		t.Error("a bot without domains, or a person, has a rule")
	}
	r := b.Declared(bing)
	if r == nil || !r.Owns("msnbot-40-77-167-5.search.msn.com.") || !r.Owns("A.Crawl.Example") || r.Owns("search.msn.com.evil.example") || r.Owns("evilsearch.msn.com") {
		t.Errorf("bingbot's rule: %+v", r)
	}
	if networks, domains := b.Len(); networks != 5 || domains != 3 {
		t.Errorf("%d networks, %d domains", networks, domains)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add([]byte(networksText))
	f.Add([]byte("66.249.64.0/19\tGooglebot\n*.googlebot.com\tGooglebot\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		probes := []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::1"), netip.IPv6Unspecified(), netip.IPv4Unspecified()}
		if n, err := LoadNetworks(path); err == nil {
			for _, a := range probes {
				n.Find(a)
			}
		}
		if b, err := LoadBots(path); err == nil {
			for _, a := range probes {
				b.Published(a, string(text))
			}
			b.Declared(string(text))
		}
	})
}
