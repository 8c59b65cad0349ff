package sibling

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

const (
	// maxYields bounds the sessions that are being given up at one sibling's word;
	// more of its frames are read when one is done.
	maxYields = 256
	// maxIndexes bounds the questions of one sibling that wait for this node to
	// apply something. One more is not answered: its asker waits for the lapse.
	maxIndexes = 1024
)

// hearing is an accepted stream: what one sibling says.
type hearing struct {
	s        *Siblings
	n        *node
	st       *cluster.Stream
	ctx      context.Context
	end      context.CancelFunc
	over     chan struct{} // closed when nothing more of it is passed on
	answers  chan uint64
	indexes  chan index
	yields   chan struct{} // holds a token for each that runs
	all      sync.WaitGroup
	siblings *sync.WaitGroup // Run waits for it
	forget   func() bool     // undoes that the end of Run ends it
}

// index is a question: say when that much is applied.
type index struct{ question, applied uint64 }

// serve hears one sibling out.
func (s *Siblings) serve(ctx context.Context, st *cluster.Stream) {
	defer st.Close()
	n := s.node(home.NodeID(st.Peer.Node))
	if n == nil {
		return
	}
	h := &hearing{s: s, n: n, st: st, over: make(chan struct{}), answers: make(chan uint64, maxYields),
		indexes: make(chan index, maxIndexes), yields: make(chan struct{}, maxYields)}
	h.ctx, h.end = context.WithCancel(ctx)
	defer h.end()
	former, ok := s.admit(h)
	if !ok {
		return
	}
	defer s.dismiss(h)
	release := context.AfterFunc(h.ctx, func() { _ = st.Close() })
	defer release()
	if former != nil {
		former.end()
		<-former.over
	}
	h.run()
}

// admit makes a stream the one its node is heard on. The one before ends first:
// what was said on it comes before.
func (s *Siblings) admit(h *hearing) (former *hearing, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return nil, false
	}
	h.siblings = s.all
	h.siblings.Add(1)
	h.forget = context.AfterFunc(s.ctx, h.end)
	former, h.n.hearing = h.n.hearing, h
	return former, true
}

func (s *Siblings) dismiss(h *hearing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.forget()
	if h.n.hearing == h {
		h.n.hearing = nil
	}
	h.siblings.Done()
}

// run passes on what is said, until the stream ends.
func (h *hearing) run() {
	defer h.all.Wait()
	defer h.end()
	h.beside(h.answer)
	h.beside(h.follow)
	h.n.note(h.hear())
}

func (h *hearing) beside(f func()) { h.all.Go(func() { protect(h.n.crash, f) }) }

func (h *hearing) hear() error {
	defer close(h.over)
	in := bufio.NewReaderSize(h.st, chunkBytes)
	for {
		f, err := readFrame(in, h.s.o.frameMax())
		if err != nil {
			return err
		}
		if h.ctx.Err() != nil {
			return h.ctx.Err() // a later stream has taken over
		}
		if err := h.pass(&f); err != nil {
			return err
		}
	}
}

func (h *hearing) pass(f *frame) error {
	o := &h.s.o
	switch f.kind {
	case kindDeliver:
		o.Edge.DeliverFromSibling(f.message)
	case kindDirect:
		o.Edge.DeliverToSession(home.Delivery{Session: f.session, Epoch: f.epoch, Owner: o.Log.Owner(), Message: f.message,
			QoS: f.qos, Retain: f.retain, SubIDs: f.subIDs})
	case kindForward, kindClaimed:
		o.Forward(f.peer, f.message, f.claim)
	case kindYield:
		h.yield(f.session, f.epoch, f.number)
		return nil
	case kindApplied:
		select {
		case h.indexes <- index{f.number, f.index}:
		default:
		}
		return nil
	default:
		return errNotHere
	}
	h.n.received.Add(1)
	return nil
}

// yield has a session given up, beside the others.
func (h *hearing) yield(k home.SessionKey, epoch home.SessionEpoch, number uint64) {
	select {
	case h.yields <- struct{}{}:
	case <-h.ctx.Done():
		return
	}
	h.beside(func() {
		defer func() { <-h.yields }()
		h.s.o.Edge.Yield(k, epoch)
		h.say(number)
	})
}

// follow answers when indexes are applied, in the order of the questions: an
// asker's indexes grow.
func (h *hearing) follow() {
	for {
		select {
		case i := <-h.indexes:
			if h.s.o.Log.WaitApplied(h.ctx, i.applied) == nil {
				h.say(i.question)
			}
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *hearing) say(number uint64) {
	select {
	case h.answers <- number:
	case <-h.ctx.Done():
	}
}

// answer writes answers, those that wait together in one write.
func (h *hearing) answer() {
	defer h.end()
	var b []byte
	for {
		select {
		case number := <-h.answers:
			b = appendAnswer(b[:0], number)
		case <-h.ctx.Done():
			return
		}
		for more := true; more && len(b) < chunkBytes; {
			select {
			case number := <-h.answers:
				b = appendAnswer(b, number)
			default:
				more = false
			}
		}
		_ = h.st.SetWriteDeadline(time.Now().Add(writeIn))
		if _, err := h.st.Write(b); err != nil {
			return
		}
	}
}

func appendAnswer(b []byte, number uint64) []byte {
	f := frame{kind: kindAnswer, number: number}
	return f.append(b)
}

// note counts and tells why a stream was ended, if the other side is to blame.
func (n *node) note(err error) {
	if errors.Is(err, errFrame) || errors.Is(err, errNotHere) {
		n.malformed.Add(1)
		n.s.log.Warn("a stream of a sibling was ended because of what it said; do all nodes run this version, and with one limits.packet?",
			"peer", n.id, "error", err)
	}
}
