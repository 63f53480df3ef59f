package route

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

func learner(tb testing.TB, cfg Config) *Learner {
	tb.Helper()
	l, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func get(path string, status uint16) Observation {
	return Observation{Time: 1, Method: "GET", Path: path, Status: status}
}

// site is a synthetic application with known templates.
type site struct {
	name   string
	routes []siteRoute
}

type siteRoute struct {
	method, template string
	weight           int
	// values gives the variable segments; nil for a literal route.
	values func(r *rand.Rand) []string
}

var words = strings.Fields(`amber birch cedar delta ember frost grove harbor indigo juniper kestrel lumen maple nectar onyx
prism quartz raven sable timber umber velvet willow yarrow zephyr anchor beacon canyon dune echo fable glade hollow island jolly
karma ledge meadow north ocean pebble quill ridge summit thistle upland valley whisper yonder zenith`)

func slugs(n, parts int) func(r *rand.Rand) []string {
	return func(r *rand.Rand) []string {
		// Zipf-like: the first values are most popular.
		k := int(float64(n) * r.Float64() * r.Float64())
		s := make([]string, parts)
		for i := range s {
			s[i] = words[(k*7+i*13+k/len(words))%len(words)]
		}
		return []string{strings.Join(s, "-") + "-" + strconv.Itoa(k)}
	}
}

func names(n int) func(r *rand.Rand) []string {
	return func(r *rand.Rand) []string {
		k := int(float64(n) * r.Float64() * r.Float64())
		return []string{words[k%len(words)] + words[(k/len(words)*3+5)%len(words)]}
	}
}

func number(n int) func(r *rand.Rand) []string {
	return func(r *rand.Rand) []string { return []string{strconv.Itoa(1 + r.IntN(n))} }
}

func uuids(r *rand.Rand) []string {
	return []string{fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64N(1<<48))}
}

func hexes(r *rand.Rand) []string { return []string{fmt.Sprintf("%016x%08x", r.Uint64(), r.Uint32())} }

func date(r *rand.Rand) []string {
	return []string{fmt.Sprintf("2026-%02d-%02d", 1+r.IntN(12), 1+r.IntN(28))}
}

func locales(r *rand.Rand) []string {
	return []string{[]string{"en", "de", "fr", "pt-BR", "es", "it"}[r.IntN(6)]}
}

func with(fs ...func(r *rand.Rand) []string) func(r *rand.Rand) []string {
	return func(r *rand.Rand) []string {
		var all []string
		for _, f := range fs {
			all = append(all, f(r)...)
		}
		return all
	}
}

var sites = []site{
	{"shop", []siteRoute{
		{"GET", "/", 40, nil},
		{"GET", "/about", 4, nil},
		{"GET", "/contact", 3, nil},
		{"GET", "/cart", 20, nil},
		{"GET", "/login", 10, nil},
		{"POST", "/login", 8, nil},
		{"POST", "/cart/add", 9, nil},
		{"GET", "/search", 30, nil},
		{"GET", "/item/{}", 120, slugs(900, 2)},
		{"GET", "/category/{}", 50, slugs(60, 1)},
		{"GET", "/api/orders/{}", 12, number(4000)},
		{"POST", "/api/orders/{}/pay", 6, number(4000)},
		{"GET", "/api/users/{}/addresses", 5, uuids},
		{"GET", "/api/stock/{}", 9, hexes},
		{"GET", "/static/{}.jpg", 90, slugs(500, 1)},
		{"GET", "/static/app.js", 30, nil},
		{"GET", "/static/site.css", 30, nil},
		{"GET", "/robots.txt", 1, nil},
	}},
	{"blog", []siteRoute{
		{"GET", "/", 30, nil},
		{"GET", "/feed.xml", 20, nil},
		{"GET", "/about", 4, nil},
		{"GET", "/archive", 3, nil},
		{"GET", "/{}", 120, slugs(300, 3)},
		{"GET", "/tag/{}", 15, names(120)},
		{"GET", "/author/{}", 9, names(60)},
		{"GET", "/on/{}", 8, date},
		{"GET", "/wp-login.php", 2, nil},
		{"POST", "/wp-login.php", 2, nil},
		{"POST", "/wp-comments-post.php", 2, nil},
	}},
	{"forge", []siteRoute{
		{"GET", "/", 10, nil},
		{"GET", "/explore", 5, nil},
		{"GET", "/login", 5, nil},
		{"POST", "/login", 4, nil},
		{"GET", "/u/{}", 30, names(700)},
		{"GET", "/u/{}/followers", 9, names(700)},
		{"GET", "/r/{}/{}", 40, with(names(300), slugs(90, 1))},
		{"GET", "/r/{}/{}/commit/{}", 30, with(names(300), slugs(90, 1), hexes)},
		{"GET", "/r/{}/{}/issues/{}", 30, with(names(300), slugs(90, 1), number(900))},
		{"GET", "/r/{}/{}/issues", 20, with(names(300), slugs(90, 1))},
	}},
	{"api", []siteRoute{
		{"GET", "/v1/users/{}", 30, uuids},
		{"PATCH", "/v1/users/{}", 6, uuids},
		{"GET", "/v1/users/me", 20, nil},
		{"GET", "/v1/accounts/{}/balance", 20, number(90000)},
		{"GET", "/v1/transfers", 9, nil},
		{"POST", "/v1/transfers", 9, nil},
		{"GET", "/v1/cards/{}", 9, hexes},
		{"GET", "/v1/rates/{}", 9, date},
		{"POST", "/v1/sessions", 9, nil},
		{"DELETE", "/v1/sessions/{}", 5, hexes},
		{"GET", "/v2/limits", 4, nil},
		{"GET", "/v2/products", 4, nil},
		{"GET", "/v2/branches", 4, nil},
		{"GET", "/v2/notices", 4, nil},
		{"GET", "/v2/contacts", 4, nil},
		{"GET", "/v2/documents", 4, nil},
		{"GET", "/healthz", 30, nil},
		{"GET", "/metrics", 10, nil},
	}},
	{"travel", []siteRoute{
		{"GET", "/{}", 20, locales},
		{"GET", "/{}/hotels", 15, locales},
		{"GET", "/{}/hotels/{}", 60, with(locales, slugs(400, 2))},
		{"GET", "/{}/flights", 15, locales},
		{"GET", "/{}/account", 10, locales},
		{"POST", "/{}/booking/{}", 9, with(locales, number(70000))},
	}},
}

