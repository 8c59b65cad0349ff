package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
)

// A core lets replicants follow it. The log is the buffer between the two: what
// is sent is read from it, by a position of each follower's own, so that one that
// reads slowly costs nothing but its stream; when the log is cut beyond its
// position it begins anew.

const (
	pulseEvery = 100 * time.Millisecond
	feedChunk  = 1 << 20   // bytes of records between two looks at the clock
	copyChunk  = 128 << 10 // bytes of keys and values a frame
	maxCopies  = 4         // copies being sent at once
	lendWithin = time.Second
)

// followers are those who follow this core.
type followers struct {
	catching atomic.Int32 // have a copy and not yet the log behind it, which is kept for them
	copies   chan struct{}

	mu   sync.Mutex
	dues map[chan struct{}]struct{} // each holds one token: something was applied
}

func newFollowers() *followers {
	return &followers{copies: make(chan struct{}, maxCopies), dues: map[chan struct{}]struct{}{}}
}

// held says that the log must be kept for somebody.
func (f *followers) held() bool { return f.catching.Load() > 0 }

// applied tells them that there is more.
func (f *followers) applied() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for due := range f.dues {
		nudge(due)
	}
}

func (f *followers) join() (due chan struct{}, leave func()) {
	due = make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dues[due] = struct{}{}
	return due, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.dues, due)
	}
}

// serveFollow serves one stream of a replicant.
func (r *core) serveFollow(ctx context.Context, st *cluster.Stream) {
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	defer st.Close()
	stop := r.trackStream(st, 0)
	defer stop()
	_ = st.SetDeadline(time.Now().Add(purposeTimeout))
	q, err := readRequestOf(st)
	if err != nil {
		return
	}
	_ = st.SetDeadline(time.Time{})
	f := &feed{r: r, st: st, out: bufio.NewWriterSize(st, 64<<10), at: q.at}
	switch {
	case q.home != r.opts.Home:
		err = f.refuse("this is home %s", r.opts.Home)
	case r.state.ID() == "":
		err = f.refuse("the home is not founded yet")
	case q.what == wantsLog:
		err = f.run(ctx)
	case q.what == wantsBodies:
		err = f.lend(ctx)
	default:
		err = fmt.Errorf("a request for %q, which this version does not know", q.what)
	}
	if err = ignoreEnd(err); err != nil && ctx.Err() == nil && r.failure() == nil {
		r.log.Warn("a replicant's stream was closed", "peer", st.Peer.Node, "reason", err)
	}
}

// feed is one stream to a replicant.
type feed struct {
	r        *core
	st       *cluster.Stream
	out      *bufio.Writer
	buf      []byte
	at       store.Position // what was sent
	catching bool           // counts among those the log is kept for
	pulsed   time.Time
}

func (f *feed) refuse(format string, args ...any) error {
	return errors.Join(f.send(&followFrame{kind: frameNot, text: fmt.Sprintf(format, args...)}), f.flush())
}

// send writes a frame; flush sends what was written. A replicant that takes
// nothing for sendTimeout is cut.
func (f *feed) send(frame *followFrame) error {
	f.buf = appendFrame(f.buf[:0], frame)
	if err := f.st.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := f.out.Write(f.buf)
	if cap(f.buf) > feedChunk {
		f.buf = nil
	}
	return err
}

func (f *feed) flush() error {
	if err := f.st.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return f.out.Flush()
}

