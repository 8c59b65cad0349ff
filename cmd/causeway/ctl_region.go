package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureRegions = "regions"

func (c *ctl) regionCommand() *cobra.Command {
	status := leaf("status", "Which region serves which home, as this one sees it", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, featureRegions, admin.Path("homes"), nil, c.printHomes)
	})
	show := leaf("show HOME", "A home: its host, its standbys, its voters, and what is under way", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, featureRegions, admin.Path("homes", args[0]), nil, c.printHome)
	})
	return alias("regions", group("region", "Which region serves which home, and changing that",
		`A home goes by the name of the region that founded it, wherever it is served.
Any node of the region may be asked. An order is checked first, and refused with
every reason there is (exit code 3); what can lead to two regions that serve one
home says so and wants the home's name typed, or given with --confirm.

Exit codes of an order: 0 done, 1 failed, 3 refused, 5 given up with everything as
before, 6 begun, and the rest follows by itself.`,
		`  causeway ctl region status
  causeway ctl --context eu region switchover eu --to us
  causeway ctl --context us region failback eu
  causeway ctl --context eu region evacuate eu --dry-run
  causeway ctl --context us region failover eu --dry-run
  causeway ctl --context us region failover eu --confirm eu -o json`,
		status, show, c.regionSwitchover(), c.regionFailback(), c.regionFailover(), c.regionFence(), c.regionResume(), c.regionEvacuate()))
}

// regionOrder is what the flags of an order say.
type regionOrder struct {
	c       *ctl
	act     string
	home    string
	params  url.Values
	confirm string
	wait    bool
	limit   time.Duration
}

// ordering adds the flags that all orders have.
func (c *ctl) ordering(o *regionOrder, act, use, short, long string, run func(cmd *cobra.Command)) *cobra.Command {
	cmd := c.changing(leaf(use, short, func(cmd *cobra.Command, args []string) error {
		o.c, o.act, o.home, o.params = c, act, args[0], url.Values{}
		if run != nil {
			run(cmd)
		}
		return o.do(cmd)
	}))
	cmd.Long = long
	cmd.Flags().StringVar(&o.confirm, "confirm", "", "`name` of the home, where nobody can be asked to type it")
	cmd.Flags().BoolVar(&o.wait, "wait", true, "show how it goes on until it ended; --wait=false returns at once")
	cmd.Flags().DurationVar(&o.limit, "timeout", 3*time.Minute, "how long to look on")
	return cmd
}

func (c *ctl) regionSwitchover() *cobra.Command {
	o, to, within := &regionOrder{}, "", time.Duration(0)
	cmd := c.ordering(o, admin.RegionSwitchover, "switchover HOME", "Hand a home over to another region; nothing is lost",
		`To be run where the home is served. Devices are parked, the other region gets the
last records, the home is handed over, and the other region serves it: well below
a second where little is under way. Up to the handover it may be given up, and is
when the other region does not get everything in time; from then on it is finished
whoever crashes.`, func(*cobra.Command) {
			setParam(o.params, "to", to)
			if within > 0 {
				o.params.Set("within", within.String())
			}
		})
	cmd.Flags().StringVar(&to, "to", "", "`region` that takes the home")
	cmd.Flags().DurationVar(&within, "within", 0, "how long devices may wait for the last records, then it is given up (default 10s)")
	return cmd
}

func (c *ctl) regionFailback() *cobra.Command {
	o := &regionOrder{}
	return c.ordering(o, admin.RegionSwitchover, "failback HOME", "Hand a home back to the region that founded it",
		"A switchover to the region of the home's own name. It has to follow the host, with\nwhat it did alone reconciled.", func(*cobra.Command) { o.params.Set("to", o.home) })
}

func (c *ctl) forcible(cmd *cobra.Command, force *bool, usage string) *cobra.Command {
	cmd.Flags().BoolVar(force, "force", false, usage)
	return cmd
}

func (c *ctl) regionFailover() *cobra.Command {
	o, force := &regionOrder{}, false
	return c.forcible(c.ordering(o, admin.RegionFailover, "failover HOME", "Serve a home here because its host is gone",
		`To be run in the standby region. What the host acknowledged and did not ship comes
back with its disks: causeway ctl reconcile. In the mode auto a majority of voters
has to agree, and the host stops before they do; in the mode manual nothing stops a
host that lives and only cannot be seen from here.`, func(*cobra.Command) { forced(o.params, force) }),
		&force, "also without a majority, with a copy that is behind, or while the host is heard")
}

func (c *ctl) regionFence() *cobra.Command {
	return c.ordering(&regionOrder{}, admin.RegionFence, "fence HOME", "Stop serving a home here until it is resumed",
		"Its devices are closed at a pace. Nobody else begins to serve it by that alone.", nil)
}

