package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/cmd/line"
)

// upFlags are the options of weir up; each overrides the configuration.
type upFlags struct {
	listen, upstream, site, flows, mode, ebpf, kafka, clickhouse, admin string
	accessLogs                                                          []string
	demo                                                                bool
	partitions                                                          int
}

func newUp(g *global) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole line on this machine",
		Long: `Starts the log, the store, the processor, the ingress and, where configured, the
collectors and sinks, as separate processes, and restarts one that dies. Prints a
line per part with its ports, then "ready". Ctrl-C ends them all; SIGHUP reads the
configuration again and says what only a restart can change.

Without kafka.brokers the log is an embedded single-node one, without
clickhouse.addr the store is an embedded ClickHouse: for evaluation and small
sites. Everything listens on the loopback interface unless told otherwise.`,
		Example: `  weir up --demo
  weir up --upstream http://127.0.0.1:9000
  weir up --upstream http://127.0.0.1:9000 --site shop --flows shop.yaml --mode enforce --listen 0.0.0.0:8080
  weir up --access-log /var/log/nginx/access.log --ebpf auto`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd, g, &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "", "address of the ingress (default 127.0.0.1:8080)")
	fl.StringVar(&f.upstream, "upstream", "", "the application, http://host:port")
	fl.StringVar(&f.site, "site", "", "name of the site (default \"default\")")
	fl.StringVar(&f.flows, "flows", "", "flow map of the site")
	fl.StringVar(&f.mode, "mode", "", "shadow or enforce (default shadow)")
	fl.StringArrayVar(&f.accessLogs, "access-log", nil, "follow this access log; may be repeated")
	fl.StringVar(&f.ebpf, "ebpf", "", "auto, on or off (default auto)")
	fl.StringVar(&f.kafka, "kafka", "", "brokers of an Apache Kafka, host:port,host:port (default: the embedded log)")
	fl.StringVar(&f.clickhouse, "clickhouse", "", "a ClickHouse server, host:port (default: the embedded engine)")
	fl.StringVar(&f.admin, "admin", "", "address of the read-only admin listener (default 127.0.0.1:6060)")
	fl.BoolVar(&f.demo, "demo", false, "run the demo shop, its people and its bot")
	fl.IntVar(&f.partitions, "partitions", 0, "partitions of each topic, when they are made (default 1, on brokers 8)")
	return cmd
}

func runUp(cmd *cobra.Command, g *global, f *upFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.demo && g.data == "" {
		g.data = "weir-data/demo"
	}
	cfg, err := g.load()
	if err != nil {
		return err
	}
	if f.demo {
		if err := f.prepareDemo(cmd.Context(), cfg); err != nil {
			return err
		}
	}
	if err := f.complete(cfg); err != nil {
		return err
	}
	if !line.Watches(cfg) {
		return usagef(`nothing to watch yet. Type one of
  weir up --demo                                       a shop, people and a bot
  weir up --upstream http://127.0.0.1:9000             your application; weir listens on 127.0.0.1:8080
  weir up --access-log /var/log/nginx/access.log       only a log`)
	}
	env, err := g.env(cfg)
	if err != nil {
		return err
	}
	logFile, err := openLog(cfg.Data)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	env.Log = g.logger(logFile)
	return line.Up(cmd.Context(), env, line.UpOptions{Out: cmd.OutOrStdout(), Demo: f.demo, Reload: func() (*config.Loaded, error) {
		now, err := g.load()
		if err == nil {
			err = f.complete(now)
		}
		return now, err
	}})
}

// complete puts the flags over the configuration and checks the whole.
func (f *upFlags) complete(cfg *config.Loaded) error {
	if err := f.apply(cfg); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	return nil
}

// openLog is where the supervisor's own log goes; the terminal shows the parts.
func openLog(data string) (*os.File, error) {
	dir := filepath.Join(data, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w (choose another with --data DIR)", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "up.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w (choose another with --data DIR)", err)
	}
	return file, nil
}

// prepareDemo serves the shop and points the configuration at it.
func (f *upFlags) prepareDemo(ctx context.Context, cfg *config.Loaded) error {
	if f.upstream != "" {
		return usagef("--demo has its own application: leave out --upstream")
	}
	shop, err := line.ServeShop(ctx)
	if err != nil {
		return err
	}
	f.upstream = "http://" + shop
	if f.site == "" {
		f.site = "shop"
	}
	if f.mode == "" {
		f.mode = "enforce"
	}
	if f.ebpf == "" {
		f.ebpf = "off" // the shop lives in this process, which capture leaves out
	}
	f.flows = filepath.Join(cfg.Data, "demo-flows.yaml")
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w (choose another with --data DIR)", err)
	}
	if err := os.WriteFile(f.flows, demo.Flows, 0o600); err != nil {
		return fmt.Errorf("demo flow map: %w", err)
	}
	return nil
}

