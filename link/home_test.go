package link

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// testHome is a home with a log of one voter: what is proposed commits a little
// later and is applied by one goroutine.
type testHome struct {
	id       home.ID
	owner    home.Owner
	sink     home.Sink
	delay    time.Duration
	ctx      context.Context
	cancel   context.CancelFunc
	finished chan struct{}
	arrived  chan struct{}

	mu      sync.Mutex
	st      *home.State
	pending []proposal
	n       uint64
	log     [][]byte
	chains  []uint64                                  // after each record that was applied
	held    bool                                      // nothing commits
	seam    func(at seam, ops ...home.Op) (dead bool) // may block; set before anything is proposed
	started time.Time
	base    home.Time

	disk sync.Mutex
	kept map[string][]byte // guarded by disk
}

// seam is a place on an operation's way. A home that is dead goes no further.
type seam int

const (
	asked seam = iota
	proposed
	committed
	applied
)

func (h *testHome) passes(at seam, ops ...home.Op) bool { return h.seam == nil || !h.seam(at, ops...) }

type proposal struct {
	op   home.Op
	done func(home.Outcome, error)
}

var (
	errFull    = errors.New("full")
	errStopped = errors.New("the home has stopped")
)

const maxPending = 4096

// openHome replays a log, or begins one.
func openHome(t testing.TB, id string, log [][]byte, sink home.Sink) *testHome {
	h := &testHome{id: home.ID(id), sink: sink, delay: time.Millisecond, st: home.New(), log: log, started: time.Now(),
		finished: make(chan struct{}), arrived: make(chan struct{}, 1), base: home.Time(time.Hour)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for _, b := range log {
		rec, err := home.DecodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.st.Apply(&rec, nothing{}, func(*home.Entry, int, home.Outcome) {}); err != nil {
			t.Fatal(err)
		}
		h.base = rec.Time
		h.chain(h.st)
	}
	last, _ := h.st.Incarnation("n1")
	h.owner = home.Owner{Node: "n1", Incarnation: last + 1}
	go h.run()
	first := []home.Op{&home.NodeUp{}}
	if len(log) == 0 {
		first = []home.Op{&home.Genesis{Home: h.id, Epoch: home.Epoch{Number: 1, Host: id}}}
	}
	for _, op := range first {
		h.do(t, op)
	}
	return h
}

type nothing struct{}

func (nothing) Deliver(home.Delivery)                                                {}
func (nothing) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (nothing) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (nothing) Spooled(home.ID)                                                      {}
func (nothing) Wanted()                                                              {}
func (nothing) Dropped(string, home.DropReason, int)                                 {}

func (h *testHome) run() {
	defer close(h.finished)
	for {
		select {
		case <-h.arrived:
		case <-h.ctx.Done():
			h.mu.Lock()
			rest := h.pending
			h.pending = nil
			h.mu.Unlock()
			for _, p := range rest {
				p.done(home.Outcome{}, errStopped)
			}
			return
		}
		if h.delay > 0 {
			_ = group.Pause(h.ctx, h.delay)
		}
		if h.ctx.Err() != nil {
			group.Wake(h.arrived)
			continue
		}
		h.commit()
	}
}

func (h *testHome) commit() {
	h.mu.Lock()
	if h.held || len(h.pending) == 0 {
		h.mu.Unlock()
		return
	}
	batch := h.pending
	h.pending = nil
	h.n++
	rec := home.Record{Home: h.id, Time: h.base.Add(time.Since(h.started)), Entries: []home.Entry{{Owner: h.owner, N: h.n}}}
	for _, p := range batch {
		rec.Entries[0].Ops = append(rec.Entries[0].Ops, p.op)
	}
	b := rec.Append(nil)
	h.log = append(h.log, b)
	st := h.st
	h.mu.Unlock()
	if !h.passes(committed, rec.Entries[0].Ops...) {
		for _, p := range batch {
			p.done(home.Outcome{}, errStopped)
		}
		return
	}
	back, err := home.DecodeRecord(b)
	if err != nil {
		panic(err)
	}
	outcomes := make([]home.Outcome, len(batch))
	if err := st.Apply(&back, h.sink, func(_ *home.Entry, i int, o home.Outcome) { outcomes[i] = o }); err != nil {
		panic(err)
	}
	h.chain(st)
	for i, p := range batch {
		p.done(outcomes[i], nil)
	}
	h.passes(applied, rec.Entries[0].Ops...)
}

// chain notes the running digest after a record.
func (h *testHome) chain(st *home.State) {
	_, sum := st.Chain()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.chains = append(h.chains, sum)
}

func (h *testHome) Propose(op home.Op, done func(home.Outcome, error)) error {
	if !h.passes(asked, op) {
		return errStopped
	}
	if err := h.enqueue(op, done); err != nil {
		return err
	}
	h.passes(proposed, op)
	return nil
}

func (h *testHome) enqueue(op home.Op, done func(home.Outcome, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return errStopped
	}
	if len(h.pending) >= maxPending {
		return errFull
	}
	h.pending = append(h.pending, proposal{op, done})
	group.Wake(h.arrived)
	return nil
}

func (h *testHome) Room(ctx context.Context) error {
	if err := group.Pause(ctx, time.Millisecond); err != nil {
		return err
	}
	return h.ctx.Err()
}

func (h *testHome) State() *home.State { return h.st }

func (h *testHome) Body(seq home.Seq) (home.Message, error) {
	v, err := h.read(home.BodyKey(seq))
	if err != nil {
		return home.Message{}, err
	}
	return home.DecodeBody(seq, v)
}

func (h *testHome) SpoolRun(key []byte) ([]home.Spooled, error) {
	v, err := h.read(key)
	if err != nil {
		return nil, err
	}
	return h.st.DecodeRun(v)
}

func (h *testHome) read(key []byte) ([]byte, error) {
	h.disk.Lock()
	defer h.disk.Unlock()
	if v, ok := h.kept[string(key)]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("key %x is not in the store", key)
}

// spill writes the state to the store and lets go of what memory need not hold.
func (h *testHome) spill() {
	h.disk.Lock()
	defer h.disk.Unlock()
	if h.kept == nil {
		h.kept = map[string][]byte{}
	}
	h.st.Flush(func(k, v []byte) { h.kept[string(k)] = append([]byte(nil), v...) }, func(k []byte) { delete(h.kept, string(k)) })
	h.st.Evict(0)
}

// veil leaves on the disk what a copy in a region has there.
func (h *testHome) veil(t *testing.T, region string) {
	h.spill()
	h.disk.Lock()
	defer h.disk.Unlock()
	for k, v := range h.kept {
		key, value, err := h.st.Veil(region, []byte(k), v)
		if err != nil || string(key) != k {
			t.Fatalf("key %q in %s: %q, %v", k, region, key, err)
		}
		h.kept[k] = value
	}
}

func (h *testHome) hold(on bool) {
	h.mu.Lock()
	h.held = on
	h.mu.Unlock()
	group.Wake(h.arrived)
}

func (h *testHome) stop() [][]byte {
	h.cancel()
	<-h.finished
	return h.log
}

func (h *testHome) do(t testing.TB, op home.Op) home.Outcome {
	t.Helper()
	out := make(chan home.Outcome, 1)
	for {
		err := h.Propose(op, func(o home.Outcome, err error) {
			if err != nil {
				t.Errorf("propose %T: %v", op, err)
			}
			out <- o
		})
		if err == nil {
			return <-out
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("propose %T: %v", op, err)
		}
		_ = h.Room(h.ctx)
	}
}

func key(id string) home.SessionKey { return home.SessionKey{ClientID: id} }

// subscribe makes a durable session with a subscription.
func (h *testHome) subscribe(t testing.TB, id string, filters ...string) {
	t.Helper()
	o := h.do(t, &home.Attach{Session: key(id), Expiry: 1 << 31})
	op := &home.Subscribe{Session: key(id), Epoch: o.Epoch}
	for _, f := range filters {
		op.Filters = append(op.Filters, home.Subscription{Filter: f, QoS: 2})
	}
	for i, c := range h.do(t, op).Codes {
		if c > 2 {
			t.Fatalf("subscribe %s: code %#x", filters[i], c)
		}
	}
}

// publish publishes messages numbered from..to on a topic, at QoS 1.
func (h *testHome) publish(t testing.TB, topic string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		h.do1(t, &home.Publish{Topic: topic, Payload: fmt.Appendf(nil, "%s %s %d", h.id, topic, i), QoS: 1})
	}
	h.do(t, &home.Tick{})
}

