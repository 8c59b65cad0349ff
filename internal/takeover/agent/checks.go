package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// check holds what an order is held against: how things are at one moment.
type check struct {
	k        *keeper
	o        Order
	st       CopyState
	standing takeover.Standing
	inForce  home.Epoch
	held     bool
	unfit    string
	majority bool // of voters answered lately
	silent   bool // and none of that majority hears a host that serves
	short    bool
	answers  string
	reasons  []Reason
}

func (k *keeper) check(o Order) *check {
	k.mu.Lock()
	k.observe(k.c.State())
	c := &check{k: k, o: o, st: k.copy, standing: k.standing(), inForce: k.host.InForce, held: k.kept.Held, unfit: k.unfit(&k.copy)}
	heard := 0
	for _, name := range c.st.Settings.Voters {
		if v := k.views[name]; v != nil && v.any && v.problem == "" && k.a.now()-v.heard < max(c.st.Settings.Hold, 5*time.Second) {
			heard++
			c.short = c.short || v.said.Short
		}
	}
	c.majority = len(c.st.Settings.Voters) > 0 && heard >= takeover.Majority(len(c.st.Settings.Voters))
	c.silent = k.silentFor(c.st.Settings.DownAfter)
	k.mu.Unlock()
	c.answers = k.answers()
	if s := k.acts.status(); s != nil && s.Outcome == "" {
		c.reasons = append(c.reasons, busyReason(s))
	}
	return c
}

func (c *check) refuse(condition, fix, reason string, args ...any) {
	c.reasons = append(c.reasons, Reason{condition, fmt.Sprintf(reason, args...), fix})
}

// need refuses unless ok.
func (c *check) need(ok bool, condition, fix, reason string, args ...any) {
	if !ok {
		c.refuse(condition, fix, reason, args...)
	}
}

func (c *check) done(p Plan) (Plan, error) {
	p.Target = string(c.o.Home)
	return p, together(c.reasons)
}

func (c *check) region() string { return c.k.a.o.Region }

// host is the region that serves the home, as far as is known here.
func (c *check) host() string {
	if c.st.Handed != "" {
		return c.st.Handed
	}
	return highest(c.inForce, c.st.Epoch).Host
}

// hosting refuses where the home is not hosted.
func (c *check) hosting(verb string) bool {
	host, ok := c.host(), c.st.hosts(c.region())
	c.need(ok, "not_host", fmt.Sprintf("causeway ctl --context %s region %s %s", host, verb, c.o.Home), "%s does not host the home %s; as far as it knows %s does", c.region(), c.o.Home, host)
	return ok
}

// show is the command that shows the home, in this region or another.
func (c *check) show(region string) string {
	if region != "" {
		region = "--context " + region + " "
	}
	return "causeway ctl " + region + "region show " + string(c.o.Home)
}

func (c *check) switchover(ctx context.Context) (Plan, error) {
	if !c.hosting("switchover") {
		return c.done(Plan{})
	}
	c.need(!c.held, "is_fenced", "causeway ctl region resume "+string(c.o.Home)+", then again", "an operator stopped the home here")
	c.need(c.held || c.standing == takeover.Serving, "not_serving", c.show(""), "the home is not served: %s", c.standing)
	line := append([]string{string(c.o.Home)}, c.st.Settings.Standbys...)
	c.need(slices.Contains(line, c.o.To) && c.o.To != c.region(), "no_standby", "choose one of "+strings.Join(slices.DeleteFunc(line, func(r string) bool { return r == c.region() }), ", "),
		"%q is no standby of %s", c.o.To, c.o.Home)
	s := c.st.Shipped[c.o.To]
	c.need(s.Connected, "standby_away", "causeway ctl link show "+c.o.To, "%s is not connected", c.o.To)
	c.need(!c.short, "standby_behind", "wait until the standbys have it", "what was acknowledged is on no standby")
	if c.st.Settings.Votes() {
		c.need(c.majority, "no_majority", "causeway ctl link list", "no majority of voters can be asked: %s", c.answers)
	}
	if s.Connected {
		c.need(s.Lag <= c.o.patience(), "lag", "wait until it is less, or give --within", "%s is %s behind (%d messages), more than devices would wait", c.o.To, s.Lag.Round(time.Millisecond), s.Messages)
		c.target(ctx)
	}
	return c.done(Plan{Effects: []string{
		fmt.Sprintf("devices of %s are parked", c.o.Home),
		fmt.Sprintf("%s gets the last of %d records (%d messages are under way)", c.o.To, c.st.Records, s.Messages),
		fmt.Sprintf("%s hands the home over: from then on it cannot be given up", c.region()),
		fmt.Sprintf("%s serves %d sessions", c.o.To, c.st.Size.Sessions),
	}, Confirm: string(c.o.Home)})
}

