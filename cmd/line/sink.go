package line

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/sinks"
	"github.com/weirproject/weir/sinks/file"
	"github.com/weirproject/weir/sinks/ocsf"
	"github.com/weirproject/weir/sinks/webhook"
	"github.com/weirproject/weir/stream"
)

// Sink runs the sink role: one pipeline per configured destination.
func Sink(ctx context.Context, env Env) error {
	return runRole(ctx, env, "sink", func(ctx context.Context, r *role) (func() admin.Report, error) {
		conn, err := connection(env, "sink")
		if err != nil {
			return nil, err
		}
		s := &sinking{role: r, source: topics{conn, env}, next: make(chan []*sinks.Sink, 1)}
		if s.counts, err = sinks.NewMetrics(r.metrics); err != nil {
			return nil, fmt.Errorf("sink metrics: %w", err)
		}
		r.reload = func(cfg *config.Loaded) error {
			err := s.putInForce(cfg)
			if err == nil {
				supervise.Ready(destinations(cfg))
			}
			return err
		}
		if err := s.putInForce(env.Config); err != nil {
			return nil, err
		}
		r.group.Go(func() error { return s.run(ctx) })
		r.mux.HandleFunc("POST /sinks/test", s.test)
		supervise.Ready(destinations(env.Config))
		return s.report, nil
	})
}

type sinking struct {
	*role
	source sinks.Source
	counts *sinks.Metrics
	// next holds the destinations that are to run from now on.
	next chan []*sinks.Sink
	// running are those that run, for the report.
	running atomic.Pointer[[]*sinks.Sink]
}

// report names the destinations that get nothing at present.
func (s *sinking) report() admin.Report {
	rep := admin.Report{Notes: []string{destinations(s.now.Load())}}
	all := s.running.Load()
	for i := 0; all != nil && i < len(*all); i++ {
		d := (*all)[i]
		problem, note := d.Health()
		if problem != "" {
			rep.Problems = append(rep.Problems, fmt.Sprintf("sink %s %s", d.Name(), problem))
		}
		if note != "" {
			rep.Notes = append(rep.Notes, fmt.Sprintf("sink %s %s", d.Name(), note))
		}
	}
	return rep
}

func destinations(cfg *config.Loaded) string { return fmt.Sprintf("%d destinations", len(cfg.Sinks)) }

// putInForce makes the destinations of a configuration, which replace those that
// run: each goes on where its saved position is.
func (s *sinking) putInForce(cfg *config.Loaded) error {
	var all []*sinks.Sink
	for i := range cfg.Sinks {
		d, err := newDestination(s.Env, &cfg.Sinks[i], s.source, s.counts)
		if err != nil {
			return fmt.Errorf("sink %s: %w", cfg.Sinks[i].Name, err)
		}
		all = append(all, d)
	}
	select {
	case <-s.next: // not taken up yet, and out of date
	default:
	}
	s.next <- all
	return nil
}

// run delivers until ctx ends or all destinations of the present configuration
// fail.
func (s *sinking) run(ctx context.Context) error {
	var all []*sinks.Sink
	select {
	case all = <-s.next:
	case <-ctx.Done():
		return nil
	}
	for {
		running := all
		s.running.Store(&running)
		life, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			err := sinks.RunAll(life, all...)
			if len(all) == 0 {
				<-life.Done() // without destinations it waits for some
			}
			done <- err
		}()
		select {
		case err := <-done:
			stop()
			return err
		case all = <-s.next:
			stop()
			if err := <-done; err != nil {
				s.Log.Error("a destination did not end well before the reload", "err", err)
			}
		}
	}
}

func newDestination(env Env, s *config.Sink, source sinks.Source, m *sinks.Metrics) (*sinks.Sink, error) {
	dir := filepath.Join(env.Config.Data, "sinks", s.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var format sinks.Format = sinks.JSON{}
	switch s.Format {
	case "json":
	case "", "ocsf":
		format = ocsf.Format{Version: env.Version}
	default:
		return nil, fmt.Errorf("format %q is not built yet: use ocsf or json", s.Format)
	}
	dest, err := destination(s)
	if err != nil {
		return nil, err
	}
	cfg := sinks.Config{Name: s.Name, Sites: s.Sites, Dir: dir}
	for _, record := range s.Records {
		switch record {
		case "verdicts":
			cfg.Topics = append(cfg.Topics, sinks.Verdicts)
		case "decisions":
			cfg.Topics = append(cfg.Topics, sinks.Decisions)
		}
	}
	return sinks.New(cfg, source, format, dest, m, env.Log)
}

func destination(s *config.Sink) (sinks.Destination, error) {
	switch s.Type {
	case "file":
		return file.New(file.Config{Path: s.Path, MaxBytes: int64(s.MaxBytes), Keep: s.Keep})
	case "webhook":
		cfg := webhook.Config{URL: s.URL, Headers: s.Headers, Token: s.Token, Lines: true, Timeout: time.Duration(s.Timeout)}
		for _, f := range []struct {
			path string
			to   *[]byte
		}{{s.TLS.CA, &cfg.CA}, {s.TLS.Cert, &cfg.Certificate}, {s.TLS.Key, &cfg.Key}} {
			if f.path == "" {
				continue
			}
			pem, err := os.ReadFile(f.path)
			if err != nil {
				return nil, fmt.Errorf("tls: %w", err)
			}
			*f.to = pem
		}
		return webhook.New(cfg)
	}
	return nil, fmt.Errorf("type %q is not built yet: use file or webhook", s.Type)
}

// topics lets sinks follow the log.
type topics struct {
	conn stream.Connection
	env  Env
}

// Follow implements sinks.Source.
func (t topics) Follow(ctx context.Context, topic string, from map[int32]int64, handle func(context.Context, []sinks.Record) error, lost func(sinks.Lost)) error {
	tail, err := stream.NewTail(stream.TailConfig{
		Connection: t.conn, Topic: topic, From: from, Log: t.env.Log,
		OnGap: func(g stream.Gap) { lost(sinks.Lost{Topic: topic, Partition: g.Partition, From: g.From, To: g.To}) },
	})
	if err != nil {
		return fmt.Errorf("follow %s: %w", topic, err)
	}
	return tail.Run(ctx, func(ctx context.Context, recs []stream.Record) error {
		out := make([]sinks.Record, 0, len(recs))
		for i := range recs {
			if r := &recs[i]; !r.Republished() {
				out = append(out, sinks.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Value: r.Value})
			}
		}
		if len(out) == 0 {
			return nil
		}
		return handle(ctx, out)
	})
}
