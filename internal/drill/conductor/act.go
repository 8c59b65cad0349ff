package conductor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill"
	"causeway/internal/group"
)

// act does one action; done already, it is done.
func (c *conductor) act(ctx context.Context, a drill.Action) (string, error) {
	shadow := c.plan.Scope.Kind == drill.ScopeShadow
	if a.Agent {
		text, err := c.agent.do(ctx, a, shadow)
		if shadow && err == nil {
			text = strings.TrimSpace("dry run. " + text)
		}
		return text, err
	}
	switch a.Do {
	case drill.DoSwitchover:
		return c.switchover(ctx, a.To, shadow)
	case drill.DoFailover:
		return c.failover(ctx, a.To, shadow)
	}
	if shadow {
		return "not done in a shadow drill", nil
	}
	switch a.Do {
	case drill.DoBringHome:
		return c.bringHome(ctx)
	case drill.DoReconcile:
		return c.reconcile(ctx, a.Region, a.Params["replay"])
	case drill.DoEvacuate:
		params := url.Values{"reason": {"drill " + c.o.ID}}
		for k, v := range a.Params {
			params.Set(k, v)
		}
		err := c.regions[a.Region].post(ctx, "evacuations", admin.Path("evacuations", a.Node, "start"), params, nil)
		return "", err
	case drill.DoReturn:
		err := c.regions[a.Region].post(ctx, "evacuations", admin.Path("evacuations", a.Node, "stop"), nil, nil)
		if isNotFound(err) || isRefused(err) {
			return "it was not being evacuated", nil
		}
		return "", err
	case drill.DoPauseLink:
		return "", c.regions[a.Region].post(ctx, "link_control", admin.Path("links", a.Peer, "pause"), url.Values{"reason": {"drill " + c.o.ID}}, nil)
	case drill.DoResumeLink:
		err := c.regions[a.Region].post(ctx, "link_control", admin.Path("links", a.Peer, "resume"), nil, nil)
		if isRefused(err) {
			return "it was not paused", nil
		}
		return "", err
	case drill.DoKickCohort:
		return c.kick(ctx, a.Region, a.Params["prefix"])
	}
	return "", fmt.Errorf("nobody knows how to %s", a.Do)
}

// refusedFor is for how long a switchover is asked for again that is refused: what a standby lacks for a
// moment passes, as an operator would wait for it.
const refusedFor = 30 * time.Second

// switchover has the home handed from its host to a region.
func (c *conductor) switchover(ctx context.Context, to string, dry bool) (string, error) {
	began := time.Now()
	for {
		host, h := c.host(ctx)
		switch {
		case host != nil && host.name == to:
			return to + " serves it", nil
		case host == nil:
			if err := group.Pause(ctx, lookEvery); err != nil {
				return "", fmt.Errorf("no region says that it serves the home: %w", err)
			}
			continue
		}
		path := admin.Path("homes", c.plan.Home, admin.RegionSwitchover)
		params := url.Values{"to": {to}}
		if dry {
			params.Set("dry_run", "true")
			return "dry run", host.post(ctx, "regions", path, params, nil)
		}
		err := host.post(ctx, "regions", path, params, admin.ConfirmRequest{Confirm: c.plan.Home})
		switch {
		case err == nil:
			return c.handed(ctx, host, h, to)
		case !isRefused(err) || time.Since(began) > refusedFor:
			return "", err
		}
		if e := group.Pause(ctx, 200*time.Millisecond); e != nil {
			return "", err
		}
	}
}

// handed waits until the other region serves, or the host gave it up.
func (c *conductor) handed(ctx context.Context, host *region, before *admin.RegionHome, to string) (string, error) {
	for {
		if h, err := c.regions[to].home(ctx, c.plan.Home); err == nil && serves(&h) && h.Epoch > before.Epoch {
			return fmt.Sprintf("%s serves it at epoch %d", to, h.Epoch), nil
		}
		if h, err := host.home(ctx, c.plan.Home); err == nil && h.Act != nil && h.Act.Action == admin.RegionSwitchover && h.Act.Ended != nil && h.Act.Began.After(c.run.Started) &&
			(h.Act.Outcome == "aborted" || h.Act.Outcome == "failed") && (before.Act == nil || h.Act.Began.After(before.Act.Began)) {
			return "", fmt.Errorf("%s: %s", h.Act.Outcome, h.Act.Detail)
		}
		if err := group.Pause(ctx, lookEvery); err != nil {
			return "", fmt.Errorf("%s does not serve the home: %w", to, err)
		}
	}
}

