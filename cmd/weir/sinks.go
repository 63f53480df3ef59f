package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/line"
)

func newSinks(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "sinks", Short: "Destinations for verdicts and decisions"}
	cmd.AddCommand(newSinksTest(g), &cobra.Command{
		Use: "list", Short: "List the configured sinks", Args: cobra.NoArgs, Annotations: asTable,
		Example: "  weir sinks list\n  weir sinks list -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			t := admin.Table{Columns: []string{"name", "type", "format", "to"}, Rows: [][]any{}}
			for i := range cfg.Sinks {
				s := &cfg.Sinks[i]
				t.Rows = append(t.Rows, []any{s.Name, s.Type, s.Format, s.Path + s.URL})
			}
			return g.printTable(cmd, &t)
		},
	})
	return cmd
}

func newSinksTest(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "test", Short: "Send one test finding to each configured sink", Args: cobra.NoArgs, Annotations: asTable,
		Long: `Delivers one finding that says it is a test to each configured sink, in its own
format, and says what became of it. Where the sinks run, they send it between
two deliveries; positions and dead letters are not touched. Exit status 1 when
one did not take it.`,
		Example: "  weir sinks test\n  weir sinks test -o json | jq '.[] | select(.ok | not)'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			t := &admin.Table{}
			err = admin.NewClient(admin.Socket(cfg.Data, "sink")).Post(cmd.Context(), "/sinks/test", struct{}{}, t)
			if errors.Is(err, admin.ErrNotRunning) {
				t, err = g.testSinks(cmd.Context())
			}
			if err != nil {
				return err
			}
			if len(t.Rows) == 0 {
				return errors.New("no sinks are configured: sinks: in weir.yaml")
			}
			if err := g.printTable(cmd, t); err != nil {
				return err
			}
			for _, row := range t.Rows {
				if ok, _ := row[3].(bool); !ok {
					return &quietError{}
				}
			}
			return nil
		},
	}
}

// testSinks tests the configured sinks where none run.
func (g *global) testSinks(ctx context.Context) (*admin.Table, error) {
	cfg, err := g.reload()
	if err != nil {
		return nil, err
	}
	env, err := g.env(cfg)
	if err != nil {
		return nil, err
	}
	return line.TestSinks(ctx, env)
}