// run sends the copy, if one is wanted, and the log as it is applied here.
func (f *feed) run(ctx context.Context) error {
	r := f.r
	due, leave := r.followers.join()
	defer leave()
	defer f.caughtUp()
	if f.at.Index == 0 {
		select {
		case r.followers.copies <- struct{}{}:
		default:
			return f.refuse("%d others are getting a copy", maxCopies)
		}
		err := f.copy()
		<-r.followers.copies
		if err != nil {
			return err
		}
		r.log.Info("a replicant has a copy of the state", "peer", f.st.Peer.Node, "index", f.at.Index)
	} else if frame := r.continues(f.at); frame != nil {
		return errors.Join(f.send(frame), f.flush())
	}
	t := time.NewTicker(pulseEvery)
	defer t.Stop()
	for {
		more, err := f.records()
		if err != nil {
			return err
		}
		if time.Since(f.pulsed) >= pulseEvery {
			err = f.pulse()
		}
		if err = errors.Join(err, f.flush()); err != nil {
			return err
		}
		if more {
			continue
		}
		f.caughtUp()
		select {
		case <-due:
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// caughtUp lets go of the log that was kept for this one.
func (f *feed) caughtUp() {
	if f.catching {
		f.catching = false
		f.r.followers.catching.Add(-1)
	}
}

func (f *feed) pulse() error {
	f.pulsed = time.Now()
	leader, _ := f.r.leader()
	return f.send(&followFrame{kind: framePulse, at: store.Position{Index: f.r.fsm.index.Load()}, text: string(leader)})
}

// continues says why a state that is at a position cannot go on with this log;
// nil if it can.
func (r *core) continues(at store.Position) *followFrame {
	applied := r.fsm.index.Load()
	if at.Index > applied {
		return &followFrame{kind: frameNot, text: fmt.Sprintf("the replicant has applied %d, and this core %d", at.Index, applied)}
	}
	first, err := r.guard.FirstIndex()
	if err != nil {
		return &followFrame{kind: frameNot, text: err.Error()}
	}
	if at.Index < applied && (first == 0 || first > at.Index+1) {
		return cutBelow(first)
	}
	// The log of another life of the home goes on from a term of its own.
	var l raft.Log
	if r.cache.GetLog(at.Index, &l) == nil && l.Term != at.Term {
		return &followFrame{kind: frameBehind, text: fmt.Sprintf("index %d is of term %d here, and of %d there", at.Index, l.Term, at.Term)}
	}
	return nil
}

func cutBelow(first uint64) *followFrame {
	return &followFrame{kind: frameBehind, text: fmt.Sprintf("the log here begins at %d", first)}
}

// records sends what was applied, up to a chunk; more: there is more.
func (f *feed) records() (more bool, err error) {
	r := f.r
	applied := r.fsm.index.Load()
	sent := f.at
	for bytes := 0; f.at.Index < applied; {
		if bytes > feedChunk {
			return true, nil
		}
		var l raft.Log
		if err := r.cache.GetLog(f.at.Index+1, &l); err != nil {
			if !errors.Is(err, raft.ErrLogNotFound) {
				return false, err
			}
			first, _ := r.guard.FirstIndex()
			return false, errors.Join(f.send(cutBelow(first)), f.flush(), fmt.Errorf("it was too slow: it has index %d, and the log begins at %d", f.at.Index, first))
		}
		f.at = store.Position{Index: l.Index, Term: l.Term}
		if l.Type == raft.LogCommand && len(l.Extensions) > 0 && l.Extensions[0] == extWhole {
			return false, errors.Join(f.send(&followFrame{kind: frameBehind, text: "another copy of the home came in here"}), f.flush(), ErrAdopted)
		}
		if !isRecord(&l) {
			continue
		}
		frame := &followFrame{kind: frameRecord, at: f.at, data: l.Data}
		if n, _, ok := numberOf(l.Extensions); ok {
			frame.kind, frame.number = frameNumbered, n
		}
		if err := f.send(frame); err != nil {
			return false, err
		}
		sent, bytes = f.at, bytes+len(l.Data)
	}
	if sent != f.at {
		err = f.send(&followFrame{kind: framePassed, at: f.at})
	}
	return false, err
}

// copy sends the state as the store has it, after a flush. From here on the log
// is kept, until the replicant has it.
func (f *feed) copy() error {
	f.catching = true
	f.r.followers.catching.Add(1)
	if err := f.r.flush(); err != nil {
		return err
	}
	var pairs []byte
	var keys uint64
	ship := func() error {
		err := f.send(&followFrame{kind: frameKeys, data: pairs})
		pairs = pairs[:0]
		return err
	}
	err := f.r.store.ScanAll(func(at store.Position) error {
		f.at = at
		return f.send(&followFrame{kind: frameCopy, at: at})
	}, func(key, value []byte) error {
		value, err := home.LeanValue(key, value)
		if errors.Is(err, home.ErrLoaded) {
			return store.ErrStop
		}
		if err != nil {
			return err
		}
		pairs = appendPair(pairs, key, value)
		keys++
		if len(pairs) < copyChunk {
			return nil
		}
		return ship()
	})
	if err == nil && len(pairs) > 0 {
		err = ship()
	}
	return errors.Join(err, f.send(&followFrame{kind: frameWhole, number: keys}))
}

// lend answers questions for bodies.
func (f *feed) lend(ctx context.Context) error {
	in := bufio.NewReader(f.st)
	var q [16]byte
	for {
		if _, err := io.ReadFull(in, q[:]); err != nil {
			return err
		}
		frame, err := f.r.lendBody(ctx, home.Seq(binary.BigEndian.Uint64(q[:])), binary.BigEndian.Uint64(q[8:]))
		if err != nil {
			return err
		}
		if err := errors.Join(f.send(frame), f.flush()); err != nil {
			return err
		}
	}
}

// lendBody finds a body for a replicant that has applied up to index and refers
// to it there. Only a store that is as far can say that it is gone.
func (r *core) lendBody(ctx context.Context, seq home.Seq, index uint64) (*followFrame, error) {
	for flushed := false; ; flushed = true {
		at := r.store.Applied().Index
		v, err := r.store.Get(home.BodyKey(seq))
		switch {
		case err == nil:
			return &followFrame{kind: frameBody, data: v}, nil
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		case at >= index:
			return &followFrame{kind: frameGone, at: store.Position{Index: at}}, nil
		case flushed:
			return &followFrame{kind: frameNot, text: fmt.Sprintf("the store here is at %d", at)}, nil
		}
		wctx, cancel := context.WithTimeout(ctx, lendWithin)
		_ = r.WaitApplied(wctx, index)
		cancel()
		if err := r.flush(); err != nil {
			return nil, err
		}
	}
}
