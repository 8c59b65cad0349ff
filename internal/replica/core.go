package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// core is the role of a node that keeps a copy of the home: log and state on its
// disk, a vote in the group.
type core struct {
	*Replica

	// Set by Open.
	id        raft.ServerID
	store     *store.Store
	logs      *raftlog.Log
	guard     *guard
	cache     raft.LogStore // what raft reads and writes: guard, with the newest entries in memory
	transport raft.Transport
	raft      *raft.Raft
	merger    *merger
	contacts  *contacts
	silence   silence

	checkpoints checkpoints
	followers   *followers
	sinceSnap   logSize // of what came after the newest snapshot

	abroad
	officeMu   sync.Mutex
	officeTerm uint64 // guarded by officeMu: of this node's leadership; 0 without one

	holds       atomic.Bool // there is a copy here, with log or state
	up          atomic.Bool // raft was made
	entered     atomic.Bool // this node leads and has applied what was committed before
	raising     atomic.Bool // a Raise is under way
	handing     turn        // one hand-over at a time
	failedHeirs sync.Map    // raft.ServerID: time.Time, when the leadership could not be handed to it

	streamsMu sync.Mutex
	streams   map[*cluster.Stream]byte // accepted ones, and what they are for

	flushMu sync.Mutex     // one flush at a time
	flushed store.Position // guarded by flushMu: what the store has
	// flushedCopy is the same as a position of the home; guarded by flushMu.
	flushedCopy home.CopyPosition
}

// body implements role.
func (r *core) body(seq home.Seq) (home.Message, error) { return bodyIn(r.store, r.opts.Home, seq) }

// bodyIn reads the body of a message.
func bodyIn(s *store.Store, id home.ID, seq home.Seq) (home.Message, error) {
	v, err := s.Get(home.BodyKey(seq))
	if errors.Is(err, store.ErrNotFound) {
		return home.Message{}, fmt.Errorf("message %d of home %s: %w", seq, id, ErrNoBody)
	}
	if err != nil {
		return home.Message{}, fmt.Errorf("read message %d of home %s: %w", seq, id, err)
	}
	m, err := home.DecodeBody(seq, v)
	if err != nil {
		return home.Message{}, fmt.Errorf("read message %d of home %s: %w", seq, id, err)
	}
	return m, nil
}

// spoolRun implements role.
func (r *core) spoolRun(key []byte) ([]home.Spooled, error) { return r.runIn(r.store, key) }

// runIn reads a run of a spool.
func (r *Replica) runIn(s *store.Store, key []byte) ([]home.Spooled, error) {
	v, err := s.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNoBody
	}
	if err != nil {
		return nil, fmt.Errorf("read a run of a spool of home %s: %w", r.opts.Home, err)
	}
	return r.state.DecodeRun(v)
}

// hungDisk is how long a write may take before the home counts as not served.
const hungDisk = 5 * time.Second

// unwell implements role.
func (r *core) unwell() string {
	if why := r.unseated(); why != "" {
		return why
	}
	if r.guard.Stalled(hungDisk) {
		return fmt.Sprintf("the disk at %s has not answered a write for more than %s", r.opts.Dir, hungDisk)
	}
	return ""
}

// staleness implements role.
func (r *core) staleness() string {
	age := r.fresh.age().Round(100 * time.Millisecond)
	leader, ok := r.Leader()
	switch {
	case !ok:
		return fmt.Sprintf("no leader is heard, for %s: %s", age, r.whoAnswers())
	case leader == r.opts.Node:
		return fmt.Sprintf("this node leads, but no majority has answered it for %s: %s", age, r.whoAnswers())
	}
	return fmt.Sprintf("catching up: %d entries that leader %s says were committed are not applied here, for %s", r.behind(), leader, age)
}

// unseated says why this copy does not count as one of the home's yet: it has no
// vote while the home lacks one, or a former disk of this node has one. Who
// replaces disks one after the other goes by what is ready, and must not take the
// next before this one's vote is in its place.
func (r *core) unseated() string {
	if r.opts.Cluster == nil {
		return ""
	}
	voters, own, former := 0, false, false
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		node, _ := splitID(string(s.ID))
		own = own || s.ID == r.id
		former = former || s.ID != r.id && node == r.opts.Node
	}
	switch {
	case !own && (former || voters < r.opts.Voters):
		return fmt.Sprintf("catching up: this copy has no vote yet; it is %d entries behind", r.behind())
	case own && former:
		return "catching up: this copy votes, and the vote of the node's former disk is still to go"
	}
	return ""
}

