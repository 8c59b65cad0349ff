package sibling

import (
	"bufio"
	"context"
	"sync"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// serve takes what one sibling says.
func (s *Siblings) serve(ctx context.Context, st *cluster.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	defer st.Close()
	a := &answerer{st: st}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	slots := make(chan struct{}, maxYields)
	in := bufio.NewReaderSize(st, 64<<10)
	for {
		f, err := readFrame(in, s.o.MaxMessage+64<<10)
		if err != nil {
			return
		}
		switch f.kind {
		case kindDeliver:
			s.o.Edge.DeliverFromSibling(f.message)
		case kindDirect:
			s.o.Edge.DeliverToSession(home.Delivery{Session: f.session, Epoch: f.epoch, Owner: s.o.Log.Owner(), Message: f.message,
				QoS: f.qos, Retain: f.retain, SubIDs: f.subIDs})
		case kindForward:
			s.o.Forward(f.peer, f.message)
		case kindYield:
			slots <- struct{}{}
			waiting.Go(func() {
				defer func() { <-slots }()
				s.o.Edge.Yield(f.session, f.epoch)
				a.answer(f.number)
			})
		case kindApplied:
			waiting.Go(func() {
				if s.o.Log.WaitApplied(ctx, f.index) == nil {
					a.answer(f.number)
				}
			})
		default:
			s.log.Warn("a sibling's stream was closed: it says what only the other side may", "peer", st.Peer.Node)
			return
		}
	}
}

// maxYields bounds the sessions that are being given up at one sibling's word.
const maxYields = 64

// answerer writes answers, one at a time.
type answerer struct {
	mu sync.Mutex
	st *cluster.Stream
}

func (a *answerer) answer(number uint64) {
	f := frame{kind: kindAnswer, number: number}
	b := f.append(nil)
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.st.SetWriteDeadline(time.Now().Add(writeIn))
	// An error ends the reading, too.
	_, _ = a.st.Write(b)
}
