package replica

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/store"
)

const (
	// silentMost is how long a core that is followed may say nothing: it tells ten
	// times a second how far it is.
	silentMost = time.Second
	// staleMost is for how long a replicant that has all its core has may be stale
	// before it tries another one.
	staleMost   = time.Second
	followAgain = 100 * time.Millisecond
	recordsMost = 64 // applied before those who wait for them are told
)

// upstream is a stream of a core that is followed.
type upstream struct {
	core home.NodeID
	st   *cluster.Stream
	in   *bufio.Reader
	buf  []byte
	at   store.Position // of the copy
	end  func()
}

// refusal is a core's answer that it cannot be followed.
type refusal struct {
	behind bool // its log does not reach back
	reason string
}

// Error is the core's reason.
func (e *refusal) Error() string { return e.reason }

// cores are the core nodes, in the order in which this node tries them: replicants
// spread over them, and the one that leads has enough to do.
func (r *replicant) cores() (list []home.NodeID) {
	lead, _ := r.leader()
	for _, m := range r.opts.Cluster.Members() {
		if m.Role == cluster.Core {
			list = append(list, home.NodeID(m.Node))
		}
	}
	rank := func(n home.NodeID) uint64 {
		h := fnv.New64a()
		h.Write([]byte(string(r.opts.Node) + "\x00" + string(n)))
		if n == lead {
			return ^uint64(0)
		}
		return h.Sum64() >> 1
	}
	slices.SortFunc(list, func(a, b home.NodeID) int {
		if rank(a) < rank(b) {
			return -1
		}
		return 1
	})
	return list
}

// dial opens a stream for what is wanted. ctx bounds the stream's life, not only
// the dial.
func (r *replicant) dial(ctx context.Context, core home.NodeID, q request) (*upstream, error) {
	dctx, cancel := context.WithTimeout(ctx, dialMost)
	defer cancel()
	st, err := r.opts.Cluster.Dial(dctx, string(core), "", r.protocol(FollowProtocol))
	if err != nil {
		return nil, err
	}
	r.wallOf(st.Peer)
	q.home = r.opts.Home
	_ = st.SetWriteDeadline(time.Now().Add(dialMost))
	if _, err := st.Write(q.append(nil)); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	return &upstream{core: core, st: st, in: bufio.NewReaderSize(st, 64<<10), end: func() {
		release()
		_ = st.Close()
	}}, nil
}

// next reads the next frame. What is no answer but a refusal is an error.
func (u *upstream) next(within time.Duration) (followFrame, error) {
	_ = u.st.SetReadDeadline(time.Now().Add(within))
	f, err := readFrame(u.in, &u.buf)
	if err != nil {
		return f, err
	}
	if f.kind == frameBehind || f.kind == frameNot {
		return f, &refusal{behind: f.kind == frameBehind, reason: f.text}
	}
	return f, nil
}

// copyFrom gets a copy of a core's state, and the stream on which its log follows.
func (r *replicant) copyFrom(ctx context.Context, core home.NodeID) (_ *upstream, _ *home.State, err error) {
	// The stream outlives ctx, which bounds the copy.
	u, err := r.dial(context.Background(), core, request{what: wantsLog})
	if err != nil {
		return nil, nil, err
	}
	release := context.AfterFunc(ctx, func() { _ = u.st.Close() })
	defer func() {
		if !release() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			u.end()
		}
	}()
	f, err := u.next(fetchIdle)
	if err == nil && f.kind != frameCopy {
		err = errFrame
	}
	if err != nil {
		return nil, nil, err
	}
	u.at = f.at
	var got int64
	state, err := home.Load(func(fn func(key, value []byte) error) error {
		return u.pairs(fn, func(bytes int) {
			got += int64(bytes)
			r.opts.Progress.fetched(core, got, 0) // how much there is nobody knows
		})
	})
	if err != nil {
		return nil, nil, err
	}
	if state.ID() != r.opts.Home {
		return nil, nil, fmt.Errorf("the copy is of home %q", state.ID())
	}
	return u, state, nil
}

