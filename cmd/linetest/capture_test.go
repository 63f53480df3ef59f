package linetest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waitLong is for what takes a poll, a flush and an insert.
const waitLong = 60 * time.Second

// captured is a configuration whose files stand beside it.
type captured struct {
	*weir
	dir string
	a   *app
}

const captureConfig = `
sites: [{name: shop, hosts: ["*"], upstream: %q, flows: shop.yaml}]
enforce: {mode: enforce}
collect: {ebpf: {enabled: "off"}}
lookup: {asn: data/asn.tsv, verifiedBots: data/bots.tsv}
process: {every: 2s}
`

// googlebot and its networks; 127.66 publishes, 127.67 only pretends.
const (
	googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	botsFile  = "127.66.0.0/24\tGooglebot\n"
	asnFile   = "127.66.0.0\t127.66.255.255\t64500\tUS\tEXAMPLE-BOT\n127.67.0.0\t127.67.255.255\t64501\tNL\tEXAMPLE-HOSTING\n"
)

// ownersOnly is a flow map by which an account is known from a login alone.
const ownersOnly = `apiVersion: weir/v1
kind: FlowMap
site: shop
identifiers: {session: ["cookie:sid"]}
routes:
  - match: {method: POST, path: /api/login}
    role: login
    claims: {account: "body:/user", secret: "body:/password"}
    outcome: {success: {status: "200"}, failure: {status: "401"}}
    proves: account
  - match: {method: GET, path: "/item/{id}"}
    role: %s
`

func (c *captured) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *captured) hangUp(t *testing.T, want string) {
	t.Helper()
	before := len(c.out.String())
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, waitLong, "weir up says "+want, func() bool { return strings.Contains(c.out.String()[before:], want) })
}

// row returns what is stored of one request.
func (c *captured) row(t *testing.T, r *reply) (role, account, flags, asn string) {
	t.Helper()
	var rows []map[string]any
	until(t, waitLong, "the request is stored", func() bool {
		out := c.run(t, "sql", "SELECT role, account, toString(flags) AS f, client_asn, country FROM requests WHERE id = '"+r.id()+"'", "-o", "json")
		if out.code != 0 {
			return false // the store may still be coming up
		}
		decode(t, out.stdout, &rows)
		return len(rows) == 1
	})
	text := func(name string) string { return fmt.Sprint(rows[0][name]) }
	return text("role"), text("account"), text("f"), strings.TrimSpace(text("client_asn") + " " + text("country"))
}

// TestCaptureSettings: flow maps, look-up data and allowlists are what a reload
// left in force, session owners outlive a reload and a restart of the ingress,
// and nobody is accused whose address is known to be good.
func TestCaptureSettings(t *testing.T) {
	needEngine(t)
	t.Parallel()
	c := &captured{weir: newWeir(t, "cap"), dir: t.TempDir(), a: newApp(t)}
	c.put(t, "weir.yaml", "apiVersion: weir/v1\nkind: Config\n"+fmt.Sprintf(captureConfig, c.a.url))
	c.put(t, "shop.yaml", fmt.Sprintf(ownersOnly, "item_view"))
	c.put(t, "data/asn.tsv", asnFile)
	c.put(t, "data/bots.tsv", botsFile)
	c.up(t, "-c", filepath.Join(c.dir, "weir.yaml"))
	t.Run("flow maps and session owners", func(t *testing.T) { flowReload(t, c) })
	t.Run("look-ups", func(t *testing.T) { lookups(t, c) })
	t.Run("allowed by hand", func(t *testing.T) { allowedByHand(t, c) })
	t.Run("what was learned", func(t *testing.T) { learned(t, c) })
	t.Run("the supervisor is killed", func(t *testing.T) { supervisorKilled(t, c) })
	c.healthy(t)
	c.stop(t)
}

func flowReload(t *testing.T, c *captured) {
	t.Helper()
	person := newClient(t, c.listen, "127.65.0.1")
	login := person.post(t, "/api/login", `{"user":"alice","password":"right-alice"}`)
	if login.status != http.StatusOK {
		t.Fatalf("login: status %d", login.status)
	}
	person.header.Set("Cookie", login.header.Get("Set-Cookie"))
	alice := strings.TrimSpace(c.ok(t, "pseudonym", "account", "alice", "-c", filepath.Join(c.dir, "weir.yaml")))
	check := func(when, want string) {
		t.Helper()
		if role, account, _, _ := c.row(t, person.get(t, "/item/1")); role != want || account != alice {
			t.Errorf("%s: role %s of account %s, want %s of alice (%s)", when, role, account, want, alice)
		}
	}
	check("at first", "item_view")
	c.put(t, "shop.yaml", fmt.Sprintf(ownersOnly, "list_view"))
	c.hangUp(t, "reloaded: flow map of shop")
	until(t, waitLong, "the new map is in force", func() bool { role, _, _, _ := c.row(t, person.get(t, "/item/1")); return role == "list_view" })
	check("after a reload", "list_view")

	c.put(t, "shop.yaml", fmt.Sprintf(ownersOnly, "list_veiw"))
	c.hangUp(t, "shop.yaml:12")
	st, _ := c.status(t)
	if problems := strings.Join(st.Problems, "\n"); st.Healthy || !strings.Contains(problems, "shop.yaml:12") || !strings.Contains(problems, "list_view") {
		t.Errorf("status after a broken map: healthy %v, %s", st.Healthy, problems)
	}
	check("under a broken map", "list_view")
	// A part that comes back must not start from the broken file.
	pid := c.pid(t, "enforce")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, waitLong, "the ingress is back", func() bool { now := c.pid(t, "enforce"); return now != 0 && now != pid })
	until(t, waitLong, "the ingress answers", func() bool { _, err := person.do(t.Context(), http.MethodGet, "/item/1", "", nil); return err == nil })
	check("after a restart of the ingress", "list_view")
	c.put(t, "shop.yaml", fmt.Sprintf(ownersOnly, "item_view"))
	c.hangUp(t, "reloaded: flow map of shop")
	c.healthy(t)
}

