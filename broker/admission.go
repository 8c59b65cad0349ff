package broker

import (
	"slices"
	"sync"
	"time"
)

// admission paces CONNECTs before TLS while a fleet comes back: so many a second over all listeners, by turns between
// namespaces. A namespace that has few devices does not wait for one that has many, and who is connected already shares
// the node with no more newcomers than that.
type admission struct {
	mu       sync.Mutex
	interval time.Duration // between two
	until    time.Time     // paced so long; zero: not at all
	next     time.Time     // when the next one may come in
	waiting  map[string][]chan struct{}
	turns    []string // namespaces of who waits; the first is next
	letting  bool     // a goroutine lets in who waits
}

// PaceConnects lets in at most so many connections a second for a time from now, over all listeners, and as many of those
// that were parked before. Rates of listeners hold beside it.
func (s *Server) PaceConnects(perSecond float64, d time.Duration) {
	a := &s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	a.interval, a.until = time.Duration(float64(time.Second)/perSecond), time.Now().Add(d)
}

// wait returns when a connection of a namespace may come in; false: stop was closed first.
func (a *admission) wait(namespace string, stop <-chan struct{}) bool {
	turn := a.queue(namespace)
	if turn == nil {
		return true
	}
	select {
	case <-turn:
		return true
	case <-stop:
		return false
	}
}

// queue puts a connection into the queue of its namespace; nil: it need not wait.
func (a *admission) queue(namespace string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.turns) == 0 && !time.Now().Before(a.until) {
		return nil
	}
	if a.waiting == nil {
		a.waiting = map[string][]chan struct{}{}
	}
	if len(a.waiting[namespace]) == 0 {
		a.turns = append(a.turns, namespace)
	}
	turn := make(chan struct{})
	a.waiting[namespace] = append(a.waiting[namespace], turn)
	if !a.letting {
		a.letting = true
		go a.letIn()
	}
	return turn
}

// letIn lets in who waits, and ends when nobody does.
func (a *admission) letIn() {
	for {
		wait, more := a.one()
		if !more {
			return
		}
		time.Sleep(wait)
	}
}

// one lets in the next one if it is time, and returns how long that still takes. It reports false when nobody waits.
func (a *admission) one() (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.turns) == 0 {
		a.letting = false
		return 0, false
	}
	now := time.Now()
	if now.Before(a.until) && now.Before(a.next) {
		return min(a.next.Sub(now), a.until.Sub(now)), true
	}
	namespace := a.turns[0]
	queue := a.waiting[namespace]
	close(queue[0])
	a.waiting[namespace] = queue[1:]
	a.turns = slices.Delete(a.turns, 0, 1)
	if len(queue) > 1 {
		a.turns = append(a.turns, namespace)
	} else {
		delete(a.waiting, namespace)
	}
	if floor := now.Add(-burst); a.next.Before(floor) {
		a.next = floor
	}
	a.next = a.next.Add(a.interval)
	return 0, true
}

// burst is how much of a second's rate may come at once after a silence: timers are not finer than this on a busy
// machine.
const burst = 20 * time.Millisecond
