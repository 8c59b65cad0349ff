package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// The rig: regions with a copy of one home, eu's, and witnesses, in one process on a
// virtual clock, over a network that can be cut in one direction, slow, or both.

var testTerms = takeover.Terms{Lease: 4 * time.Second, Hold: 4500 * time.Millisecond}

const testDown = 5 * time.Second

// world is the rig. mu guards all of it but the agents.
type world struct {
	t        testing.TB
	ctx      context.Context
	settings Settings
	sites    map[string]*site
	names    []string
	ended    sync.WaitGroup

	mu     sync.Mutex
	rand   *rand.Rand
	cut    map[[2]string]bool // from, to: what one says does not reach the other
	slow   map[string]time.Duration
	acked  map[int]string // messages, by who acknowledged them
	next   int
	began  map[home.Epoch]string // who promoted
	events []string
	wrong  []string
	rigid  bool // a copy that hosts begins no other epoch
	mayTwo bool // two regions may serve at once: an operator said so
	start  time.Time
	ticks  int
	newest home.Epoch // that was served

	forgetful bool // planted: disks forget what they kept
	deaf      bool // planted: a handover is not seen
}

// site is a region, or a witness if it has no copy.
type site struct {
	w     *world
	name  string
	pace  float64
	book  *memBook
	copy  *fakeCopy // nil: a witness
	run   *running  // nil: it is down; guarded by w.mu
	agent *Agent    // the last one; guarded by w.mu
}

type running struct {
	votes *Votes
	agent *Agent
	stop  context.CancelFunc
	done  chan struct{}
}

// memBook is a disk: it survives its site's crashes.
type memBook struct {
	w    *world
	mu   sync.Mutex
	kept map[home.ID]Kept
	fail error
}

func (b *memBook) Load(context.Context) (map[home.ID]Kept, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.kept), b.fail
}

func (b *memBook) Keep(_ context.Context, id home.ID, k Kept) error {
	time.Sleep(2 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if was := b.kept[id]; k.Promised.Compare(was.Promised) < 0 || k.InForce.Compare(was.InForce) < 0 {
		b.w.fault("the promise %v, %v in force, was lowered to %v, %v", was.Promised, was.InForce, k.Promised, k.InForce)
	}
	if b.fail == nil {
		b.kept[id] = k
	}
	return b.fail
}

func (b *memBook) Sure(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fail
}

// fakeCopy is a region's copy of the home: a list of messages.
type fakeCopy struct {
	w    *world
	site string

	// guarded by w.mu; all but drained survives a crash
	epoch    home.Epoch
	log      []int
	handed   string
	retired  bool
	aside    []int // what a copy that was set aside had
	empty    bool
	incoming bool
	drained  bool
	shipped  map[string]Shipment
	size     Size
	level    uint32
	stuck    error // of Promote and Hand
	bad      string
	voters   []string // in its log; nil: the world's
}

func (c *fakeCopy) Home() home.ID { return "eu" }

func (c *fakeCopy) State() CopyState {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.state()
}

func (c *fakeCopy) state() CopyState {
	st := CopyState{Epoch: c.epoch, Records: uint64(len(c.log)), Handed: c.handed, Leads: true, Empty: c.empty, Incoming: c.incoming, Retired: c.retired, Quarantined: c.bad,
		Settings: c.w.settings, Level: c.level, Supports: 1, Silent: -1, Size: c.size, Shipped: map[string]Shipment{}}
	for r, s := range c.shipped {
		st.Shipped[r] = s
	}
	if c.w.deaf {
		st.Handed = ""
	}
	if c.voters != nil {
		st.Settings.Voters = c.voters
	}
	return st
}

func (c *fakeCopy) Promote(_ context.Context, e home.Epoch, planned bool) error {
	time.Sleep(20 * time.Millisecond)
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case c.stuck != nil:
		return c.stuck
	case w.rigid && c.hosts():
		return errors.New("it hosts already")
	case e.Compare(c.epoch) <= 0:
		return fmt.Errorf("the epoch %v is not above %v", e, c.epoch)
	case w.began[e] != "":
		w.blame("epoch %v was begun twice, by %s and %s", e, w.began[e], c.site)
	}
	w.began[e] = c.site
	w.note("%s promotes to %v with %d records, planned %v", c.site, e, len(c.log), planned)
	c.epoch, c.handed, c.retired, c.drained, c.shipped = e, "", false, false, map[string]Shipment{}
	c.log = append(c.log, 0)
	return nil
}

func (c *fakeCopy) Hand(_ context.Context, to string) (uint64, error) {
	time.Sleep(5 * time.Millisecond)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.stuck != nil {
		return 0, c.stuck
	}
	c.handed = to
	c.log = append(c.log, -1)
	c.w.note("%s hands over to %s", c.site, to)
	return uint64(len(c.log)), nil
}

func (c *fakeCopy) Drain(_ context.Context, on bool) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.drained = on
	return nil
}