// scanned is how many paths scan asks for.
const scanned = 200

// scan asks for paths that do not exist and returns how many answers it got
// before it was refused.
func scan(t *testing.T, c *client, from int) (passed int) {
	t.Helper()
	for i := range scanned {
		if refused(c.get(t, fmt.Sprintf("/missing/%d/admin.php", from+i)).status) {
			return i
		}
	}
	return scanned
}

func lookups(t *testing.T, c *captured) {
	t.Helper()
	bot, impostor := newClient(t, c.listen, "127.66.0.9"), newClient(t, c.listen, "127.67.0.9")
	bot.header.Set("User-Agent", googlebot)
	impostor.header.Set("User-Agent", googlebot)
	if n := scan(t, bot, 0); n < scanned {
		t.Errorf("a verified bot was refused after %d requests", n)
	}
	from := 1000
	until(t, waitLong, "an impostor is refused", func() bool { from += scanned; return scan(t, impostor, from) < scanned })
	if _, _, flags, asn := c.row(t, bot.get(t, "/item/1")); !strings.Contains(flags, "verified_bot") || asn != "64500 US" {
		t.Errorf("a verified bot is stored with flags %s, AS and country %q", flags, asn)
	}
	if _, _, flags, asn := c.row(t, impostor.get(t, "/item/1")); strings.Contains(flags, "verified_bot") || asn != "64501 NL" {
		t.Errorf("an impostor is stored with flags %s, AS and country %q", flags, asn)
	}
	c.put(t, "data/asn.tsv", asnFile+"127.68.0.0 127.68.0.255 1 US\n")
	c.hangUp(t, "asn.tsv:3")
	c.put(t, "data/asn.tsv", strings.Replace(asnFile, "64500", "64999", 1))
	c.hangUp(t, "reloaded")
	until(t, waitLong, "the new data is in force", func() bool {
		_, _, _, asn := c.row(t, bot.get(t, "/item/1"))
		return asn == "64999 US"
	})
	if out := c.ok(t, "status", "-o", "json"); !strings.Contains(out, "2 ranges of asn.tsv") || !strings.Contains(out, "1 networks and 0 domains of bots.tsv") {
		t.Errorf("status does not say which data is in use:\n%s", out)
	}
}

func allowedByHand(t *testing.T, c *captured) {
	t.Helper()
	tool := newClient(t, c.listen, "127.64.9.1")
	var v listed
	decode(t, c.ok(t, "allowlists", "add", "--client", "127.64.9.1", "--for", "1h", "--reason", "our own scanner", "-o", "json"), &v)
	until(t, waitLong, "the scanner is tagged", func() bool {
		_, _, flags, _ := c.row(t, tool.get(t, "/item/1"))
		return strings.Contains(flags, "allowlisted")
	})
	if n := scan(t, tool, 2000); n < scanned {
		t.Errorf("an allowed scanner was refused after %d requests", n)
	}
	if out := c.ok(t, "allowlists", "list"); !strings.Contains(out, v.ID) || !strings.Contains(out, "our own scanner") {
		t.Errorf("allowlists list:\n%s", out)
	}
	c.ok(t, "allowlists", "remove", v.ID, "--reason", "the test is over")
	until(t, waitLong, "the record has ended", func() bool { return !strings.Contains(c.ok(t, "allowlists", "list"), v.ID) })
	from := 3000
	until(t, waitLong, "the scanner is refused once it is no longer allowed", func() bool { from += scanned; return scan(t, tool, from) < scanned })
}

// learned: the engine's snapshots fill the table of baselines.
func learned(t *testing.T, c *captured) {
	t.Helper()
	until(t, waitLong, "the route's rate is in the table", func() bool {
		rows := c.sql(t, "SELECT max(observations) AS n, min(since) < now() AS past, any(baseline) AS version FROM baselines WHERE site = 'shop' AND key = 'GET /item/{id}' AND name = 'requests_per_hour'")
		return len(rows) == 1 && fmt.Sprint(rows[0]["n"]) != "0" && fmt.Sprint(rows[0]["past"]) == "1" && strings.HasPrefix(fmt.Sprint(rows[0]["version"]), "b_")
	})
	for _, key := range []string{"site", "role:login"} {
		if n := c.number(t, "SELECT count() AS n FROM baselines WHERE key = '"+key+"'"); n == 0 {
			t.Errorf("nothing is known of %s", key)
		}
	}
}

// supervisorKilled: the log closes its files in order, and the next weir up on
// the directory takes over at once, with everything.
func supervisorKilled(t *testing.T, c *captured) {
	t.Helper()
	c.settled(t)
	before := c.number(t, "SELECT count() AS n FROM events")
	log := c.pid(t, "log")
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-c.done
	c.up(t, "-c", filepath.Join(c.dir, "weir.yaml"))
	if alive(log) {
		t.Error("the log of the killed supervisor is still there")
	}
	text, err := os.ReadFile(filepath.Join(c.data, "log", "log.log"))
	if err != nil || strings.Count(string(text), `"log is closed"`) != 1 {
		t.Errorf("the log did not close in order (%v):\n%s", err, text)
	}
	until(t, waitLong, "the rows are there", func() bool {
		r := c.run(t, "sql", "SELECT count() AS n FROM events")
		return r.code == 0 && c.number(t, "SELECT count() AS n FROM events") >= before
	})
}
