package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

// maxObjectsFile bounds what is read before the node judges it.
const maxObjectsFile = 1 << 20

// readObjects reads a file of objects, or standard input for -.
func (c *ctl) readObjects(cmd *cobra.Command, path string) (admin.ObjectsFile, error) {
	if path == "" {
		return admin.ObjectsFile{}, usageError(cmd, errors.New("no file is given: -f FILE, or -f - for standard input"))
	}
	var b []byte
	var err error
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxObjectsFile+1))
		path = "standard input"
	} else {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			b, err = io.ReadAll(io.LimitReader(f, maxObjectsFile+1))
			_ = f.Close()
		}
	}
	if err == nil && len(b) > maxObjectsFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxObjectsFile)
	}
	if err != nil {
		return admin.ObjectsFile{}, fmt.Errorf("read the objects: %w", err)
	}
	return admin.ObjectsFile{Name: filepath.ToSlash(path), Text: string(b)}, nil
}

func (c *ctl) applyCommand() *cobra.Command {
	var file, canary, note string
	var watch time.Duration
	var auto, status bool
	cmd := leaf("apply", "Put a file in force in the whole region", func(cmd *cobra.Command, _ []string) error {
		if status {
			return c.followRollout(cmd, false)
		}
		f, err := c.readObjects(cmd, file)
		if err != nil {
			return err
		}
		return c.apply(cmd, f, canary, watch, auto, note)
	})
	cmd.Long = `Puts the sections of a file (limits, ack, namespaces, takeover, links, shared,
handover, residency, acl) in force on all nodes of the region at once, and in
the copies that stand by. What a section says replaces the whole section of the
node files; sections that the file lacks are the node files' again. The file is
judged whole: with one mistake nothing changes.

With --canary some nodes try it first; with --watch they look for harm: refused
CONNECTs, publishes and subscribes, disconnects, error acknowledgements, as many
as before and as on the other nodes. --auto-rollback takes the file back by
itself when it does harm, also when this terminal or the node that leads is
gone. Exit code 5: it was taken back, or stopped where it was tried.`
	cmd.Example = `  causeway ctl apply -f region.yaml
  causeway ctl apply -f region.yaml --canary eu-1 --watch 5m --auto-rollback
  causeway ctl apply -f region.yaml --canary 20% --watch 10m --auto-rollback --yes
  causeway ctl apply --status`
	c.changing(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&file, "file", "f", "", "`file` of region objects in YAML; - is standard input")
	fl.StringVar(&canary, "canary", "", "a `node`, or a part of the nodes such as 20%, that tries it first")
	fl.DurationVar(&watch, "watch", 0, "for how long harm is looked for (5m with --canary)")
	fl.BoolVar(&auto, "auto-rollback", false, "take it back by itself when it does harm")
	fl.StringVar(&note, "note", "", "why, for the history")
	fl.BoolVar(&status, "status", false, "follow the file that is tried now")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml")
	return c.homeFlag(cmd)
}

// homeFlag is for commands about what is configured of a home: in a region that took over, also that of the lost region.
func (c *ctl) homeFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&c.ofHome, "home", "", "the `home` that is meant, if it is not the region's own: one that was taken over")
	return cmd
}

func (c *ctl) homeParams() url.Values {
	p := url.Values{}
	setParam(p, "home", c.ofHome)
	return p
}

func (c *ctl) apply(cmd *cobra.Command, f admin.ObjectsFile, canary string, watch time.Duration, auto bool, note string) error {
	if auto && canary == "" && watch == 0 {
		return usageError(cmd, errors.New("--auto-rollback looks for harm: give --watch, or --canary"))
	}
	params := c.homeParams()
	setParam(params, "canary", canary)
	setParam(params, "note", note)
	if watch > 0 {
		params.Set("watch", watch.String())
	}
	if auto {
		params.Set("auto_rollback", "true")
	}
	x := change{method: http.MethodPost, feature: "objects", path: admin.Path("objects"), params: params, body: f}
	if c.dryRun || !c.yes {
		params.Set("dry_run", "true")
		plan, err := c.call(cmd, x.method, x.feature, x.path, params, f)
		if err != nil {
			return err
		}
		if c.dryRun {
			return show(c, cmd, plan, printObjectsChange)
		}
		if err := c.ask(cmd, x, plan); err != nil {
			return err
		}
		params.Del("dry_run")
		var seen admin.ObjectsChange
		if json.Unmarshal(plan, &seen) == nil {
			params.Set("seen", strconv.FormatUint(seen.Revision, 10)) // what was shown is what is done
		}
	}
	b, err := c.call(cmd, x.method, x.feature, x.path, params, f)
	if err != nil {
		return err
	}
	var done admin.ObjectsChange
	if err := understand(b, &done); err != nil {
		return err
	}
	if done.Rollout == nil {
		return show(c, cmd, b, printObjectsChange)
	}
	return c.followRollout(cmd, true)
}

