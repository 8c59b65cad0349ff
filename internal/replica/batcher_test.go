package replica

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
)

// wire is a sender that notes what it is given.
type wire struct {
	again chan struct{}
	from  time.Time
	mu    sync.Mutex
	sent  []string // entries of a call: their numbers, and when
}

func (w *wire) send(entries []home.Entry) {
	var ns []uint64
	for _, e := range entries {
		ns = append(ns, e.N)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, fmt.Sprintf("%v at %s", ns, time.Since(w.from)))
}

func (w *wire) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if fmt.Sprint(w.sent) != fmt.Sprint(want) {
		t.Errorf("sent %q, want %q", w.sent, want)
	}
	w.sent = nil
}

func runBatcher(t *testing.T) (*queue, *wire, chan<- bool) {
	o := Options{}.withDefaults()
	q, w, lead := newQueue(o), &wire{from: time.Now(), again: make(chan struct{})}, make(chan bool)
	q.resume(home.Owner{Node: "n", Incarnation: 1})
	b := newBatcher(q, o, w, lead, w.again)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return q, w, lead
}

func mustPush(t *testing.T, q *queue, n int) {
	t.Helper()
	for range n {
		if err := q.push(publish(100), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func mustLand(t *testing.T, q *queue, n uint64) {
	t.Helper()
	if _, err := q.land(n); err != nil {
		t.Fatal(err)
	}
}

func TestBatcher_WaitsForALeaderAndSendsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, w, lead := runBatcher(t)
		mustPush(t, q, 1)
		w.expect(t) // nobody leads
		lead <- true
		w.expect(t, "[1] at 0s")
		mustPush(t, q, 1)
		w.expect(t)
		time.Sleep(time.Millisecond)
		w.expect(t, "[2] at 1ms")

		lead <- false
		mustPush(t, q, 1)
		time.Sleep(10 * time.Second)
		w.expect(t) // neither new entries nor old ones go nowhere
		lead <- true
		w.expect(t, "[1 2] at 10.001s", "[3] at 10.001s") // in order, under their numbers
	})
}

func TestBatcher_SendsAgainWhatIsNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, w, lead := runBatcher(t)
		lead <- true
		mustPush(t, q, 1)
		time.Sleep(7 * time.Second)
		w.expect(t, "[1] at 0s", "[1] at 2s", "[1] at 6s")
		mustLand(t, q, 1)
		time.Sleep(time.Minute)
		w.expect(t)
		mustPush(t, q, 1)
		time.Sleep(3 * time.Second)
		w.expect(t, "[2] at 1m7s", "[2] at 1m9s")
	})
}

// A proposer lingers a little, and has a few entries under way: the leader makes
// records of them.
func TestBatcher_LingersUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, w, lead := runBatcher(t)
		mustPush(t, q, 512)
		lead <- true
		w.expect(t, "[1] at 0s")
		mustPush(t, q, 200)
		time.Sleep(proposerLinger - 1)
		w.expect(t)
		time.Sleep(1)
		w.expect(t, "[2] at 1ms")
		for range proposerInFlight - 2 {
			mustPush(t, q, 512)
		}
		synctest.Wait()
		w.sent = nil
		mustPush(t, q, 512) // full, but as many as may be are under way
		time.Sleep(time.Second)
		w.expect(t)
		mustLand(t, q, 1)
		w.expect(t, "[9] at 1.001s")
	})
}

// Devices that come go together, and with the first message that somebody waits for; one that comes alone goes at once.
func TestBatcher_LetsDevicesComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, w, lead := runBatcher(t)
		come := func(n int) {
			t.Helper()
			for range n {
				if err := q.push(&home.Attach{Session: home.SessionKey{ClientID: "car"}}, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		lead <- true
		come(1)
		w.expect(t, "[1] at 0s")
		for range 7 {
			time.Sleep(time.Millisecond)
			come(3)
		}
		w.expect(t)
		time.Sleep(time.Millisecond)
		w.expect(t, "[2] at 8ms")
		come(5)
		time.Sleep(2 * time.Millisecond)
		w.expect(t)
		mustPush(t, q, 1)
		w.expect(t, "[3] at 10ms")
		mustLand(t, q, 1)
		mustLand(t, q, 2)
		if ps, err := q.land(3); err != nil || len(ps) != 6 {
			t.Errorf("the message went with %d others, %v", len(ps)-1, err)
		}
	})
}

// The leader lets an entry wait only if devices come or go in it, and nobody has haste.
func TestMerger_KnowsWhoCanWait(t *testing.T) {
	come, ack, send := &home.Attach{}, &home.Ack{}, publish(1)
	for _, c := range []struct {
		ops     []home.Op
		patient bool
	}{
		{[]home.Op{come, come}, true},
		{[]home.Op{come, ack}, true},
		{[]home.Op{come, send}, false},
		{[]home.Op{ack}, false}, // it has waited already
	} {
		if got := sizeOf(c.ops); got.ops != len(c.ops) || got.patient != c.patient {
			t.Errorf("%v: %+v", c.ops, got)
		}
	}
}

// Something that was sent got lost: everything under way goes again, at once.
func TestBatcher_SendsAgainWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, w, lead := runBatcher(t)
		lead <- true
		mustPush(t, q, 1)
		w.expect(t, "[1] at 0s")
		w.again <- struct{}{}
		w.expect(t, "[1] at 0s")
	})
}
