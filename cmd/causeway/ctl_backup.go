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
	"causeway/internal/backup"

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
region whose disks are lost is founded from one by causeway restore; ctl backup restore
gives a region that serves back one namespace.`,
		`  causeway ctl backup create
  causeway ctl backup create --to /mnt/usb/eu
  causeway ctl backup list
  causeway ctl backup verify eu-20260301T120000Z-48211-9b3f0c
  causeway ctl backup restore eu-20260301T120000Z-48211-9b3f0c --namespace cars --key backup.key --dry-run`,
		c.backupCreate(), list, c.backupVerify(), c.backupRestore(), jobs))
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

func (c *ctl) backupRestore() *cobra.Command {
	o := &backupOrder{c: c}
	var from, home, ns, keyFile string
	var replace bool
	cmd := o.flags(leaf("restore NAME", "Give the home back what a backup holds of one namespace", func(cmd *cobra.Command, args []string) error {
		keys := []admin.BackupFileKey{}
		if keyFile != "" {
			var err error
			if keys, err = c.unlockBackup(cmd, args[0], from, keyFile); err != nil {
				return err
			}
		}
		o.path, o.params, o.ask = admin.Path("backups", args[0], "restore"), url.Values{"namespace": {ns}}, ns
		setParam(o.params, "place", from)
		setParam(o.params, "home", home)
		if replace {
			o.params.Set("replace", "true")
		}
		o.body = admin.RestoreRequest{Confirm: ns, Keys: keys}
		return o.do(cmd)
	}))
	cmd.Long = `While the home serves. The node reads all of the backup and checks it, then gives the
namespace's sessions back, with subscriptions, queues, packet ids and wills, and its
retained messages. A session or retained message that is there today stays, unless
--replace: then the backup's takes its place, the device is closed and today's queue is
destroyed. Each session is whole before its device is told that it is present.

Users, rules, limits, links and their spools do not come back. What devices were given
since the backup comes again, at QoS 2 too.

