package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// acts is what an operator began with a home: the last one.
type acts struct {
	mu   sync.Mutex
	last *ActStatus
}

// status is a copy of the last act; nil: none.
func (x *acts) status() *ActStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		return nil
	}
	c := *x.last
	c.Steps = slices.Clone(c.Steps)
	return &c
}

// begin begins an act unless one is under way.
func (x *acts) begin(a Action, o Order) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last != nil && x.last.Outcome == "" {
		return false
	}
	x.last = &ActStatus{Action: a, To: o.To, By: o.By, Began: time.Now()}
	return true
}

func (x *acts) step(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last.Step = name
	x.last.Steps = append(x.last.Steps, Step{name, time.Now()})
}

func (x *acts) left(messages int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last.Messages = messages
}

func (x *acts) end(outcome, detail string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last.Ended, x.last.Outcome, x.last.Detail = time.Now(), outcome, detail
}

// Outcomes of an act.
const (
	Done    = "done"
	Aborted = "aborted" // nothing is different from before
	Partly  = "partly"  // the rest follows by itself, whoever crashes
	Failed  = "failed"
)

// Plan says what an order would do, or refuses with every reason there is.
func (a *Agent) Plan(ctx context.Context, act Action, o Order) (Plan, error) {
	k, err := a.at(o.Home)
	if err != nil {
		return Plan{}, err
	}
	c := k.check(o)
	switch act {
	case Switchover:
		return c.switchover(ctx)
	case Failover:
		return c.failover(ctx)
	case Fence:
		return c.fence()
	case Resume:
		return c.resume()
	}
	return Plan{}, fmt.Errorf("takeover: there is no action %q", act)
}

func (a *Agent) at(id home.ID) (*keeper, error) {
	k := a.keepers[id]
	switch {
	case k == nil:
		return nil, fmt.Errorf("%w: %s", ErrNoCopy, id)
	case !a.atWork.Load():
		return nil, ErrElsewhere
	}
	return k, nil
}

// Begin checks again and begins; Homes shows how it goes on.
func (a *Agent) Begin(ctx context.Context, act Action, o Order) (Plan, error) {
	p, err := a.Plan(ctx, act, o)
	if err != nil {
		return p, err
	}
	k, err := a.at(o.Home)
	if err != nil {
		return p, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.atWork.Load():
		return p, ErrElsewhere
	case !k.acts.begin(act, o):
		return p, &Refused{[]Reason{busyReason(k.acts.status())}}
	}
	do := map[Action]func(context.Context, Order) (string, string){Switchover: k.doSwitchover, Failover: k.doFailover, Fence: k.doFence, Resume: k.doResume}[act]
	running := a.ctx
	a.orders.Go(func() {
		outcome, detail := Failed, "the node's log says where"
		a.o.Crashed("order", group.Protect(func() error {
			outcome, detail = do(running, o)
			return nil
		}))
		k.acts.end(outcome, detail)
		a.o.Audit(string(act), string(o.Home), outcome, strings.TrimSpace("by "+o.By+" "+detail))
		a.o.Logger.Info("an operator's action ended", "action", act, "home", o.Home, "to", o.To, "by", o.By, "outcome", outcome, "detail", detail)
		k.poke()
	})
	return p, nil
}

func busyReason(s *ActStatus) Reason {
	return Reason{"busy", fmt.Sprintf("a %s is under way, at the step %q", s.Action, s.Step), "wait for its end: causeway ctl region status"}
}

// orderTime bounds a step that waits for others.
const (
	drainTime = 5 * time.Second
	orderTime = 30 * time.Second
)

// wait polls a condition of the copy until it holds or the time is over.
func (k *keeper) wait(ctx context.Context, limit time.Duration, holds func(*CopyState) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		st := k.c.State()
		if holds(&st) {
			return true
		}
		if !k.a.sleep(ctx, 10*time.Millisecond, nil) {
			return false
		}
	}
}

// doSwitchover hands the home to another region. Up to the entry that says so it may be
// given up, and everything is as before; from then on whoever leads finishes it. [E7]
func (k *keeper) doSwitchover(ctx context.Context, o Order) (outcome, detail string) {
	undrain := func() { // also when this node stops being at work
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if err := k.c.Drain(ctx, false); err != nil {
			k.a.o.Logger.Warn("let devices go on", "home", k.id, "problem", err)
		}
	}
	k.acts.step("drain")
	limited, cancel := context.WithTimeout(ctx, drainTime)
	err := k.c.Drain(limited, true)
	cancel()
	defer undrain()
	if err != nil {
		return Aborted, fmt.Sprintf("devices could not be stopped: %s", err)
	}
	k.acts.step("ship")
	shipped := k.wait(ctx, o.patience(), func(st *CopyState) bool {
		s := st.Shipped[o.To]
		k.acts.left(s.Messages)
		return s.Connected && s.Records >= st.Records
	})
	if !shipped {
		return Aborted, fmt.Sprintf("%s did not have everything within %s", o.To, o.patience())
	}
	k.acts.step("hand over")
	epoch := k.c.State().Epoch
	if outcome, detail := k.hand(ctx, o.To); outcome != "" {
		return outcome, detail
	}
	k.poke() // the voters are released
	k.acts.step("wait for " + o.To)
	if k.wait(ctx, orderTime, func(*CopyState) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.host.InForce.Compare(epoch) > 0
	}) {
		return Done, fmt.Sprintf("%s serves the home", o.To)
	}
	return Partly, fmt.Sprintf("the home is handed over and %s did not say yet that it serves; it will when it has the last record, or fail over", o.To)
}

