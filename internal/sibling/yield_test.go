package sibling

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rtt is the lab's round trip: what an answer takes.
const rtt = 2 * time.Millisecond

func TestYield_IsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		if d := a.took(owner("b", 1)); d != rtt {
			t.Errorf("took %s", d)
		}
		if got := b.gaveUp(); !reflect.DeepEqual(got, []string{"car below 7"}) {
			t.Errorf("b gave up %v", got)
		}
		if d := a.took(owner("a", 0)); d != 0 {
			t.Errorf("an earlier run of the node itself took %s", d)
		}
		if y := a.status().Yields; y != (Yields{Asked: 1, Answered: 1}) {
			t.Errorf("a counts %+v", y)
		}
	})
}

// The former owner takes its time: the new one waits for it, but not longer than
// its freshness lasts.
func TestYield_WaitsForASlowOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		slow := make(chan struct{})
		l.nodes["b"].slow = slow
		time.AfterFunc(300*time.Millisecond, func() { close(slow) })
		if d := l.nodes["a"].took(owner("b", 1)); d != 300*time.Millisecond+rtt/2 {
			t.Errorf("took %s, want 301ms", d)
		}
	})
}

func TestYield_OwnerCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a := l.nodes["a"]
		l.net.Cut("a", "b")
		if d := a.took(owner("b", 1)); d != time.Second {
			t.Errorf("took %s, want the lapse", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := a.Siblings.Yield(ctx, owner("b", 1), car, 9); err == nil {
			t.Error("a yield that nobody waited for succeeded")
		}
		if y := a.status().Yields; y != (Yields{Asked: 2, Lapsed: 1}) {
			t.Errorf("a counts %+v", y)
		}
	})
}

// A process that is gone needs no time to fall silent: its address refuses. One
// dial tells a thousand.
func TestYield_OwnerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		b.stop()
		before := a.count(&a.dials)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if d := a.took(owner("b", 1)); d > 3*hurryWait {
					t.Errorf("took %s", d)
				}
			})
		}
		all.Wait()
		if n := a.count(&a.dials) - before; n > 3 {
			t.Errorf("%d dials", n)
		}
		if y := a.status().Yields; y != (Yields{Asked: 1000, Gone: 1000}) {
			t.Errorf("a counts %+v", y)
		}
	})
}

// A dial that had begun before the question may have failed while the owner was
// not there yet. Only one that begins later says that it is gone.
func TestYield_OlderDialSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		const held = 200 * time.Millisecond
		a.mu.Lock()
		a.dial = func() { time.Sleep(held) }
		a.mu.Unlock()
		b.stop()
		time.Sleep(10 * time.Millisecond) // the first dial is under way
		before := a.count(&a.dials)
		if d := a.took(owner("b", 1)); d < held+held-20*time.Millisecond || d > 2*held+2*hurryWait {
			t.Errorf("took %s, want two dials", d)
		}
		if n := a.count(&a.dials) - before; n != 1 {
			t.Errorf("%d dials began after the question", n)
		}
	})
}

// A later run at the node's address is asked, too: a node opens its home again
// under a new number within one process, whose connections may outlive that.
func TestYield_ALaterRunAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		b.stop()
		b.start(2)
		time.Sleep(5 * time.Second)
		if d := a.took(owner("b", 1)); d != rtt {
			t.Errorf("took %s", d)
		}
		if got := b.gaveUp(); len(got) != 1 {
			t.Errorf("b gave up %v", got)
		}
	})
}

// A wiped node says a low number until it has heard of those it had. A stream
// from that time is not asked about a later run; a new one tells more.
func TestYield_EarlierRunIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		if d := a.took(owner("b", 5)); d != time.Second || len(b.gaveUp()) > 0 {
			t.Errorf("took %s, want the lapse; b gave up %v", d, b.gaveUp())
		}
		b.say(5)
		time.Sleep(3 * time.Second)
		if d := a.took(owner("b", 5)); d > 200*time.Millisecond || len(b.gaveUp()) != 1 {
			t.Errorf("took %s; b gave up %v", d, b.gaveUp())
		}
	})
}

func TestYield_UnknownNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		l.net.Cut("a", "nobody") // nothing refuses
		if d := l.nodes["a"].took(owner("nobody", 1)); d != time.Second {
			t.Errorf("took %s, want the lapse", d)
		}
	})
}

// A question whose stream breaks is asked again on the next one.
func TestYield_StreamBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		slow := make(chan struct{})
		b.slow = slow
		time.AfterFunc(100*time.Millisecond, func() {
			n := a.node("b")
			n.mu.Lock()
			defer n.mu.Unlock()
			_ = n.st.Close()
		})
		time.AfterFunc(200*time.Millisecond, func() { close(slow) })
		if d := a.took(owner("b", 1)); d < 200*time.Millisecond || d > 300*time.Millisecond {
			t.Errorf("took %s", d)
		}
		if got := b.gaveUp(); len(got) != 2 {
			t.Errorf("b was asked %v", got)
		}
	})
}

// A session is not kept waiting by the messages that wait.
func TestYield_BeforeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		gate := make(chan struct{})
		b.hold["first"] = gate
		a.Deliver("b", text("first"))
		time.Sleep(10 * time.Millisecond)
		n := a.node("b")
		for range 100 {
			a.Deliver("b", text(string(make([]byte, chunkBytes))))
		}
		synctest.Wait() // b reads nothing, and what is on its way is full
		queued := a.status().Queued
		done := make(chan error, 1)
		go func() { done <- a.Siblings.Yield(context.Background(), owner("b", 1), car, 7) }()
		synctest.Wait()
		close(gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if queued == 0 || n.out.waiting() == 0 {
			t.Errorf("%d bytes waited before the question, and %d when it was answered", queued, n.out.waiting())
		}
	})
}

// More questions than there may be are not asked, and lapse.
func TestYield_TooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a := l.nodes["a"]
		l.net.Cut("a", "b")
		var all sync.WaitGroup
		for range maxQuestions + 10 {
			all.Go(func() {
				if d := a.took(owner("b", 1)); d != time.Second {
					t.Errorf("took %s", d)
				}
			})
		}
		synctest.Wait()
		n := a.node("b")
		n.mu.Lock()
		if len(n.questions) != maxQuestions {
			t.Errorf("%d questions wait", len(n.questions))
		}
		n.mu.Unlock()
		all.Wait()
	})
}

// The owner is a run that gossip has not told of: it may be at another address
// than the one that refuses.
func TestYield_RefusedAtTheAddressOfAnEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a := l.nodes["a"]
		l.nodes["b"].stop()
		if d := a.took(owner("b", 2)); d != time.Second {
			t.Errorf("took %s, want the lapse", d)
		}
		if d := a.took(owner("b", 1)); d >= time.Second {
			t.Errorf("the run of that address: took %s", d)
		}
	})
}
