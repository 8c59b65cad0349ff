package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureBackups = "backups"

func (c *ctl) backupCommand() *cobra.Command {
	var from string
	list := leaf("list", "The backups of a place, oldest first", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "place", from)
		return get(c, cmd, featureBackups, admin.Path("backups"), params, c.printBackups)
	})
	placeFlag(list, &from, "from")
	jobs := leaf("jobs", "What the node did and does about backups since it started", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, featureBackups, admin.Path("backups", "jobs"), nil, c.printBackupJobs)
	})
	return alias("backups", group("backup", "Copies of homes outside of the region",
		`A backup holds a home as it was at one record of its log: sessions, subscriptions,
queues with what waits in them, retained messages, peers and spools, policies. It is
made while the home serves, by a node that does not lead where there is one. It
exists once it is whole, and is checked before it is believed.

Backups are made by themselves with backup.every and backup.to in the node file. A
region whose disks are lost is founded from one by causeway restore.`,
		`  causeway ctl backup create
  causeway ctl backup create --to /mnt/usb/eu
  causeway ctl backup list
  causeway ctl backup verify eu-20260301T120000Z-48211-9b3f0c`,
		c.backupCreate(), list, c.backupVerify(), jobs))
}

func placeFlag(cmd *cobra.Command, p *string, name string) {
	cmd.Flags().StringVar(p, name, "", "`place` of the backups: a directory of the node by its whole path, or a URL (default backup.to)")
}

// backupOrder is a job and whether it is watched.
type backupOrder struct {
	c      *ctl
	path   string
	params url.Values
	body   any
	ask    string // what a person has to type; empty asks for yes
	wait   bool
	limit  time.Duration
}

func (o *backupOrder) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&o.wait, "wait", true, "show how it goes on until it ended; --wait=false returns at once")
	cmd.Flags().DurationVar(&o.limit, "timeout", 12*time.Hour, "how long to look on")
	return o.c.changing(cmd)
}

func (c *ctl) backupCreate() *cobra.Command {
	o, to, home := &backupOrder{c: c}, "", ""
	cmd := o.flags(leaf("create", "Make a backup of a home that this region serves", func(cmd *cobra.Command, _ []string) error {
		o.path, o.params = admin.Path("backups"), url.Values{}
		setParam(o.params, "place", to)
		setParam(o.params, "home", home)
		c.yes = true // it takes nothing from anybody
		return o.do(cmd)
	}))
	placeFlag(cmd, &to, "to")
	cmd.Flags().StringVar(&home, "home", "", "`home` to back up (default the region's own)")
	return cmd
}

func (c *ctl) backupVerify() *cobra.Command {
	o, from := &backupOrder{c: c}, ""
	cmd := o.flags(leaf("verify NAME", "Read all of a backup, check it and open what it holds", func(cmd *cobra.Command, args []string) error {
		o.path, o.params = admin.Path("backups", args[0], "verify"), url.Values{}
		setParam(o.params, "place", from)
		c.yes = true // it changes nothing
		return o.do(cmd)
	}))
	cmd.Long = "The node needs the secret key of an encrypted backup in backup.key, and memory for the\nsessions. Where it has only the public key, verify on another machine: causeway\nbackup verify."
	placeFlag(cmd, &from, "from")
	return cmd
}

// do shows what will be done, asks unless told not to, begins it and looks on.
func (o *backupOrder) do(cmd *cobra.Command) error {
	if o.c.dryRun || !o.c.yes {
		o.params.Set("dry_run", "true")
		plan, err := o.c.call(cmd, http.MethodPost, featureBackups, o.path, o.params, o.body)
		if err != nil {
			return err
		}
		if o.c.dryRun {
			return show(o.c, cmd, plan, printBackupJob)
		}
		var job admin.BackupJob
		if err := understand(plan, &job); err != nil {
			return err
		}
		// As a change, for the question.
		change, err := json.Marshal(admin.Change{Action: job.Act + " backup", Target: cmp.Or(job.Name, job.Home), DryRun: true, Effects: job.Effects})
		if err != nil {
			return err
		}
		if err := o.c.ask(cmd, o.change(), change); err != nil {
			return err
		}
		o.params.Del("dry_run")
	}
	b, err := o.c.call(cmd, http.MethodPost, featureBackups, o.path, o.params, o.body)
	if err != nil {
		return err
	}
	if !o.wait {
		return show(o.c, cmd, b, printBackupJob)
	}
	var job admin.BackupJob
	if err := understand(b, &job); err != nil {
		return err
	}
	return o.watch(cmd, job.ID)
}

