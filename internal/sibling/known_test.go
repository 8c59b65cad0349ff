package sibling

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// asks has a Known, and sends what it took.
func (f *fake) asks(known chan<- time.Duration) {
	began := time.Now()
	f.Known(func() { known <- time.Since(began) })
}

func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b", "c")
		a := l.nodes["a"]
		a.apply(10)
		known := make(chan time.Duration, 2)
		a.asks(known)
		a.asks(known)
		time.AfterFunc(50*time.Millisecond, func() { l.nodes["b"].apply(10) })
		time.AfterFunc(90*time.Millisecond, func() { l.nodes["c"].apply(11) })
		for range 2 {
			if d := <-known; d != 90*time.Millisecond+rtt/2 {
				t.Errorf("known after %s, want 91ms", d)
			}
		}
	})
}

// A sibling that is cut off holds up nobody for longer than its freshness lasts,
// also those who come while others wait for it.
func TestKnown_OneLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b", "c")
		a := l.nodes["a"]
		l.net.Cut("a", "c")
		a.apply(20)
		l.nodes["b"].apply(20)
		known := make(chan time.Duration, 3)
		a.asks(known)
		time.Sleep(gatherFor / 2)
		a.asks(known) // waits for the next round
		time.Sleep(500 * time.Millisecond)
		a.asks(known)
		for i, want := range []time.Duration{time.Second, time.Second + gatherFor/2, time.Second} {
			if d := <-known; d != want {
				t.Errorf("%d: known after %s, want %s", i, d, want)
			}
		}
	})
}

// One whose process is gone is not waited for.
func TestKnown_OneIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		l.nodes["b"].stop()
		time.Sleep(10 * time.Second)
		known := make(chan time.Duration, 1)
		l.nodes["a"].apply(20)
		l.nodes["a"].asks(known)
		if d := <-known; d > 3*hurryWait {
			t.Errorf("known after %s", d)
		}
	})
}

// What a node has not applied is not known there, however early it answers.
func TestKnown_IsAboutTheIndexOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		known := make(chan time.Duration, 2)
		a.apply(1)
		a.asks(known) // b has not applied it
		synctest.Wait()
		a.apply(2)
		a.asks(known)
		time.AfterFunc(100*time.Millisecond, func() { b.apply(1) })
		time.AfterFunc(200*time.Millisecond, func() { b.apply(2) })
		if d := <-known; d != 100*time.Millisecond+rtt/2 {
			t.Errorf("index 1 known after %s", d)
		}
		if d := <-known; d != 200*time.Millisecond+rtt/2 {
			t.Errorf("index 2 known after %s", d)
		}
	})
}

// A storm of subscriptions is a few questions, and each call is answered once.
func TestKnown_ManyShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b", "c")
		a := l.nodes["a"]
		l.net.Cut("a", "c")
		var called [10000]atomic.Int32
		for i := range called {
			a.Known(func() { called[i].Add(1) })
			if i%1000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(2 * time.Second)
		a.stop() // which answers who waits
		for i := range called {
			if n := called[i].Load(); n != 1 {
				t.Fatalf("call %d was answered %d times", i, n)
			}
		}
		if n := l.nodes["b"].count(&l.nodes["b"].waited); n > 5 {
			t.Errorf("b was asked %d times", n)
		}
	})
}

func TestKnown_Alone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := make(chan time.Duration, 1)
		l := newLab(t, "a")
		l.nodes["a"].asks(known)
		if d := <-known; d != 0 {
			t.Errorf("without siblings known after %s", d)
		}
		l.nodes["a"].Siblings = New(Options{Node: "a"})
		l.nodes["a"].asks(known)
		if d := <-known; d != 0 {
			t.Errorf("before Run known after %s", d)
		}
	})
}

// A stop forgets nobody.
func TestKnown_AtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a := l.nodes["a"]
		a.apply(5)
		known := make(chan time.Duration, 2)
		a.asks(known)
		synctest.Wait()
		a.asks(known)
		a.stop()
		if len(known) != 2 {
			t.Errorf("%d of 2 were answered", len(known))
		}
	})
}

// A node that is far behind is asked again and again; its questions are bounded,
// and those that were taken back cost it nothing.
func TestKnown_OneIsFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		for i := range uint64(2000) {
			a.apply(i + 1)
			a.Known(func() {})
			time.Sleep(gatherFor)
		}
		b.apply(2000)
		known := make(chan time.Duration, 1)
		time.Sleep(100 * time.Millisecond)
		a.asks(known)
		if d := <-known; d > 10*time.Millisecond {
			t.Errorf("known after %s", d)
		}
	})
}

// Run may be called again after it has ended: it begins anew.
func TestRun_Again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		b.stop()
		b.again = true
		b.start(2)
		time.Sleep(5 * time.Second)
		a.Deliver("b", text("there"))
		b.Deliver("a", text("back"))
		known := make(chan time.Duration, 1)
		b.asks(known)
		if d := <-known; d != rtt {
			t.Errorf("known after %s", d)
		}
		if b.has() != "there" || a.has() != "back" {
			t.Errorf("b got %q, and a %q", b.has(), a.has())
		}
	})
}

// A machine that is gone for good holds up nobody once it was declared dead.
func TestKnown_OneWasDeclaredDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b", "c")
		a := l.nodes["a"]
		l.net.Cut("a", "c")
		l.nodes["c"].mu.Lock()
		l.nodes["c"].down = true
		l.nodes["c"].mu.Unlock()
		a.apply(20)
		l.nodes["b"].apply(20)
		known := make(chan time.Duration, 1)
		a.asks(known)
		if d := <-known; d > 2*rtt {
			t.Errorf("known after %s", d)
		}
	})
}