func (o *Order) patience() time.Duration {
	if o.Wait <= 0 {
		return 10 * time.Second
	}
	return o.Wait
}

// hand commits the last word of the epoch. An outcome says that it did not.
func (k *keeper) hand(ctx context.Context, to string) (outcome, detail string) {
	limited, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	_, err := k.c.Hand(limited, to)
	if err == nil || k.wait(ctx, drainTime, func(st *CopyState) bool { return st.Handed == to }) {
		return "", ""
	}
	// It may be committed later all the same: then the log says so, and it goes on.
	return Aborted, fmt.Sprintf("the handover was not entered into the log: %s", err)
}

// doFailover promotes the copy here.
func (k *keeper) doFailover(ctx context.Context, o Order) (outcome, detail string) {
	k.acts.step("stand")
	k.mu.Lock()
	k.wanted, k.rest = &o, 0
	s := k.copy.Settings
	k.mu.Unlock()
	k.poke()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.wanted = nil
	}()
	promoted := k.wait(ctx, orderTime+2*s.DownAfter, func(st *CopyState) bool { return st.hosts(k.a.o.Region) })
	if !promoted {
		return Failed, "no majority of voters promised the home: " + k.answers()
	}
	k.acts.step("serve")
	if !k.wait(ctx, orderTime, func(*CopyState) bool { return k.a.Leased(k.id) }) {
		return Partly, "the copy is promoted and waits for a majority of voters: " + k.answers()
	}
	return Done, fmt.Sprintf("%s serves the home at %s", k.a.o.Region, k.c.State().Epoch)
}

// answers says what the voters said last.
func (k *keeper) answers() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []string
	for _, name := range k.copy.Settings.Voters {
		switch v := k.views[name]; {
		case v == nil || !v.any && v.problem == "":
			list = append(list, name+": not asked")
		case v.problem != "":
			list = append(list, name+": no answer")
		default:
			list = append(list, name+": "+v.said.Verdict.String())
		}
	}
	return strings.Join(list, ", ")
}

// doFence stops serving here until an operator resumes it.
func (k *keeper) doFence(ctx context.Context, o Order) (outcome, detail string) {
	k.acts.step("fence")
	if err := k.hold(ctx, true); err != nil {
		return Failed, err.Error()
	}
	return Done, "devices of the home are not served here until: causeway ctl region resume " + string(k.id)
}

// hold keeps whether an operator stopped the home here. It stops at once, and goes on
// once that is kept.
func (k *keeper) hold(ctx context.Context, held bool) error {
	set := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.kept.Held = held
		k.settle()
	}
	if held {
		set()
	}
	if err := k.a.o.Votes.note(ctx, k.id, func(k *Kept) { k.Held = held }); err != nil {
		return fmt.Errorf("keep the operator's word: %w", err)
	}
	set()
	k.poke()
	return nil
}

// doResume takes a fence back, and confirms an epoch that no majority does.
func (k *keeper) doResume(ctx context.Context, o Order) (outcome, detail string) {
	k.acts.step("resume")
	k.mu.Lock()
	k.ordered = o.Force && k.copy.Empty
	found := k.ordered
	k.mu.Unlock()
	if found {
		k.poke()
		if !k.wait(ctx, orderTime, func(st *CopyState) bool { return !st.Empty }) {
			return Partly, "the home is being founded"
		}
		return Done, "the home is founded anew"
	}
	if err := k.hold(ctx, false); err != nil {
		return Failed, err.Error()
	}
	if st := k.c.State(); !st.hosts(k.a.o.Region) {
		return Done, fmt.Sprintf("%s may be given the home again", k.a.o.Region)
	}
	if o.Force {
		if err := k.confirm(ctx); err != nil {
			return Failed, err.Error()
		}
	}
	k.mu.Lock()
	s := k.copy.Settings
	k.mu.Unlock()
	if !k.wait(ctx, 2*s.Lease+time.Second, func(*CopyState) bool { return k.a.Leased(k.id) }) {
		return Partly, "it waits for a majority of voters: " + k.answers()
	}
	return Done, fmt.Sprintf("%s serves the home", k.a.o.Region)
}

// confirm is an operator's word that no other region serves the home.
func (k *keeper) confirm(ctx context.Context) error {
	k.mu.Lock()
	votes := k.copy.Settings.Votes()
	k.mu.Unlock()
	if votes {
		if err := k.a.o.Votes.note(ctx, k.id, func(k *Kept) { k.Sole = true }); err != nil {
			return fmt.Errorf("keep the operator's word: %w", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept.Sole, k.host.Confirmed = votes, true
	k.settle()
	return nil
}

// together are refusals as an error; nil for none.
func together(list []Reason) error {
	if len(list) == 0 {
		return nil
	}
	return &Refused{list}
}

// IsElsewhere says that another node has to be asked.
func IsElsewhere(err error) bool { return errors.Is(err, ErrElsewhere) || errors.Is(err, ErrNotAtWork) }
