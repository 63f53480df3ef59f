package main

import (
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
)

func newSQL(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "sql QUERY",
		Short: "Ask the store in SQL, read-only",
		Long: `Runs one query on the running weir's store as the user analyst: read-only, with
limits on time, rows and memory. "-" reads the query from standard input. Views
for people: requests, actors, sessions, accounts, shadow; docs/investigation.md
has twelve questions with their SQL.`,
		Example: `  weir sql "SELECT route, count() FROM requests GROUP BY route ORDER BY 2 DESC LIMIT 10"
  weir sql "SELECT time, client_ip, actor, action FROM requests WHERE action = 'block' LIMIT 20" -o csv
  weir sql - < question.sql`,
		Args: cobra.ExactArgs(1), Annotations: asTable,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := args[0]
			if query == "-" {
				b, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
				if err != nil {
					return err
				}
				query = string(b)
			}
			if strings.TrimSpace(query) == "" {
				return usagef("the query is empty; try: weir sql \"SELECT count() FROM requests\"")
			}
			c, err := g.running()
			if err != nil {
				return err
			}
			var t admin.Table
			if err := c.Post(cmd.Context(), "/v1/sql", admin.SQLRequest{Query: query}, &t); err != nil {
				return err
			}
			return g.printTable(cmd, &t)
		},
	}
}

func escape(id string) string { return url.PathEscape(id) }
