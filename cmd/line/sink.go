package line

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
		metrics, err := sinks.NewMetrics(r.metrics)
		if err != nil {
			return nil, fmt.Errorf("sink metrics: %w", err)
		}
		var all []*sinks.Sink
		for i := range env.Config.Sinks {
			s, err := newDestination(env, &env.Config.Sinks[i], topics{conn, env}, metrics)
			if err != nil {
				return nil, fmt.Errorf("sink %s: %w", env.Config.Sinks[i].Name, err)
			}
			all = append(all, s)
		}
		r.group.Go(func() error { return sinks.RunAll(ctx, all...) })
		supervise.Ready(fmt.Sprintf("%d destinations", len(all)))
		return func() admin.Report { return admin.Report{Notes: []string{fmt.Sprintf("%d destinations", len(all))}} }, nil
	})
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
		out := make([]sinks.Record, len(recs))
		for i := range recs {
			out[i] = sinks.Record{Topic: recs[i].Topic, Partition: recs[i].Partition, Offset: recs[i].Offset, Value: recs[i].Value}
		}
		return handle(ctx, out)
	})
}