// explain implements role. A copy that is damaged, or differs from the others, is
// set aside.
func (r *core) explain(err error) error {
	if errors.Is(err, errDiverged) || r.opts.Cluster != nil && errors.Is(err, store.ErrDamaged) {
		err = errors.Join(err, r.setAside(err))
	}
	return store.ExplainDiskError(r.opts.FS, r.opts.Dir, err)
}

// figures implements role.
func (r *core) figures(s *Stats) {
	s.Flushed, s.Durable = r.store.Applied().Index, r.store.DurableApplied()
	s.LogLast, s.Writing = r.raft.LastIndex(), r.guard.Running()
	// An error leaves 0: a figure is no reason to stop.
	s.LogFirst, _ = r.logs.FirstIndex()
	s.LogBytes, _ = r.logs.DiskBytes()
	s.StateBytes = int64(r.store.Metrics().DiskBytes)
}

// startServing starts everything that runs beside raft, until close.
func (r *core) startServing() {
	loops := []func(context.Context){r.merger.run, r.shepherd, r.watchLeader, r.keep, func(ctx context.Context) { r.serveTenures(ctx, r.mayRegister) }}
	if r.opts.Cluster != nil {
		loops = append(loops, r.seek)
		r.opts.Cluster.Handle(r.protocol(LogProtocol), r.serveLog)
		r.opts.Cluster.Handle(r.protocol(CopyProtocol), r.serveCopy)
		r.opts.Cluster.Handle(r.protocol(FollowProtocol), r.serveFollow)
	}
	r.startLoops(loops...)
}

// stopServing takes this copy off the network.
func (r *core) stopServing() {
	if r.opts.Cluster != nil {
		for _, p := range []string{LogProtocol, CopyProtocol, FollowProtocol} {
			r.opts.Cluster.Handle(r.protocol(p), nil)
		}
	}
	r.closeStreams()
	r.copiers.close()
	if r.forwarder != nil {
		r.forwarder.close()
	}
}

// trackStream remembers an accepted stream and what it is for, until stop is
// called.
func (r *core) trackStream(st *cluster.Stream, purpose byte) (stop func()) {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	r.streams[st] = purpose
	return func() {
		r.streamsMu.Lock()
		defer r.streamsMu.Unlock()
		delete(r.streams, st)
	}
}

// closeStreams closes all accepted streams.
func (r *core) closeStreams() {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	for st := range r.streams {
		_ = st.Close()
	}
}

// closeEntries closes the streams of proposers: what came by them may have been
// lost, and they send it again.
func (r *core) closeEntries() {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	for st, purpose := range r.streams {
		if purpose == purposeEntries {
			_ = st.Close()
		}
	}
}

// stopTimeout bounds how long a stop waits for raft's goroutines. Only a disk
// that hangs takes that long.
const stopTimeout = 10 * time.Second

// close implements role. It stops raft, waits for the loops, hands back what is left, and closes
// log and store, the latter with a last flush if the home did not fail.
func (r *core) close() error {
	raftStopped := make(chan struct{})
	go func() {
		r.stopServing()
		if r.stopLoops != nil {
			r.stopLoops()
		}
		r.merger.lead(0) // nobody waits for room
		// Shutdown also unblocks the merger. Its future's error is always nil.
		_ = r.raft.Shutdown().Error()
		if c, ok := r.transport.(raft.WithClose); ok {
			_ = c.Close()
		}
		r.loops.Wait()
		close(raftStopped)
	}()
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-raftStopped:
	case <-t.C:
		err := errors.Join(r.failure(), fmt.Errorf("stop home %s: the disk at %s has not answered for %s; "+
			"its files are left open", r.opts.Home, r.opts.Dir, stopTimeout))
		r.handBack(fmt.Errorf("%w: %w", ErrStopped, err))
		return err
	}
	left := ErrStopped
	if err := r.failure(); err != nil {
		left = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	r.handBack(left)
	return r.closeFiles()
}

// closeFiles flushes, if the home did not fail, and closes log and store.
func (r *core) closeFiles() error {
	if r.failure() == nil {
		// An error is a failure now, and returned below.
		_ = r.flush()
	}
	failure := r.failure()
	logErr := r.logs.Close()
	storeErr := errors.Join(r.intake.close(), r.store.Close())
	if failure != nil {
		return failure // what closing a broken disk says adds nothing
	}
	if err := errors.Join(logErr, storeErr); err != nil {
		return fmt.Errorf("close home %s: %w", r.opts.Home, err)
	}
	return nil
}