func (c *fakeCopy) Retire(_ context.Context, e home.Epoch) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if !c.retired {
		c.w.note("%s sets its copy at %v aside for %v", c.site, c.epoch, e)
	}
	c.retired = true
	return nil
}

func (w *world) note(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf("%7.3fs ", time.Since(w.start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blame(format, args...)
}

// blame notes a fault: the first ones tell enough. The caller holds mu.
func (w *world) blame(format string, args ...any) {
	if len(w.wrong) < 3 {
		w.note("FAULT: "+format, args...)
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// link is a site's Caller.
type link struct{ from *site }

var errSilent = errors.New("no answer in time")

func (l link) Call(ctx context.Context, peer string, kind byte, request []byte) ([]byte, error) {
	w := l.from.w
	if !w.carry(ctx, l.from.name, peer) {
		return nil, errSilent
	}
	w.mu.Lock()
	var votes *Votes
	if s := w.sites[peer]; s != nil && s.run != nil {
		votes = s.run.votes
	}
	w.mu.Unlock()
	if votes == nil {
		<-ctx.Done()
		return nil, errSilent
	}
	b, err := votes.Answer(l.from.name, kind, request)
	if !w.carry(ctx, peer, l.from.name) {
		return nil, errSilent
	}
	return b, err
}

// carry takes its time; false if what was sent does not arrive.
func (w *world) carry(ctx context.Context, from, to string) bool {
	w.mu.Lock()
	d := time.Duration(1+w.rand.IntN(15))*time.Millisecond + w.slow[from] + w.slow[to]
	w.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return false
	}
	w.mu.Lock()
	lost := w.cut[[2]string{from, to}]
	w.mu.Unlock()
	if lost {
		<-ctx.Done()
	}
	return !lost
}

// newWorld makes eu the host, and whoever else is named its standbys; names that begin
// with w are witnesses.
func newWorld(t testing.TB, seed uint64, policy takeover.Policy, names ...string) *world {
	policy.Terms = testTerms
	w := &world{t: t, ctx: t.Context(), names: names, sites: map[string]*site{}, rand: rand.New(rand.NewPCG(seed, 1)), cut: map[[2]string]bool{}, slow: map[string]time.Duration{},
		acked: map[int]string{}, began: map[home.Epoch]string{}, start: time.Now(), settings: Settings{Voters: names, Policy: policy, DownAfter: testDown}}
	for _, n := range names {
		s := &site{w: w, name: n, pace: 1, book: &memBook{w: w, kept: map[home.ID]Kept{}}}
		if n[0] != 'w' {
			s.copy = &fakeCopy{w: w, site: n, epoch: home.Epoch{Number: 1, Host: "eu"}, shipped: map[string]Shipment{}}
			if n != "eu" {
				w.settings.Standbys = append(w.settings.Standbys, n)
			}
		}
		w.sites[n] = s
	}
	return w
}

func (w *world) logger() *slog.Logger {
	if os.Getenv("RIG_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// up starts a site. lives says that its region did not stop: only the node changed.
func (w *world) up(name string, lives bool) {
	s := w.sites[name]
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.run != nil {
		return
	}
	log := w.logger().With("site", name)
	votes, err := NewVotes(VotesOptions{Name: name, Book: s.book, Terms: testTerms, Logger: log, Pace: s.pace})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.ctx)
	r := &running{votes: votes, stop: stop, done: make(chan struct{})}
	s.run = r
	if s.copy == nil {
		close(r.done)
		if err := votes.Start(ctx); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.mu.Unlock()
	r.agent, err = New(Options{Region: name, Votes: votes, Caller: link{s}, Copies: []Copy{s.copy}, Logger: log, Pace: s.pace})
	if err != nil {
		w.t.Fatal(err)
	}
	if lives {
		r.agent.Inherit("eu", s.copy.State().Epoch)
	}
	w.mu.Lock()
	s.agent = r.agent
	w.ended.Go(func() {
		defer close(r.done)
		if err := r.agent.Run(ctx); err != nil && ctx.Err() == nil {
			w.fault("%s: %v", name, err)
		}
	})
}

// down kills a site.
func (w *world) down(name string) {
	s := w.sites[name]
	w.mu.Lock()
	r := s.run
	s.run = nil
	if s.copy != nil {
		s.copy.drained = false
	}
	w.mu.Unlock()
	if r == nil {
		return
	}
	r.stop()
	r.votes.Stop()
	<-r.done
	if w.forgetful {
		s.book.mu.Lock()
		clear(s.book.kept)
		s.book.mu.Unlock()
	}
}

func (w *world) serves(name string) bool {
	s := w.sites[name]
	return s.run != nil && s.run.agent != nil && s.copy != nil && s.copy.hosts() && s.run.agent.Leased("eu")
}

func (c *fakeCopy) hosts() bool { st := c.state(); return st.hosts(c.site) }

// serving are the regions that serve the home.
func (w *world) serving() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.names {
		if w.serves(n) {
			list = append(list, n)
		}
	}
	return list
}

// tick is what goes on beside the agents: devices publish, hosts ship, and what must
// hold is looked at.
func (w *world) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticks++
	work := w.ticks%5 == 0
	var serving []string
	for _, n := range w.names {
		if w.serves(n) {
			serving = append(serving, n)
			w.serve(n, work)
		}
	}
	if len(serving) > 1 && !w.mayTwo {
		w.blame("%v serve at once", serving)
	}
	for _, n := range w.names {
		if work {
			w.ship(n)
		}
	}
}

// serve is a device that publishes at a region that serves.
func (w *world) serve(n string, publishes bool) {
	c := w.sites[n].copy
	if c.handed != "" {
		w.blame("%s serves %v, which it handed over", n, c.epoch)
	}
	if c.epoch.Compare(w.newest) < 0 && !w.mayTwo {
		w.blame("%s serves %v after %v was served", n, c.epoch, w.newest)
	}
	w.newest = highest(w.newest, c.epoch)
	if publishes && !c.drained {
		w.next++
		c.log = append(c.log, w.next)
		w.acked[w.next] = n
	}
}

// ship sends a host's log to its standbys.
func (w *world) ship(from string) {
	h := w.sites[from]
	if h.copy == nil || h.run == nil || h.copy.epoch.Host != from || h.copy.retired || h.copy.empty {
		return
	}
	for _, n := range w.names {
		s := w.sites[n]
		if n == from || s.copy == nil {
			continue
		}
		sh := Shipment{Connected: s.run != nil && !w.cut[[2]string{from, n}] && !w.cut[[2]string{n, from}], Records: uint64(len(s.copy.log))}
		if c := s.copy; sh.Connected && c.epoch.Compare(h.copy.epoch) <= 0 {
			follows := !c.retired && len(c.log) <= len(h.copy.log) && slices.Equal(c.log, h.copy.log[:len(c.log)])
			if !follows && !c.retired && c.hosts() {
				continue // it has not heard yet that it is not the host any more
			}
			if !follows {
				c.aside = append(c.aside, c.log...)
			}
			c.log, c.epoch, c.handed, c.retired, c.empty = slices.Clone(h.copy.log), h.copy.epoch, h.copy.handed, false, false
			sh.Records = uint64(len(c.log))
		}
		sh.Messages = len(h.copy.log) - int(sh.Records)
		h.copy.shipped[n] = sh
	}
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		w.tick()
	}
}

// wait lets time go by until something holds; it fails after limit.
func (w *world) wait(what string, limit time.Duration, holds func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > limit {
			w.story()
			w.t.Fatalf("after %s: not yet: %s", limit, what)
		}
		w.pass(10 * time.Millisecond)
	}
	return time.Since(began)
}

func (w *world) untilServes(name string, limit time.Duration) time.Duration {
	w.t.Helper()
	return w.wait(name+" serves", limit, func() bool { return slices.Equal(w.serving(), []string{name}) })
}

func (w *world) story() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		w.t.Log(e)
	}
}

