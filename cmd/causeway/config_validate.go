package main

import (
	"fmt"
	"os"

	"causeway/internal/config"
	meshtls "causeway/tls"

	"github.com/spf13/cobra"
)

func newConfigValidate(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration and the files it names",
		Long: `Checks every value, alone and together, and reads the files the configuration
names: certificates, keys, authorities, lists of revoked certificates, users,
rules, tokens. Nothing is written, fetched or opened. Each problem is one line: where the value came
from, the key, what is wrong, what to do.`,
		Example: `  causeway config validate --config causeway.yaml
  CAUSEWAY_LIMITS_PACKET=1MiB causeway config validate`,
		Args: cobra.NoArgs,
	}
	file := configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := validConfig(cmd, std, *file)
		if err != nil {
			return err
		}
		if err := joinErrors(checkFiles(cfg)...); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "valid: node %s of region %s, listeners %d, links %d\n",
			cfg.Node, cfg.Region, len(cfg.Listeners), len(cfg.Links))
		return err
	}
	return cmd
}

// checkFiles reads what the configuration names as the node would.
func checkFiles(cfg *config.Config) []error {
	var errs []error
	add := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	if id := cfg.Identity; id.Configured() {
		src, err := meshtls.Load(id.Cert, id.Key, id.CA)
		if err == nil {
			err = src.Expect(cfg.Region, cfg.Node)
		}
		add("identity", err)
		if src != nil {
			add("identity.crl", src.Revocations().Set(meshtls.RevocationOptions{Lists: id.CRL}))
		}
	}
	for i, l := range cfg.Listeners {
		if l.Type.Secure() {
			add(fmt.Sprintf("listeners[%d].tls", i), checkDeviceTLS(l))
		}
	}
	for _, named := range []struct{ key, path string }{
		{"auth.password_file", cfg.Auth.PasswordFile},
		{"auth.acl_file", cfg.Auth.ACLFile},
		{"admin.tokens", cfg.Admin.Tokens.Path()},
	} {
		if named.path != "" {
			add(named.key, checkReadable(named.path))
		}
	}
	return errs
}

func checkDeviceTLS(l config.Listener) error {
	d, err := meshtls.NewDevice(meshtls.DeviceOptions{CertFile: l.TLS.Cert, KeyFile: l.TLS.Key, ClientCAFiles: l.TLS.ClientCA, MinVersion: l.TLS.MinVersion})
	if err != nil {
		return err
	}
	return d.Revocations().Set(meshtls.RevocationOptions{Lists: l.TLS.CRL})
}

func checkReadable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w; make the file, or correct the key", err)
	}
	return f.Close()
}
