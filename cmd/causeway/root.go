package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot builds the command tree.
func newRoot(std stdio) *cobra.Command {
	root := group("causeway", "An MQTT broker whose regions are linked", `Causeway links MQTT clusters that live in different clouds.

A region is one or more nodes; regions tell each other what their devices
subscribed to and forward only that, once and in order, through tunnels that
either side may dial.

Exit codes: 0 ok, 1 error, 2 wrong usage, 3 refused by a precondition, 4 a goal was
missed, 5 aborted by a guardrail with everything as before, 6 partly done and resumable.`,
		`  causeway serve                                  # one region, devices on 127.0.0.1:1883
  causeway serve --config /etc/causeway/causeway.yaml
  causeway config print                           # every value and where it came from
  causeway ca init && causeway ca issue --region eu --node eu-1`,
		newServe(std), newWitness(std), newRestore(std), newBackup(), newCtl(std), newCA(), newConfig(std), newPasswd(std), newVersion())
	root.Version = readBuild().String()
	root.SetVersionTemplate("causeway {{.Version}}\n")
	cobra.AddTemplateFunc("plainFlags", plainFlags)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages", "FlagUsages | plainFlags"))
	root.SilenceErrors, root.SilenceUsage = true, true
	return root
}

// plainFlags writes --force for what the flag library shows as --force[=true|false].
func plainFlags(usages string) string {
	const noise = "[=true|false]"
	return strings.ReplaceAll(usages, noise, strings.Repeat(" ", len(noise)))
}

// group is a command that only holds others. Alone it prints its help; with a word it does not
// know it is an error, where cobra would print the help and call that a success.
func group(use, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Example: example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(commands...)
	return cmd
}

func unknownCommand(cmd *cobra.Command, word string) error {
	near := cmd.SuggestionsFor(word)
	if len(near) == 0 {
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				near = append(near, sub.Name())
			}
		}
		return fmt.Errorf("unknown command %q for %s; the commands are %s", word, cmd.CommandPath(), strings.Join(near, ", "))
	}
	return fmt.Errorf("unknown command %q for %s; did you mean %s?", word, cmd.CommandPath(), strings.Join(near, " or "))
}
