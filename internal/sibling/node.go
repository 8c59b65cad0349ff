package sibling

import (
	"bufio"
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// node is one sibling: a stream to it, kept open, and what waits for it.
//
//	dialling --Dial--> in use --the stream ends--> dialling
//	   |  ^
//	   |  '-- after a back-off, or when somebody needs it
//	   '-- refused: who asked before is answered
type node struct {
	crash chan error // of Siblings; fixed before run
	s     *Siblings
	id    home.NodeID
	wake  chan struct{} // holds one token: something waits
	dial  chan struct{} // holds one token: somebody needs it, do not wait

	streams, sent, dropped, received, malformed atomic.Uint64
	asked, answered, gone, lapsed               atomic.Uint64 // Yields

	hearing *hearing // the stream it is heard on; guarded by s.mu

	mu        sync.Mutex
	out       outbox
	st        *cluster.Stream // while it is in use
	since     time.Time       // when st changed
	number    uint64          // of the last question
	questions map[uint64]*question
	asks      []*question // not written to st, oldest first; some may be taken back
}

// question waits for an answer, or for the node to turn out to be gone.
type question struct {
	f     frame
	since time.Time
	run   home.Incarnation // who must answer: this run of the node or a later one
	done  func()           // called once, without locks; it must not block
}

// maxQuestions bounds those that wait for one sibling. One more is not asked, and
// so its asker waits for the lapse.
const maxQuestions = 16384

func newNode(s *Siblings, id home.NodeID) *node {
	return &node{s: s, id: id, wake: make(chan struct{}, 1), dial: make(chan struct{}, 1), out: outbox{limit: s.o.QueueBytes},
		questions: map[uint64]*question{}}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func drain(ch chan struct{}) {
	select {
	case <-ch:
	default:
	}
}

// send queues a message, or drops it: a message that is in no log is for now.
func (n *node) send(f *frame) {
	size := f.room()
	n.mu.Lock()
	ok := n.st != nil && size <= n.s.o.frameMax() && n.out.add(f, size)
	n.mu.Unlock()
	if !ok {
		n.dropped.Add(1)
		return
	}
	nudge(n.wake)
}

// ask puts a question; take takes it back.
func (n *node) ask(q *question) (number uint64) {
	n.mu.Lock()
	n.number++
	number = n.number
	q.f.number, q.since = number, time.Now()
	connected := n.st != nil
	if len(n.questions) < maxQuestions {
		n.questions[number] = q
		n.enqueue(q)
	}
	n.mu.Unlock()
	nudge(n.wake)
	if !connected {
		nudge(n.dial)
	}
	return number
}

// enqueue has a question written to the stream that is in use. An earlier run of
// the node cannot speak for a later one: that stream is a relic, unless it is
// new, and dialling again tells. Guarded by mu.
func (n *node) enqueue(q *question) {
	switch {
	case n.st == nil:
	case n.speaks(q):
		n.tidy()
		n.asks = append(n.asks, q)
	case time.Since(n.since) > n.s.o.Lapse:
		_ = n.st.SetDeadline(time.Unix(1, 0)) // which ends it; Close may wait
	}
}

// speaks says that the run at the other end can answer for the one that is asked.
func (n *node) speaks(q *question) bool { return home.Incarnation(n.st.Peer.Incarnation) >= q.run }

// tidy forgets questions that were taken back before they were written.
func (n *node) tidy() {
	if len(n.asks) >= 2*maxQuestions {
		n.asks = slices.DeleteFunc(n.asks, func(q *question) bool { return n.questions[q.f.number] != q })
	}
}

// hurry dials at once if there is no stream.
func (n *node) hurry() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.st == nil {
		nudge(n.dial)
	}
}

func (n *node) take(number uint64) *question {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.questions[number]
	delete(n.questions, number)
	return q
}

const (
	leastWait = 100 * time.Millisecond // between dials
	mostWait  = 2 * time.Second
	hurryWait = 20 * time.Millisecond // between dials that somebody needs
)

// run keeps a stream to the node until ctx ends.
func (n *node) run(ctx context.Context) {
	wait := leastWait
	for ctx.Err() == nil {
		drain(n.dial)
		began, told := time.Now(), n.told()
		st, err := n.s.o.Streams.Dial(ctx, string(n.id), "", protocol(n.s.o.Home))
		switch {
		case err == nil:
			if n.use(ctx, st) > mostWait {
				wait = leastWait
				continue // the node may have died: the next dial tells
			}
		case cluster.Dead(err):
			n.dead(began, told)
		}
		if err != nil {
			n.s.log.Debug("dial a sibling", "peer", n.id, "error", err)
		}
		n.pause(ctx, wait/2+rand.N(wait))
		wait = min(2*wait, mostWait)
	}
}

// pause waits for a time, or a little while if somebody needs the node.
func (n *node) pause(ctx context.Context, d time.Duration) {
	if n.needed() {
		d = min(d, leastWait)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return
	case <-ctx.Done():
		return
	case <-n.dial:
	}
	t.Reset(min(d, hurryWait))
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (n *node) needed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.questions) > 0
}