// failover has a standby serve the home as an operator would: it is tried until it is not refused.
func (c *conductor) failover(ctx context.Context, to string, dry bool) (string, error) {
	for _, name := range c.names() {
		if to == "" && name != c.plan.Home {
			to = name
		}
	}
	r := c.regions[to]
	if r == nil {
		return "", errors.New("there is no other region that could serve the home")
	}
	path := admin.Path("homes", c.plan.Home, admin.RegionFailover)
	if dry {
		if err := r.post(ctx, "regions", path, url.Values{"dry_run": {"true"}}, nil); err != nil && !isRefused(err) {
			return "", err
		}
		return "dry run", nil
	}
	for {
		err := r.post(ctx, "regions", path, nil, admin.ConfirmRequest{Confirm: c.plan.Home})
		if err == nil {
			return "", nil
		}
		if !isRefused(err) {
			return "", err
		}
		if e := group.Pause(ctx, 200*time.Millisecond); e != nil {
			return "", fmt.Errorf("%s refuses to take the home over: %w", to, err)
		}
	}
}

// bringHome has the home served by its own region, whatever happened.
func (c *conductor) bringHome(ctx context.Context) (string, error) {
	own := c.plan.Home
	for {
		host, h := c.host(ctx)
		if host != nil && host.name == own {
			return own + " serves it", nil
		}
		if host != nil && followedBy(h, own) {
			if text, err := c.switchover(ctx, own, false); err == nil {
				return text, nil
			} else if !isRefused(err) {
				return "", err
			}
		}
		// What the region did alone keeps it from following.
		_, _ = c.reconcile(ctx, own, "rules")
		if err := group.Pause(ctx, time.Second); err != nil {
			return "", fmt.Errorf("the home %s is not served by its own region: %w", own, err)
		}
	}
}

// followedBy says that a region has all, or nearly, that the host of a home has.
func followedBy(h *admin.RegionHome, region string) bool {
	for _, s := range h.Standbys {
		if s.Region == region {
			return s.Connected && !h.Short && s.LagMessages <= 200 && s.LagSeconds < 5
		}
	}
	return false
}

// reconcile looks at what a region held alone, and has it go where the plan says.
func (c *conductor) reconcile(ctx context.Context, name, replay string) (string, error) {
	r, path := c.regions[name], admin.Path("homes", c.plan.Home, "divergence")
	var d admin.Divergence
	err := r.get(ctx, "regions", path, nil, &d)
	if isNotFound(err) {
		return "nothing was set aside", nil
	}
	if err != nil {
		return "", err
	}
	data := map[string]string{"region": name, "home": d.Home, "state": d.State, "records": fmt.Sprint(d.Records), "messages": fmt.Sprint(d.Messages), "bytes": fmt.Sprint(d.Bytes), "replay": replay}
	if d.State != "done" {
		verb, params := "reconcile", url.Values{}
		switch replay {
		case "discard":
			verb = "discard"
		case "deliver", "report":
			params.Set("replay", replay)
		}
		for {
			err := r.post(ctx, "regions", admin.Path("homes", c.plan.Home, verb), params, admin.ConfirmRequest{Confirm: c.plan.Home})
			if err == nil {
				break
			}
			if isNotFound(err) {
				break // it is done meanwhile
			}
			if e := group.Pause(ctx, time.Second); e != nil {
				return "", err
			}
		}
	}
	c.mu.Lock()
	c.seen = append(c.seen, drill.Event{At: time.Now(), What: drill.EvNote, Step: -1, Name: "reconcile", Text: fmt.Sprintf("%s held %d messages alone", name, d.Messages), Data: data})
	c.mu.Unlock()
	return fmt.Sprintf("%d messages, %d records", d.Messages, d.Records), nil
}

// kick has the devices of a cohort lose their connections, as many a second as a region lets in.
func (c *conductor) kick(ctx context.Context, name, prefix string) (string, error) {
	r, after, n := c.regions[name], "", 0
	for {
		var page admin.ClientPage
		params := url.Values{"prefix": {prefix}, "limit": {"1000"}}
		if after != "" {
			params.Set("after", after)
		}
		if err := r.get(ctx, "clients", admin.Path("clients"), params, &page); err != nil {
			return "", err
		}
		for _, x := range page.Items {
			if err := r.call(ctx, http.MethodDelete, "clients", admin.Path("clients", x.Namespace, x.ClientID), nil, nil, nil); err != nil && !isNotFound(err) {
				return "", err
			}
			n++
			if err := group.Pause(ctx, 2*time.Millisecond); err != nil {
				return "", err
			}
		}
		if after = page.Next; after == "" {
			return fmt.Sprintf("%d connections were closed", n), nil
		}
	}
}