func (s site) draw(r *rand.Rand) (o Observation, truth string) {
	total := 0
	for _, rt := range s.routes {
		total += rt.weight
	}
	k := r.IntN(total)
	for _, rt := range s.routes {
		if k -= rt.weight; k >= 0 {
			continue
		}
		path := rt.template
		if rt.values != nil {
			for _, v := range rt.values(r) {
				path = strings.Replace(path, "{}", v, 1)
			}
		}
		return Observation{Time: 1, Method: rt.method, Path: path, Status: 200}, rt.template
	}
	panic("unreachable")
}

// score compares learned templates with the truth by pairs of requests: two
// requests of one true route should share a learned template (recall), and two
// that share a learned template should be of one true route (precision).
func score(pairs map[[2]string]int) (precision, recall float64) {
	sq := func(n int) float64 { return float64(n) * float64(n-1) / 2 }
	learned, truth := map[string]int{}, map[string]int{}
	both := 0.0
	for k, n := range pairs {
		learned[k[0]] += n
		truth[k[1]] += n
		both += sq(n)
	}
	var l, t float64
	for _, n := range learned {
		l += sq(n)
	}
	for _, n := range truth {
		t += sq(n)
	}
	return both / l, both / t
}

func TestTemplatesOfSyntheticSites(t *testing.T) {
	for _, s := range sites {
		r := rand.New(rand.NewPCG(7, 11))
		l := learner(t, Config{})
		for range 4000 {
			o, _ := s.draw(r)
			l.Observe(o)
		}
		pairs := map[[2]string]int{}
		wrong := map[string]int{}
		for range 6000 {
			o, truth := s.draw(r)
			m := l.Observe(o)
			pairs[[2]string{m.Template, truth}]++
			if skeleton(m.Template) != skeleton(truth) {
				wrong[truth+" as "+m.Template]++
			}
		}
		p, rc := score(pairs)
		t.Logf("%-7s precision %.4f recall %.4f, %d endpoints, %d nodes", s.name, p, rc, l.Stats().Endpoints, l.Stats().Nodes)
		if p < 0.97 || rc < 0.97 {
			t.Errorf("%s: precision %.3f recall %.3f, want both >= 0.97", s.name, p, rc)
			shown := 0
			for k, n := range wrong {
				if shown++; shown < 12 {
					t.Logf("  %s: %d", k, n)
				}
			}
		}
	}
}

// skeleton replaces every variable by {}.
func skeleton(template string) string {
	segs := strings.Split(template, "/")
	for i, s := range segs {
		if a, b := strings.IndexByte(s, '{'), strings.IndexByte(s, '}'); a >= 0 && b > a {
			segs[i] = s[:a] + "{}" + s[b+1:]
		}
	}
	return strings.Join(segs, "/")
}