// told is the run of the node whose address gossip has told, or a later one.
func (n *node) told() home.Incarnation {
	for _, m := range n.s.o.Streams.Members() {
		if m.Node == string(n.id) {
			return home.Incarnation(m.Incarnation)
		}
	}
	return 0
}

// dead notes that nobody listened at the node's address when a dial was made,
// which began at that time: the runs that were asked before it are over. One that
// is later than what gossip had told may be at another address.
func (n *node) dead(began time.Time, told home.Incarnation) {
	var settled []*question
	n.mu.Lock()
	for number, q := range n.questions {
		if began.After(q.since) && q.run <= told {
			settled = append(settled, q)
			delete(n.questions, number)
		}
	}
	n.mu.Unlock()
	for _, q := range settled {
		if q.f.kind == kindYield {
			n.gone.Add(1)
		}
		q.done()
	}
}

// use has a stream to its end, and returns how long that was.
func (n *node) use(ctx context.Context, st *cluster.Stream) time.Duration {
	began := time.Now()
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	n.streams.Add(1)
	n.begin(st)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		protect(n.crash, func() { n.answers(st) })
	}()
	n.write(st, ended)
	_ = st.Close()
	<-ended
	n.end()
	return time.Since(began)
}

// begin takes a stream into use. What was asked on one that broke is asked again.
func (n *node) begin(st *cluster.Stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.st, n.since = st, time.Now()
	n.asks = n.asks[:0]
	for _, q := range n.questions {
		if n.speaks(q) {
			n.asks = append(n.asks, q)
		}
	}
	slices.SortFunc(n.asks, func(a, b *question) int { return cmp.Compare(a.f.number, b.f.number) })
	nudge(n.wake)
}

// end lets go of a stream, and of the messages that it did not take.
func (n *node) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.st, n.since, n.asks = nil, time.Now(), nil
	n.dropped.Add(n.out.clear())
}

// writeIn bounds one write.
const writeIn = 5 * time.Second

// write sends what waits until the stream ends.
func (n *node) write(st *cluster.Stream, ended <-chan struct{}) {
	var chunk []byte
	for {
		var messages uint64
		if chunk, messages = n.next(chunk[:0]); len(chunk) == 0 {
			select {
			case <-n.wake:
				continue
			case <-ended:
				return
			}
		}
		_ = st.SetWriteDeadline(time.Now().Add(writeIn))
		if _, err := st.Write(chunk); err != nil {
			n.dropped.Add(messages)
			return
		}
		n.sent.Add(messages)
		if cap(chunk) > 2*chunkBytes {
			chunk = nil
		}
	}
}

// next gathers what is written next: questions, of which somebody waits for the
// answer, then messages.
func (n *node) next(chunk []byte) ([]byte, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := 0
	for ; i < len(n.asks) && len(chunk) < chunkBytes; i++ {
		if q := n.asks[i]; n.questions[q.f.number] == q {
			chunk = q.f.append(chunk)
		}
	}
	n.asks = slices.Delete(n.asks, 0, i)
	return n.out.take(chunk)
}

// answers reads the node's answers.
func (n *node) answers(st *cluster.Stream) {
	in := bufio.NewReader(st)
	for {
		f, err := readFrame(in, answerMax)
		if err == nil && f.kind != kindAnswer {
			err = errNotHere
		}
		if err != nil {
			n.note(err)
			return
		}
		q := n.take(f.number)
		if q == nil {
			continue // its asker has not waited for it
		}
		if q.f.kind == kindYield {
			n.answered.Add(1)
		}
		q.done()
	}
}

func (n *node) status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Status{Node: n.id, Connected: n.st != nil, Since: n.since, Streams: n.streams.Load(), Queued: n.out.waiting(),
		Sent: n.sent.Load(), Dropped: n.dropped.Load(), Received: n.received.Load(), Malformed: n.malformed.Load(),
		Yields: Yields{Asked: n.asked.Load(), Answered: n.answered.Load(), Gone: n.gone.Load(), Lapsed: n.lapsed.Load()}}
}
