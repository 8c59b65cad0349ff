package main

import (
	"errors"
	"fmt"
	"strings"

	"causeway/internal/config"

	"github.com/spf13/cobra"
)

func newConfig(std stdio) *cobra.Command {
	return group("config", "Show and check the configuration",
		`What a node would run with. A flag beats a CAUSEWAY_ variable, which beats the
file, which beats the default; limits.packet is CAUSEWAY_LIMITS_PACKET. Keys
and variables that do not exist are errors.`,
		"  causeway config print\n  causeway config validate --config causeway.yaml",
		newConfigPrint(std), newConfigValidate(std))
}

// configFlags defines the flags that say what the configuration is.
func configFlags(cmd *cobra.Command) *string {
	file := cmd.Flags().StringP("config", "c", "", "node `file` in YAML (default: the one CAUSEWAY_CONFIG names, else none)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // the flag was defined a line above
	config.AddFlags(cmd.Flags())
	return file
}

// loadConfig resolves the configuration of a command that has configFlags.
func loadConfig(cmd *cobra.Command, std stdio, file string) (*config.Config, *config.Sources, error) {
	cfg, sources, err := config.Load(config.Options{File: file, Flags: cmd.Flags(), Env: std.env})
	if err != nil {
		return nil, nil, configError(err)
	}
	return cfg, sources, nil
}

// validConfig is loadConfig with a configuration that can run.
func validConfig(cmd *cobra.Command, std stdio, file string) (*config.Config, *config.Sources, error) {
	cfg, sources, err := loadConfig(cmd, std, file)
	if err != nil {
		return nil, nil, err
	}
	if err := sources.Explain(cfg.Validate()); err != nil {
		return nil, nil, configError(err)
	}
	return cfg, sources, nil
}

// configError puts a line above several problems.
func configError(err error) error {
	if n := strings.Count(err.Error(), "\n") + 1; n > 1 {
		return fmt.Errorf("the configuration has %d problems\n%w", n, err)
	}
	return err
}

// joinErrors is errors.Join with the head line of configError.
func joinErrors(errs ...error) error {
	err := errors.Join(errs...)
	if err == nil {
		return nil
	}
	return configError(err)
}
