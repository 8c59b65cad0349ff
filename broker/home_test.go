package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/home"
)

// testHome is a home.State behind a log that loses nothing and has no disk: operations are encoded, decoded and applied
// in batches by one goroutine, as the replica does it.
type testHome struct {
	t       testing.TB
	state   *home.State
	sink    atomic.Pointer[House]
	ownerMu sync.Mutex
	owner   home.Owner
	start   time.Time
	unready atomic.Bool
	asked   atomic.Int64 // whether it is ready
	stale   atomic.Bool
	evict   atomic.Bool // Queue leaves bodies out, Body has them
	badDisk atomic.Bool
	secrets atomic.Bool  // the region may not store what is of topic secret
	dropped atomic.Int64 // by the home

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []proposal
	held    bool      // nothing is applied
	until   home.Kind // nothing is applied from the first operation of this kind on
	room    int       // proposals taken; beyond, Propose says no
	stopped bool
	n       uint64
	count   map[home.Kind]int
	bodies  map[home.Seq]home.Message
	ended   chan struct{}

	away    bool     // the standby: nothing is shipped
	shipped []func() // who waits for it
}

type proposal struct {
	op   home.Op
	done func(home.Outcome, error)
}

var errFull = errors.New("no room")

func newTestHome(t testing.TB) *testHome {
	h := &testHome{
		t: t, state: home.New(), owner: home.Owner{Node: "n1", Incarnation: 1}, start: time.Now(), room: 1 << 20,
		count: map[home.Kind]int{}, ended: make(chan struct{}),
		bodies: map[home.Seq]home.Message{},
	}
	h.wake = sync.NewCond(&h.mu)
	go h.run()
	must := func(op home.Op) {
		if err := h.Propose(op, func(home.Outcome, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	must(&home.Genesis{Home: "eu", Epoch: home.Epoch{Number: 1, Host: "eu"}})
	must(&home.NodeUp{})
	return h
}

func (h *testHome) run() {
	defer close(h.ended)
	for {
		h.mu.Lock()
		for h.next() == 0 && !h.stopped {
			h.wake.Wait()
		}
		n := h.next()
		batch := h.waiting[:n:n]
		h.waiting = h.waiting[n:]
		stopped := h.stopped
		h.wake.Broadcast()
		h.mu.Unlock()
		if len(batch) > 0 {
			h.apply(batch) // a stop finishes what is under way, as a replica's does
		}
		if stopped {
			for _, p := range h.waiting { // nobody adds to it any more
				p.done(home.Outcome{}, errors.New("stopped"))
			}
			return
		}
	}
}

// next is how many proposals may be applied now.
func (h *testHome) next() int {
	if h.held {
		return 0
	}
	for i, p := range h.waiting {
		if p.op.Kind() == h.until {
			return i
		}
	}
	return len(h.waiting)
}

func (h *testHome) apply(batch []proposal) {
	h.n++
	e := home.Entry{Owner: h.Owner(), N: h.n}
	for _, p := range batch {
		e.Ops = append(e.Ops, p.op)
	}
	r := home.Record{Home: "eu", Time: h.Now(), Entries: []home.Entry{e}}
	decoded, err := home.DecodeRecord(r.Append(nil))
	if err != nil {
		h.t.Errorf("decode a record: %v", err)
		return
	}
	outs := make([]home.Outcome, 0, len(batch))
	err = h.state.Apply(&decoded, h, func(_ *home.Entry, _ int, o home.Outcome) { outs = append(outs, o) })
	if err != nil || len(outs) != len(batch) {
		h.t.Errorf("apply: %v, %d outcomes for %d operations", err, len(outs), len(batch))
		return
	}
	for i, p := range batch {
		p.done(outs[i], nil)
	}
}

func (h *testHome) stop() {
	h.mu.Lock()
	h.stopped = true
	h.wake.Broadcast()
	h.mu.Unlock()
	<-h.ended
}

// hold stops applying until release.
func (h *testHome) hold() { h.set(func() { h.held = true }) }

func (h *testHome) release() { h.set(func() { h.held, h.until = false, 0 }) }

func (h *testHome) holdFrom(k home.Kind) { h.set(func() { h.until = k }) }

func (h *testHome) setRoom(n int) { h.set(func() { h.room = n }) }

func (h *testHome) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.wake.Broadcast()
}

// setOwner begins a new incarnation; nothing may be in the log's hands.
func (h *testHome) setOwner(o home.Owner) {
	h.ownerMu.Lock()
	defer h.ownerMu.Unlock()
	h.owner, h.n = o, 0
}

func (h *testHome) proposed(k home.Kind) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count[k]
}

func (h *testHome) Propose(op home.Op, done func(home.Outcome, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return errors.New("stopped")
	}
	if len(h.waiting) >= h.room {
		return errFull
	}
	h.count[op.Kind()]++
	h.waiting = append(h.waiting, proposal{op, done})
	h.wake.Broadcast()
	return nil
}

func (h *testHome) Room(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { h.set(func() {}) })
	defer stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.waiting) >= h.room && !h.stopped && ctx.Err() == nil {
		h.wake.Wait()
	}
	if h.stopped {
		return errors.New("stopped")
	}
	return ctx.Err()
}

