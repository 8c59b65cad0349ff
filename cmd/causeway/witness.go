package main

import (
	"log/slog"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/config"
	"causeway/internal/store"

	"github.com/spf13/cobra"
)

func newWitness(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "witness",
		Short: "Run a voter that hosts nothing",
		Long: `Runs a witness until SIGINT or SIGTERM. It has a vote in which region serves a
home, and nothing else: a small disk, no devices. With one in a third place two
regions can fail over by themselves: the one that is left has a majority with it.

Its file has region (its name), data_dir, identity (causeway ca issue --region
NAME --node NAME-1), link.listen, the list regions as in the regions' files, and
takeover.down_after as there. Begin its directory once with causeway witness init:
one that lost its directory must not vote as if it had promised nothing.`,
		Example: `  causeway witness init --config /etc/causeway/witness.yaml
  causeway witness --config /etc/causeway/witness.yaml`,
		Args: cobra.NoArgs,
	}
	file := witnessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, sources, err := witnessConfig(std, *file)
		if err != nil {
			return err
		}
		b := readBuild()
		w, err := app.NewWitness(app.Options{Config: cfg, Sources: sources, Logger: newLogger(std.err, cfg.Log, &slog.LevelVar{}), Build: admin.Build{Version: b.Version, Revision: b.Revision}})
		if err != nil {
			return err
		}
		return w.Run(cmd.Context())
	}
	cmd.AddCommand(newWitnessInit(std))
	return cmd
}

func newWitnessInit(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Begin the data directory of a new witness",
		Long: `Begins an empty directory. For a witness that lost its directory do it only while no
failover is under way and every home is served with a lease: the new one has
forgotten what the old one promised.`,
		Args: cobra.NoArgs,
	}
	file := witnessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := witnessConfig(std, *file)
		if err != nil {
			return err
		}
		if err := app.InitWitness(store.DiskFS(), cfg); err != nil {
			return &exitError{exitRefused, err}
		}
		cmd.Printf("%s is begun; start the witness with: causeway witness --config %s\n", cfg.DataDir, *file)
		return nil
	}
	return cmd
}

func witnessFlag(cmd *cobra.Command) *string {
	file := cmd.Flags().StringP("config", "c", "", "the witness's `file` (required)")
	// The only error is a flag that does not exist, and it was defined a line above.
	_ = cmd.MarkFlagRequired("config")
	return file
}

// witnessConfig reads and checks a witness's file.
func witnessConfig(std stdio, file string) (*config.Config, *config.Sources, error) {
	cfg, sources, err := config.Load(config.Options{File: file, Env: std.env})
	if err != nil {
		return nil, nil, configError(err)
	}
	if err := sources.Explain(cfg.ValidateWitness()); err != nil {
		return nil, nil, configError(err)
	}
	return cfg, sources, nil
}
