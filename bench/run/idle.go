package main

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	idleSettle = 10 * time.Second
	idleWatch  = 30 * time.Second
)

// runIdle watches weir up that has one site and nobody who asks for it.
func runIdle(ctx context.Context, env *environment, res *result) error {
	listen, err := freePort()
	if err != nil {
		return err
	}
	up, err := startUp(ctx, env, upConfig{sites: []string{"shop"}, upstream: "127.0.0.1:9", listen: listen})
	if err != nil {
		return err
	}
	defer up.stop()
	res.note("sum over the supervisor, embedded log, embedded ClickHouse, processor and ingress; resident memory counts shared pages once per process; %s after the start, over %s", idleSettle, idleWatch)
	if err := wait(ctx, idleSettle); err != nil {
		return err
	}
	for round := range env.rounds {
		before := tree(up.pid())
		if err := wait(ctx, idleWatch/time.Duration(env.rounds)); err != nil {
			return err
		}
		after := tree(up.pid())
		v := map[string]float64{}
		for _, part := range slices.Sorted(maps.Keys(after)) {
			v[part+"_MB"] = float64(after[part].RSS) / 1e6
			v[part+"_cpu_pct"] = 100 * (after[part].CPU - before[part].CPU).Seconds() / (idleWatch / time.Duration(env.rounds)).Seconds()
		}
		t := total(after)
		v["MB"] = float64(t.RSS) / 1e6
		v["cpu_pct"] = 100 * (t.CPU - total(before).CPU).Seconds() / (idleWatch / time.Duration(env.rounds)).Seconds()
		res.add(round, "weir up", v)
	}
	res.value("resident memory, all processes", "MB", res.median("weir up", "MB"), atMost(700, " MB"))
	res.value("CPU, all processes", "% of a core", res.median("weir up", "cpu_pct"), atMost(3, " %"))
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