func printObjectsChange(w io.Writer, v admin.ObjectsChange) {
	printChange(w, admin.Change{Action: v.Action, Target: v.Target, DryRun: v.DryRun, Effects: v.Effects})
	if !v.DryRun && v.Revision > 0 {
		fmt.Fprintf(w, "revision %d is in force\n", v.Revision)
	}
}

// rolloutEvery is how often a rollout is looked at, and rolloutLost for how long no node need answer meanwhile: the one
// that was asked may be the one that is tried.
const (
	rolloutEvery = time.Second
	rolloutLost  = 2 * time.Minute
)

// followRollout shows how a rollout goes on until it ended.
func (c *ctl) followRollout(cmd *cobra.Command, began bool) error {
	said := ""
	var lost time.Time
	for {
		b, err := c.call(cmd, http.MethodGet, "objects", admin.Path("objects", "rollout"), nil, nil)
		var gone *admin.Unreachable
		var p *admin.Problem
		switch {
		case err == nil:
			lost = time.Time{}
		case cmd.Context().Err() != nil:
			return &exitError{exitPartly, errors.New("the file is being tried; it goes on by itself (causeway ctl apply --status)")}
		case began && (errors.As(err, &gone) || errors.As(err, &p) && p.Status == http.StatusServiceUnavailable):
			if lost.IsZero() {
				lost = c.now()
				fmt.Fprintln(cmd.ErrOrStderr(), "the node does not answer; the rollout goes on without it")
			}
			if c.now().Sub(lost) > rolloutLost {
				return &exitError{exitPartly, fmt.Errorf("the node does not answer for %s: %w", rolloutLost, err)}
			}
		default:
			return err
		}
		var r admin.Rollout
		if err == nil {
			if err := understand(b, &r); err != nil {
				return err
			}
			began = true
			if line := rolloutLine(&r, c.now()); line != said && c.output.value == "table" {
				fmt.Fprintln(cmd.ErrOrStderr(), clean(line))
				said = line
			}
			if r.State != "watching" {
				return c.rolloutEnded(cmd, b, &r)
			}
		}
		select {
		case <-cmd.Context().Done():
		case <-time.After(rolloutEvery):
		}
	}
}

func rolloutLine(r *admin.Rollout, now time.Time) string {
	where := "all nodes"
	if len(r.Nodes) > 0 {
		where = strings.Join(r.Nodes, ", ")
	}
	if r.State != "watching" {
		return fmt.Sprintf("candidate %d on %s: %s", r.Candidate, where, strings.ReplaceAll(r.State, "_", " "))
	}
	left := r.UntilAt.Sub(now).Round(10 * time.Second)
	return fmt.Sprintf("candidate %d on %s: no harm seen, about %s to go", r.Candidate, where, max(left, 0))
}

func (c *ctl) rolloutEnded(cmd *cobra.Command, b json.RawMessage, r *admin.Rollout) error {
	if err := show(c, cmd, b, printRollout); err != nil {
		return err
	}
	switch r.State {
	case "done":
		return nil
	case "rolled_back":
		return &exitError{exitAborted, fmt.Errorf("rolled back: %s", clean(r.Reason))}
	default:
		return &exitError{exitAborted, fmt.Errorf("stopped where it was tried: %s; causeway ctl rollback takes it back there", clean(r.Reason))}
	}
}

func printRollout(w io.Writer, r admin.Rollout) {
	if r.State == "done" {
		fmt.Fprintf(w, "no harm was seen; revision %d is in force on all nodes\n", r.Revision)
		return
	}
	fmt.Fprintf(w, "candidate %d, made from revision %d: %s\n  %s\n", r.Candidate, r.From, strings.ReplaceAll(r.State, "_", " "), clean(r.Reason))
	for _, h := range r.Harm {
		fmt.Fprintf(w, "  %s: %d, %.1f a second; before %.1f, on other nodes %.1f\n", strings.ReplaceAll(h.Kind, "_", " "), h.Events, h.Now, h.Before, h.Others)
	}
	for _, d := range r.Denials {
		fmt.Fprintf(w, "  rule %s of revision %d denied %d publishes and %d subscribes\n", clean(d.Rule), d.Revision, d.Publishes, d.Subscribes)
	}
}

