package conductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill"
	"causeway/internal/group"
)

// Options of a conductor.
type Options struct {
	Drill *drill.Drill
	Dir   string // of this drill's files; it exists
	ID    string
	By    string // who runs it
	Tool  string // version of this program
	// Regions are where the admin APIs are, by the names in the plan.
	Regions map[string][]admin.Address
	// Canaries is the command line of a canary process. Default: this program.
	Canaries []string
	// Told hears of each event, on the conductor's goroutine, with the run as it is then.
	Told   func(drill.Event, *drill.Run)
	Logger *slog.Logger
}

type conductor struct {
	o        Options
	plan     *drill.Plan
	run      *drill.Run
	journal  *drill.Journal
	locked   *os.File
	events   []drill.Event
	regions  map[string]*region
	agent    agent
	round    int // how often canaries were started
	fleet    *fleet
	watching context.Context // ends when what looks beside the steps does
	marking  sync.WaitGroup
	base     uint64 // connects of the canaries when the phase's disaster began

	facts  []drill.RegionFacts
	share  drill.Share
	before []drill.Summary

	mu      sync.Mutex
	stop    *drill.Event // what ends the drill; set once, by whoever watches
	cancel  context.CancelCauseFunc
	seen    []drill.Event // marks, to be written
	touched map[string]admin.DrillTouch
	selves  map[string]bool    // names that the regions know this conductor by
	fresh   []admin.DrillTouch // not written yet
	devices int                // connected, as last counted; -1: not known
	shown   admin.Drill        // what publish writes
}

// errStopped is why a step was cancelled.
var errStopped = errors.New("the drill is given up")

// Run holds a drill from its first step to its sealed report. When ctx ends it cleans up first. The
// report's exit code says what came of it; an error is of the conductor itself, after it has cleaned
// up as far as it could.
func Run(ctx context.Context, o Options) (*drill.Report, error) {
	c, err := newConductor(o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.locked, err = lock(o.Dir); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.Dir, drill.PlanFile), o.Drill.Plan.Text(), 0o600); err != nil {
		return nil, fmt.Errorf("keep the plan: %w", err)
	}
	if c.journal, err = drill.CreateJournal(o.Dir); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	if err := c.note(drill.Event{What: drill.EvStarted, Step: -1, By: o.By, Text: "from " + host}); err != nil {
		return nil, err
	}
	c.learn(ctx)
	return c.conduct(ctx)
}

