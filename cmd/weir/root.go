package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
		Version:           version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return g.check(cmd) },
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
		newAllowlists(g), newFlows(g), newConfig(g), newSinks(g), newEnforcers(g), newShadow(g), newVersion(g), newChild(g),
	)
	root.InitDefaultCompletionCmd()
	root.SetHelpCommand(newHelp(root))
	strictGroups(root)
	completeFlags(root)
	return root
}

// check refuses values of the global options that mean nothing, or nothing to
// this command.
func (g *global) check(cmd *cobra.Command) error {
	if !slices.Contains(outputForms, g.output) {
		return usagef("--output %q: want human, json or csv", g.output)
	}
	if !slices.Contains(colors, g.color) {
		return usagef("--color %q: want auto, always or never", g.color)
	}
	if forms := formsOf(cmd); !slices.Contains(forms, g.output) {
		return usagef("%s has no --output %s: want %s", cmd.CommandPath(), g.output, strings.Join(forms, " or "))
	}
	return nil
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

// reload reads the configuration and checks it with the options over it.
func (g *global) reload() (*config.Loaded, error) {
	cfg, err := g.load()
	if err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration:\n%w", err)
	}
	return cfg, nil
}

// running returns a client of the weir that serves the data directory: weir up,
// or a processor by itself, which answers the same questions.
func (g *global) running() (*admin.Client, error) {
	data, err := g.dataDir()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(admin.Socket(data, "weir"), admin.Socket(data, "process")), nil
}

// dataDir is where to find the running weir. A fault in the configuration keeps
// nobody from asking it or from taking a verdict back; a file that was named and
// cannot be read does.
func (g *global) dataDir() (string, error) {
	dir := g.data
	if dir == "" {
		path := config.Find(g.config)
		if path != "" {
			if _, err := os.Stat(path); err != nil {
				return "", fmt.Errorf("configuration: %w", err)
			}
		}
		dir = config.DataDir(path, os.LookupEnv)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return dir, nil
}

// logger writes one JSON object per line to w, for machines to read; verbose
// shows debug lines too.
func (g *global) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if g.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}
