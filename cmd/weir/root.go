package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
)

// global holds the options every command knows.
type global struct {
	config  string
	data    string
	output  string
	color   string
	verbose bool
}

func newRoot() *cobra.Command {
	g := &global{}
	root := &cobra.Command{
		Use:   "weir",
		Short: "See what bots do in your application, prove what a block would hit, block it at ingress",
		Long: `weir watches what clients do at runtime, learns what is normal for your
application, recognises abuse that no single request shows, and blocks it at
ingress with policies proven on your own traffic first.`,
		Example: `  weir up --demo                                   a shop, people, a bot, and weir between them
  weir up --upstream http://127.0.0.1:9000         protect your own application, in shadow mode
  weir replay access.log --format combined         what weir would have seen in a log
  weir status                                      is all well, and is every event accounted for`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch g.output {
			case "human", "json", "csv":
			default:
				return usagef("--output %q: want human, json or csv", g.output)
			}
			switch g.color {
			case "auto", "always", "never":
			default:
				return usagef("--color %q: want auto, always or never", g.color)
			}
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVarP(&g.config, "config", "c", "", "configuration file (default ./weir.yaml, then /etc/weir/weir.yaml)")
	f.StringVar(&g.data, "data", os.Getenv("WEIR_DATA"), "data directory; also finds the running weir ($WEIR_DATA)")
	f.StringVarP(&g.output, "output", "o", "human", "human, json or csv")
	f.StringVar(&g.color, "color", "auto", "auto, always or never")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "say more on stderr")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		newUp(g), newCollect(g), newProcess(g), newEnforce(g), newSink(g), newReplay(g),
		newSQL(g), newVerdicts(g), newExplain(g), newStatus(g), newDoctor(g), newPseudonym(g),
		newAllowlists(g), newFlows(g), newConfig(g), newSinks(g), newVersion(g), newChild(g),
	)
	return root
}

// load reads the configuration that the options name, or the defaults.
func (g *global) load() (*config.Loaded, error) {
	cfg, err := config.Load(config.Find(g.config), os.LookupEnv)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	dir := cfg.Data
	if g.data != "" {
		dir = g.data
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	cfg.SetData(dir)
	return cfg, nil
}

// running returns a client of the weir that serves the data directory.
func (g *global) running() (*admin.Client, error) {
	cfg, err := g.load()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(admin.Socket(cfg.Data, "weir")), nil
}

// logger writes to w; verbose shows debug lines too.
func (g *global) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if g.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