func (c *ctl) regionResume() *cobra.Command {
	o, force := &regionOrder{}, false
	return c.forcible(c.ordering(o, admin.RegionResume, "resume HOME", "Serve a home here again, after a fence or a cold start",
		`A region that stopped as a whole does not know whether another one took its home
over meanwhile. A majority of voters tells it; where none can be reached an operator
who knows says so with --force.`, func(*cobra.Command) { forced(o.params, force) }),
		&force, "no other region serves the home, whatever voters say or do not say")
}

func forced(params url.Values, force bool) {
	if force {
		params.Set("force", "true")
	}
}

// do shows the plan, has it confirmed, begins it and looks on.
func (o *regionOrder) do(cmd *cobra.Command) error {
	path := admin.Path("homes", o.home, o.act)
	o.params.Set("dry_run", "true")
	b, err := o.c.call(cmd, http.MethodPost, featureRegions, path, o.params, nil)
	if err != nil {
		return err
	}
	if o.c.dryRun {
		return show(o.c, cmd, b, printRegionChange)
	}
	var plan admin.RegionChange
	if err := understand(b, &plan); err != nil {
		return err
	}
	if err := o.ask(cmd, path, &plan); err != nil {
		return err
	}
	o.params.Del("dry_run")
	b, err = o.c.call(cmd, http.MethodPost, featureRegions, path, o.params, admin.ConfirmRequest{Confirm: plan.Confirm})
	if err != nil {
		return err
	}
	if !o.wait {
		return show(o.c, cmd, b, printRegionChange)
	}
	return o.watch(cmd)
}

// ask has the home's name typed. Where there is no risk --yes will do.
func (o *regionOrder) ask(cmd *cobra.Command, path string, plan *admin.RegionChange) error {
	switch {
	case o.confirm == plan.Confirm, o.c.yes && plan.Risk == "" && o.confirm == "":
		return nil
	case o.confirm != "":
		return o.unconfirmed(cmd, path, fmt.Sprintf("--confirm is %q and not the name of the home", o.confirm), "give --confirm "+plan.Confirm)
	case !o.c.interactive(cmd.InOrStdin()):
		reason := "there is no terminal to ask at"
		if plan.Risk != "" {
			reason = plan.Risk
		}
		return o.unconfirmed(cmd, path, reason, "add --confirm "+plan.Confirm+", or --dry-run to see what would happen")
	}
	printRegionChange(cmd.ErrOrStderr(), *plan)
	fmt.Fprintf(cmd.ErrOrStderr(), "type %s to go on: ", clean(plan.Confirm))
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != plan.Confirm {
		return &exitError{exitRefused, errors.New("not confirmed; nothing was done")}
	}
	return nil
}

func (o *regionOrder) unconfirmed(cmd *cobra.Command, path, reason, fix string) error {
	return o.c.failed(cmd, &admin.Problem{Type: admin.ProblemRefused, Title: "A precondition is not met", Status: http.StatusConflict, Detail: "it is not confirmed",
		Instance: path, Fix: fix, Refused: []admin.Refusal{{Condition: "confirm", Reason: reason, Fix: fix}}}, nil)
}

// lookEvery is how often an order is looked at.
const lookEvery = 200 * time.Millisecond

// watch shows how the order goes on until it ended. The node may go meanwhile: what
// was begun is looked for at the region, which goes on with it.
func (o *regionOrder) watch(cmd *cobra.Command) error {
	end, shown := time.Now().Add(o.limit), 0
	var last error
	for time.Now().Before(end) {
		h, err := o.look(cmd)
		if last = err; err == nil && h.Act != nil && h.Act.Action == o.act {
			shown = o.progress(cmd, h.Act, shown)
			if h.Act.Ended != nil {
				return o.ended(cmd, h)
			}
		}
		if err := sleep(cmd.Context(), lookEvery); err != nil {
			return err
		}
	}
	return &exitError{exitPartly, errors.Join(fmt.Errorf("it did not end within %s; causeway ctl region show %s", o.limit, o.home), last)}
}

func (o *regionOrder) look(cmd *cobra.Command) (admin.RegionHome, error) {
	return look[admin.RegionHome](o.c, cmd, featureRegions, admin.Path("homes", o.home))
}

// progress writes the steps that are new.
func (o *regionOrder) progress(cmd *cobra.Command, a *admin.RegionAct, shown int) int {
	for ; shown < len(a.Steps); shown++ {
		s := a.Steps[shown]
		fmt.Fprintf(cmd.ErrOrStderr(), "%8s  %s\n", admin.FormatDuration(max(0, s.At.Sub(a.Began))), clean(s.Name))
	}
	return shown
}

