package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill"
	"causeway/internal/drill/canary"
	"causeway/internal/drill/conductor"

	"github.com/spf13/cobra"
)

const featureDrills = "drills"

func (c *ctl) drillCommand() *cobra.Command {
	can := &cobra.Command{Use: "canary", Hidden: true, Args: cobra.NoArgs, Short: "Run canaries of a drill, as its conductor tells them",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return canary.Run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		}}
	return alias("drills", group("drill", "Rehearse a disaster, measure it from outside, and have a report",
		`A plan file says what is done, who may approve, and what ends it early. The drill is
conducted from where this command runs, which must outlive the regions: a machine
of the operator's, or a job. Canaries are processes of their own that know public
addresses only. Interrupted, a drill undoes what it did; killed, it is gone on with,
or undone, by drill resume or drill abort on the same machine.

Exit codes of run: 0 done, 1 a step failed and all is undone, 3 refused, nothing was
done, 4 a goal was missed, 5 ended by a guardrail or an operator and undone, 6 not
all could be undone.`,
		`  causeway ctl drill check quarterly.yaml
  causeway ctl drill run quarterly.yaml --dry-run
  causeway ctl drill run quarterly.yaml --yes
  causeway ctl drill watch                       # on another machine
  causeway ctl --context eu drill approve quarterly-20260301-120000
  causeway ctl drill report quarterly-20260301-120000
  causeway ctl drill verify quarterly-20260301-120000`,
		c.drillCheck(), c.drillRun(), c.drillWatch(), c.drillTouch(admin.DrillApprove), c.drillTouch(admin.DrillAbort), c.drillTouch(admin.DrillObserve),
		c.drillResume(), c.drillReport(), c.drillHistory(), c.drillVerify(), can))
}

// drillsDir is where drills of this machine are kept.
func (c *ctl) drillsDir(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	dir := c.std.getenv("XDG_STATE_HOME")
	if dir == "" {
		home := c.std.getenv("HOME")
		if home == "" {
			return "", errors.New("HOME is not set; give --dir")
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "causeway", "drills"), nil
}

func dirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", "", "`directory` of the drills of this machine (default ~/.local/state/causeway/drills)")
}

// readPlan reads a plan and finds its regions.
func (c *ctl) readPlan(cmd *cobra.Command, file string) (*drill.Drill, map[string][]admin.Address, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read the plan: %w", err)
	}
	p, err := drill.Parse(file, text)
	if err != nil {
		return nil, nil, &exitError{exitUsage, err}
	}
	at, err := c.planRegions(p)
	return drill.Compile(p), at, err
}

func (c *ctl) planRegions(p *drill.Plan) (map[string][]admin.Address, error) {
	at := map[string][]admin.Address{}
	for _, r := range p.Regions {
		var a admin.Address
		var err error
		switch {
		case r.Server != "":
			a, err = c.overTCP(r.Server, r.TokenFile, r.CA)
		case r.Socket != "":
			a = admin.Address{Socket: c.expand(r.Socket)}
		default:
			a, _, err = c.fromContext(r.Context)
		}
		if err != nil {
			return nil, fmt.Errorf("regions.%s: %w", r.Name, err)
		}
		at[r.Name] = append(at[r.Name], a)
		for _, more := range r.More {
			m := admin.Address{Socket: c.expand(more)}
			if strings.Contains(more, "://") {
				m = a
				m.URL, m.Socket = more, ""
			}
			at[r.Name] = append(at[r.Name], m)
		}
	}
	return at, nil
}

func (c *ctl) drillCheck() *cobra.Command {
	return leaf("check PLAN", "Is everything there that a plan needs? Nothing is changed", func(cmd *cobra.Command, args []string) error {
		d, at, err := c.readPlan(cmd, args[0])
		if err != nil {
			return err
		}
		list, err := c.preconditions(cmd.Context(), d, at)
		if err != nil {
			return err
		}
		b, err := json.Marshal(admin.Page[conductor.Precondition]{Items: list})
		if err != nil {
			return err
		}
		if err := show(c, cmd, b, func(w io.Writer, page admin.Page[conductor.Precondition]) { c.printPreconditions(w, page.Items) }); err != nil {
			return err
		}
		return refusedDrill(list)
	})
}

