package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/takeover"
)

// Agent is at work while Run runs: on the node that leads the group of the Book.
type Agent struct {
	o       Options
	start   time.Time
	keepers map[home.ID]*keeper // fixed after New
	atWork  atomic.Bool
	calls   sync.WaitGroup // started while at work; Run waits for them
	orders  sync.WaitGroup // what operators began; Run waits for it

	mu  sync.Mutex
	ctx context.Context // of the present run; guarded by mu
}

// New checks the options.
func New(o Options) (*Agent, error) {
	if o.Region == "" || o.Votes == nil || o.Caller == nil {
		return nil, errors.New("takeover: Options.Region, Votes and Caller must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Hooks.Timeout == 0 {
		o.Hooks.Timeout = 30 * time.Second
	}
	if o.Audit == nil {
		o.Audit = func(string, string, string, string) {}
	}
	if o.Keep == nil {
		o.Keep = func(ctx context.Context, id home.ID, run func(context.Context) error) {
			group.Keep(ctx, string(id), run)
		}
	}
	if o.Crashed == nil {
		o.Crashed = func(string, error) {}
	}
	if o.Pace == 0 {
		o.Pace = 1
	}
	a := &Agent{o: o, start: time.Now(), keepers: map[home.ID]*keeper{}}
	for _, c := range o.Copies {
		id := c.Home()
		if a.keepers[id] != nil {
			return nil, fmt.Errorf("takeover: two copies of the home %s", id)
		}
		a.keepers[id] = newKeeper(a, c)
	}
	o.Votes.attach(a.Heard, a.look)
	return a, nil
}

// now is this node's monotonic clock.
func (a *Agent) now() time.Duration { return time.Duration(float64(time.Since(a.start)) * a.o.Pace) }

// sleep waits for a time of this node's clock; false if ctx ended, or wake came first.
func (a *Agent) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(time.Duration(float64(d) / a.o.Pace))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-wake:
	case <-ctx.Done():
	}
	return false
}

// Run works until ctx ends. It begins with what the last one at work left in the logs
// and the book.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := a.o.Votes.Start(ctx); err != nil {
		return err
	}
	defer a.o.Votes.Stop()
	for id, k := range a.keepers {
		kept, err := a.o.Votes.kept(ctx, id)
		if err != nil {
			return err
		}
		k.begin(kept)
	}
	a.mu.Lock()
	a.ctx = ctx
	a.mu.Unlock()
	a.atWork.Store(true)
	var all sync.WaitGroup
	for id, k := range a.keepers { // one that fails goes on by itself with what is known, and its lease lapses if it cannot
		all.Go(func() { a.o.Keep(ctx, id, k.run) })
	}
	<-ctx.Done()
	a.mu.Lock()
	a.atWork.Store(false)
	a.mu.Unlock()
	for _, k := range a.keepers {
		k.end()
	}
	all.Wait()
	a.orders.Wait()
	a.calls.Wait()
	return nil
}

// look tells of this region to who would hand a home over.
func (a *Agent) look(id home.ID) Look {
	k := a.keepers[id]
	if k == nil {
		return Look{Why: "it has no copy of the home"}
	}
	st := k.c.State()
	k.mu.Lock()
	defer k.mu.Unlock()
	l := Look{Has: true, Records: st.Records, Supports: st.Supports, Why: k.notReady(&st), Room: Room{Sessions: -1, Queued: -1, DiskBytes: -1}}
	if k.kept.Held {
		l.Why = "an operator stopped the home there, until: causeway ctl region resume " + string(id)
	}
	l.Ready = l.Why == ""
	if a.o.Room != nil {
		l.Room = a.o.Room()
	}
	return l
}

// Leased says whether the region may serve the home now. It is cheap and may be called from any goroutine; false while Run does not run.
func (a *Agent) Leased(id home.ID) bool { return a.LeasedFor(id, 0) }

// LeasedFor says whether the region may serve the home now and for a time from now: for
// as long as nodes rely on what they are told.
func (a *Agent) LeasedFor(id home.ID, d time.Duration) bool {
	k := a.keepers[id]
	return k != nil && a.atWork.Load() && int64(a.now()) < k.until.Load()-int64(d)
}

// Standing is whether the region serves the home, and if not, why.
func (a *Agent) Standing(id home.ID) takeover.Standing {
	k := a.keepers[id]
	if k == nil || !a.atWork.Load() {
		return takeover.Starting
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.standing()
}

// Held says that an operator stopped the home in this region, as far as this node decides.
func (a *Agent) Held(id home.ID) bool {
	k := a.keepers[id]
	if k == nil || !a.atWork.Load() {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept.Held
}

// Changed has the agent look at a copy now: its log says something new of who hosts the home.
func (a *Agent) Changed(id home.ID) {
	if k := a.keepers[id]; k != nil {
		k.poke()
	}
}

// Heard notes that a region said that it serves the home at an epoch, in a tunnel's
// hello for example. A hosted home of a lower epoch is fenced at once.
func (a *Agent) Heard(id home.ID, inForce home.Epoch) {
	if k := a.keepers[id]; k != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.hear(inForce)
	}
}

// Inherit says that this node, in this life of its process, knew the copy to be served
// at the epoch: it was fresh. A node that becomes leader goes on with an epoch that was
// confirmed; only after a full stop is it to be confirmed anew. [E2]
func (a *Agent) Inherit(id home.ID, e home.Epoch) {
	if k := a.keepers[id]; k != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.inherited = highest(k.inherited, e)
	}
}

// call runs something beside the keepers while at work. A panic in it costs that.
func (a *Agent) call(fn func()) {
	a.calls.Go(func() { a.o.Crashed("call", group.Protect(func() error { fn(); return nil })) })
}

// ask asks a region or witness, itself among them. A panic is no answer.
func (a *Agent) ask(ctx context.Context, voter string, q *request, limit time.Duration) (p reply, err error) {
	err = group.Protect(func() (err error) {
		p, err = a.askOnce(ctx, voter, q, limit)
		return err
	})
	a.o.Crashed("call", err)
	return p, err
}

func (a *Agent) askOnce(ctx context.Context, voter string, q *request, limit time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var b []byte
	var err error
	if voter == a.o.Region {
		b, err = a.o.Votes.Answer(voter, Kind, q.encode())
	} else {
		b, err = a.o.Caller.Call(ctx, voter, Kind, q.encode())
	}
	if err != nil {
		return reply{}, fmt.Errorf("ask %s about %s: %w", voter, q.Home, err)
	}
	p, err := decodeReply(b)
	if err != nil {
		return reply{}, fmt.Errorf("the answer of %s about %s: %w", voter, q.Home, err)
	}
	return p, nil
}
