package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weirproject/weir/cmd/admin"
)

// outputForms and colors are the values of --output and --color.
var (
	outputForms = []string{"human", "json", "csv"}
	colors      = []string{"auto", "always", "never"}
)

// formsKey annotates a command with the forms of its result, separated by
// spaces; without it there is only the human one.
const formsKey = "output"

// Forms of results.
var (
	asTable  = map[string]string{formsKey: "human json csv"}
	asObject = map[string]string{formsKey: "human json"}
)

func formsOf(cmd *cobra.Command) []string {
	if forms := cmd.Annotations[formsKey]; forms != "" {
		return strings.Fields(forms)
	}
	return []string{"human"}
}

// ANSI colours.
const (
	red   = "31"
	green = "32"
	bold  = "1"
)

// paint colours text for w as --color says; auto is for terminals, unless
// NO_COLOR is set (https://no-color.org).
func (g *global) paint(w io.Writer, color, text string) string {
	on := g.color == "always"
	if file, ok := w.(*os.File); ok && g.color == "auto" && os.Getenv("NO_COLOR") == "" {
		on = term.IsTerminal(int(file.Fd()))
	}
	if !on || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// printJSON writes v with indentation.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// printTable writes a table in the form that --output names.
func (g *global) printTable(cmd *cobra.Command, t *admin.Table) error {
	w := cmd.OutOrStdout()
	switch g.output {
	case "json":
		rows := make([]map[string]any, len(t.Rows))
		for i, row := range t.Rows {
			rows[i] = map[string]any{}
			for j, v := range row {
				rows[i][t.Columns[j]] = v
			}
		}
		return printJSON(w, rows)
	case "csv":
		c := csv.NewWriter(w)
		_ = c.Write(t.Columns) // the error is kept until Flush
		for _, row := range t.Rows {
			_ = c.Write(texts(row, false))
		}
		c.Flush()
		if err := c.Error(); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
		return nil
	}
	tw := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, strings.Join(t.Columns, "\t"))
	for _, row := range t.Rows {
		_, _ = fmt.Fprintln(tw, strings.Join(texts(row, true), "\t"))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// texts formats a row. For a terminal, control characters are shown as "?": the
// values are attackers' (a path, a user agent) and must not drive the terminal.
func texts(row []any, terminal bool) []string {
	out := make([]string, len(row))
	for i, v := range row {
		switch v := v.(type) {
		case nil:
		case string:
			out[i] = v
		case bool, json.Number:
			out[i] = fmt.Sprint(v)
		case []string:
			out[i] = strings.Join(v, ", ")
		default:
			b, err := json.Marshal(v)
			if err != nil {
				b = fmt.Append(nil, v)
			}
			out[i] = string(b)
		}
		if terminal {
			out[i] = printable(out[i])
		}
	}
	return out
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}
