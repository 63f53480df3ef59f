package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"time"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/scenario"
)

// drive sends a scenario to an ingress and plays the application behind it; it
// prints, for each class of visitors, how many requests came through.
func drive(c scenario.Config, site, target, origin string, speed float64) (err error) {
	s, err := scenario.Named(site)
	if err != nil {
		return err
	}
	l, err := traffic.NewLive(target, speed)
	if err != nil {
		return err
	}
	type count struct{ requests, passed int }
	counts := map[string]*count{}
	l.OnAnswer = func(label *traffic.Label, _ string, _ int, passed bool) {
		name := string(label.Class)
		if label.Class == traffic.Bot {
			name += " " + label.Threat + " " + label.Level
		}
		if counts[name] == nil {
			counts[name] = new(count)
		}
		counts[name].requests++
		if passed {
			counts[name].passed++
		}
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", origin)
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	server := &http.Server{Handler: l, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	defer func() {
		err = errors.Join(err, server.Close())
		if stopped := <-done; !errors.Is(stopped, http.ErrServerClosed) {
			err = errors.Join(err, stopped)
		}
	}()
	failed := errors.Join(s.Play(c, l.Send), l.Wait())
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		n := counts[name]
		if _, err := fmt.Fprintf(os.Stdout, "%-24s %8d requests, %8d came through\n", name, n.requests, n.passed); err != nil {
			return err
		}
	}
	return failed
}