func (c *ctl) diffCommand() *cobra.Command {
	var file string
	cmd := leaf("diff", "What a file of region objects would change", func(cmd *cobra.Command, _ []string) error {
		f, err := c.readObjects(cmd, file)
		if err != nil {
			return err
		}
		b, err := c.call(cmd, http.MethodPost, "objects", admin.Path("objects", "diff"), c.homeParams(), f)
		if err != nil {
			return err
		}
		return show(c, cmd, b, func(w io.Writer, v admin.ObjectsChange) {
			for _, e := range v.Effects {
				fmt.Fprintln(w, clean(e))
			}
		})
	})
	cmd.Example = "  causeway ctl diff -f region.yaml"
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` of region objects in YAML; - is standard input")
	return c.homeFlag(cmd)
}

func (c *ctl) getCommand() *cobra.Command {
	var revision uint64
	var all bool
	cmd := &cobra.Command{Use: "get [SECTION]", Short: "What is configured of the region", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		params := c.homeParams()
		if len(args) > 0 {
			params.Set("section", args[0])
		}
		if all {
			params.Set("all", "true")
		}
		if revision > 0 {
			params.Set("revision", strconv.FormatUint(revision, 10))
		}
		return get(c, cmd, "objects", admin.Path("objects"), params, func(w io.Writer, o admin.ObjectsText) {
			switch {
			case o.Revision == 0 && o.Text == "":
				fmt.Fprintln(w, "# no objects were applied: the node files hold (causeway ctl get --all shows them)")
			case o.Revision > 0:
				fmt.Fprintf(w, "# revision %d, by %s at %s\n", o.Revision, clean(o.By), o.At.Format(time.RFC3339))
			}
			fmt.Fprint(w, o.Text)
			if o.Problem != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), clean(o.Problem))
			}
		})
	}}
	cmd.Example = "  causeway ctl get\n  causeway ctl get acl\n  causeway ctl get --all > region.yaml\n  causeway ctl get --revision 1234"
	cmd.Flags().BoolVar(&all, "all", false, "everything that objects can say, as it is in force, wherever it is from")
	cmd.Flags().Uint64Var(&revision, "revision", 0, "a `revision` of causeway ctl history")
	return c.homeFlag(cmd)
}

func (c *ctl) historyCommand() *cobra.Command {
	return c.homeFlag(leaf("history", "The last revisions of the region objects", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "objects", admin.Path("objects", "history"), c.homeParams(), func(w io.Writer, p admin.Page[admin.ObjectsRevision]) {
			t := c.table("-REVISION", "AT", "BY", "-BYTES", "", "NOTE")
			for _, r := range p.Items {
				mark := ""
				switch {
				case r.InForce:
					mark = "in force"
				case r.Removed:
					mark = "removed"
				}
				t.row(r.Revision, r.At.Format(time.RFC3339), r.By, r.Bytes, mark, r.Note)
			}
			t.print(w, "no objects were applied: the node files hold")
		})
	}))
}

func (c *ctl) rollbackCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rollback [REVISION]", Short: "Take back a file that is tried, or bring back a revision", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			params := c.homeParams()
			if len(args) > 0 {
				if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
					return usageError(cmd, fmt.Errorf("%q is no revision", args[0]))
				}
				params.Set("revision", args[0])
			}
			return c.change(cmd, change{method: http.MethodPost, feature: "objects", path: admin.Path("objects", "rollback"), params: params})
		}}
	cmd.Example = "  causeway ctl rollback\n  causeway ctl rollback 1234 --yes"
	return c.homeFlag(c.changing(cmd))
}

func (c *ctl) aclCommand() *cobra.Command {
	rules := leaf("list", "The access rules in force on this node, and what they denied", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "objects", admin.Path("objects", "acl"), nil, func(w io.Writer, p admin.Page[admin.ACLRule]) {
			t := c.table("HOME", "RULE", "-REVISION", "-DENIED PUBLISHES", "-SUBSCRIBES")
			for _, r := range p.Items {
				t.row(r.Home, r.Rule, r.Revision, r.Publishes, r.Subscribes)
			}
			t.print(w, "no access rules: everybody may do everything")
		})
	})
	var namespace, username, homeName string
	test := leaf("test CLIENT TOPIC", "What a device may do, and by which rule", func(cmd *cobra.Command, args []string) error {
		params := url.Values{"client": {args[0]}, "topic": {args[1]}}
		setParam(params, "namespace", namespace)
		setParam(params, "username", username)
		setParam(params, "home", homeName)
		return get(c, cmd, "objects", admin.Path("objects", "acl", "test"), params, func(w io.Writer, a admin.ACLAnswer) {
			if !strings.ContainsAny(args[1], "+#") {
				fmt.Fprintf(w, "publish %s: %s\n", clean(args[1]), decided(a.Publish))
			}
			fmt.Fprintf(w, "subscribe %s: %s\n", clean(args[1]), decided(a.Subscribe))
		})
	})
	test.Long = "Asks the rules of the node for a client id and a topic, or a filter to subscribe to. The user name of a\ndevice that is connected to the node is known; give --username for others."
	test.Example = "  causeway ctl acl test car-1 cmd/car-1/door\n  causeway ctl acl test car-1 'cmd/#' --username car-1"
	namespaceFlag(test, &namespace, "", "namespace of the device (default: default)")
	test.Flags().StringVar(&username, "username", "", "its user `name`")
	test.Flags().StringVar(&homeName, "home", "", "`home` whose rules are asked")
	return alias("acls", group("acl", "Access rules", "", "", rules, test))
}

func decided(d admin.ACLDecision) string {
	word := "denied"
	if d.Allowed {
		word = "allowed"
	}
	switch {
	case d.Rule == "":
		return word + ", there are no rules"
	case d.Revision == 0:
		return fmt.Sprintf("%s by %s", word, clean(d.Rule))
	}
	return fmt.Sprintf("%s by rule %s of revision %d", word, clean(d.Rule), d.Revision)
}

func (c *ctl) usersCommand() *cobra.Command {
	all := leaf("list", "Who may connect with a password", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "users", admin.Path("users"), c.homeParams(), func(w io.Writer, p admin.Page[admin.User]) {
			t := c.table("NAME", "HASH", "ORIGIN")
			for _, u := range p.Items {
				t.row(u.Name, u.Hash, u.Origin)
			}
			t.print(w, "no users")
		})
	})
	edit := func(use, short, method string) *cobra.Command {
		var hash string
		cmd := leaf(use, short, func(cmd *cobra.Command, args []string) error {
			u := admin.UserEdit{Hash: hash}
			if hash == "" {
				password, err := readPassword(cmd.Context(), c.std)
				if err != nil {
					return err
				}
				u.Password = string(password)
			}
			return c.change(cmd, change{method: method, feature: "users", path: admin.Path("users", args[0]), params: c.homeParams(), body: u})
		})
		cmd.Flags().StringVar(&hash, "hash", "", "bcrypt or argon2id `hash` in place of a password")
		return c.changing(cmd)
	}
	add := edit("add NAME", "Add a user to the region", http.MethodPost)
	add.Long = "The password is asked for, or read from standard input. All nodes of the region admit the user at once,\nand so does a region that takes its home over."
	add.Example = "  causeway ctl users add sensor-7\n  causeway ctl users add sensor-8 --hash '$2y$10$...' --yes"
	passwd := edit("passwd NAME", "Change the password of a user of the region", http.MethodPut)
	del := c.changing(leaf("delete NAME", "Remove a user from the region", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodDelete, feature: "users", path: admin.Path("users", args[0]), params: c.homeParams()})
	}))
	return alias("user", group("users", "Users with passwords that the region has", "", "", c.homeFlag(all), c.homeFlag(add), c.homeFlag(passwd), c.homeFlag(del)))
}

// regionTokens are the commands about tokens that a node is asked for.
func (c *ctl) regionTokens() []*cobra.Command {
	all := leaf("list", "The tokens that admit to the admin API", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "tokens", admin.Path("tokens"), c.homeParams(), func(w io.Writer, p admin.Page[admin.Token]) {
			t := c.table("NAME", "ROLE", "ORIGIN", "ADDED", "BY")
			for _, k := range p.Items {
				added := "-"
				if k.At != nil {
					added = k.At.Format(time.RFC3339)
				}
				t.row(k.Name, k.Role, k.Origin, added, orDash(k.By))
			}
			t.print(w, "no tokens")
		})
	})
	add := leaf("add NAME ROLE", "Make a token that all nodes of the region admit", func(cmd *cobra.Command, args []string) error {
		params := c.homeParams()
		params.Set("role", args[1])
		x := change{method: http.MethodPost, feature: "tokens", path: admin.Path("tokens", args[0]), params: params}
		if c.dryRun || !c.yes {
			params.Set("dry_run", "true")
			plan, err := c.call(cmd, x.method, x.feature, x.path, params, nil)
			if err != nil || c.dryRun {
				if err == nil {
					err = show(c, cmd, plan, printChange)
				}
				return err
			}
			if err := c.ask(cmd, x, plan); err != nil {
				return err
			}
			params.Del("dry_run")
		}
		b, err := c.call(cmd, x.method, x.feature, x.path, params, nil)
		if err != nil {
			return err
		}
		return show(c, cmd, b, func(w io.Writer, t admin.TokenAdded) {
			fmt.Fprintln(cmd.ErrOrStderr(), "Give the token below to its owner; it is shown once.")
			fmt.Fprintln(w, t.Token)
		})
	})
	add.Example = "  causeway ctl tokens add ci viewer > ci.token"
	revoke := leaf("revoke NAME", "Admit nobody by a token any more", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodDelete, feature: "tokens", path: admin.Path("tokens", args[0]), params: c.homeParams()})
	})
	return []*cobra.Command{c.homeFlag(all), c.homeFlag(c.changing(add)), c.homeFlag(c.changing(revoke))}
}