func (c *ctl) preconditions(ctx context.Context, d *drill.Drill, at map[string][]admin.Address) ([]conductor.Precondition, error) {
	return conductor.Check(ctx, conductor.Options{Drill: d, Regions: at, ID: "check"})
}

func (c *ctl) printPreconditions(w io.Writer, list []conductor.Precondition) {
	t := c.table("CHECK", "OK", "WHAT", "FIX")
	t.cut = false
	for _, p := range list {
		t.row(p.Name, yesNo(p.OK), p.Reason, orDash(p.Fix))
	}
	t.print(w, "nothing is needed")
}

// refusedDrill is the error of preconditions that are not met.
func refusedDrill(list []conductor.Precondition) error {
	var lines []string
	for _, p := range list {
		if !p.OK {
			lines = append(lines, fmt.Sprintf("%s: %s; %s", p.Name, p.Reason, p.Fix))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &exitError{exitRefused, errors.New(strings.Join(append([]string{"refused; nothing was done"}, lines...), "\n"))}
}

func (c *ctl) drillRun() *cobra.Command {
	var by, id string
	var dir *string
	cmd := c.changing(leaf("run PLAN", "Hold a drill", func(cmd *cobra.Command, args []string) error {
		d, at, err := c.readPlan(cmd, args[0])
		if err != nil {
			return err
		}
		if c.dryRun {
			return c.printDrill(cmd, d)
		}
		list, err := c.preconditions(cmd.Context(), d, at)
		if err != nil {
			return err
		}
		if err := refusedDrill(list); err != nil {
			return err
		}
		if !c.yes {
			if err := c.askDrill(cmd, d); err != nil {
				return err
			}
		}
		if id == "" {
			id = d.Plan.Name + "-" + c.now().UTC().Format("20060102-150405")
		}
		where, err := c.drillsDir(*dir)
		if err != nil {
			return err
		}
		where = filepath.Join(where, id)
		if err := os.MkdirAll(filepath.Dir(where), 0o700); err != nil {
			return err
		}
		if err := os.Mkdir(where, 0o700); err != nil {
			return refusal(fmt.Errorf("begin the drill: %w", err))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "drill %s, in %s; causeway ctl drill abort %s gives it up, as does Ctrl-C\n", id, where, id)
		rep, err := conductor.Run(cmd.Context(), c.conducting(cmd, d, at, where, id, by))
		return c.drillEnded(cmd, rep, err, id)
	}))
	cmd.Long = "First everything is checked that the plan needs, as drill check does; with something\nmissing nothing is done (exit code 3). --dry-run prints the steps with what would be\ndone and undone."
	cmd.Flags().StringVar(&by, "by", "", "`name` of who holds the drill, for the report (default: the user)")
	cmd.Flags().StringVar(&id, "id", "", "`id` of the drill (default: the plan's name and the time)")
	dir = dirFlag(cmd)
	return cmd
}

func (c *ctl) conducting(cmd *cobra.Command, d *drill.Drill, at map[string][]admin.Address, where, id, by string) conductor.Options {
	if by == "" {
		by = c.std.getenv("USER")
	}
	if by == "" {
		by = "unknown"
	}
	return conductor.Options{Drill: d, Dir: where, ID: id, By: by, Tool: readBuild().String(), Regions: at, Told: func(e drill.Event, r *drill.Run) {
		printDrillEvent(cmd.ErrOrStderr(), e, r)
	}}
}

// printDrillEvent is the live progress.
func printDrillEvent(w io.Writer, e drill.Event, r *drill.Run) {
	text := e.Text
	if e.Step >= 0 && e.Step < len(r.Drill.Steps) {
		text = strings.TrimSuffix(r.Drill.Steps[e.Step].Name+": "+e.Text, ": ")
	} else if e.Name != "" {
		text = strings.TrimSuffix(e.Name+": "+e.Text, ": ")
	}
	fmt.Fprintf(w, "%9s  %-11s %s\n", admin.FormatDuration(max(0, e.At.Sub(r.Started))), strings.ReplaceAll(e.What, "_", " "), clean(text))
}

// drillEnded prints the report and gives its exit code.
func (c *ctl) drillEnded(cmd *cobra.Command, rep *drill.Report, err error, id string) error {
	if err != nil {
		return &exitError{exitPartly, fmt.Errorf("%w\nThe drill may not be cleaned up: causeway ctl drill abort %s", err, id)}
	}
	b, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	if err := show(c, cmd, b, func(w io.Writer, rep drill.Report) { fmt.Fprintln(w, rep.String()) }); err != nil {
		return err
	}
	if rep.ExitCode == exitOK {
		return nil
	}
	return &exitError{rep.ExitCode, fmt.Errorf("the drill %s is %s%s", id, rep.Outcome, strings.TrimSuffix(": "+rep.Why, ": "))}
}

// printDrill shows the steps of a plan.
func (c *ctl) printDrill(cmd *cobra.Command, d *drill.Drill) error {
	b, err := json.Marshal(planned(d))
	if err != nil {
		return err
	}
	return show(c, cmd, b, func(w io.Writer, p drillPlan) {
		fmt.Fprintf(w, "%s of home %s, scope %s: would be done\n\n", p.Name, p.Home, p.Scope)
		t := c.table("-STEP", "WHAT", "WITHIN", "UNDONE BY")
		t.cut = false
		for i, s := range p.Steps {
			t.row(i+1, strings.TrimSpace(s.Kind+" "+s.Name), orDash(s.Within), orDash(strings.Join(s.Undo, ", then ")))
		}
		t.print(w, "the plan has no steps")
		fmt.Fprintln(w)
		for _, x := range p.NotTested {
			fmt.Fprintf(w, "not tested: %s\n", x)
		}
	})
}

type drillPlan struct {
	Name      string      `json:"name"`
	Home      string      `json:"home"`
	Scope     string      `json:"scope"`
	Plan      string      `json:"plan_sha256"`
	Steps     []drillStep `json:"steps"`
	NotTested []string    `json:"not_tested"`
}

type drillStep struct {
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	Phase  string   `json:"phase"`
	Within string   `json:"within"`
	Undo   []string `json:"undo"`
}

func planned(d *drill.Drill) drillPlan {
	p := drillPlan{Name: d.Plan.Name, Home: d.Plan.Home, Scope: d.Plan.Scope.Kind, Plan: d.Plan.Hash(), NotTested: d.NotTested}
	for _, s := range d.Steps {
		x := drillStep{Kind: string(s.Kind), Name: s.Name, Undo: []string{}}
		if s.Phase >= 0 {
			x.Phase = d.Phases[s.Phase].Name
		}
		if s.Wait > 0 {
			x.Within = admin.FormatDuration(s.Wait)
		}
		for i := len(s.Undo) - 1; i >= 0; i-- {
			x.Undo = append(x.Undo, s.Undo[i].String())
		}
		p.Steps = append(p.Steps, x)
	}
	return p
}

// askDrill has the plan's name typed: devices will lose their connections.
func (c *ctl) askDrill(cmd *cobra.Command, d *drill.Drill) error {
	if !c.interactive(cmd.InOrStdin()) {
		return &exitError{exitRefused, errors.New("refused; nothing was done\nconfirm: there is no terminal to ask at; add --yes, or --dry-run to see what would be done")}
	}
	if err := c.printDrill(cmd, d); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "type %s to go on: ", d.Plan.Name)
	var line string
	if _, err := fmt.Fscanln(cmd.InOrStdin(), &line); err != nil && line == "" || line != d.Plan.Name {
		return &exitError{exitRefused, errors.New("not confirmed; nothing was done")}
	}
	return nil
}

func (c *ctl) drillResume() *cobra.Command {
	var dir *string
	var by string
	cmd := leaf("resume ID", "Go on with a drill of this machine whose conductor is gone", func(cmd *cobra.Command, args []string) error {
		return c.resumeDrill(cmd, *dir, args[0], by, true)
	})
	cmd.Long = "The step that was under way is done again. New canaries are started: what happened\nmeanwhile was seen by nobody, and the report says so. To undo it all, drill abort."
	cmd.Flags().StringVar(&by, "by", "", "`name` of who goes on with it")
	dir = dirFlag(cmd)
	return cmd
}

func (c *ctl) resumeDrill(cmd *cobra.Command, dir, id, by string, goOn bool) error {
	where, err := c.drillsDir(dir)
	if err != nil {
		return err
	}
	where = filepath.Join(where, id)
	r, _, err := drill.Load(where)
	if err != nil {
		return err
	}
	if r.State == drill.Ended {
		return &exitError{exitRefused, fmt.Errorf("the drill %s has ended: %s", id, r.Outcome)}
	}
	at, err := c.planRegions(r.Drill.Plan)
	if err != nil {
		return err
	}
	rep, err := conductor.Resume(cmd.Context(), c.conducting(cmd, r.Drill, at, where, id, by), goOn)
	return c.drillEnded(cmd, rep, err, id)
}

// drillTouch is approve, abort or observe.
func (c *ctl) drillTouch(what string) *cobra.Command {
	var step, reason string
	var dir *string
	short := map[string]string{admin.DrillApprove: "Approve the step that a drill waits at, under the name of your token",
		admin.DrillAbort: "Have a drill given up; what it did is undone", admin.DrillObserve: "Be named in the report as one who watched"}[what]
	cmd := leaf(what+" ID", short, func(cmd *cobra.Command, args []string) error {
		path := admin.Path(featureDrills, args[0])
		b, err := c.call(cmd, http.MethodGet, featureDrills, path, nil, nil)
		if err != nil {
			if what == admin.DrillAbort && c.hasDrill(*dir, args[0]) {
				return c.resumeDrill(cmd, *dir, args[0], "", false)
			}
			return err
		}
		var d admin.Drill
		if err := understand(b, &d); err != nil {
			return err
		}
		params := url.Values{}
		setParam(params, "reason", reason)
		if what == admin.DrillApprove {
			if step == "" {
				step = d.Waits
			}
			if step == "" {
				return &exitError{exitRefused, fmt.Errorf("the drill %s waits for nobody: %s", d.ID, d.Progress)}
			}
			params.Set("step", step)
		}
		b, err = c.call(cmd, http.MethodPost, featureDrills, path+"/"+what, params, nil)
		if err != nil {
			return err
		}
		if what == admin.DrillAbort && c.orphaned(*dir, args[0]) {
			return c.resumeDrill(cmd, *dir, args[0], "", false)
		}
		return show(c, cmd, b, c.printDrillState)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for the report")
	switch what {
	case admin.DrillApprove:
		cmd.Flags().StringVar(&step, "step", "", "the step's `name` (default: the one it waits at)")
	case admin.DrillAbort:
		cmd.Long = "The drill's conductor hears of it through any region and undoes what was done. Where\nits files are on this machine and its conductor is gone, this command undoes it."
	}
	dir = dirFlag(cmd)
	if what != admin.DrillAbort {
		_ = cmd.Flags().MarkHidden("dir") // the flag is defined a line above
	}
	return cmd
}

func (c *ctl) hasDrill(dir, id string) bool {
	where, err := c.drillsDir(dir)
	return err == nil && fileExists(filepath.Join(where, id, drill.JournalFile))
}

// orphaned says that a drill's files are here, it has not ended, and nobody conducts it.
func (c *ctl) orphaned(dir, id string) bool {
	where, err := c.drillsDir(dir)
	if err != nil || !c.hasDrill(dir, id) {
		return false
	}
	r, _, err := drill.Load(filepath.Join(where, id))
	return err == nil && r.State != drill.Ended && !conductor.Locked(filepath.Join(where, id))
}

func (c *ctl) drillWatch() *cobra.Command {
	cmd := leaf("watch", "Look on at the drill under way, or at the last one", func(cmd *cobra.Command, _ []string) error {
		last := ""
		for {
			b, err := c.call(cmd, http.MethodGet, featureDrills, admin.Path(featureDrills), nil, nil)
			if err != nil {
				return err
			}
			var page admin.Page[admin.Drill]
			if err := understand(b, &page); err != nil {
				return err
			}
			if len(page.Items) == 0 {
				return errors.New("no drill was held")
			}
			d := page.Items[0]
			if line := d.Progress + d.Waits; line != last {
				one, err := json.Marshal(d)
				if err != nil {
					return err
				}
				if err := show(c, cmd, one, c.printDrillState); err != nil {
					return err
				}
				last = line
			}
			if d.Ended != nil {
				return nil
			}
			if err := sleep(cmd.Context(), time.Second); err != nil {
				return nil
			}
		}
	})
	return cmd
}

func (c *ctl) printDrillState(w io.Writer, d admin.Drill) {
	waits := ""
	if d.Waits != "" {
		waits = strings.TrimSuffix(d.Waits+": "+d.WaitsWhy, ": ") + "; causeway ctl drill approve " + d.ID
	}
	facts(w, "drill", fmt.Sprintf("%s of home %s, by %s, from %s", d.ID, d.Home, d.By, d.At), "progress", d.Progress, "waits for", waits, "ended early", d.Why)
	for _, m := range d.Missed {
		fmt.Fprintf(w, "missed       %s\n", clean(m))
	}
}

func (c *ctl) drillReport() *cobra.Command {
	var dir *string
	var html bool
	cmd := leaf("report ID", "The report of a drill that was held from this machine", func(cmd *cobra.Command, args []string) error {
		where, err := c.drillsDir(*dir)
		if err != nil {
			return err
		}
		where = filepath.Join(where, args[0])
		if html {
			b, err := os.ReadFile(filepath.Join(where, drill.ReportHTML))
			if err != nil {
				return c.noReport(err, args[0])
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		}
		b, err := os.ReadFile(filepath.Join(where, drill.ReportJSON))
		if err != nil {
			return c.noReport(err, args[0])
		}
		if err := show(c, cmd, b, func(w io.Writer, r drill.Report) { fmt.Fprintln(w, r.String()) }); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "the page is %s\n", filepath.Join(where, drill.ReportHTML))
		return nil
	})
	cmd.Flags().BoolVar(&html, "html", false, "write the page to standard output")
	dir = dirFlag(cmd)
	return cmd
}

func (c *ctl) noReport(err error, id string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no report of drill %s here: the machine it was run from has it (causeway ctl drill history); give --dir", id)
	}
	return err
}

func (c *ctl) drillHistory() *cobra.Command {
	return leaf("history", "The drills that the region keeps, the newest first", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, featureDrills, admin.Path(featureDrills), nil, func(w io.Writer, page admin.Page[admin.Drill]) {
			t := c.table("DRILL", "HOME", "OUTCOME", "BEGAN", "-TOOK", "BY", "WHAT WAS MISSED")
			for _, d := range page.Items {
				took, outcome := "-", d.Outcome
				if d.Ended != nil {
					took = admin.FormatDuration(d.Ended.Sub(d.Started))
				} else {
					outcome = "under way"
				}
				missed := d.Why
				if missed == "" && len(d.Missed) > 0 {
					missed = strings.Join(d.Missed, "; ")
				}
				t.row(d.ID, d.Home, outcome, d.Started.Format("2006-01-02 15:04"), took, d.By, orDash(missed))
			}
			t.print(w, "no drill was held")
		})
	})
}

