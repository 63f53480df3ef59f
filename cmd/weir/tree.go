package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// strictGroups makes a word that is no command of its group wrong usage; cobra
// would show the help and call it done.
func strictGroups(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		strictGroups(sub)
	}
	if !cmd.HasSubCommands() || cmd.Runnable() || !cmd.HasParent() {
		return
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		text := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text = ": did you mean " + near[0] + "?"
		}
		return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), text)
	}
}

func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]...", Short: "Help about any command", Example: "  weir help verdicts add",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, sub := range cmd.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name()+"\t"+sub.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help on %q: there is no such command", args)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// choices are the values that shells complete, by flag.
var choices = map[string][]string{
	"output": outputForms, "color": colors, "mode": {"shadow", "enforce"}, "ebpf": {"auto", "on", "off"},
	"action": manualActions, "format": {"exchange", "combined", "common", "json"},
}

// completeFlags tells the shells which values the flags take, and that the
// others are no files unless they say so.
func completeFlags(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		completeFlags(sub)
	}
	complete := func(f *pflag.Flag) {
		if values := choices[f.Name]; values != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // set once
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(complete)
	cmd.PersistentFlags().VisitAll(complete)
}