func (o *backupOrder) change() change {
	return change{method: http.MethodPost, feature: featureBackups, path: o.path, params: o.params, confirm: o.ask}
}

// watch shows how far a job is until it ended.
func (o *backupOrder) watch(cmd *cobra.Command, id uint64) error {
	shown := int64(0)
	for end := time.Now().Add(o.limit); time.Now().Before(end); {
		b, err := o.c.call(cmd, http.MethodGet, featureBackups, admin.Path("backups", "jobs"), nil, nil)
		if err != nil {
			return err
		}
		var page admin.Page[json.RawMessage]
		if err := understand(b, &page); err != nil {
			return err
		}
		var raw json.RawMessage
		var job admin.BackupJob
		for _, item := range page.Items {
			if err := json.Unmarshal(item, &job); err == nil && job.ID == id {
				raw = item
				break
			}
		}
		switch {
		case raw == nil:
			return errors.New("the node started again meanwhile: see causeway ctl backup list, and do it again if it is not there")
		case job.State == "failed":
			return errors.Join(show(o.c, cmd, raw, printBackupJob), errors.New(job.Reason))
		case job.State != "running":
			return show(o.c, cmd, raw, printBackupJob)
		case job.Bytes > shown && o.c.output.value == "table":
			shown = job.Bytes
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s%s\n", job.Act, admin.FormatBytes(job.Bytes), ofTotal(job.Total))
		}
		select {
		case <-time.After(backupLook):
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
	}
	return &exitError{exitPartly, errors.New("it is under way still: causeway ctl backup jobs")}
}

// backupLook is how often a job is looked at.
const backupLook = 500 * time.Millisecond

func ofTotal(total int64) string {
	if total <= 0 {
		return ""
	}
	return " of about " + admin.FormatBytes(total)
}

func (c *ctl) printBackups(w io.Writer, page admin.Page[admin.Backup]) {
	t := c.table("NAME", "HOME", "EPOCH", "-RECORD", "AGE", "-SESSIONS", "-SIZE", "ENCRYPTED", "NODE")
	for _, b := range page.Items {
		t.row(b.Name, b.Home, fmt.Sprintf("%d@%s", b.Epoch, b.Host), b.Record, ago(c.now(), b.At), b.Sessions, admin.FormatBytes(b.Stored), yesNo(b.Encrypted), b.Node)
	}
	t.cut = false // a name is there to be copied
	t.print(w, "no backups")
}

func (c *ctl) printBackupJobs(w io.Writer, page admin.Page[admin.BackupJob]) {
	t := c.table("ID", "ACT", "HOME", "NAME", "BY", "BEGAN", "STATE", "-DONE", "REASON")
	for _, j := range page.Items {
		t.row(j.ID, j.Act, j.Home, orDash(j.Name), j.By, ago(c.now(), j.Began)+" ago", j.State, admin.FormatBytes(j.Bytes), orDash(j.Reason))
	}
	t.print(w, "nothing was done about backups since the node started")
}

func printBackupJob(w io.Writer, j admin.BackupJob) {
	verb := map[string]string{"planned": "would be done", "running": "begun, causeway ctl backup jobs shows how far it is"}[j.State]
	fmt.Fprintf(w, "%s backup of %s: %s\n", j.Act, clean(j.Home), cmp.Or(verb, j.State))
	if b := j.Backup; b != nil {
		fmt.Fprintf(w, "  %s at %s: epoch %d@%s, record %d, %d sessions, %s\n", clean(b.Name), clean(b.Place), b.Epoch, clean(b.Host), b.Record, b.Sessions, admin.FormatBytes(b.Stored))
	}
	for _, e := range j.Effects {
		fmt.Fprintf(w, "  %s\n", clean(e))
	}
}
