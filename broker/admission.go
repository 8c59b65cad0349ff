package broker

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// admission lets connections in before TLS: so many a second over all listeners, by turns between namespaces. A namespace
// that has few devices does not wait for one that has many, and who is connected already shares the node with no more
// newcomers than that, and with fewer when they strain it. Who waits costs a socket and no goroutine; who has hung up
// meanwhile takes no turn.
//
//	accepted ── no pace: at once ──────────────▶ TLS, CONNECT, attach
//	       └── the queue of its namespace ── its turn ──┘
//	                                       └─ it has hung up, or the server stops: closed
type admission struct {
	mu       sync.Mutex
	usual    time.Duration // between two, always; 0: they come as they come
	rule     time.Duration // in its place until a time, by an operator's word; 0: they come as they come
	ruled    time.Time
	interval time.Duration // in place of both until a time; 0: they come as they come
	until    time.Time
	next     time.Time // when the next one may come in
	waiting  map[string]*line
	count    int      // of all that wait
	turns    []string // namespaces of who waits; the first is next
	letting  bool     // a goroutine lets in who waits
	strain   strain
	closed   bool
}

// line is who waits of a namespace: those that were parked are further than those that were accepted, so they go first.
type line struct{ parked, accepted []*arrival }

func (l *line) len() int { return len(l.parked) + len(l.accepted) }

func (l *line) take() (w *arrival) {
	from := &l.parked
	if len(*from) == 0 {
		from = &l.accepted
	}
	w, (*from)[0] = (*from)[0], nil
	*from = (*from)[1:]
	return w
}

// arrival is a connection that waits. One of let and drop is called, once, without a lock.
type arrival struct {
	let  func()
	gone func() bool // it left
	drop func()      // it left, or the server stops
}

// mostArrivals bounds those that wait; more wait in the kernel, where they are not told apart by namespace.
const mostArrivals = 200_000

// Admission is how connections are let in.
type Admission struct {
	PerSecond float64       // 0: as they come
	Until     time.Time     // of a pace for a time; zero: none
	Waiting   int           // before TLS
	ByName    []InNamespace // of those
	Drain     time.Duration // until all who wait are in, at this pace
	Parked    int           // CONNECTs that wait for their home
}

// InNamespace counts connections of a namespace.
type InNamespace struct {
	Namespace string
	Count     int
}

// PaceConnects lets in at most so many connections a second for a time from now, over all listeners, and as many of those
// that were parked before. Rates of listeners hold beside it.
func (s *Server) PaceConnects(perSecond float64, d time.Duration) {
	a := &s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	a.interval, a.until = between(perSecond), time.Now().Add(d)
}

// RuleConnects is PaceConnects for an operator's word: it holds on when a pace for a time that began later is over.
func (s *Server) RuleConnects(perSecond float64, d time.Duration) {
	a := &s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rule, a.ruled = between(perSecond), time.Now().Add(d)
	a.interval, a.until = 0, time.Time{}
}

// SetAdmission lets in at most so many connections a second from now on, 0 for no bound, also for as long as a pace for a
// time lasts.
func (s *Server) SetAdmission(perSecond float64) {
	a := &s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	a.usual = between(perSecond)
	a.interval = a.usual // until its time is over
}

// Admission says how connections are let in now.
func (s *Server) Admission() Admission {
	a := &s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	out := Admission{Waiting: a.count, Parked: int(s.stats.Parked.Load())}
	switch now := time.Now(); {
	case now.Before(a.until):
		out.Until = a.until
	case now.Before(a.ruled):
		out.Until = a.ruled
	}
	if every := a.pace(time.Now()); every > 0 {
		out.PerSecond = float64(time.Second) / float64(every)
		out.Drain = time.Duration(a.count) * every
	}
	for _, ns := range slices.Sorted(maps.Keys(a.waiting)) {
		out.ByName = append(out.ByName, InNamespace{ns, a.waiting[ns].len()})
	}
	return out
}

func between(perSecond float64) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / perSecond)
}

// pace is the time between two now. Guarded by mu.
func (a *admission) pace(now time.Time) time.Duration {
	every := a.usual
	switch {
	case now.Before(a.until):
		every = a.interval
	case now.Before(a.ruled):
		every = a.rule
	}
	return a.strain.longer(every)
}