// pairs reads the keys and values of a copy, to its end, telling came how many
// bytes of them came.
func (u *upstream) pairs(fn func(key, value []byte) error, came func(bytes int)) error {
	var keys uint64
	for {
		f, err := u.next(fetchIdle)
		switch {
		case err != nil:
			return err
		case f.kind == frameKeys:
			came(len(f.data))
			err = eachPair(f.data, func(key, value []byte) error {
				keys++
				return fn(key, value)
			})
		case f.kind == frameWhole && f.number == keys:
			return nil
		default:
			err = errFrame
		}
		if err != nil {
			return err
		}
	}
}

// follow applies what a core applies until ctx ends, going from one core to the
// next as need be.
func (r *replicant) follow(ctx context.Context, u *upstream) {
	first := u.st
	release := context.AfterFunc(ctx, func() { _ = first.Close() })
	defer release()
	for {
		r.followed(u.core, "")
		err := r.drink(ctx, u)
		u.end()
		if ctx.Err() != nil || r.failure() != nil {
			return
		}
		last := u.core
		r.followed("", fmt.Sprintf("%s: %v", last, err))
		r.stats.switches.Add(1)
		r.log.Info("the core that was followed is followed no more", "core", last, "reason", err)
		if u = r.resume(ctx, last); u == nil {
			return
		}
	}
}

func (r *replicant) followed(core home.NodeID, trouble string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core, r.trouble = core, trouble
}

// resume goes on with another core, or with the last one if it is the only one.
// nil: this run is over.
func (r *replicant) resume(ctx context.Context, last home.NodeID) *upstream {
	for ctx.Err() == nil && r.failure() == nil {
		behind := false
		list := r.cores()
		slices.SortStableFunc(list, func(a, b home.NodeID) int {
			switch last {
			case b:
				return -1
			case a:
				return 1
			}
			return 0
		})
		for _, core := range list {
			u, err := r.resumeAt(ctx, core)
			if err == nil {
				r.log.Info("a core is followed", "core", core, "index", r.fsm.index.Load())
				return u
			}
			var no *refusal
			behind = behind || errors.As(err, &no) && no.behind
			r.followed("", fmt.Sprintf("%s: %v", core, err))
		}
		if behind {
			r.fail(ErrBehind)
			return nil
		}
		_ = group.Pause(ctx, followAgain)
	}
	return nil
}

// resumeAt asks a core to go on where this node is; its first pulse says that it
// does.
func (r *replicant) resumeAt(ctx context.Context, core home.NodeID) (*upstream, error) {
	u, err := r.dial(ctx, core, request{what: wantsLog, at: r.fsm.position()})
	if err != nil {
		return nil, err
	}
	for {
		f, err := u.next(silentMost)
		if err == nil {
			err = r.swallow(u, &f)
		}
		if err != nil {
			u.end()
			return nil, err
		}
		if f.kind == framePulse {
			return u, nil
		}
	}
}

// drink applies what comes until the stream ends, or its core is no good.
func (r *replicant) drink(ctx context.Context, u *upstream) error {
	began := time.Now()
	since := 0
	for ctx.Err() == nil && r.failure() == nil {
		f, err := u.next(silentMost)
		if err == nil {
			err = r.swallow(u, &f)
		}
		if err != nil {
			r.appliedMore()
			return err
		}
		if since++; u.in.Buffered() == 0 || since >= recordsMost {
			since = 0
			r.appliedMore()
		}
		if f.kind == framePulse && f.at.Index <= r.fsm.index.Load() && r.fresh.age() > staleMost && time.Since(began) > staleMost {
			return fmt.Errorf("it has not applied what the leader says is committed, or does not know the leader, for %s", r.fresh.age().Round(time.Millisecond))
		}
	}
	return ctx.Err()
}

// swallow takes one frame of the log.
func (r *replicant) swallow(u *upstream, f *followFrame) error {
	switch f.kind {
	case frameRecord:
		r.fsm.record(f.at, f.data)
	case frameNumbered:
		_ = r.fsm.numbered(f.at, f.number, 0, f.data) // what was skipped there is skipped here
	case framePassed:
		r.fsm.other(f.at)
	case framePulse:
		r.pulse(f.at.Index, home.NodeID(f.text))
	default:
		return errFrame
	}
	return nil
}

// pulse takes a core's word for how far it is and who leads.
func (r *replicant) pulse(ahead uint64, lead home.NodeID) {
	r.mu.Lock()
	changed := r.lead != lead
	r.lead, r.ahead = lead, ahead
	r.mu.Unlock()
	if changed {
		r.leaderChanged(lead != "")
	}
}
