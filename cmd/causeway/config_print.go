package main

import (
	"causeway/internal/config"

	"github.com/spf13/cobra"
)

func newConfigPrint(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print every value and where it came from",
		Long: `Prints every key with its value and its source: the file and line, the
variable, the flag, or "default". With -o yaml the output is a complete node
file with the sources as comments. Secrets are shown as the file they are in.

A configuration that could not run is printed too; config validate judges it.`,
		Example: `  causeway config print
  causeway config print --config causeway.yaml --log-level debug
  causeway config print -o yaml > causeway.yaml`,
		Args: cobra.NoArgs,
	}
	file := configFlags(cmd)
	output := outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, sources, err := loadConfig(cmd, std, *file)
		if err != nil {
			return err
		}
		return config.Print(cmd.OutOrStdout(), cfg, sources, config.Format(output.value))
	}
	return cmd
}