// Resume goes on with a drill whose conductor is gone, or has it given up and cleans up.
func Resume(ctx context.Context, o Options, goOn bool) (*drill.Report, error) {
	c, err := newConductor(o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.locked, err = lock(o.Dir); err != nil {
		return nil, err
	}
	if c.journal, c.events, err = drill.OpenJournal(o.Dir); err != nil {
		return nil, err
	}
	for _, e := range c.events {
		if err := c.run.Apply(e); err != nil {
			return nil, err
		}
		if e.What == drill.EvResumed {
			c.round++
		}
	}
	if c.run.State == drill.Ended {
		return nil, fmt.Errorf("the drill %s has ended: %s", o.ID, c.run.Outcome)
	}
	c.round++
	if err := c.note(drill.Event{What: drill.EvResumed, Step: -1, By: o.By, Text: "the conductor was gone: canaries saw nothing meanwhile"}); err != nil {
		return nil, err
	}
	if !goOn && c.run.State == drill.Running {
		if err := c.note(drill.Event{What: drill.EvAbort, Step: -1, By: o.By, Text: "given up by " + o.By}); err != nil {
			return nil, err
		}
	}
	c.learn(ctx)
	return c.conduct(ctx)
}

func newConductor(o Options) (*conductor, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Told == nil {
		o.Told = func(drill.Event, *drill.Run) {}
	}
	c := &conductor{o: o, plan: o.Drill.Plan, run: drill.NewRun(o.Drill), regions: map[string]*region{}, agent: agent{o.Drill.Plan.Agent, o.ID}, touched: map[string]admin.DrillTouch{}, selves: map[string]bool{}, devices: -1}
	if len(o.Canaries) == 0 {
		line, err := self()
		if err != nil {
			return nil, err
		}
		c.o.Canaries = line
	}
	for name, at := range o.Regions {
		r, err := newRegion(name, at)
		if err != nil {
			return nil, err
		}
		c.regions[name] = r
	}
	return c, nil
}

func (c *conductor) close() {
	if c.fleet != nil {
		c.fleet.kill()
	}
	if c.journal != nil {
		_ = c.journal.Close()
	}
	for _, r := range c.regions {
		r.close()
	}
	if c.locked != nil {
		_ = c.locked.Close()
	}
}

// note writes an event and takes it in.
func (c *conductor) note(e drill.Event) error {
	e, err := c.journal.Add(e)
	if err != nil {
		return err
	}
	if err := c.run.Apply(e); err != nil {
		return err
	}
	c.events = append(c.events, e)
	c.show()
	c.o.Told(e, c.run)
	return nil
}

// conduct does what comes next until there is nothing.
func (c *conductor) conduct(ctx context.Context) (*drill.Report, error) {
	if c.run.State == drill.Running {
		fleet, err := startFleet(ctx, c.o.Canaries, canaryConfigs(c.plan, c.o.ID, c.o.Dir, c.round))
		if err != nil {
			if e := c.note(drill.Event{What: drill.EvAbort, Step: -1, Text: "the canaries do not run: " + err.Error()}); e != nil {
				return nil, e
			}
		}
		c.fleet = fleet
	}
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	c.watching = watching
	var all sync.WaitGroup
	all.Go(func() { c.watch(watching) })
	all.Go(func() { c.count(watching) })
	all.Go(func() { c.publish(watching) })
	err := c.steps(ctx)
	if c.fleet != nil && err == nil {
		if e := c.fleet.end(watching, c.plan.Canaries.Patience); e != nil {
			err = c.note(drill.Event{What: drill.EvNote, Step: -1, Name: "finding", Text: e.Error(), Data: map[string]string{"key": "canaries"}})
		}
		c.fleet = nil
	}
	end()
	all.Wait()
	c.marking.Wait()
	if err != nil {
		return nil, err
	}
	return c.report(context.WithoutCancel(ctx))
}

func (c *conductor) steps(ctx context.Context) error {
	for {
		if err := c.writeSeen(); err != nil {
			return err
		}
		switch next := c.run.Next(); {
		case next.End:
			return nil
		case next.Undo != nil:
			if err := c.undo(ctx, next.Undo); err != nil {
				return err
			}
		default:
			if err := c.step(ctx, next.Step); err != nil {
				return err
			}
		}
	}
}

// step does one step, unless something ends the drill meanwhile.
func (c *conductor) step(ctx context.Context, s *drill.Step) error {
	if !c.run.Begun {
		if err := c.note(drill.Event{What: drill.EvBegun, Step: s.N, Text: s.Why}); err != nil {
			return err
		}
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.cancel = cancel
	if c.stop != nil {
		cancel(errStopped)
	}
	c.mu.Unlock()
	text, err := c.do(within, s)
	if e := c.writeSeen(); e != nil {
		return e
	}
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	var missed *missedError
	switch {
	case stop != nil:
		return c.note(*stop)
	case ctx.Err() != nil:
		return c.note(drill.Event{What: drill.EvInterrupted, Step: -1, By: c.o.By, Text: "interrupted by a signal"})
	case errors.As(err, &missed):
		return c.note(drill.Event{What: drill.EvMissed, Step: s.N, Text: err.Error()})
	case err != nil:
		return c.note(drill.Event{What: drill.EvFailed, Step: s.N, Text: err.Error()})
	}
	return c.note(drill.Event{What: drill.EvDone, Step: s.N, Text: text})
}

// missedError says that something did not come in time, or was not as it should be.
type missedError struct{ error }

func missed(format string, args ...any) error { return &missedError{fmt.Errorf(format, args...)} }

// give ends the drill.
func (c *conductor) give(e drill.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		return
	}
	e.Step, e.At = -1, time.Now()
	c.stop = &e
	if c.cancel != nil {
		c.cancel(errStopped)
	}
}

// undoWithin bounds one try to undo something.
const undoWithin = 4 * time.Minute

// undo undoes one thing, whatever signals come.
func (c *conductor) undo(ctx context.Context, o *drill.Open) error {
	a := o.Action
	if err := c.note(drill.Event{What: drill.EvUndoBegun, Step: -1, Name: a.String()}); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	text, err := c.act(within, a)
	if err != nil {
		return c.note(drill.Event{What: drill.EvUndoFailed, Step: -1, Name: a.String(), Text: err.Error()})
	}
	return c.note(drill.Event{What: drill.EvUndoDone, Step: -1, Name: a.String(), Text: text})
}

// writeSeen writes what those beside the conductor saw.
func (c *conductor) writeSeen() error {
	c.mu.Lock()
	seen, fresh := c.seen, c.fresh
	c.seen, c.fresh = nil, nil
	c.mu.Unlock()
	for _, e := range seen {
		if err := c.note(e); err != nil {
			return err
		}
	}
	for _, t := range fresh {
		if t.What == admin.DrillObserve {
			if err := c.note(drill.Event{What: drill.EvNote, Step: -1, Name: "observer", By: t.By, Text: t.Why}); err != nil {
				return err
			}
		}
	}
	return nil
}

// do does what a step says.
func (c *conductor) do(ctx context.Context, s *drill.Step) (string, error) {
	switch s.Kind {
	case drill.KindAct:
		if s.Mark && c.fleet != nil {
			_, c.base = c.fleet.homed()
		}
		if s.Mark && c.o.Drill.Phases[s.Phase].Measures {
			if err := c.lagAllows(ctx, s); err != nil {
				return "", err
			}
			c.mark(c.watching)
		}
		within, cancel := context.WithTimeout(ctx, s.Wait)
		defer cancel()
		return c.act(within, s.Act)
	case drill.KindAwait:
		return c.await(ctx, s)
	case drill.KindWait:
		return "", group.Pause(ctx, s.Wait)
	case drill.KindCheck:
		out, err := program(ctx, s.Check, s.Wait, c.context())
		if err != nil {
			return "", &missedError{err}
		}
		return out, nil
	case drill.KindApprove:
		return c.approval(ctx, s)
	}
	return "", nil
}

// context is what a business check reads on its standard input.
func (c *conductor) context() []byte {
	b, err := json.Marshal(map[string]string{"drill": c.o.ID, "name": c.plan.Name, "home": c.plan.Home})
	if err != nil {
		return nil
	}
	return append(b, '\n')
}

// lagAllows holds the standby's lag against the guardrail before the home is taken from its host.
func (c *conductor) lagAllows(ctx context.Context, s *drill.Step) error {
	limit := c.plan.Guardrails.StandbyLag
	if limit <= 0 || c.o.Drill.Phases[s.Phase].Scenario == "failback" {
		return nil
	}
	_, h := c.host(ctx)
	if h == nil {
		return nil
	}
	for _, b := range h.Standbys {
		if b.Connected && b.LagSeconds <= limit.Seconds() {
			return nil
		}
	}
	c.give(drill.Event{What: drill.EvTripped, Text: fmt.Sprintf("guardrails.standby_lag: no standby of %s is within %s", c.plan.Home, limit)})
	return errStopped
}

// lookEvery is how often regions are looked at while something is awaited.
const lookEvery = 50 * time.Millisecond

// host is the region that serves the home, as it says itself.
func (c *conductor) host(ctx context.Context) (*region, *admin.RegionHome) {
	for _, name := range c.names() {
		r := c.regions[name]
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		h, err := r.home(within, c.plan.Home)
		cancel()
		if err == nil && serves(&h) {
			return r, &h
		}
	}
	return nil, nil
}

func (c *conductor) names() (list []string) {
	for name := range c.regions {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// mark looks, beside the steps, at how far the other regions are with taking the home over.
func (c *conductor) mark(ctx context.Context) {
	from, h := c.host(ctx)
	if from == nil || c.plan.Scope.Kind == drill.ScopeShadow {
		return
	}
	began := h.Epoch
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	var once sync.Map
	note := func(name, text string) {
		if _, known := once.LoadOrStore(name, true); known {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, drill.Event{At: time.Now(), What: drill.EvMark, Step: -1, Name: name, Text: text})
	}
	var all sync.WaitGroup
	for name, r := range c.regions {
		if r == from {
			continue
		}
		all.Go(func() {
			for ctx.Err() == nil {
				h, err := r.home(ctx, c.plan.Home)
				if err == nil && h.Role != "" {
					for _, v := range h.Voters {
						if v.Name == from.name && v.HeardSeconds >= h.DownAfterSeconds {
							note("detected", name+" heard nothing of "+from.name)
						}
						var n uint64
						if _, e := fmt.Sscanf(v.Promised, "%d@"+name, &n); e == nil && n > began {
							note("decided", v.Name+" promised it to "+name)
						}
					}
					if serves(&h) && h.Epoch > began {
						note("promoted", name+" serves it")
						cancel()
					}
				}
				if group.Pause(ctx, lookEvery) != nil {
					return
				}
			}
		})
	}
	c.marking.Go(func() { all.Wait(); cancel() })
}

// watch looks at the canaries, and holds them against the guardrails.
func (c *conductor) watch(ctx context.Context) {
	guard := drill.NewGuard(c.plan.Guardrails)
	f, err := os.OpenFile(filepath.Join(c.o.Dir, drill.SamplesFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		defer f.Close()
	}
	limit := time.NewTimer(c.plan.Limit)
	defer limit.Stop()
	fleet, baseline := c.fleet, 0
	for group.Pause(ctx, 500*time.Millisecond) == nil {
		select {
		case <-limit.C:
			c.give(drill.Event{What: drill.EvTripped, Text: fmt.Sprintf("limit: the drill takes longer than %s", c.plan.Limit)})
		default:
		}
		if fleet == nil {
			continue
		}
		live, err := fleet.live()
		if err != nil && ctx.Err() == nil {
			c.give(drill.Event{What: drill.EvTripped, Text: "canaries: " + err.Error()})
		}
		c.mu.Lock()
		devices := c.devices
		c.mu.Unlock()
		if baseline == 0 && devices > 0 {
			baseline = devices
		}
		s := drill.Sample{At: time.Now(), Live: live, Devices: devices, Baseline: baseline}
		if b, err := json.Marshal(s); err == nil && f != nil {
			_, _ = f.Write(append(b, '\n')) // samples are for people; what is judged is in the ledgers
		}
		if why := guard.Tripped(s); why != "" {
			c.give(drill.Event{What: drill.EvTripped, Text: why})
		}
	}
}

// count counts the devices of all regions.
func (c *conductor) count(ctx context.Context) {
	for {
		n, known := 0, false
		for _, r := range c.regions {
			if x, err := r.connected(ctx); err == nil {
				n, known = n+x, true
			}
		}
		c.mu.Lock()
		if c.devices = n; !known {
			c.devices = -1
		}
		c.mu.Unlock()
		if group.Pause(ctx, 2*time.Second) != nil {
			return
		}
	}
}

// learn asks the regions what they are, for the report.
func (c *conductor) learn(ctx context.Context) {
	all, mine := 0, 0
	for _, name := range c.names() {
		f := drill.RegionFacts{Region: name, Nodes: map[string]string{}, Config: map[string]string{}}
		r := c.regions[name]
		var rd admin.Readiness
		if err := r.get(ctx, "readiness", admin.Path("readiness"), nil, &rd); err != nil {
			f.Reason = err.Error()
			c.facts = append(c.facts, f)
			continue
		}
		f.Score, f.Blockers = rd.Score, rd.Blockers
		for _, n := range rd.Facts {
			f.Nodes[n.Node] = n.Version
			for _, d := range n.Digests {
				if n.Node == rd.Node {
					f.Config[d.Name] = d.SHA256
				}
			}
		}
		f.Devices, _ = r.connected(ctx)
		var page admin.Page[admin.RegionHome]
		if r.get(ctx, "regions", admin.Path("homes"), nil, &page) == nil {
			for _, h := range page.Items {
				if serves(&h) {
					f.Sessions += h.Sessions
					if h.Home == c.plan.Home {
						mine = h.Sessions
					}
				}
			}
		}
		all += f.Sessions
		c.share.Devices += f.Devices
		c.facts = append(c.facts, f)
	}
	c.share.InHome = mine
	c.share.Part = float64(mine) / float64(max(all, 1))
	c.before = c.history(ctx)
}

// history are the drills that any region keeps.
func (c *conductor) history(ctx context.Context) (list []drill.Summary) {
	for _, r := range c.regions {
		var page admin.Page[admin.Drill]
		if r.get(ctx, "drills", admin.Path("drills"), nil, &page) != nil {
			continue
		}
		for _, d := range page.Items {
			list = append(list, SummaryOf(d))
		}
	}
	return list
}

// report judges what the canaries saw, ends the drill, and seals its files.
func (c *conductor) report(ctx context.Context) (*drill.Report, error) {
	spans, _ := c.run.Spans()
	v, err := drill.JudgeDir(c.o.Dir, spans)
	if err != nil {
		return nil, err
	}
	facts := drill.Facts{ID: c.o.ID, By: c.o.By, Tool: c.o.Tool, Regions: c.facts, Share: c.share, Verdict: v, History: c.before}
	outcome := drill.NewReport(c.run, c.events, facts).Outcome
	if err := c.note(drill.Event{What: drill.EvEnded, Step: -1, Name: outcome}); err != nil {
		return nil, err
	}
	rep := drill.NewReport(c.run, c.events, facts)
	head, err := drill.Seal(c.o.Dir, rep)
	if err != nil {
		return nil, err
	}
	d := DrillOf(rep.Summary(head))
	d.Plan, d.At = c.plan.Hash(), c.place()
	if kept := c.put(ctx, d); kept == 0 {
		c.o.Logger.Warn("no region keeps the drill: it cannot be compared with the next one", "drill", c.o.ID)
	}
	return rep, nil
}

func (c *conductor) place() string {
	host, _ := os.Hostname()
	return host + ":" + c.o.Dir
}
