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
	st.Conditions = list(slices.Concat(conditions(st), crlConditions(st), s.drillConditions()))
	ready := s.ready.Report()
	st.Readiness, st.Blockers = ready.Score, list(ready.Blockers)
	st.Trouble = diagnose(st)
	if region := s.regionTroubles(st.Now); len(region) > 0 { // the loss of a region comes before everything
		st.Trouble = &region[0]
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

// finders look for what is wrong, in an order in which each may be the cause of those after it. What
// each finds is in order, the worst first.
var finders = []struct {
	name, level string
	find        func(Status) []Trouble
}{
	{"state", LevelCritical, stateTrouble}, {"disk", LevelCritical, storeTrouble}, {"disk_reserve", LevelWarning, reserveTrouble}, {"listener", LevelCritical, listenerTrouble},
	{"service", LevelWarning, serviceTrouble}, {"standby", LevelCritical, standbyTrouble}, {"link", LevelWarning, linkTrouble},
	{"canary", LevelWarning, canaryTrouble}, {"pause", LevelNotice, pauseTrouble}, {"spool", LevelWarning, spoolTrouble}, {"disk_spools", LevelWarning, diskSpoolTrouble},
}

// diagnose finds the one thing wrong.
func diagnose(st Status) *Trouble {
	for _, f := range finders {
		if list := f.find(st); len(list) > 0 {
			return &list[0]
		}
	}
	return nil
}

func stateTrouble(st Status) []Trouble {
	s := st.State
	if s.State == string(health.Ready) {
		return nil
	}
	next := cmp.Or(s.Next, map[health.State]string{
		health.Starting:   "wait; causeway ctl services shows the parts",
		health.CatchingUp: "wait; causeway ctl status --watch shows the progress",
		health.Isolated:   "check the network between the nodes of the region",
	}[health.State(s.State)], "look into the node's log")
	return []Trouble{{Summary: fmt.Sprintf("the node is %s: %s", s.State, s.Reason), Since: s.Since, Next: next}}
}

func storeTrouble(st Status) (list []Trouble) {
	for _, d := range st.Stores {
		if d.FreeBytes < lowDisk {
			list = append(list, Trouble{Summary: fmt.Sprintf("the disk of %s (%s) has %s left", d.Name, d.Path, FormatBytes(d.FreeBytes)),
				Since: st.Now, Next: "free space or grow the disk; a node that cannot write stops"})
		}
	}
	return list
}

// reserveTrouble says that a disk is down to what the spools leave free. Nothing else stops there.
func reserveTrouble(st Status) (list []Trouble) {
	for _, d := range st.Stores {
		if d.ReserveBytes > 0 && d.FreeBytes <= d.ReserveBytes {
			list = append(list, Trouble{Summary: fmt.Sprintf("the disk of %s (%s) is down to its reserve: %s are left of %s, so spools grow no more and drop their oldest when a peer is away",
				d.Name, d.Path, FormatBytes(d.FreeBytes), FormatBytes(d.ReserveBytes)), Since: st.Now, Next: "free space, grow the disk, or lower disk.reserve in the node file: causeway ctl config reload"})
		}
	}
	return list
}

func listenerTrouble(st Status) (list []Trouble) {
	for _, l := range st.Listeners {
		if !l.Open {
			list = append(list, Trouble{Summary: fmt.Sprintf("the listener %s (%s) is not open: %s", l.Name, l.Address, l.Error),
				Since: st.State.Since, Next: "free the address, or change listeners in the node file"})
		}
	}
	return list
}

func serviceTrouble(st Status) (list []Trouble) {
	for _, state := range []supervise.State{supervise.StateIsolated, supervise.StateBackoff, supervise.StateFailed, supervise.StateStuck} {
		for i := range st.Services {
			s := &st.Services[i]
			if s.State != string(state) {
				continue
			}
			t := Trouble{Summary: fmt.Sprintf("the service %s failed (restarted %d times): %s", s.Name, s.Restarts, s.LastError),
				Since: s.Since, Next: "causeway ctl services"}
			if state == supervise.StateIsolated {
				t.Summary = fmt.Sprintf("the service %s is isolated, since it fails again and again (restarted %d times): %s", s.Name, s.Restarts, s.LastError)
				t.Next = RestartCommand(s.Name)
			}
			list = append(list, t)
		}
	}
	return list
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

// linkTrouble names the links that are down, the longest first.
func linkTrouble(st Status) (list []Trouble) {
	for _, l := range st.Links {
		if l.State != LinkUp && l.State != LinkPaused && l.State != LinkElsewhere {
			list = append(list, Trouble{Summary: fmt.Sprintf("the link to %s is %s: %s", l.Peer, l.State, l.Reason), Since: l.Since, Next: "causeway ctl link show " + l.Peer})
		}
	}
	return bySince(list)
}

func bySince(list []Trouble) []Trouble {
	slices.SortStableFunc(list, func(x, y Trouble) int { return x.Since.Compare(y.Since) })
	return list
}

// pauseTrouble reminds of links that somebody paused.
func pauseTrouble(st Status) (list []Trouble) {
	for _, l := range st.Links {
		if l.Pause == nil {
			continue
		}
		t := Trouble{Summary: "the link to " + l.Peer + " is paused", Since: l.Pause.Since, Next: "causeway ctl link resume " + l.Peer}
		if l.Pause.Until != nil {
			t.Summary += " until " + l.Pause.Until.Format(time.RFC3339)
		}
		if l.Pause.Reason != "" {
			t.Summary += ": " + l.Pause.Reason
		}
		list = append(list, t)
	}
	return list
}

// spoolTrouble warns of spools that are half full although their links are up.
func spoolTrouble(st Status) (list []Trouble) {
	for _, l := range st.Links {
		if l.SpoolCapacityBytes > 0 && l.SpoolBytes >= l.SpoolCapacityBytes/2 {
			list = append(list, Trouble{Summary: fmt.Sprintf("the spool for %s is %d%% full; at 100%% its oldest messages are dropped",
				l.Peer, l.SpoolBytes*100/l.SpoolCapacityBytes), Since: st.Now.Add(-l.LagSeconds.Duration()), Next: "causeway ctl link show " + l.Peer})
		}
	}
	return list
}
