package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/backup"
	"causeway/internal/config"

	"github.com/spf13/cobra"
)

// restoring is what the flags of restore say.
type restoring struct {
	std                   stdio
	file, from, name, key string
	epoch                 uint64
	dryRun, yes           bool
}

func newRestore(std stdio) *cobra.Command {
	r := &restoring{std: std}
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Found a region from a backup, on empty disks",
		Long: `Puts a backup of the region's home onto the empty disk of one core node, before its
first start. Start that node first, then the others: they fetch their copies from it.

All of the backup is read, checked and opened before anything is written. The home
begins a new epoch, so that what other regions still hold of its former life is
fenced, and devices that are ahead of the backup are not taken for what they were:
QoS 2 messages stay once, wills wait for their devices.

What was acknowledged after the backup is not in it. Where a standby of the home
lives, it has more: fail over to it instead (causeway ctl region failover), and do
not restore: that standby would be fenced by the restored home, whose epoch is above
all that regions can have come to since the backup.`,
		Example: `  causeway restore --config /etc/causeway/causeway.yaml --dry-run
  causeway restore --config /etc/causeway/causeway.yaml --from /mnt/usb/eu --key /root/backup.key --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&r.file, "config", "c", "", "the node's `file` (required)")
	_ = cmd.MarkFlagRequired("config") // the flag is there
	f.StringVar(&r.from, "from", "", "`place` of the backups: a directory, or a URL that the hook knows (default backup.to)")
	f.StringVar(&r.name, "backup", "", "`name` of the backup (default the newest of the home)")
	f.StringVar(&r.key, "key", "", "`file` with the secret key of an encrypted backup (default backup.key)")
	f.Uint64Var(&r.epoch, "epoch", 0, "`number` of the epoch that begins (default above all that may have been used since the backup)")
	f.BoolVar(&r.dryRun, "dry-run", false, "read and check everything, and write nothing")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (r *restoring) run(cmd *cobra.Command) error {
	cfg, sources, err := config.Load(config.Options{File: r.file, Env: r.std.env})
	if err != nil {
		return configError(err)
	}
	if err := sources.Explain(cfg.Validate()); err != nil {
		return configError(err)
	}
	place, err := app.BackupPlace(cfg, r.from)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if r.key == "" {
		r.key = cfg.Backup.Key.Path()
	}
	key, err := backup.ReadKey(r.key)
	if err != nil {
		return err
	}
	o := app.RestoreOptions{Config: cfg, From: place, Name: r.name, Key: key, Epoch: r.epoch, DryRun: true, By: whoRuns(), Progress: progressTo(cmd.ErrOrStderr())}
	plan, err := app.Restore(cmd.Context(), o)
	if err != nil {
		return restoreError(err)
	}
	printRestored(cmd.OutOrStdout(), cfg, &plan, false)
	if r.dryRun {
		return nil
	}
	if !r.yes {
		if err := r.ask(cmd, cfg.Region); err != nil {
			return err
		}
	}
	o.DryRun, o.Name = false, plan.Backup.Name
	done, err := app.Restore(cmd.Context(), o)
	if err != nil {
		return restoreError(err)
	}
	printRestored(cmd.OutOrStdout(), cfg, &done, true)
	return nil
}

func restoreError(err error) error {
	if errors.Is(err, app.ErrRestoreRefused) || errors.Is(err, backup.ErrNoBackup) {
		return &exitError{exitRefused, err}
	}
	return err
}

func (r *restoring) ask(cmd *cobra.Command, region string) error {
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !isTerminal(in) {
		return &exitError{exitRefused, errors.New("there is no terminal to ask at: add --yes, or --dry-run to see what would happen")}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "type %s to go on: ", clean(region))
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != region {
		return &exitError{exitRefused, errors.New("not confirmed; nothing was done")}
	}
	return nil
}

func printRestored(w io.Writer, cfg *config.Config, x *app.Restored, done bool) {
	m, verb := &x.Backup, "would be restored"
	if done {
		verb = "restored"
	}
	fmt.Fprintf(w, "home %s: %s from %s\n", clean(m.Home), verb, clean(m.Name))
	facts(w, "  written", fmt.Sprintf("%s by %s, version %s", m.Time.Format(time.RFC3339), m.Node, m.Version), "  up to", fmt.Sprintf("record %d of epoch %d@%s", m.Record, m.Epoch, m.Host),
		"  begins as", "epoch "+x.Epoch.String(), "  holds", fmt.Sprintf("%d sessions, %d messages that wait, %d retained", x.Sessions, x.Messages, x.Retained),
		"  lost", fmt.Sprintf("what the home acknowledged after record %d: messages, sessions and subscriptions of after %s", m.Record, m.Time.Format(time.RFC3339)))
	if done {
		fmt.Fprintf(w, "start this node (%s), wait until causeway ctl status says that it serves, then start the others with empty disks\n", clean(cfg.Node))
	}
}

// progressTo shows about every second how far a step is.
func progressTo(w io.Writer) func(step string, done, total int64) {
	var last time.Time
	return func(step string, done, total int64) {
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintf(w, "%s: %s of %s\n", step, admin.FormatBytes(done), admin.FormatBytes(total))
		}
	}
}

func whoRuns() string {
	if u, err := user.Current(); err == nil {
		return "causeway restore, " + u.Username
	}
	return "causeway restore"
}

// newBackup is what can be done with backups where no node runs.
func newBackup() *cobra.Command {
	return group("backup", "Look at backups where no node runs",
		"Lists and checks backups of a directory, as a node does with causeway ctl backup, and makes\nkeys.", `  causeway backup key --out /root/backup.key
  causeway backup list --from /mnt/usb/eu
  causeway backup verify eu-20260301T120000Z-48211-9b3f0c --from /mnt/usb/eu --key /root/backup.key`, newBackupKey(), newBackupList(), newBackupVerify())
}

func fromFlag(cmd *cobra.Command) *string {
	from := cmd.Flags().String("from", "", "`directory` of the backups (required)")
	_ = cmd.MarkFlagRequired("from") // the flag is there
	return from
}

func newBackupKey() *cobra.Command {
	var out string
	cmd := leaf("key", "Make a key pair for backups", func(cmd *cobra.Command, _ []string) error {
		secret, public, err := backup.NewKey()
		if err != nil {
			return err
		}
		for _, x := range []struct {
			path, text string
			mode       os.FileMode
		}{{out, secret, 0o600}, {out + ".pub", public, 0o644}} {
			f, err := os.OpenFile(x.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, x.mode)
			if err != nil {
				return refusal(err)
			}
			_, err = f.WriteString(x.text)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
		}
		cmd.Printf("%s is the secret key: keep it away from the nodes, and where you find it when they are gone\n%s.pub is for the nodes: backup: { key: file:%s.pub }\n", out, out, out)
		return nil
	})
	cmd.Long = "Nodes with the public key only can write backups and not read them."
	cmd.Flags().StringVar(&out, "out", "", "`file` for the secret key; the public one is beside it, with .pub (required)")
	_ = cmd.MarkFlagRequired("out") // the flag is there
	return cmd
}

func newBackupList() *cobra.Command {
	cmd := leaf("list", "The backups of a directory, oldest first", nil)
	from := fromFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := backup.List(cmd.Context(), backup.Dir(*from), "")
		t := &table{headers: []string{"NAME", "HOME", "EPOCH", "-RECORD", "-SESSIONS", "-SIZE", "ENCRYPTED"}}
		for _, m := range list {
			t.row(m.Name, m.Home, fmt.Sprintf("%d@%s", m.Epoch, m.Host), m.Record, m.Sessions, admin.FormatBytes(m.Stored()), yesNo(m.Sealed != ""))
		}
		t.print(cmd.OutOrStdout(), "no backups")
		return err
	}
	return cmd
}

func newBackupVerify() *cobra.Command {
	cmd := leaf("verify NAME", "Read all of a backup, check it and open what it holds", nil)
	from, keyFile := fromFlag(cmd), cmd.Flags().String("key", "", "`file` with the secret key of an encrypted backup")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		key, err := backup.ReadKey(*keyFile)
		if err != nil {
			return err
		}
		m, err := backup.Find(cmd.Context(), backup.Dir(*from), args[0])
		if err == nil {
			_, err = backup.Verify(cmd.Context(), backup.Dir(*from), &m, key)
		}
		if err != nil {
			return restoreError(err)
		}
		cmd.Printf("%s is whole: %d sessions at record %d of epoch %d@%s\n", m.Name, m.Sessions, m.Record, m.Epoch, m.Host)
		return nil
	}
	return cmd
}
