package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/cmd/admin"
)

// upConfig describes an installation of weir up for a benchmark.
type upConfig struct {
	// sites are protected in enforce mode by the shop's flow map; host
	// NAME.example.
	sites []string
	// upstream and listen switch the ingress on, accessLog the collector.
	upstream, listen, accessLog string
}

// installation is a running weir up.
type installation struct {
	*server
	data  string
	admin *admin.Client
}

// startUp starts the whole line with the embedded log and store.
func startUp(ctx context.Context, env *environment, c upConfig) (*installation, error) {
	data, err := env.scratch("up")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "apiVersion: weir/v1\nkind: Config\ndata: %s\nadmin: {listen: \"\"}\ncollect:\n  ebpf: {enabled: \"off\"}\n", data)
	if c.accessLog != "" {
		_, _ = fmt.Fprintf(&b, "  accessLogs: [{path: %s, format: exchange}]\n", c.accessLog)
	}
	if c.listen != "" {
		_, _ = fmt.Fprintf(&b, "enforce: {listen: %q, mode: enforce}\n", c.listen)
	}
	b.WriteString("sites:\n")
	for _, s := range c.sites {
		flows := filepath.Join(data, s+".flows.yaml")
		if err := os.WriteFile(flows, []byte(strings.Replace(traffic.ShopFlows, "site: shop\n", "site: "+s+"\n", 1)), 0o600); err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(&b, "  - {name: %s, hosts: [%s.example], flows: %s%s}\n", s, s, flows, upstreamOf(c))
	}
	file := filepath.Join(data, "bench.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	s, err := serve("weir up", env.weir, "up", "--config", file, "--data", data)
	if err != nil {
		return nil, err
	}
	in := &installation{s, data, admin.NewClient(admin.Socket(data, "weir"))}
	if err := s.until(ctx, time.Minute, "ready", func() bool { return strings.Contains(s.log.String(), "\nready (") }); err != nil {
		s.stop()
		return nil, err
	}
	return in, nil
}

func upstreamOf(c upConfig) string {
	if c.upstream == "" {
		return ""
	}
	return fmt.Sprintf(", upstream: %q", "http://"+c.upstream)
}

// accounts are what the parts say of their events and of how far they are.
type accounts struct {
	produced, delivered, lost, queued int64
	engineLag, storeLag               float64 // seconds, the worst partition
	problems                          []string
}

func (in *installation) accounts(ctx context.Context) (a accounts, err error) {
	var st admin.Status
	if err := in.admin.Get(ctx, "/v1/status", &st); err != nil {
		return a, err
	}
	a.problems = st.Problems
	for _, r := range st.Reports {
		for _, s := range r.Sources {
			a.produced += s.Produced
			a.delivered += s.Delivered
			a.queued += s.Queued
			for _, n := range s.Lost {
				a.lost += n
			}
		}
		for _, l := range r.Lag {
			switch l.Stage {
			case "engine":
				a.engineLag = max(a.engineLag, l.Seconds)
			case "store":
				a.storeLag = max(a.storeLag, l.Seconds)
			}
		}
	}
	return a, nil
}

// percentile of values, 0 <= p <= 1; 0 without values.
func percentile(vs []float64, p float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Sorted(slices.Values(vs))
	return vs[min(len(vs)-1, int(p*float64(len(vs))))]
}