// ended prints the outcome and gives its exit code.
func (o *regionOrder) ended(cmd *cobra.Command, h admin.RegionHome) error {
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := show(o.c, cmd, b, printOutcome); err != nil {
		return err
	}
	code := map[string]int{"done": exitOK, "aborted": exitAborted, "partly": exitPartly, "failed": exitFailed}[h.Act.Outcome]
	if code == exitOK {
		return nil
	}
	return &exitError{code, fmt.Errorf("%s: %s", h.Act.Outcome, h.Act.Detail)}
}

func printOutcome(w io.Writer, h admin.RegionHome) {
	fmt.Fprintf(w, "%s %s: %s in %s: %s\n", clean(h.Act.Action), clean(h.Home), clean(h.Act.Outcome), admin.FormatDuration(h.Act.Ended.Sub(h.Act.Began)), clean(h.Act.Detail))
}

func printRegionChange(w io.Writer, v admin.RegionChange) {
	verb := "begun"
	if v.DryRun {
		verb = "would be done"
	}
	fmt.Fprintf(w, "%s %s: %s\n", v.Action, clean(v.Target), verb)
	for _, e := range v.Effects {
		fmt.Fprintf(w, "  %s\n", clean(e))
	}
	if v.Risk != "" {
		fmt.Fprintf(w, "RISK: %s\n", clean(v.Risk))
	}
}

func (c *ctl) printHomes(w io.Writer, page admin.Page[admin.RegionHome]) {
	t := c.table("HOME", "SERVED BY", "EPOCH", "HERE", "-RECORDS", "-SESSIONS", "LEASE", "MODE", "REASON")
	for _, h := range page.Items {
		t.row(h.Home, orDash(servedBy(&h)), h.Epoch, cmp.Or(h.Standing, h.Role), h.Records, h.Sessions, leaseLine(h.LeaseSeconds), h.Mode, orDash(h.Reason))
	}
	t.print(w, "no region stands by another here: list them with standby_of in regions of the node file")
}

// servedBy is the region of the highest epoch that is known.
func servedBy(h *admin.RegionHome) string {
	if h.InForceEpoch > h.Epoch {
		return h.InForceHost
	}
	return h.Host
}

func leaseLine(seconds float64) string {
	if seconds < 0 {
		return "-"
	}
	return admin.FormatDuration(time.Duration(seconds * float64(time.Second)))
}

func (c *ctl) printHome(w io.Writer, h admin.RegionHome) {
	short := ""
	if h.Short {
		short = "yes: what is acknowledged is on no standby, so nobody is promoted by votes"
	}
	facts(w, "home", h.Home, "served by", fmt.Sprintf("%s (epoch %d)", orDash(servedBy(&h)), max(h.Epoch, h.InForceEpoch)), "here", strings.TrimSuffix(h.Role+", "+h.Standing, ", "), "reason", h.Reason,
		"handed to", h.HandedTo, "copy", fmt.Sprintf("epoch %d@%s, %d records, %d sessions, %s queued", h.Epoch, orDash(h.Host), h.Records, h.Sessions, admin.FormatBytes(h.QueuedBytes)),
		"lease", leaseLine(h.LeaseSeconds), "policy", fmt.Sprintf("%s, an isolated host does %s, down after %s", h.Mode, h.Isolation, admin.FormatDuration(time.Duration(h.DownAfterSeconds*float64(time.Second)))),
		"short", short, "decided by", h.Node)
	if len(h.Standbys) > 0 {
		fmt.Fprintln(w)
		t := c.table("STANDBY", "CONNECTED", "-RECORDS", "-BEHIND", "-BYTES", "LAG")
		for _, s := range h.Standbys {
			t.row(s.Region, yesNo(s.Connected), s.Records, s.LagMessages, admin.FormatBytes(s.LagBytes), admin.FormatDuration(time.Duration(s.LagSeconds*float64(time.Second))))
		}
		t.print(w, "")
	}
	fmt.Fprintln(w)
	t := c.table("ASKED", "VOTES", "HEARD", "PROMISED", "ANSWER")
	for _, v := range h.Voters {
		heard := "never"
		if v.HeardSeconds >= 0 {
			heard = admin.FormatDuration(time.Duration(v.HeardSeconds * float64(time.Second)))
		}
		t.row(v.Name, yesNo(v.Votes), heard, orDash(v.Promised), orDash(v.Answer))
	}
	t.print(w, "there are no voters")
	c.printAct(w, h.Act)
}

func (c *ctl) printAct(w io.Writer, a *admin.RegionAct) {
	if a == nil {
		return
	}
	state := cmp.Or(a.Outcome, "under way: "+a.Step)
	if a.Outcome == "" && a.MessagesLeft > 0 {
		state += fmt.Sprintf(" (%d messages left)", a.MessagesLeft)
	}
	fmt.Fprintln(w)
	facts(w, "order", strings.TrimSuffix(a.Action+" to "+a.To, " to "), "by", a.By, "began", ago(c.now(), a.Began)+" ago", "state", state, "detail", a.Detail)
}
