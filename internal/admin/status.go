package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"causeway/internal/health"
	"causeway/internal/supervise"
)

func (a *api) status(*http.Request, *query) (any, error) { return a.Server.status(), nil }

// status is the node's page: what the node says, and what the server knows beside it.
func (s *Server) status() Status {
	st := s.node.Status()
	st.Version, st.Now = s.build.Version, time.Now()
	st.State = stateOf(s.health.Report())
	st.Services = list(s.services())
	st.Homes = slices.Clone(st.Homes)
	for i := range st.Homes {
		st.Homes[i].Standbys = list(st.Homes[i].Standbys)
	}
	st.Homes, st.Listeners, st.Stores = list(st.Homes), list(st.Listeners), list(st.Stores)
	st.Admission.Namespaces = list(st.Admission.Namespaces)
	st.Connections, st.Sessions, st.Links = list(st.Connections), list(st.Sessions), linkList(st.Links)
	st.Totals = totals(st, s.node.Counts(), s.metrics.droppedCounts())
	st.CRLs = list(st.CRLs)
	st.Conditions = slices.Concat(conditions(st), crlConditions(st), s.drillConditions())
	ready := s.ready.Report()
	st.Readiness, st.Blockers = ready.Score, list(ready.Blockers)
	st.Trouble = diagnose(st)
	if t := s.regionTrouble(st.Now); t != nil { // the loss of a region comes before everything
		st.Trouble = t
	}
	if st.Trouble == nil {
		st.Trouble = blockerTrouble(ready)
	}
	return st
}

func stateOf(r health.Report) State {
	s := State{State: string(r.State), Reason: r.Reason, Since: r.Since, Next: r.Next, Parts: []StatePart{}}
	if p := r.Progress; p != nil {
		s.Progress = &Progress{From: p.From, FetchedBytes: p.Fetched, TotalBytes: p.Total, EntriesBehind: p.Behind}
	}
	for _, p := range r.Parts {
		s.Parts = append(s.Parts, StatePart{p.Name, string(p.State), p.Reason, p.Since})
	}
	return s
}