// publishNoise publishes numbered messages that do not compress.
func (h *testHome) publishNoise(t testing.TB, topic string, from, to int) {
	t.Helper()
	rng := mrand.NewChaCha8([32]byte{byte(from)})
	for i := from; i < to; i++ {
		b := fmt.Appendf(nil, "%s %s %d|", h.id, topic, i)
		at := len(b)
		b = append(b, make([]byte, 500)...)
		_, _ = rng.Read(b[at:])
		h.do1(t, &home.Publish{Topic: topic, Payload: b, QoS: 1})
	}
	h.do(t, &home.Tick{})
}

// do1 proposes without waiting.
func (h *testHome) do1(t testing.TB, op home.Op) {
	for {
		err := h.Propose(op, func(_ home.Outcome, err error) {})
		if err == nil {
			return
		}
		if !errors.Is(err, errFull) {
			t.Fatal(err)
		}
		_ = h.Room(h.ctx)
	}
}

// queue returns what waits for a session, in order. It attaches anew.
func (h *testHome) queue(t testing.TB, id string) []string {
	t.Helper()
	e := h.do(t, &home.Attach{Session: key(id), Expiry: 1 << 31}).Epoch
	var out []string
	for _, q := range h.st.Queue(key(id), e, 0, 1<<20, nil) {
		text, _, _ := strings.Cut(string(q.Message.Payload), "|")
		out = append(out, text)
	}
	return out
}

func numbered(homeID, topic string, from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("%s %s %d", homeID, topic, i))
	}
	return out
}

// same says how two lists differ first.
func same(t testing.TB, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("message %d of %d is %q, want %q (of %d)", i, len(got), got[i], want[i], len(want))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
}