--key opens the backup here: the node gets the keys of this backup's files, and forgets
them. The dry run reads everything as well, and counts. Exit code 6: it was cut short;
the same command goes on from there.`
	cmd.Example = "  causeway ctl backup restore eu-20260301T120000Z-48211-9b3f0c --namespace cars --key backup.key --dry-run\n  causeway ctl backup restore eu-20260301T120000Z-48211-9b3f0c --namespace cars --key backup.key --yes"
	cmd.Flags().StringVar(&ns, "namespace", "", "`namespace` to give back (required)")
	_ = cmd.MarkFlagRequired("namespace") // the flag is there
	placeFlag(cmd, &from, "from")
	cmd.Flags().StringVar(&home, "home", "", "`home` of the backup (default the region's own)")
	cmd.Flags().StringVar(&keyFile, "key", "", "`file` on this machine with the secret key of an encrypted backup; - for standard input")
	cmd.Flags().BoolVar(&replace, "replace", false, "what is there today goes, where the backup has it too")
	return cmd
}

// unlockBackup opens the keys of a backup's files with the secret key, which stays here.
func (c *ctl) unlockBackup(cmd *cobra.Command, name, from, keyFile string) (list []admin.BackupFileKey, err error) {
	read := backup.ReadKey
	if keyFile == "-" {
		read = func(string) (backup.Key, error) { return backup.ReadKeyFrom(cmd.InOrStdin()) }
	}
	key, err := read(keyFile)
	if err != nil {
		return nil, err
	}
	params := url.Values{}
	setParam(params, "place", from)
	b, err := c.call(cmd, http.MethodGet, featureBackups, admin.Path("backups", name, "locks"), params, nil)
	if err != nil {
		return nil, err
	}
	var page admin.Page[backup.Lock]
	if err := understand(b, &page); err != nil {
		return nil, err
	}
	keys, err := key.Unlock(page.Items)
	if err != nil {
		return nil, &exitError{exitRefused, fmt.Errorf("backup %s, with the key of %s: %w", name, keyFile, err)}
	}
	for part, k := range keys {
		list = append(list, admin.BackupFileKey{Part: part, Key: k})
	}
	return list, nil
}

// do shows what will be done, asks unless told not to, begins it and looks on.
func (o *backupOrder) do(cmd *cobra.Command) error {
	if o.c.dryRun || !o.c.yes {
		o.params.Set("dry_run", "true")
		plan, err := o.c.call(cmd, http.MethodPost, featureBackups, o.path, o.params, o.body)
		if err != nil {
			return err
		}
		var job admin.BackupJob
		if err := understand(plan, &job); err != nil {
			return err
		}
		if job.State == "running" { // it has to be found out
			if plan, err = o.watch(cmd, job.ID); err != nil {
				return err
			}
			if err := understand(plan, &job); err != nil {
				return err
			}
		}
		if o.c.dryRun {
			return show(o.c, cmd, plan, printBackupJob)
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
	if b, err = o.watch(cmd, job.ID); err != nil {
		return err
	}
	return show(o.c, cmd, b, printBackupJob)
}

func (o *backupOrder) change() change {
	return change{method: http.MethodPost, feature: featureBackups, path: o.path, params: o.params, confirm: o.ask}
}

// watch shows how far a job is until it is done, and returns it.
func (o *backupOrder) watch(cmd *cobra.Command, id uint64) (json.RawMessage, error) {
	shown := ""
	for end := time.Now().Add(o.limit); time.Now().Before(end); {
		b, err := o.c.call(cmd, http.MethodGet, featureBackups, admin.Path("backups", "jobs"), nil, nil)
		if err != nil {
			return nil, err
		}
		var page admin.Page[json.RawMessage]
		if err := understand(b, &page); err != nil {
			return nil, err
		}
		var raw json.RawMessage
		var job admin.BackupJob
		for _, item := range page.Items {
			var j admin.BackupJob
			if err := json.Unmarshal(item, &j); err == nil && j.ID == id {
				raw, job = item, j
				break
			}
		}
		switch {
		case raw == nil:
			return nil, &exitError{exitPartly, errors.New("the node started again meanwhile: see causeway ctl backup list; where it is not there, or a namespace was restored, do it again, which goes on from where it was")}
		case job.State == "failed":
			return nil, errors.Join(show(o.c, cmd, raw, printBackupJob), jobError(&job))
		case job.State != "running":
			return raw, nil
		}
		if now := progressOf(&job); now != shown && o.c.output.value == "table" {
			shown = now
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", job.Act, now)
		}
		select {
		case <-time.After(backupLook):
		case <-cmd.Context().Done():
			return nil, cmd.Context().Err()
		}
	}
	return nil, &exitError{exitPartly, errors.New("it is under way still: causeway ctl backup jobs")}
}

// jobError is why a job failed; one that can go on says so.
func jobError(j *admin.BackupJob) error {
	if j.Restored != nil && j.Restored.Begun {
		return &exitError{exitPartly, errors.New(j.Reason + "; what is there stays: do it again, which goes on from there")}
	}
	return errors.New(j.Reason)
}

// progressOf is how far a job is, in a line.
func progressOf(j *admin.BackupJob) string {
	r := j.Restored
	if r == nil || !r.Begun {
		return admin.FormatBytes(j.Bytes) + ofTotal(j.Total)
	}
	left := ""
	if r.Seconds > 0 {
		left = ", about " + time.Duration(r.Seconds*float64(time.Second)).Round(time.Second).String() + " left"
	}
	return fmt.Sprintf("%d of %d sessions, %d of %d retained, %d messages, %s%s", r.Sessions+r.Kept+r.Elsewhere+r.Old+r.Refused, r.TotalSessions,
		r.Retained+r.RetainedKept+r.RetainedOld+r.RetainedRefused, r.TotalRetained, r.Messages, admin.FormatBytes(int64(r.Bytes)), left)
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
	of := clean(j.Home)
	if j.Namespace != "" {
		of = "namespace " + clean(j.Namespace) + " of " + of
	}
	if j.DryRun && j.State == "done" {
		verb = "would be done"
	}
	fmt.Fprintf(w, "%s backup of %s: %s\n", j.Act, of, cmp.Or(verb, j.State))
	if b := j.Backup; b != nil {
		fmt.Fprintf(w, "  %s at %s: epoch %d@%s, record %d, %d sessions, %s\n", clean(b.Name), clean(b.Place), b.Epoch, clean(b.Host), b.Record, b.Sessions, admin.FormatBytes(b.Stored))
	}
	for _, e := range j.Effects {
		fmt.Fprintf(w, "  %s\n", clean(e))
	}
}
