// Command weir is the streaming security data fabric: the ingress, the log, the
// engine, the store and the user's tools in one binary. weir up runs the whole
// line on one machine; weir collect, process, enforce and sink run one role each.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes one command line and returns the exit status: 0 done, 1 failed,
// 2 wrong usage.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var usage *usageError
	var quiet *quietError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &quiet):
		return 1
	case errors.As(err, &usage) || isCobraUsage(err):
		fmt.Fprintf(os.Stderr, "weir: %s\nusage: %s (%s --help shows examples)\n", inWords(cmd, err), cmd.UseLine(), cmd.CommandPath())
		return 2
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 1
	default:
		fmt.Fprintf(os.Stderr, "weir: %v\n", err)
		return 1
	}
}

// inWords says what a command wants where cobra counts "arg(s)".
func inWords(cmd *cobra.Command, err error) string {
	text := err.Error()
	if !strings.HasPrefix(text, "accepts ") && !strings.HasPrefix(text, "requires ") {
		return text
	}
	_, wanted, _ := strings.Cut(cmd.Use, " ")
	number := text[strings.LastIndexByte(text, ' ')+1:]
	switch {
	case wanted == "":
		return text
	case number == "0":
		return cmd.CommandPath() + " wants " + wanted
	}
	return cmd.CommandPath() + " wants " + wanted + ", got " + number + " arguments: quote one that has spaces"
}

// usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// quietError fails without words: the result itself has said why.
type quietError struct{}

func (*quietError) Error() string { return "failed" }

// isCobraUsage recognises cobra's own complaints, which carry no type.
func isCobraUsage(err error) bool {
	for _, prefix := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires ", "flag needs", "invalid argument", "required flag"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}
