package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

const (
	lendMost   = 3 * time.Second // for a body, over all cores
	lendAnswer = 2 * time.Second // for one core's answer
	maxLenders = 8               // streams kept for the next question
)

// lenders are the streams on which a replicant asks cores for bodies it has no
// room for. A stream has one question at a time.
type lenders struct {
	r *replicant

	mu     sync.Mutex
	idle   []*upstream
	closed bool
}

// body implements role. It asks one core after the other.
func (r *replicant) body(seq home.Seq) (home.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lendMost)
	defer cancel()
	index := r.fsm.index.Load()
	var err error
	for {
		for _, core := range r.cores() {
			var f followFrame
			if f, err = r.lenders.ask(ctx, core, seq, index); err != nil {
				r.stats.bodyRetries.Add(1)
				continue
			}
			r.stats.bodies.Add(1)
			if f.kind == frameBody {
				return home.DecodeBody(seq, f.data)
			}
			// It is gone as of an index: once that is applied here, nothing refers to it.
			if err = r.WaitApplied(ctx, f.at.Index); err == nil {
				return home.Message{}, fmt.Errorf("message %d of home %s: %w", seq, r.opts.Home, ErrNoBody)
			}
		}
		if r.failure() != nil || r.queue.refuses() != nil || group.Pause(ctx, followAgain) != nil {
			return home.Message{}, fmt.Errorf("ask the cores for message %d of home %s: %w", seq, r.opts.Home, err)
		}
	}
}

// ask asks one core.
func (l *lenders) ask(ctx context.Context, core home.NodeID, seq home.Seq, index uint64) (f followFrame, err error) {
	u, old := l.take(core)
	for {
		if u == nil {
			if u, err = l.r.dial(context.Background(), core, request{what: wantsBodies}); err != nil {
				return f, err
			}
		}
		if f, err = u.ask(ctx, seq, index); err == nil {
			l.give(u)
			return f, nil
		}
		u.end()
		if !old {
			return f, err
		}
		u, old = nil, false // the stream was an old one, perhaps of a core that restarted
	}
}

// ask puts the question; the answer's slices are this call's.
func (u *upstream) ask(ctx context.Context, seq home.Seq, index uint64) (followFrame, error) {
	release := context.AfterFunc(ctx, func() { _ = u.st.Close() })
	defer release()
	_ = u.st.SetWriteDeadline(time.Now().Add(lendAnswer))
	q := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(seq)), index)
	if _, err := u.st.Write(q); err != nil {
		return followFrame{}, err
	}
	u.buf = nil // the last body is somebody's
	f, err := u.next(lendAnswer)
	if err == nil && f.kind != frameBody && f.kind != frameGone {
		err = errFrame
	}
	return f, err
}

// take takes an idle stream to the core, if there is one.
func (l *lenders) take(core home.NodeID) (*upstream, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, u := range l.idle {
		if u.core == core {
			l.idle = append(l.idle[:i], l.idle[i+1:]...)
			return u, true
		}
	}
	return nil, false
}

// give keeps a stream for the next question.
func (l *lenders) give(u *upstream) {
	l.mu.Lock()
	if !l.closed && len(l.idle) < maxLenders {
		l.idle = append(l.idle, u)
		u = nil
	}
	l.mu.Unlock()
	if u != nil {
		u.end()
	}
}

func (l *lenders) close() {
	l.mu.Lock()
	idle := l.idle
	l.idle, l.closed = nil, true
	l.mu.Unlock()
	for _, u := range idle {
		u.end()
	}
}