func (h *testHome) Queue(k home.SessionKey, e home.SessionEpoch, after uint64, max int, dst []home.Queued) []home.Queued {
	n := len(dst)
	dst = h.state.Queue(k, e, after, max, dst)
	for i := n; i < len(dst) && h.evict.Load(); i++ {
		h.mu.Lock()
		h.bodies[dst[i].Seq] = dst[i].Message
		h.mu.Unlock()
		dst[i].Message, dst[i].Evicted = home.Message{}, true
	}
	for i := n; i < len(dst) && h.secrets.Load(); i++ {
		if dst[i].Message.Topic == "secret" {
			dst[i].Message = home.Message{Withheld: true}
		}
	}
	return dst
}

func (h *testHome) Match(ns, topic string, dst []*home.Target) []*home.Target {
	return h.state.Match(ns, topic, dst)
}

func (h *testHome) Body(seq home.Seq) (home.Message, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.bodies[seq]
	if !ok || h.badDisk.Load() {
		return m, errors.New("the disk is on fire")
	}
	return m, nil
}

func (h *testHome) Owes() bool                        { return h.state.Level() >= home.LevelOf(home.KindOwe) }
func (h *testHome) PolicyOf(topic string) home.Policy { return h.state.PolicyOf(topic) }
func (h *testHome) SessionEpoch() home.SessionEpoch   { return h.state.SessionEpoch() }
func (h *testHome) Now() home.Time                    { return home.Time(1e18).Add(time.Since(h.start)) }
func (h *testHome) Owner() home.Owner {
	h.ownerMu.Lock()
	defer h.ownerMu.Unlock()
	return h.owner
}

// AwaitShipped calls at once unless the standby is away.
func (h *testHome) AwaitShipped(_ uint64, done func()) {
	h.mu.Lock()
	away := h.away
	if away {
		h.shipped = append(h.shipped, done)
	}
	h.mu.Unlock()
	if !away {
		done()
	}
}

// ship has the standby away, or back.
func (h *testHome) ship(on bool) {
	h.mu.Lock()
	h.away = !on
	var list []func()
	if on {
		list, h.shipped = h.shipped, nil
	}
	h.mu.Unlock()
	for _, done := range list {
		done()
	}
}

func (h *testHome) Ready() (bool, string) {
	h.asked.Add(1)
	return !h.unready.Load(), "starting"
}

func (h *testHome) Fresh() bool { return !h.stale.Load() }

func (h *testHome) Deliver(d home.Delivery) {
	if s := h.sink.Load(); s != nil {
		s.Deliver(d)
	}
}

func (h *testHome) Queued(k home.SessionKey, e home.SessionEpoch, o home.Owner) {
	if s := h.sink.Load(); s != nil {
		s.Queued(k, e, o)
	}
}

func (h *testHome) Ended(k home.SessionKey, e home.SessionEpoch, o home.Owner, why home.EndReason) {
	if s := h.sink.Load(); s != nil {
		s.Ended(k, e, o, why)
	}
}

func (h *testHome) Spooled(home.ID)                            {}
func (h *testHome) Wanted()                                    {}
func (h *testHome) Dropped(_ string, _ home.DropReason, n int) { h.dropped.Add(int64(n)) }

// configure sets limits and ack policies and waits until they are in force.
func (h *testHome) configure(c home.Configure) { h.do(&c) }

// do proposes and waits.
func (h *testHome) do(op home.Op) home.Outcome {
	ch := make(chan home.Outcome, 1)
	if err := h.Propose(op, func(o home.Outcome, err error) { ch <- o }); err != nil {
		h.t.Fatal(err)
	}
	return <-ch
}