// cutOff cuts what one says to the others, and both if both.
func (w *world) cutOff(from string, both bool, to ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("cut: %s to %v, both ways %v", from, to, both)
	for _, n := range to {
		w.cut[[2]string{from, n}] = true
		if both {
			w.cut[[2]string{n, from}] = true
		}
	}
}

func (w *world) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("all cuts heal")
	clear(w.cut)
	clear(w.slow)
}

// finish checks what must have held, and ends everything.
func (w *world) finish() {
	w.t.Helper()
	w.mu.Lock()
	seen := map[int]bool{}
	for _, n := range w.names {
		if c := w.sites[n].copy; c != nil {
			for _, id := range append(slices.Clone(c.log), c.aside...) {
				seen[id] = true
			}
		}
	}
	for id, by := range w.acked {
		if !seen[id] {
			w.blame("message %d, acknowledged by %s, is on no disk", id, by)
			break
		}
	}
	w.mu.Unlock()
	for _, n := range w.names {
		w.down(n)
	}
	w.ended.Wait()
}

// faults are what must not have been.
func (w *world) faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrong)
}

// end finishes a scenario in which nothing may go wrong.
func (w *world) end() {
	w.t.Helper()
	w.finish()
	if f := w.faults(); len(f) > 0 {
		w.story()
		w.t.Errorf("%v", f)
	}
}

func (w *world) agent(name string) *Agent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sites[name].agent
}

// settled starts everybody and waits until eu serves.
func settled(t testing.TB, policy takeover.Policy, names ...string) *world {
	t.Helper()
	w := newWorld(t, 1, policy, names...)
	for _, n := range names {
		w.up(n, false)
	}
	w.untilServes("eu", 10*time.Second)
	w.pass(3 * time.Second)
	return w
}

var (
	autoPolicy  = takeover.Policy{Mode: takeover.Auto}
	servePolicy = takeover.Policy{Mode: takeover.Manual, Isolation: takeover.Serve}
	fencePolicy = takeover.Policy{Mode: takeover.Manual, Isolation: takeover.SelfFence}
)
