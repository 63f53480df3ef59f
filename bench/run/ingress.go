package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/broker"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

const (
	verdictsLoaded = 1_000_000
	wrkSeconds     = 4
	wrkConnections = 32
)

// originConf answers 128 bytes, proxyConf is nginx as people write it: upstream
// connections kept, the usual forwarding fields, no access log.
const originConf = `worker_processes 1; daemon off; pid DIR/nginx.pid; error_log DIR/error.log crit;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  server { listen LISTEN; location / { default_type text/html; return 200 "BODY"; } }
}
`

const proxyConf = `worker_processes auto; daemon off; pid DIR/nginx.pid; error_log DIR/error.log crit;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  upstream origin { server ORIGIN; keepalive 64; keepalive_requests 100000000; }
  server {
    listen LISTEN;
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`

const weirConf = `apiVersion: weir/v1
kind: Config
data: DIR
sites:
  - {name: shop, hosts: ["*"], upstream: "http://ORIGIN", flows: FLOWS}
enforce: {listen: "LISTEN", mode: enforce}
collect: {ebpf: {enabled: off}}
admin: {listen: ""}
`

// wrkScript sends nine header fields, Host included; METHOD and BODY are put in.
const wrkScript = `wrk.method = "METHOD"
wrk.body = BODY
wrk.headers["Host"] = "shop.example"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-US,en;q=0.5"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
wrk.headers["Referer"] = "https://shop.example/c/oak"
wrk.headers["Cookie"] = "sid=0123456789abcdef0123; did=fedcba9876543210fedc"
wrk.headers["Sec-Fetch-Site"] = "same-origin"
wrk.headers["X-Requested-With"] = "fetch"
`

func startNginx(ctx context.Context, env *environment, conf, listen, origin string) (*server, error) {
	program, err := need(ctx, "nginx", "nginx-light")
	if err != nil {
		return nil, err
	}
	dir, err := env.scratch("nginx")
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("DIR", dir, "LISTEN", listen, "ORIGIN", origin, "BODY", strings.Repeat("y", 128)).Replace(conf)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s, err := serve("nginx", program, "-p", dir, "-c", file, "-e", filepath.Join(dir, "start.log"))
	if err != nil {
		return nil, err
	}
	return s, s.until(ctx, 10*time.Second, "answers", func() bool { return answers("http://"+listen+"/", http.StatusOK) })
}

// childProxy is httputil.ReverseProxy with a transport that keeps enough
// connections, on ADDR in front of ORIGIN.
func childProxy(args []string) error {
	target, err := url.Parse("http://" + args[1])
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true},
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
	}
	srv := &http.Server{Addr: args[0], Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	return srv.ListenAndServe()
}