// target asks the other region whether it can.
func (c *check) target(ctx context.Context) {
	p, err := c.k.a.ask(ctx, c.o.To, &request{Subject: look, Home: c.o.Home, Epoch: c.st.Epoch}, drainTime)
	if err != nil {
		c.refuse("standby_away", "causeway ctl link test "+c.o.To, "%s", err)
		return
	}
	c.need(p.Look.Ready, "standby_behind", c.show(c.o.To), "%s is not ready: %s", c.o.To, p.Look.Why)
	c.need(c.st.Level <= p.Look.Supports, "feature_level", "upgrade "+c.o.To, "the home is at feature level %d and %s supports %d", c.st.Level, c.o.To, p.Look.Supports)
	c.reasons = append(c.reasons, p.Look.Room.lacks(c.o.To, c.st.Size)...)
}

func (c *check) failover(ctx context.Context) (Plan, error) {
	votes, id := c.st.Settings.Votes(), c.o.Home
	if c.st.hosts(c.region()) && c.inForce.Compare(c.st.Epoch) <= 0 {
		c.refuse("is_host", c.show(""), "%s hosts the home %s already", c.region(), id)
		return c.done(Plan{})
	}
	c.need(c.unfit == "" || c.o.Force && !c.st.Empty && c.st.Quarantined == "", "not_ready", c.show(""), "%s cannot take %s over: %s", c.region(), id, c.unfit)
	if !c.o.Force {
		c.need(c.st.Silent < 0 || c.st.Silent >= c.st.Settings.DownAfter, "host_serves", c.over(), "the host of %s was heard %s ago", id, c.st.Silent.Round(100*time.Millisecond))
		c.need(!votes || c.silent || !c.majority, "host_serves", c.over(), "voters hear that the home is served")
		c.need(!c.short, "behind", "bring the host back; --force loses it until the host's disks are reconciled", "the host acknowledged what no standby has")
		c.need(c.inForce.Compare(c.st.Epoch) <= 0, "behind", "fail over there, or --force back to the old copy: both are reconciled", "%s has served at %s, and the copy here is of %s", c.inForce.Host, c.inForce, c.st.Epoch)
		c.better(ctx)
	}
	if votes {
		c.need(c.majority || c.o.Force, "no_majority", "bring voters back; --force serves without them, and nothing keeps another region from serving too", "no majority of voters can be asked: %s", c.answers)
	}
	p := Plan{Effects: []string{
		fmt.Sprintf("%s begins a new epoch of %s above %s with the %d records it has", c.region(), id, highest(c.inForce, c.st.Epoch), c.st.Records),
		fmt.Sprintf("%d sessions are served here as their devices come", c.st.Size.Sessions),
		"what the host acknowledged and did not ship is away until its disks are back and reconciled",
	}, Confirm: string(id)}
	p.Effects = append(p.Effects, c.k.a.dryHook(ctx, id, c.st.Epoch)...)
	p.Risk = fmt.Sprintf("nothing stops %s: if it lives and only we cannot see it, its devices stay there and both regions serve the home until they see each other; what both did is reconciled then", highest(c.inForce, c.st.Epoch).Host)
	if votes && !c.o.Force {
		p.Risk = fmt.Sprintf("a majority of voters has to agree; %s stops serving before they do", highest(c.inForce, c.st.Epoch).Host)
	}
	return c.done(p)
}

// over is what to do with a host that lives.
func (c *check) over() string {
	return fmt.Sprintf("causeway ctl --context %s region switchover %s --to %s; --force if devices cannot reach it", c.host(), c.o.Home, c.region())
}

