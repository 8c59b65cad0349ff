package foreign

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// testHome is a home with a log of one voter: what is proposed is applied a little later, by one goroutine.
type testHome struct {
	t       *testing.T
	arrived chan struct{}
	ended   chan struct{}

	mu      sync.Mutex
	st      *home.State
	pending []proposal
	held    bool // nothing commits
	n       uint64
	now     home.Time
	links   *Manager // told what is spooled
}

type proposal struct {
	op   home.Op
	done func(home.Outcome, error)
}

var errFull = errors.New("full")

// openHome runs until ctx ends.
func openHome(ctx context.Context, t *testing.T) *testHome {
	h := &testHome{t: t, arrived: make(chan struct{}, 1), ended: make(chan struct{}), st: home.New(), now: home.Time(time.Hour)}
	go h.run(ctx)
	h.do(&home.Genesis{Home: "eu", Epoch: home.Epoch{Number: 1, Host: "eu"}})
	return h
}

func (h *testHome) run(ctx context.Context) {
	defer close(h.ended)
	for ctx.Err() == nil {
		await(ctx, h.arrived)
		_ = group.Pause(ctx, time.Millisecond)
		for h.applyOne() {
		}
	}
}

func (h *testHome) applyOne() bool {
	h.mu.Lock()
	if h.held || len(h.pending) == 0 {
		h.mu.Unlock()
		return false
	}
	p := h.pending[0]
	h.pending = h.pending[1:]
	h.n++
	h.now += home.Time(time.Millisecond)
	rec := home.Record{Home: "eu", Time: h.now, Entries: []home.Entry{{Owner: home.Owner{Node: "eu-1", Incarnation: 1}, N: h.n, Ops: []home.Op{p.op}}}}
	sink := tellLinks{h.links}
	h.mu.Unlock()
	back, err := home.DecodeRecord(rec.Append(nil))
	var out home.Outcome
	if err == nil {
		err = h.st.Apply(&back, sink, func(_ *home.Entry, _ int, o home.Outcome) { out = o })
	}
	if err != nil {
		h.t.Errorf("apply %T: %v", p.op, err)
	}
	p.done(out, nil)
	return true
}

// hold keeps the home from committing, or lets it.
func (h *testHome) hold(on bool) {
	h.mu.Lock()
	h.held = on
	h.mu.Unlock()
	group.Wake(h.arrived)
}

// drop loses what is proposed and not committed, as a killed node does.
func (h *testHome) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = nil
}

func (h *testHome) Propose(op home.Op, done func(home.Outcome, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = append(h.pending, proposal{op, done})
	group.Wake(h.arrived)
	return nil
}

func (h *testHome) Room(context.Context) error { return nil }
func (h *testHome) State() *home.State         { return h.st }
func (h *testHome) Body(home.Seq) (home.Message, error) {
	return home.Message{}, errors.New("nothing is on a disk")
}
func (h *testHome) SpoolRun(key []byte) ([]home.Spooled, error) {
	return nil, errors.New("nothing is on a disk")
}
func (h *testHome) PublishFromForeign(*home.Message, []home.ID) {}

func (h *testHome) do(op home.Op) home.Outcome {
	done := make(chan home.Outcome, 1)
	_ = h.Propose(op, func(o home.Outcome, _ error) { done <- o })
	return <-done
}

// publish publishes for a device, and returns the message's number.
func (h *testHome) publish(device, topic, payload string, qos byte) home.Seq {
	k := home.SessionKey{Namespace: "ns", ClientID: device}
	e := h.do(&home.Attach{Session: k, Expiry: 100}).Epoch
	o := h.do(&home.Publish{Session: k, Epoch: e, PacketID: uint16(h.n), Topic: topic, Payload: []byte(payload), QoS: qos})
	return o.Seq
}

// spooled is how many messages wait for a peer.
func (h *testHome) spooled(id home.ID) int {
	info, _ := h.st.Peer(id)
	return info.Spooled
}

// retained is what the home retains of a topic; it tells what came in.
func (h *testHome) subscribe(device, filter string) (received func() []string) {
	k := home.SessionKey{Namespace: "ns", ClientID: device}
	e := h.do(&home.Attach{Session: k, Expiry: 1000}).Epoch
	h.do(&home.Subscribe{Session: k, Epoch: e, Filters: []home.Subscription{{Filter: filter, QoS: 2}}})
	return func() (list []string) {
		for _, q := range h.st.Peek(k, 0, 1000) {
			list = append(list, string(q.Message.Payload))
		}
		return list
	}
}

type tellLinks struct{ m *Manager }

func (s tellLinks) Deliver(home.Delivery)                                                {}
func (s tellLinks) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (s tellLinks) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (s tellLinks) Wanted()                                                              {}
func (s tellLinks) Dropped(string, home.DropReason, int)                                 {}
func (s tellLinks) Spooled(id home.ID) {
	if s.m != nil {
		s.m.Spooled(id)
	}
}