// writeVerdicts writes the table that an enforcer finds at its start: n actors'
// blocks, each bound by session and by address with fingerprint, none of which
// fits the load.
func writeVerdicts(path string, n int) error {
	e, err := enforcer.New(enforcer.Config{}, nil, nil)
	if err != nil {
		return err
	}
	now := time.Now()
	for i := range uint64(n) {
		h := (i + 1) * 0x9e3779b97f4a7c15
		_, err := e.ApplyVerdict(&verdict.Verdict{
			ID: fmt.Sprintf("v_%032x", h), Revision: 1, Site: "shop", Actor: fmt.Sprintf("a_%016x", h),
			Time: verdict.Time(now.UnixNano()), Expires: verdict.Time(now.Add(4 * time.Hour).UnixNano()),
			Scope: verdict.ScopeActor, Action: event.ActionBlock, Mode: event.ModeEnforce, Threats: []verdict.Threat{"OAT-008"}, Score: 24000, Confidence: 999_999,
			Binds: []verdict.Group{
				{All: []verdict.Bind{{Kind: "session", Value: event.Hash(h)}}},
				{All: []verdict.Bind{{Kind: "client", Value: event.Hash(h ^ 1)}, {Kind: "fingerprint", Value: event.Hash(h ^ 2)}}},
			},
		}, false)
		if err != nil {
			return err
		}
	}
	if got := e.Status().Verdicts; got != n {
		return fmt.Errorf("the table took %d of %d verdicts", got, n)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	e.Touch(now.UnixNano(), "")
	return e.SaveTable(path)
}

// weirIngress is an embedded log and an enforcer on it. No processor runs, so
// that nothing is learned from the load and the cores are left to the proxies.
type weirIngress struct{ log, enforce *server }

func (w *weirIngress) stop() { w.enforce.stop(); w.log.stop() }

func startIngress(ctx context.Context, env *environment, listen, origin string) (*weirIngress, error) {
	data, err := env.scratch("enforce")
	if err != nil {
		return nil, err
	}
	if err := writeVerdicts(filepath.Join(data, "enforce", "table"), verdictsLoaded); err != nil {
		return nil, fmt.Errorf("verdict table: %w", err)
	}
	flows, file := filepath.Join(data, "flows.yaml"), filepath.Join(data, "weir.yaml")
	text := strings.NewReplacer("DIR", data, "LISTEN", listen, "ORIGIN", origin, "FLOWS", flows).Replace(weirConf)
	if err := errors.Join(os.WriteFile(flows, []byte(traffic.ShopFlows), 0o600), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return nil, err
	}
	if _, _, err := config.EnsureKeyring(filepath.Join(data, "keys", "pseudonym"), os.LookupEnv); err != nil {
		return nil, err
	}
	w := &weirIngress{}
	if w.log, _, err = startLog(ctx, env, data, 4); err != nil {
		return nil, err
	}
	if w.enforce, err = serve("weir enforce", env.weir, "enforce", "--config", file, "--data", data); err != nil {
		w.stop()
		return nil, err
	}
	err = w.enforce.until(ctx, 30*time.Second, "answers", func() bool { return answers("http://"+listen+"/", http.StatusOK) })
	if err == nil && !strings.Contains(w.enforce.log.String(), `"verdicts_loaded":`+strconv.Itoa(verdictsLoaded)) {
		err = fmt.Errorf("the enforcer does not say that it loaded the verdicts: %s", tail(w.enforce.log.String(), 400))
	}
	if err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

// startLog starts an embedded log with weir's topics.
func startLog(ctx context.Context, env *environment, data string, partitions int) (*server, stream.Connection, error) {
	dir := filepath.Join(data, "kafka")
	s, err := serve("embedded log", env.weir, "child", "log", data)
	if err != nil {
		return nil, stream.Connection{}, err
	}
	var conn stream.Connection
	err = s.until(ctx, 20*time.Second, "listens", func() bool {
		ready, err := broker.ReadReady(dir)
		if err != nil {
			return false
		}
		login, err := broker.ReadCredentials(dir)
		if err != nil {
			return false
		}
		conn = stream.Connection{Brokers: []string{ready.Address}, ClientID: "bench", SASL: &stream.SASL{Mechanism: "SCRAM-SHA-256", User: login.User, Password: login.Password}}
		c, err := net.DialTimeout("tcp", ready.Address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if err == nil {
		_, err = stream.EnsureTopics(ctx, conn, broker.TopicsConfig{Partitions: partitions, Manage: true, LogBytes: 4 << 30})
	}
	if err != nil {
		s.stop()
		return nil, conn, err
	}
	return s, conn, nil
}

// load is what wrk reports.
type load struct {
	requests int64
	p50, p99 time.Duration
	failed   int64
}

var (
	wrkLatency  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s)`)
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in`)
	wrkErrors   = regexp.MustCompile(`(?m)(?:Non-2xx or 3xx responses: (\d+))|(?:Socket errors: (.*))`)
)

func wrk(ctx context.Context, program, script, url string, connections, seconds int) (l load, err error) {
	out, err := exec.CommandContext(ctx, program, "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(seconds)+"s", "--latency", "-s", script, url).CombinedOutput()
	if err != nil {
		return l, fmt.Errorf("wrk: %w: %s", err, tail(string(out), 300))
	}
	text := string(out)
	if m := wrkErrors.FindString(text); m != "" {
		return l, fmt.Errorf("wrk on %s: %s", url, m)
	}
	m := wrkRequests.FindStringSubmatch(text)
	if m == nil {
		return l, fmt.Errorf("wrk said: %s", tail(text, 300))
	}
	l.requests, _ = strconv.ParseInt(m[1], 10, 64)
	for _, m := range wrkLatency.FindAllStringSubmatch(text, -1) {
		d, err := time.ParseDuration(m[2] + m[3])
		if err != nil {
			return l, fmt.Errorf("wrk latency %q: %w", m[0], err)
		}
		if m[1] == "50" {
			l.p50 = d
		} else {
			l.p99 = d
		}
	}
	return l, nil
}

// subject is one proxy under load.
type subject struct {
	name, url string
	// pid is the top of the processes that count; 0 counts none.
	pid int
}

func runIngress(ctx context.Context, env *environment, res *result) error {
	program, err := need(ctx, "wrk", "wrk")
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var ports [4]string
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	origin, err := startNginx(ctx, env, originConf, ports[0], "")
	if err != nil {
		return err
	}
	defer origin.stop()
	nginx, err := startNginx(ctx, env, proxyConf, ports[1], ports[0])
	if err != nil {
		return err
	}
	defer nginx.stop()
	reverse, err := serve("ReverseProxy", env.self, "child", "proxy", ports[2], ports[0])
	if err != nil {
		return err
	}
	defer reverse.stop()
	weir, err := startIngress(ctx, env, ports[3], ports[0])
	if err != nil {
		return err
	}
	defer weir.stop()
	res.version(ctx, "nginx", nginx.cmd.Path, "-v")
	res.version(ctx, "wrk", program, "-v")
	res.note("wrk -t1 -c%d, %d s a run, nine header fields, origin nginx with a 128-byte answer; POST sends a login of 64 bytes that the flow map reads", wrkConnections, wrkSeconds)
	res.note("weir: enforce mode, shop flow map, %d verdicts, policy module, every request an event on the embedded log; CPU of the enforce process only, as nginx's is of its own processes", verdictsLoaded)
	res.note("latency rows: one connection, closed loop, so that they are not the queue of a full machine")
	subjects := []subject{
		{"direct", "http://" + ports[0], 0},
		{"nginx", "http://" + ports[1], nginx.pid()},
		{"reverseproxy", "http://" + ports[2], reverse.pid()},
		{"weir", "http://" + ports[3], weir.enforce.pid()},
	}
	scripts, err := writeScripts(env)
	if err != nil {
		return err
	}
	for round := range env.rounds {
		for _, kind := range []string{"get", "post"} {
			for _, s := range subjects {
				if err := measureProxy(ctx, res, program, scripts[kind], kind, round, s); err != nil {
					return err
				}
			}
		}
	}
	ingressRows(res)
	return nil
}

func writeScripts(env *environment) (map[string]string, error) {
	dir, err := env.scratch("wrk")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for kind, r := range map[string]*strings.Replacer{
		"get":  strings.NewReplacer("METHOD", "GET", "BODY", "nil"),
		"post": strings.NewReplacer("METHOD", "POST", "BODY", `'{"user":"person17@mail.example","password":"correct horse battery"}'`+"\nwrk.headers[\"Content-Type\"] = \"application/json\""),
	} {
		out[kind] = filepath.Join(dir, kind+".lua")
		if err := os.WriteFile(out[kind], []byte(r.Replace(wrkScript)), 0o600); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func measureProxy(ctx context.Context, res *result, program, script, kind string, round int, s subject) error {
	target := s.url + "/item/oak-clock?ref=list"
	if kind == "post" {
		target = s.url + "/api/login"
	}
	quiet, err := wrk(ctx, program, script, target, 1, 2)
	if err != nil {
		return err
	}
	var before time.Duration
	if s.pid != 0 {
		before = total(tree(s.pid)).CPU
	}
	l, err := wrk(ctx, program, script, target, wrkConnections, wrkSeconds)
	if err != nil {
		return err
	}
	v := map[string]float64{
		"per_s": float64(l.requests) / wrkSeconds, "p50_us": us(l.p50), "p99_us": us(l.p99), "alone_p50_us": us(quiet.p50), "alone_p99_us": us(quiet.p99),
	}
	if s.pid != 0 {
		v["cpu_us"] = us(total(tree(s.pid)).CPU-before) / float64(l.requests)
	}
	res.add(round, s.name+" "+kind, v)
	return nil
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func ingressRows(res *result) {
	for _, kind := range []string{"get", "post"} {
		name := strings.ToUpper(kind)
		m := func(subject, value string) float64 { return res.median(subject+" "+kind, value) }
		res.ratio(name+", proxy CPU per request", "us", m("weir", "cpu_us"), m("nginx", "cpu_us"), "nginx", atMost(2.7, "x"))
		res.ratio(name+", proxy CPU per request", "us", m("weir", "cpu_us"), m("reverseproxy", "cpu_us"), "ReverseProxy, no policy", nil)
		res.value(name+", p50 added, one connection", "us", m("weir", "alone_p50_us")-m("direct", "alone_p50_us"), atMost(60, " us"))
		res.ratio(name+", p99, one connection", "us", m("weir", "alone_p99_us"), m("reverseproxy", "alone_p99_us"), "ReverseProxy", atMost(1, "x"))
		res.ratio(name+", p99, 32 connections", "us", m("weir", "p99_us"), m("reverseproxy", "p99_us"), "ReverseProxy", nil)
	}
}