// better refuses if another living standby has more.
func (c *check) better(ctx context.Context) {
	for _, r := range c.st.Settings.Standbys {
		if r == c.region() {
			continue
		}
		p, err := c.k.a.ask(ctx, r, &request{Subject: look, Home: c.o.Home, Epoch: c.st.Epoch}, drainTime)
		if err == nil && p.Look.Ready && p.Look.Records > c.st.Records {
			c.refuse("behind", "fail over there: causeway ctl --context "+r+" region failover "+string(c.o.Home), "%s has %d records, %s has %d", r, p.Look.Records, c.region(), c.st.Records)
		}
	}
}

func (c *check) fence() (Plan, error) {
	if !c.hosting("fence") {
		return c.done(Plan{})
	}
	c.need(!c.held, "is_fenced", "causeway ctl region resume "+string(c.o.Home), "the home is fenced already")
	next := "nobody else begins to by that alone"
	if c.st.Settings.Mode == takeover.Auto {
		next = fmt.Sprintf("the voters, who do not hear it serve any more, promote a standby after %s", c.st.Settings.DownAfter)
	}
	return c.done(Plan{Effects: []string{fmt.Sprintf("%s stops serving %d sessions; their devices are closed at a pace", c.region(), c.st.Size.Sessions), next}, Confirm: string(c.o.Home)})
}

func (c *check) resume() (Plan, error) {
	if c.st.Empty && string(c.o.Home) == c.region() {
		c.need(c.o.Force, "empty", "fail it over to a standby that has it; --force founds it anew", "the home is empty here, and other regions may have it")
		return c.done(Plan{Effects: []string{"the home is founded anew, empty, at its first epoch"}, Confirm: string(c.o.Home),
			Risk: "if another region has a copy of the home, what is acknowledged from now on is no part of it"})
	}
	if c.held && !c.st.hosts(c.region()) { // another region took over meanwhile
		return c.done(Plan{Effects: []string{fmt.Sprintf("%s may be given the home again, by the voters too; %s serves it now", c.region(), c.host())}})
	}
	if !c.hosting("resume") {
		return c.done(Plan{})
	}
	c.need(c.inForce.Compare(c.st.Epoch) <= 0, "superseded", "let it follow; switchover brings it back", "%s serves at %s, above %s", c.inForce.Host, c.inForce, c.st.Epoch)
	confirmed := c.standing == takeover.Serving || c.majority
	c.need(confirmed || c.o.Force, "no_majority", "bring voters back; --force if you know that no other region serves the home", "no majority of voters confirms the epoch %s: %s", c.st.Epoch, c.answers)
	p := Plan{Effects: []string{fmt.Sprintf("%s serves %d sessions at %s", c.region(), c.st.Size.Sessions, c.st.Epoch)}, Confirm: string(c.o.Home)}
	if !confirmed {
		p.Risk = "if another region took the home over while this one was away, both serve it until they see each other; what both did is reconciled then"
	}
	return c.done(p)
}

// dryHook tries the hook of a promotion without effect.
func (a *Agent) dryHook(ctx context.Context, id home.ID, e home.Epoch) []string {
	path := a.o.Hooks.Promote
	if path == "" {
		return nil
	}
	_, err := runHook(ctx, path, min(a.o.Hooks.Timeout, drainTime), HookEvent{Event: "promote", Home: string(id), Region: a.o.Region, Host: a.o.Region, Epoch: e.Number + 1, Time: time.Now().UTC(), DryRun: true})
	if err != nil {
		return []string{fmt.Sprintf("the hook %s does not work: %s", path, err)}
	}
	return []string{fmt.Sprintf("the hook %s is run; it was tried without effect", path)}
}

// TryHooks tries the hooks that are set, without effect, and says how many. It runs on any
// node: each may come to decide for its region.
func (a *Agent) TryHooks(ctx context.Context) (tried int, err error) {
	for event, path := range map[string]string{"promote": a.o.Hooks.Promote, "fence": a.o.Hooks.Fence} {
		if path == "" {
			continue
		}
		tried++
		out, e := runHook(ctx, path, a.o.Hooks.Timeout, HookEvent{Event: event, Home: a.o.Region, Region: a.o.Region, Host: a.o.Region, Time: time.Now().UTC(), DryRun: true})
		if e != nil {
			err = errors.Join(err, fmt.Errorf("the hook %s (%s) does not work: %w: %s", event, path, e, out))
		}
	}
	return tried, err
}
