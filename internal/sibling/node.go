package sibling

import (
	"bufio"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// node is one sibling: a stream to it, kept open, and what waits for it.
type node struct {
	s    *Siblings
	id   home.NodeID
	wake chan struct{} // holds one token: something waits
	dial chan struct{} // holds one token: somebody needs it, do not wait

	sent, dropped, opened atomic.Uint64

	mu        sync.Mutex
	queue     []byte // encoded frames
	spare     []byte
	peer      *cluster.Peer // while connected
	number    uint64        // of the last question
	questions map[uint64]*question
	goneAt    time.Time // when a dial last found that nothing listens there
}

// question waits for an answer, or for the node to turn out to be gone.
type question struct {
	f     frame
	since time.Time
	run   home.Incarnation // the run that is asked; another one's presence answers, too; 0: any
	done  func()           // called once, without locks
}

func newNode(s *Siblings, id home.NodeID) *node {
	return &node{s: s, id: id, wake: make(chan struct{}, 1), dial: make(chan struct{}, 1), questions: map[uint64]*question{}}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// send queues a message, or drops it.
func (n *node) send(f frame) {
	n.mu.Lock()
	if n.peer == nil || len(n.queue) > n.s.o.QueueBytes {
		n.mu.Unlock()
		n.dropped.Add(1)
		return
	}
	first := len(n.queue) == 0
	n.queue = f.append(n.queue)
	n.mu.Unlock()
	n.sent.Add(1)
	if first {
		nudge(n.wake)
	}
}

// ask puts a question; take takes it back.
func (n *node) ask(q *question) (number uint64) {
	n.mu.Lock()
	n.number++
	number = n.number
	q.f.number, q.since = number, time.Now()
	n.questions[number] = q
	settled := n.settle()
	if n.peer != nil && len(settled) == 0 {
		n.queue = q.f.append(n.queue)
	}
	n.mu.Unlock()
	call(settled)
	nudge(n.wake)
	nudge(n.dial)
	return number
}

func (n *node) take(number uint64) *question {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.questions[number]
	delete(n.questions, number)
	return q
}

// settle takes the questions that are answered by who is there, or by nobody
// being there. Guarded by mu.
func (n *node) settle() (settled []*question) {
	for number, q := range n.questions {
		another := n.peer != nil && q.run != 0 && home.Incarnation(n.peer.Incarnation) > q.run
		if another || n.goneAt.After(q.since) {
			settled = append(settled, q)
			delete(n.questions, number)
		}
	}
	return settled
}

func call(qs []*question) {
	for _, q := range qs {
		q.done()
	}
}

// run keeps a stream to the node until ctx ends.
func (n *node) run(ctx context.Context) {
	const least, most = 100 * time.Millisecond, 2 * time.Second
	wait := least
	for ctx.Err() == nil {
		began := time.Now()
		st, err := n.s.o.Streams.Dial(ctx, string(n.id), "", Protocol)
		if err == nil {
			wait = least
			n.serve(ctx, st)
			continue
		}
		if cluster.Dead(err) {
			n.gone(began)
		}
		n.s.log.Debug("dial a sibling", "peer", n.id, "error", err)
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-t.C:
		case <-n.dial:
			// Somebody waits for the verdict; but not more often than this.
			<-time.After(20 * time.Millisecond)
		case <-ctx.Done():
		}
		t.Stop()
		wait = min(2*wait, most)
	}
}

// gone notes that at a time nothing listened at the node's address: the runs that
// were asked about before are over.
func (n *node) gone(at time.Time) {
	n.mu.Lock()
	n.goneAt = at
	settled := n.settle()
	n.mu.Unlock()
	call(settled)
}

// serve uses a stream to its end.
func (n *node) serve(ctx context.Context, st *cluster.Stream) {
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	n.opened.Add(1)
	n.mu.Lock()
	n.peer = &st.Peer
	settled := n.settle()
	n.queue = n.queue[:0]
	for _, q := range n.questions { // what was asked on a stream that broke
		n.queue = q.f.append(n.queue)
	}
	n.mu.Unlock()
	call(settled)
	nudge(n.wake)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.answers(st)
	}()
	n.write(ctx, st, ended)
	_ = st.Close()
	<-ended
	n.mu.Lock()
	n.peer = nil
	n.queue = n.queue[:0]
	n.mu.Unlock()
}

const (
	writeIn  = 5 * time.Second
	silentIn = 30 * time.Second
)

// write sends what waits until the stream ends.
func (n *node) write(ctx context.Context, st *cluster.Stream, ended <-chan struct{}) {
	for {
		select {
		case <-n.wake:
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
		n.mu.Lock()
		b := n.queue
		n.queue, n.spare = n.spare[:0], nil
		n.mu.Unlock()
		if len(b) == 0 {
			n.giveBack(b)
			continue
		}
		_ = st.SetWriteDeadline(time.Now().Add(writeIn))
		if _, err := st.Write(b); err != nil {
			return
		}
		n.giveBack(b)
	}
}

// giveBack keeps a buffer for the next turn, unless it grew large.
func (n *node) giveBack(b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cap(b) <= 1<<20 {
		n.spare = b[:0]
	}
}

// answers reads the node's answers.
func (n *node) answers(st *cluster.Stream) {
	in := bufio.NewReader(st)
	for {
		f, err := readFrame(in, 64)
		if err != nil || f.kind != kindAnswer {
			return
		}
		if q := n.take(f.number); q != nil {
			q.done()
		}
	}
}

func (n *node) status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Status{Node: n.id, Connected: n.peer != nil, Queued: len(n.queue), Sent: n.sent.Load(), Dropped: n.dropped.Load(), Reconnected: n.opened.Load()}
}
