package link

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"causeway/internal/home"
	"causeway/routing"
)

// A snapshot in several steps ends where one in one step does, and at no step is
// anything missing that is wanted before and after.
func TestHeeder_StepsNeverNarrow(t *testing.T) {
	pool := make([]string, 40)
	for i := range pool {
		pool[i] = fmt.Sprintf("fleet/%02d/#", i)
	}
	set := func(t *rapid.T, label string) []routing.Filter {
		in := routing.NewInterest(0)
		for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, len(pool), rapid.ID).Draw(t, label) {
			in.Add("cars", f)
		}
		return in.Snapshot().Filters
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := openHome(t, "eu", nil, nothing{})
		defer h.stop()
		h.do(t, &home.SetPeer{Peer: "us"})
		epoch := home.Epoch{Number: 1, Host: "us"}
		before, after := set(rt, "before"), set(rt, "after")
		h.do(t, &home.Interest{Peer: "us", Epoch: epoch, Full: true, Version: 5, Add: slices.Clone(before)})
		m, err := (&tuning{EndpointOptions{Region: "eu", Identity: &identity{}, Listen: func() (net.PacketConn, error) { return nil, net.ErrClosed }},
			Options{Home: h, Full: errFull, Local: &node{}, Peers: []Peer{{ID: "us"}}}}).open()
		if err != nil {
			rt.Fatal(err)
		}
		v := &heeder{t: &tunnel{p: m.linkWith("us"), stance: stance{st: h.st}}, step: rapid.SampledFrom([]int{1, 60, 500, 1 << 20}).Draw(rt, "step")}
		told := rapid.SampledFrom([]home.Epoch{epoch, {Number: 2, Host: "us"}}).Draw(rt, "epoch")
		version := rapid.SampledFrom([]uint64{3, 5, 9}).Draw(rt, "version")
		for op := range v.steps(told, routing.SnapshotOf(version, after)) {
			if o := h.do(t, op); o.Code != home.CodeOK {
				rt.Fatalf("step %+v: code %#x", op, o.Code)
			}
			view, _ := h.st.PeerInterest("us")
			now := view.Snapshot()
			for _, f := range before {
				if slices.Contains(after, f) && !slices.Contains(now.Filters, f) {
					rt.Fatalf("%v is missing in between", f)
				}
			}
		}
		view, _ := h.st.PeerInterest("us")
		info, _ := h.st.Peer("us")
		if got := view.Snapshot(); got.Version != version || info.Epoch != told || !slices.Equal(got.Filters, after) {
			rt.Fatalf("got version %d, %v, %v; want %d, %v, %v", got.Version, info.Epoch, got.Filters, version, told, after)
		}
	})
}

// closable is a Home that can be closed and opened under a running link.
type closable struct {
	*testHome
	closed atomic.Bool
}

var unopened = home.New()

func (c *closable) State() *home.State {
	if c.closed.Load() {
		return unopened
	}
	return c.testHome.State()
}

func (c *closable) Propose(op home.Op, done func(home.Outcome, error)) error {
	if c.closed.Load() {
		return errStopped
	}
	return c.testHome.Propose(op, done)
}

// The home of a running node is closed for a while. Nothing is told of it: what
// was wanted stays wanted over there.
func TestHome_ClosedForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerFrom("us"))
		var c *closable
		us := w.tuned("us", func(o *tuning) {
			c = &closable{testHome: o.Home.(*testHome)}
			o.Home = c
		}, peerTo("eu"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		c.closed.Store(true)
		time.Sleep(30 * time.Second)
		s := us.status("eu")
		if s.State == Up || s.Reason != `the home of region "us" is not open yet` {
			t.Errorf("%s: %q", s.State, s.Reason)
		}
		if n := eu.status("us").InterestFilters; n != 1 {
			t.Errorf("%d filters are left of what us wanted", n)
		}
		eu.home.publish(t, "a", 0, 10)
		c.closed.Store(false)
		drained(t, eu, "us", 20*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "a", 0, 10))
	})
}

// A message that the peer does not take is left out and counted; those behind it
// cross.
func TestLink_TooLargeForThePeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		defer w.close()
		us := w.tuned("us", func(o *tuning) { o.MaxMessage = 2000 }, peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		eu.home.publish(t, "a", 0, 5)
		eu.home.do(t, &home.Publish{Topic: "a", Payload: make([]byte, 2000), QoS: 1})
		eu.home.do(t, &home.Publish{Topic: "a", Payload: append([]byte("fits|"), make([]byte, 1994)...), QoS: 1})
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), append(numbered("eu", "a", 0, 5), "fits"))
		if n := eu.status("us").Counters.Dropped[DropTooLarge]; n != 1 {
			t.Errorf("%d dropped as too large, want 1", n)
		}
	})
}