func TestTemplatesOfARealAccessLog(t *testing.T) {
	// testdata/access.SOURCE names where the extract is from; handTemplate holds
	// the routes read off the site by hand.
	f, err := os.Open("testdata/access.paths")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	l := learner(t, Config{})
	var lines []Observation
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var o Observation
		if _, err := fmt.Sscan(sc.Text(), &o.Method, &o.Status, &o.Path); err != nil {
			t.Fatalf("%q: %v", sc.Text(), err)
		}
		lines = append(lines, o)
		l.Observe(o)
	}
	if len(lines) < 1000 {
		t.Fatalf("only %d lines", len(lines))
	}
	pairs := map[[2]string]int{}
	unknown, answered200 := 0, 0
	for _, o := range lines {
		m := l.Observe(o)
		if o.Status == 200 || o.Status == 304 {
			answered200++
			if m.Unknown {
				unknown++
			}
		}
		if truth := handTemplate(o.Path); truth != "" && !m.Unknown {
			pairs[[2]string{m.Template, truth}]++
		}
	}
	p, rc := score(pairs)
	t.Logf("%d lines, %d endpoints, pairs against hand-written templates: precision %.4f recall %.4f", len(lines), l.Stats().Endpoints, p, rc)
	if unknown != 0 {
		t.Errorf("%d of %d answered requests are unknown", unknown, answered200)
	}
	// One tag is 39 % of its family and stays a literal on purpose (keepLiteral),
	// which costs most of the recall by pairs.
	if p < 0.97 || rc < 0.65 {
		t.Errorf("precision %.3f recall %.3f", p, rc)
		for k, n := range pairs {
			if n > 3 {
				t.Log(k, n)
			}
		}
	}
}

// handTemplate gives the true route of the families of the site that were read
// off it by hand; "" elsewhere.
func handTemplate(path string) string {
	segs := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(segs) == 3 && segs[0] == "blog" && segs[1] == "tags":
		return "/blog/tags/{tag}"
	case len(segs) == 3 && segs[0] == "blog" && segs[1] != "tags":
		return "/blog/{category}/{post}"
	case len(segs) == 2 && segs[0] == "projects":
		return "/projects/{project}"
	case len(segs) == 2 && segs[0] == "images" && strings.HasSuffix(path, ".png"):
		return "/images/{name}.png"
	case path == "/" || path == "/favicon.ico" || path == "/robots.txt" || path == "/style2.css" || path == "/reset.css":
		return path
	}
	return ""
}

func TestUnansweredPathsTeachNothing(t *testing.T) {
	l := learner(t, Config{})
	l.Observe(get("/login", 200))
	before := l.Stats().Nodes
	for i := range 50000 {
		m := l.Observe(get(fmt.Sprintf("/wp-%d/%x/shell.php", i, i*7919), 404))
		if !m.Unknown || m.Template != "/{unknown}" || m.Endpoint != -1 {
			t.Fatalf("a missing path became %+v", m)
		}
	}
	if after := l.Stats().Nodes; after != before {
		t.Errorf("a word list of missing paths grew the table from %d to %d", before, after)
	}
}

func TestPathFloodStaysBounded(t *testing.T) {
	const limit = 512
	l := learner(t, Config{MaxNodes: limit, CachePaths: 64})
	r := rand.New(rand.NewPCG(1, 2))
	known := []string{"/", "/login", "/cart", "/api/users/me", "/api/orders/17"}
	for _, p := range known {
		for range 3 {
			l.Observe(get(p, 200))
		}
	}
	letters := "abcdefghijklmnopqrstuvwxyz"
	for range 60000 {
		b := make([]byte, 0, 64)
		for range 1 + r.IntN(5) {
			b = append(b, '/')
			for range 1 + r.IntN(6) {
				b = append(b, letters[r.IntN(26)])
			}
		}
		l.Observe(get(string(b), 200))
		if n := l.Stats().Nodes; n > limit {
			t.Fatalf("%d nodes, limit %d", n, limit)
		}
	}
	s := l.Stats()
	t.Logf("%+v", s)
	if s.Collapsed == 0 {
		t.Error("a flood of made-up paths collapsed nothing")
	}
	for _, p := range []string{"/login", "/cart"} {
		if tpl, known := l.Lookup(p); !known {
			t.Errorf("%s is lost: %s", p, tpl)
		}
	}
}

func TestHostilePaths(t *testing.T) {
	l := learner(t, Config{MaxNodes: 64})
	for _, p := range []string{"", "/", "//", "///a//b", "*", "a", "?", ";", "/\x00\xff", strings.Repeat("/a", 5000), "/" + strings.Repeat("x", 70000), "/{", "/}", "/{}", "/a?b=/c", "/%2e%2e/%2e%2e/etc/passwd"} {
		for _, status := range []uint16{0, 200, 404, 999} {
			for _, m := range []string{"", "GET", "POST", strings.Repeat("M", 99)} {
				l.Observe(Observation{Method: m, Path: p, Status: status, QueryKeys: "a&&b&" + strings.Repeat("k", 300)})
			}
		}
	}
	if d, _ := l.Lookup("/a//b/"); d == "" {
		t.Error("no template")
	}
}