// services are the supervised parts, as the API has them.
func (s *Server) services() []Service {
	if s.supervised == nil {
		return nil
	}
	var out []Service
	for _, v := range s.supervised() {
		out = append(out, Service{Name: v.Name, State: string(v.State), Since: v.Since, Restarts: v.Restarts, Panics: v.Panics,
			LastError: v.LastError, LastErrorAt: timeOrNull(v.LastErrorAt), NextStart: timeOrNull(v.NextStart)})
	}
	return out
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func totals(st Status, c Counts, dropped []DroppedCount) (t Totals) {
	for _, n := range st.Connections {
		t.Connections += n.Count
	}
	for _, n := range st.Sessions {
		if !st.sessionsServed(n.Home) {
			continue
		}
		t.Sessions += n.Count
		if n.State == "attached" {
			t.SessionsAttached += n.Count
		}
	}
	for _, n := range c.Messages {
		if n.Sent {
			t.Sent += n.Count
		} else {
			t.Received += n.Count
		}
	}
	for _, n := range append(slices.Clone(c.Dropped), dropped...) {
		t.Dropped += n.Count
	}
	return t
}

// lowDisk is when free space becomes the thing to look at, in bytes.
const lowDisk = 1 << 30

// diagnose finds the one thing wrong: the first of these that holds, because each may be the cause
// of those after it.
func diagnose(st Status) *Trouble {
	for _, find := range []func(Status) *Trouble{stateTrouble, storeTrouble, listenerTrouble, serviceTrouble, standbyTrouble, linkTrouble, canaryTrouble, pauseTrouble, spoolTrouble, diskSpoolTrouble} {
		if t := find(st); t != nil {
			return t
		}
	}
	return nil
}

func stateTrouble(st Status) *Trouble {
	s := st.State
	if s.State == string(health.Ready) {
		return nil
	}
	next := cmp.Or(s.Next, map[health.State]string{
		health.Starting:   "wait; causeway ctl services shows the parts",
		health.CatchingUp: "wait; causeway ctl status --watch shows the progress",
		health.Isolated:   "check the network between the nodes of the region",
	}[health.State(s.State)], "look into the node's log")
	return &Trouble{Summary: fmt.Sprintf("the node is %s: %s", s.State, s.Reason), Since: s.Since, Next: next}
}

func storeTrouble(st Status) *Trouble {
	for _, d := range st.Stores {
		if d.FreeBytes < lowDisk {
			return &Trouble{Summary: fmt.Sprintf("the disk of %s (%s) has %s left", d.Name, d.Path, FormatBytes(d.FreeBytes)),
				Since: st.Now, Next: "free space or grow the disk; a node that cannot write stops"}
		}
	}
	return nil
}

func listenerTrouble(st Status) *Trouble {
	for _, l := range st.Listeners {
		if !l.Open {
			return &Trouble{Summary: fmt.Sprintf("the listener %s (%s) is not open: %s", l.Name, l.Address, l.Error),
				Since: st.State.Since, Next: "free the address, or change listeners in the node file"}
		}
	}
	return nil
}

func serviceTrouble(st Status) *Trouble {
	for _, state := range []supervise.State{supervise.StateIsolated, supervise.StateBackoff, supervise.StateFailed, supervise.StateStuck} {
		i := slices.IndexFunc(st.Services, func(s Service) bool { return s.State == string(state) })
		if i < 0 {
			continue
		}
		s := &st.Services[i]
		t := &Trouble{Summary: fmt.Sprintf("the service %s failed (restarted %d times): %s", s.Name, s.Restarts, s.LastError),
			Since: s.Since, Next: "causeway ctl services"}
		if state == supervise.StateIsolated {
			t.Summary = fmt.Sprintf("the service %s is isolated, since it fails again and again (restarted %d times): %s", s.Name, s.Restarts, s.LastError)
			t.Next = RestartCommand(s.Name)
		}
		return t
	}
	return nil
}

// RestartCommand is what an operator types to have a service tried again now.
func RestartCommand(name string) string {
	return fmt.Sprintf("remove the cause, then causeway ctl services restart %q; causeway ctl doctor for who mends it", name)
}

// restartService has a service tried again now, not after its pause.
func (a *api) restartService(r *http.Request, q *query) (any, error) {
	name, dry := r.PathValue("service"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	all := a.services()
	i := slices.IndexFunc(all, func(s Service) bool { return s.Name == name })
	if i < 0 || a.restart == nil {
		return nil, ErrNotFound
	}
	s := all[i]
	if st := supervise.State(s.State); st != supervise.StateBackoff && st != supervise.StateIsolated {
		return nil, Refuse("not_waiting", fmt.Sprintf("the service %s is %s: it does not wait to be started again", name, s.State), "causeway ctl services")
	}
	if !dry {
		if err := a.restart(name); err != nil && !errors.Is(err, supervise.ErrNotWaiting) { // it began just now
			return nil, fmt.Errorf("restart the service %s: %w", name, err)
		}
	}
	return Change{Action: "restart", Target: "service " + name, DryRun: dry, Effects: []string{"it is started now; it failed with: " + s.LastError}}, nil
}

// linkTrouble names the link that has been down the longest.
func linkTrouble(st Status) *Trouble {
	var worst *Link
	for i, l := range st.Links {
		if l.State != LinkUp && l.State != LinkPaused && l.State != LinkElsewhere && (worst == nil || l.Since.Before(worst.Since)) {
			worst = &st.Links[i]
		}
	}
	if worst == nil {
		return nil
	}
	return &Trouble{Summary: fmt.Sprintf("the link to %s is %s: %s", worst.Peer, worst.State, worst.Reason),
		Since: worst.Since, Next: "causeway ctl link show " + worst.Peer}
}

// pauseTrouble reminds of a link that somebody paused.
func pauseTrouble(st Status) *Trouble {
	for _, l := range st.Links {
		if l.Pause == nil {
			continue
		}
		t := &Trouble{Summary: "the link to " + l.Peer + " is paused", Since: l.Pause.Since, Next: "causeway ctl link resume " + l.Peer}
		if l.Pause.Until != nil {
			t.Summary += " until " + l.Pause.Until.Format(time.RFC3339)
		}
		if l.Pause.Reason != "" {
			t.Summary += ": " + l.Pause.Reason
		}
		return t
	}
	return nil
}

// spoolTrouble warns of a spool that is half full although its link is up.
func spoolTrouble(st Status) *Trouble {
	for _, l := range st.Links {
		if l.SpoolCapacityBytes > 0 && l.SpoolBytes >= l.SpoolCapacityBytes/2 {
			return &Trouble{Summary: fmt.Sprintf("the spool for %s is %d%% full; at 100%% its oldest messages are dropped",
				l.Peer, l.SpoolBytes*100/l.SpoolCapacityBytes), Since: st.Now.Add(-l.LagSeconds.Duration()), Next: "causeway ctl link show " + l.Peer}
		}
	}
	return nil
}