// check refuses values that no configuration could hold, as wrong usage.
func (f *upFlags) check() error {
	if f.mode != "" && f.mode != "shadow" && f.mode != "enforce" {
		return usagef("--mode %q: want shadow or enforce", f.mode)
	}
	if f.ebpf != "" && f.ebpf != "auto" && f.ebpf != "on" && f.ebpf != "off" {
		return usagef("--ebpf %q: want auto, on or off", f.ebpf)
	}
	for flag, addresses := range map[string]string{"listen": f.listen, "admin": f.admin, "kafka": f.kafka, "clickhouse": f.clickhouse} {
		for a := range strings.SplitSeq(addresses, ",") {
			if _, port, err := net.SplitHostPort(a); addresses != "" && (err != nil || port == "") {
				return usagef("--%s %q: want HOST:PORT such as 127.0.0.1:8080", flag, a)
			}
		}
	}
	if u, err := url.Parse(f.upstream); f.upstream != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		return usagef("--upstream %q: want a URL such as http://127.0.0.1:9000", f.upstream)
	}
	return nil
}

// apply puts the flags over the configuration.
func (f *upFlags) apply(cfg *config.Loaded) error {
	set := func(dst *string, v string) {
		if v != "" {
			*dst = v
		}
	}
	set(&cfg.Enforce.Listen, f.listen)
	set(&cfg.Enforce.Mode, f.mode)
	set(&cfg.Admin.Listen, f.admin)
	set(&cfg.Collect.EBPF.Enabled, f.ebpf)
	if f.partitions != 0 {
		cfg.Kafka.Partitions = f.partitions
	}
	if f.kafka != "" {
		cfg.Kafka.Brokers = strings.Split(f.kafka, ",")
	}
	if f.clickhouse != "" {
		cfg.ClickHouse.Addr = strings.Split(f.clickhouse, ",")
	}
	if err := f.applySite(cfg); err != nil {
		return err
	}
	for _, path := range f.accessLogs {
		cfg.Collect.AccessLogs = append(cfg.Collect.AccessLogs, config.AccessLog{Path: path, Format: "combined", Site: f.site})
	}
	return nil
}

func (f *upFlags) applySite(cfg *config.Loaded) error {
	if f.upstream == "" && f.site == "" && f.flows == "" {
		return nil
	}
	name := f.site
	if f.flows != "" {
		m, err := config.LoadMap(f.flows)
		if err != nil {
			return fmt.Errorf("--flows: %w", err)
		}
		if name != "" && name != m.Site {
			return usagef("--flows %s is the map of site %q, not of %q", f.flows, m.Site, name)
		}
		name = m.Site
		if f.flows, err = filepath.Abs(f.flows); err != nil {
			return fmt.Errorf("--flows: %w", err)
		}
	}
	if name == "" {
		name = "default"
		if len(cfg.Sites) == 1 {
			name = cfg.Sites[0].Name
		}
	}
	for i := range cfg.Sites {
		if s := &cfg.Sites[i]; s.Name == name {
			if f.upstream != "" {
				s.Upstream = f.upstream
			}
			if f.flows != "" {
				s.Flows = f.flows
			}
			return nil
		}
	}
	if len(cfg.Sites) > 0 {
		return usagef("site %s is not in the configuration", name)
	}
	cfg.Sites = append(cfg.Sites, config.Site{Name: name, Hosts: []string{"*"}, Upstream: f.upstream, Flows: f.flows})
	return nil
}

// env is what the roles need.
func (g *global) env(cfg *config.Loaded) (line.Env, error) {
	binary, err := os.Executable()
	if err != nil {
		return line.Env{}, fmt.Errorf("own path: %w", err)
	}
	return line.Env{Config: cfg, Reload: g.reload, Log: g.logger(os.Stderr), Version: version, Binary: binary}, nil
}

// newRole makes the command of one role.
func newRole(g *global, name, short, long string, run func(context.Context, line.Env) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Long: long, Args: cobra.NoArgs,
		Example: "  weir " + name + " -c /etc/weir/weir.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.reload()
			if err != nil {
				return err
			}
			env, err := g.env(cfg)
			if err != nil {
				return err
			}
			err = run(cmd.Context(), env)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
}

func newCollect(g *global) *cobra.Command {
	return newRole(g, "collect", "Run one collector: kernel capture and access logs",
		"Captures plain HTTP from the kernel (collect.ebpf) and follows access logs\n(collect.accessLogs), and writes events to the log (kafka.brokers).", line.Collect)
}

func newProcess(g *global) *cobra.Command {
	return newRole(g, "process", "Run one processor: engine, store cursor, feed and queries",
		"Owns partitions of weir.events as a member of the consumer group: learns, gives\nverdicts, stores rows. Several share the work through kafka.brokers and\nprocess.snapshots, a directory or bucket that all of them reach. feed.listen serves\nverdicts to enforcers on other machines.", line.Process)
}

func newEnforce(g *global) *cobra.Command {
	return newRole(g, "enforce", "Run one ingress",
		"Serves enforce.listen in front of the sites' upstreams and acts on verdicts. It\nkeeps serving from the last good verdicts when everything else is away. SIGHUP\nreloads the configuration.", line.Enforce)
}

func newSink(g *global) *cobra.Command {
	return newRole(g, "sink", "Run the sinks to SIEM and files",
		"Delivers verdicts and decisions to the configured destinations at least once,\nwith stable ids, retry and dead letter.", line.Sink)
}

func newChild(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "child", Hidden: true, DisableFlagParsing: true, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return line.Child(cmd.Context(), line.Env{Log: g.logger(os.Stderr), Version: version}, args)
		},
	}
}

// parseClient reads an address or prefix.
func parseClient(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, usagef("client %q: want an address or a prefix such as 198.51.100.0/24", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
