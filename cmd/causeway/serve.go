package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/config"

	"github.com/spf13/cobra"
)

func newServe(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Runs a node until SIGINT or SIGTERM, then stops it in order: devices are let go,
what was acknowledged is on disk. A second signal ends the process at once.

Without arguments it is a region of one node: devices on 127.0.0.1:1883 without
credentials, data in ./data, no links. Everything else is in the node file;
every key has a CAUSEWAY_ variable as well, and causeway config print shows
what a node would run with.`,
		Example: `  causeway serve
  causeway serve --config /etc/causeway/causeway.yaml
  causeway serve --region eu --node eu-1 --data-dir /var/lib/causeway
  causeway serve --listen mqtt://127.0.0.1:1884 --listen ws://127.0.0.1:8083
  CAUSEWAY_LOG_LEVEL=debug causeway serve`,
		Args: cobra.NoArgs,
	}
	file := configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, sources, err := validConfig(cmd, std, *file)
		if err != nil {
			return err
		}
		level := &slog.LevelVar{}
		log := newLogger(std.err, cfg.Log, level)
		announce(log, cfg)
		return runServe(cmd.Context(), app.Options{Config: cfg, Sources: sources, Logger: log, LogLevel: level,
			Load: func() (*config.Config, *config.Sources, error) { return validConfig(cmd, std, *file) }})
	}
	return cmd
}

// runServe runs the node until ctx ends; nil is a stop in order.
func runServe(ctx context.Context, o app.Options) error {
	b := readBuild()
	o.Build = admin.Build{Version: b.Version, Revision: b.Revision}
	node, err := app.New(o)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go reloadOnHangup(ctx, node, o.Logger)
	return node.Run(ctx)
}

// reloadOnHangup reads the node file, certificates, users and rules again at each SIGHUP.
func reloadOnHangup(ctx context.Context, node *app.App, log *slog.Logger) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		if err := node.Reload(); err != nil {
			log.Error("reload", "problem", err)
		} else {
			log.Info("reloaded the node file, certificates, users and access rules")
		}
	}
}

// newLogger writes lines of the configured form and level.
func newLogger(w io.Writer, cfg config.Log, level *slog.LevelVar) *slog.Logger {
	level.Set(app.LogLevel(cfg.Level))
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// announce says what the node is and who may come in, in particular what nobody configured.
func announce(log *slog.Logger, cfg *config.Config) {
	log.Info("starting", "version", readBuild().Version, "region", cfg.Region, "node", cfg.Node, "data_dir", cfg.DataDir, "links", len(cfg.Links))
	for _, w := range cfg.Warnings() {
		log.Warn("configuration", "doubtful", w)
	}
	for _, l := range cfg.Listeners {
		switch {
		case l.Allows(config.AuthAnonymous) && l.AnonymousBeyondLoopback:
			log.Warn("devices need no credentials, from any machine", "listener", l.Name, "address", l.Listen)
		case l.Allows(config.AuthAnonymous):
			log.Info("devices on this machine need no credentials; others cannot connect", "listener", l.Name, "address", l.Listen)
		}
	}
}