// attaching notes that an Attach is under way; the function that it returns, that it is not any more.
func (a *admission) attaching() (done func()) {
	began := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.strain.pending++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.strain.attached(time.Since(began), a.count == 0)
	}
}

// sleep waits, and notes by how much longer it was.
func (a *admission) sleep(d time.Duration) {
	due := time.Now().Add(d)
	time.Sleep(d)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.strain.late.add(time.Since(due))
}

// wait returns when a connection of a namespace may come in, or one that was parked may go on; false: stop was closed first.
func (a *admission) wait(namespace string, parked bool, stop <-chan struct{}) bool {
	var left atomic.Bool
	turn, dropped := make(chan struct{}), make(chan struct{})
	if !a.enter(namespace, parked, &arrival{let: func() { close(turn) }, gone: left.Load, drop: func() { close(dropped) }}) {
		return true
	}
	select {
	case <-turn:
		return true
	case <-dropped:
	case <-stop:
		left.Store(true)
	}
	return false
}

// enter puts a connection into the queue of its namespace. It reports false for one that need not wait; nothing is called then.
func (a *admission) enter(namespace string, parked bool, w *arrival) bool {
	a.mu.Lock()
	now := time.Now()
	switch {
	case a.closed:
		a.mu.Unlock()
		w.drop()
		return true
	case a.count == 0 && (a.pace(now) == 0 || !now.Before(a.next)):
		a.pass(now)
		a.mu.Unlock()
		return false
	}
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[string]*line{}
	}
	l := a.waiting[namespace]
	if l == nil {
		l = &line{}
		a.waiting[namespace] = l
		a.turns = append(a.turns, namespace)
	}
	if parked {
		l.parked = append(l.parked, w)
	} else {
		l.accepted = append(l.accepted, w)
	}
	if a.count++; !a.letting {
		a.letting = true
		go a.letIn()
	}
	return true
}

// full says that as many wait as may.
func (a *admission) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count >= mostArrivals
}

// letIn lets in who waits, and ends when nobody does.
func (a *admission) letIn() {
	for {
		w, wait := a.first()
		switch {
		case w == nil && wait == 0:
			return
		case w == nil:
			a.sleep(wait)
		case w.gone != nil && w.gone():
			w.drop()
		default:
			a.passed()
			w.let()
		}
	}
}

// together is how long the next ones wait for each other: those who come in together go into one record, and a node that lets
// in thousands a second does not wake up for each.
const together = 4 * time.Millisecond

// lookAgain is how soon a changed pace is noticed.
const lookAgain = 100 * time.Millisecond

// first takes the next one out of the queue if it is time, or returns how long that still takes; neither: nobody waits.
func (a *admission) first() (*arrival, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.turns) == 0 {
		a.letting = false
		return nil, 0
	}
	now := time.Now()
	a.strain.judge(now, a.pace(now))
	if a.pace(now) > 0 && now.Before(a.next) {
		return nil, min(max(a.next.Sub(now), together), lookAgain)
	}
	namespace := a.turns[0]
	l := a.waiting[namespace]
	w := l.take()
	a.count--
	a.turns = slices.Delete(a.turns, 0, 1)
	if l.len() > 0 {
		a.turns = append(a.turns, namespace)
	} else {
		delete(a.waiting, namespace)
	}
	return w, 0
}

// passed notes that one was let in.
func (a *admission) passed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pass(time.Now())
}

// pass takes a turn. Guarded by mu.
func (a *admission) pass(now time.Time) {
	if floor := now.Add(-burst); a.next.Before(floor) {
		a.next = floor
	}
	a.next = a.next.Add(a.pace(now))
}

// close drops all who wait, and whoever comes.
func (a *admission) close() {
	a.mu.Lock()
	a.closed = true
	all := a.waiting
	a.waiting, a.turns, a.count = nil, nil, 0
	a.mu.Unlock()
	for _, l := range all {
		for l.len() > 0 {
			l.take().drop()
		}
	}
}

// burst is how much of a second's rate may come at once after a silence: timers are not finer than this on a busy
// machine.
const burst = 20 * time.Millisecond