func (c *ctl) drillVerify() *cobra.Command {
	var dir *string
	cmd := leaf("verify ID", "Prove that a drill's files are as they were, and its figures those of its ledgers", func(cmd *cobra.Command, args []string) error {
		where, err := c.drillsDir(*dir)
		if err != nil {
			return err
		}
		if strings.ContainsRune(args[0], filepath.Separator) {
			where = args[0]
		} else {
			where = filepath.Join(where, args[0])
		}
		v, err := drill.Verify(where)
		if err != nil {
			return err
		}
		kept := c.keptHead(cmd, v.ID)
		if kept != "" && kept != v.Head {
			v.Intact, v.Reasons = false, append(v.Reasons, "the regions keep another head: "+kept)
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := show(c, cmd, b, func(w io.Writer, v drill.Verified) {
			state := "intact"
			if !v.Intact {
				state = "ALTERED: " + strings.Join(v.Reasons, "; ")
			}
			region := "the same as the region keeps"
			if kept == "" {
				region = "not compared: no region was asked, or it does not know the drill"
			}
			facts(w, "drill", v.ID, "files", fmt.Sprint(v.Files), "state", state, "head", v.Head, "kept head", region)
		}); err != nil {
			return err
		}
		if !v.Intact {
			return errors.New("the files of the drill are not as they were")
		}
		return nil
	})
	cmd.Long = "ID may be a path. Without a region that answers the files are held against their own\nchain only; a region's history has the head of the chain, which nobody can make anew."
	dir = dirFlag(cmd)
	return cmd
}

// keptHead is what the region that ctl speaks to keeps of a drill; "" if none answers.
func (c *ctl) keptHead(cmd *cobra.Command, id string) string {
	d, err := look[admin.Drill](c, cmd, featureDrills, admin.Path(featureDrills, id))
	if err != nil {
		return ""
	}
	return d.Head
}