// await waits for a condition.
func (c *conductor) await(ctx context.Context, s *drill.Step) (string, error) {
	if c.plan.Scope.Kind == drill.ScopeShadow {
		return "not awaited in a shadow drill", nil
	}
	began, within := time.Now(), s.Wait
	calm, last := 0, ""
	for {
		looking, cancel := context.WithDeadline(ctx, began.Add(within))
		ok, detail := c.holds(looking, s)
		if last == "" || looking.Err() == nil { // a look that the end cut short says nothing
			last = detail
		}
		cancel()
		if ok {
			calm++
		} else {
			calm = 0
		}
		if need := map[string]int{drill.UntilBack: 3, drill.UntilPassed: 3}[s.Until.Until]; ok && calm > need {
			return fmt.Sprintf("after %s", time.Since(began).Round(10*time.Millisecond)), nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if time.Since(began) > within {
			return "", missed("not within %s: %s", within, last)
		}
		pause := lookEvery
		if s.Until.Until == drill.UntilBack || s.Until.Until == drill.UntilPassed {
			pause = 300 * time.Millisecond // canaries speak twice a second
		}
		if err := group.Pause(ctx, pause); err != nil {
			return "", err
		}
	}
}

// holds says whether a condition holds, and if not, what is.
func (c *conductor) holds(ctx context.Context, s *drill.Step) (bool, string) {
	u := &s.Until
	r := c.regions[u.Region]
	switch u.Until {
	case drill.UntilServed:
		h, err := r.home(ctx, u.Home)
		if err != nil {
			return false, describe(err)
		}
		return serves(&h), fmt.Sprintf("%s is %s, %s %s", u.Region, h.Role, h.Standing, h.Reason)
	case drill.UntilMoved:
		for name, o := range c.regions {
			if name == u.Region {
				continue
			}
			if h, err := o.home(ctx, u.Home); err == nil && serves(&h) {
				return true, ""
			}
		}
		return false, "no other region serves it"
	case drill.UntilFollows:
		host, h := c.host(ctx)
		if host == nil {
			return false, "no region serves it"
		}
		return host.name == u.Region || followedBy(h, u.Region), fmt.Sprintf("the host %s has standbys %+v", host.name, h.Standbys)
	case drill.UntilNodeReady, drill.UntilReady:
		var page admin.NodePage
		if err := r.get(ctx, "nodes", admin.Path("nodes"), nil, &page); err != nil {
			return false, describe(err)
		}
		found := false
		for _, n := range page.Items {
			if u.Node == "" || n.Node == u.Node {
				found = true
				if n.State != "ready" {
					return false, n.Node + " is " + n.State + ": " + n.Reason
				}
			}
		}
		if u.Node == "" && len(page.Unanswered) > 0 {
			return false, page.Unanswered[0].Node + ": " + page.Unanswered[0].Reason
		}
		return found, "the node does not answer"
	case drill.UntilLinkUp, drill.UntilLinkDown:
		var l admin.LinkDetail
		if err := r.get(ctx, "links", admin.Path("links", u.Peer), nil, &l); err != nil {
			return false, describe(err)
		}
		if l.Link.State == admin.LinkElsewhere {
			return false, "no node answers that has the link: " + l.Link.Reason
		}
		up := l.Link.State == admin.LinkUp
		if u.Until == drill.UntilLinkDown {
			return !up, "the link is " + l.Link.State
		}
		return up && l.Link.LagSeconds.Duration() < 2*time.Second, fmt.Sprintf("the link is %s with %d messages left: %s", l.Link.State, l.Link.LagMessages, l.Link.Reason)
	case drill.UntilBack:
		live, _ := c.fleet.live()
		devices, connects := c.fleet.homed()
		if c.o.Drill.Phases[s.Phase].Measures && connects < c.base+uint64(devices) {
			return false, fmt.Sprintf("%d of %d canaries came back", int(connects-c.base), devices)
		}
		return live.Served >= live.Devices && live.Connected >= live.Devices, fmt.Sprintf("%d of %d canaries are connected, %d served", live.Connected, live.Devices, live.Served)
	case drill.UntilPassed:
		live, _ := c.fleet.live()
		return live.Late == 0, fmt.Sprintf("%d messages are late", live.Late)
	case drill.UntilAlarm, drill.UntilCalm:
		var rd admin.Readiness
		if err := r.get(ctx, "readiness", admin.Path("readiness"), url.Values{"refresh": {"true"}}, &rd); err != nil {
			return false, describe(err)
		}
		for _, i := range rd.Items {
			if i.Check == u.Check {
				bad := i.State == "warn" || i.State == "fail"
				return bad == (u.Until == drill.UntilAlarm), i.State + ": " + i.Reason
			}
		}
		return false, "there is no such check"
	case drill.UntilEvacuated:
		var e admin.Evacuation
		if err := r.get(ctx, "evacuations", admin.Path("evacuations", u.Node), nil, &e); err != nil {
			return false, describe(err)
		}
		return e.Done, fmt.Sprintf("%s, %d connections left", e.State, e.Connections)
	}
	return false, "nobody knows what " + u.Until + " is"
}