func TestInventory(t *testing.T) {
	l := learner(t, Config{})
	l.Observe(Observation{Time: 50, Method: "GET", Path: "/search", Status: 200, QueryKeys: "q&page"})
	l.Observe(Observation{Time: 20, Method: "GET", Path: "/search", Status: 200, QueryKeys: "q&sort"})
	l.Observe(Observation{Time: 70, Method: "GET", Path: "/search", Status: 500, QueryKeys: "q&fuzzed"})
	m := l.Observe(Observation{Time: 60, Method: "POST", Path: "/search", Status: 200})
	if !m.New {
		t.Error("a new method is a new endpoint")
	}
	got := fmt.Sprint(l.Inventory())
	want := "[{/search GET 20 70 3 [{200 2} {500 1}] [q page sort]} {/search POST 60 60 1 [{200 1}] []}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSnapshotContinuesIdentically(t *testing.T) {
	for _, s := range sites {
		r := rand.New(rand.NewPCG(3, 5))
		a := learner(t, Config{MaxNodes: 2048})
		for range 1500 {
			o, _ := s.draw(r)
			a.Observe(o)
		}
		var snap bytes.Buffer
		if err := a.Snapshot(&snap); err != nil {
			t.Fatal(err)
		}
		b := learner(t, Config{MaxNodes: 2048})
		if err := b.Restore(bytes.NewReader(snap.Bytes())); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for range 3000 {
			o, _ := s.draw(r)
			if ma, mb := a.Observe(o), b.Observe(o); ma != mb {
				t.Fatalf("%s: %s gave %+v and, restored, %+v", s.name, o.Path, ma, mb)
			}
		}
		var x, y bytes.Buffer
		if err := errors.Join(a.Snapshot(&x), b.Snapshot(&y)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("%s: snapshots differ after the same observations", s.name)
		}
	}
}

func FuzzRestore(f *testing.F) {
	l := learner(f, Config{MaxNodes: 256})
	r := rand.New(rand.NewPCG(3, 5))
	for range 300 {
		o, _ := sites[0].draw(r)
		l.Observe(o)
	}
	var snap bytes.Buffer
	if err := l.Snapshot(&snap); err != nil {
		f.Fatal(err)
	}
	f.Add(snap.Bytes())
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := learner(t, Config{MaxNodes: 256})
		_ = l.Restore(bytes.NewReader(b))
		for _, s := range sites {
			r := rand.New(rand.NewPCG(3, 5))
			for range 60 {
				o, _ := s.draw(r)
				l.Observe(o)
			}
		}
	})
}

func FuzzObserve(f *testing.F) {
	f.Add("/a/b/c?x=1", "GET", uint16(200), "x")
	f.Add("//;/%00/../", "POST", uint16(0), "&&")
	f.Fuzz(func(t *testing.T, path, method string, status uint16, keys string) {
		l := learner(t, Config{MaxNodes: 64, CachePaths: 4})
		for range 3 {
			m := l.Observe(Observation{Method: method, Path: path, Status: status, QueryKeys: keys})
			if m.Template == "" {
				t.Fatal("no template")
			}
		}
		var snap bytes.Buffer
		if err := l.Snapshot(&snap); err != nil {
			t.Fatal(err)
		}
		if err := l.Restore(&snap); err != nil {
			t.Fatalf("own snapshot refused: %v", err)
		}
	})
}

func BenchmarkObserveKnown(b *testing.B) {
	l := learner(b, Config{})
	r := rand.New(rand.NewPCG(3, 5))
	for range 5000 {
		o, _ := sites[0].draw(r)
		l.Observe(o)
	}
	obs := make([]Observation, 256)
	for i := range obs {
		obs[i], _ = sites[0].draw(r)
		obs[i].QueryKeys = "q&page"
		l.Observe(obs[i])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l.Observe(obs[i&255])
		i++
	}
}

func BenchmarkObserveUncached(b *testing.B) {
	l := learner(b, Config{CachePaths: 1})
	r := rand.New(rand.NewPCG(3, 5))
	for range 5000 {
		o, _ := sites[0].draw(r)
		l.Observe(o)
	}
	obs := make([]Observation, 256)
	for i := range obs {
		obs[i], _ = sites[0].draw(r)
		l.Observe(obs[i])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l.Observe(obs[i&255])
		i++
	}
}
