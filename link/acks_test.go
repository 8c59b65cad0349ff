package link

import (
	"sync"
	"testing"
	"time"

	"causeway/internal/home"
)

// lagging is a standby that has what it is given.
type lagging struct {
	mu    sync.Mutex
	has   uint64
	waits []wait
}

type wait struct {
	record uint64
	done   func()
}

func (l *lagging) await(record uint64, done func()) {
	l.mu.Lock()
	l.waits = append(l.waits, wait{record, done})
	l.mu.Unlock()
	l.reach(0)
}

func (l *lagging) reach(record uint64) {
	l.mu.Lock()
	l.has = max(l.has, record)
	var ready, rest []wait
	for _, w := range l.waits {
		if w.record <= l.has {
			ready = append(ready, w)
		} else {
			rest = append(rest, w)
		}
	}
	l.waits = rest
	l.mu.Unlock()
	for _, w := range ready {
		w.done()
	}
}

func (l *lagging) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waits)
}

// A sender keeps what the receiver has committed until the receiver's standby has it, too,
// over breaks of the link as well; and is held up by nothing for that. [D3]
func TestAcks_SpoolIsKeptForTheStandby(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		var l lagging
		us := w.tuned("us", func(o *tuning) { o.AwaitShipped = l.await }, peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		committed := func(n home.Seq) {
			eventually(t, 10*time.Second, "us has committed all", func() bool {
				at, _ := us.home.st.Cursor(sourceOf(eu), "")
				return at >= n
			})
		}
		eu.home.publish(t, "events/a", 0, 3000)
		committed(3000)
		time.Sleep(time.Second)
		if lag := eu.status("us").LagMessages; lag != 3000 {
			t.Errorf("%d messages are kept, want all 3000", lag)
		}
		if n := l.waiting(); n > 1 {
			t.Errorf("%d acknowledgements wait at a time", n)
		}
		w.wan.setCut(ip("eu"), ip("us"), true)
		time.Sleep(10 * time.Second)
		w.wan.setCut(ip("eu"), ip("us"), false)
		up(t, eu, "us")
		time.Sleep(time.Second)
		if lag := eu.status("us").LagMessages; lag != 3000 {
			t.Errorf("after a break %d messages are kept, want all 3000", lag)
		}
		records, _ := us.home.st.Chain()
		l.reach(records)
		drained(t, eu, "us", 5*time.Second)
		eu.home.publish(t, "events/a", 3000, 3100)
		committed(3100)
		time.Sleep(time.Second)
		if lag := eu.status("us").LagMessages; lag != 100 {
			t.Errorf("%d messages are kept, want the last 100", lag)
		}
		l.reach(1 << 40)
		drained(t, eu, "us", 5*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 3100))
	})
}

// The receiver's region is lost; its standby, which had less, goes on from its own cursor,
// and the sender has what it lacks.
func TestAcks_StandbyOfTheReceiverGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		var l lagging
		us := w.tuned("us", func(o *tuning) { o.AwaitShipped = l.await }, peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		eu.home.publish(t, "events/a", 0, 100)
		eventually(t, 5*time.Second, "all is committed", func() bool { at, _ := us.home.st.Cursor(sourceOf(eu), ""); return at >= 100 })
		shipped := len(us.home.log)
		records, _ := us.home.st.Chain()
		l.reach(records)
		drained(t, eu, "us", 5*time.Second)
		for i := range 10 {
			eu.home.publish(t, "events/a", 100+10*i, 110+10*i)
		}
		eventually(t, 5*time.Second, "all is committed", func() bool { at, _ := us.home.st.Cursor(sourceOf(eu), ""); return at >= 200 })
		time.Sleep(time.Second)
		log := us.crash()
		us.start(log[:shipped]) // what the standby has
		l.reach(1 << 40)
		drained(t, eu, "us", 20*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 200))
	})
}
