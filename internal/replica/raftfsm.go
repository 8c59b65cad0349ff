package replica

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"causeway/internal/store"
)

// raftFSM is raft's view of a core's home. Its methods run on raft's apply
// goroutine.
type raftFSM struct{ r *core }

// logSize counts records and their bytes.
type logSize struct {
	entries atomic.Uint64
	bytes   atomic.Int64
}

// ApplyBatch implements raft.BatchingFSM. A response is an error, or nil.
func (f raftFSM) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		out[i] = f.Apply(l)
	}
	f.r.appliedMore()
	return out
}

// Apply implements raft.FSM.
func (f raftFSM) Apply(l *raft.Log) any {
	f.r.sinceSnap.entries.Add(1)
	f.r.sinceSnap.bytes.Add(int64(len(l.Data)))
	at := store.Position{Index: l.Index, Term: l.Term}
	switch {
	case l.Type != raft.LogCommand:
		f.r.fsm.other(at)
	case len(l.Extensions) == 0:
		f.r.fsm.record(at, l.Data)
	default:
		if err := f.r.command(at, l); err != nil {
			return err
		}
	}
	return nil
}

// Snapshot implements raft.FSM: a marker, since the store is the state. [B2]
func (f raftFSM) Snapshot() (raft.FSMSnapshot, error) {
	a := f.r.fsm
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken != nil {
		return nil, a.broken
	}
	return &snapshot{r: f.r, mark: mark{
		Version: markVersion, Home: f.r.opts.Home, Applied: a.applied,
		Epoch: a.state.Epoch(), Time: a.state.Now(),
	}}, nil
}

// Restore implements raft.FSM. Raft calls it for a snapshot that a leader sent,
// which the transport does not let in.
func (f raftFSM) Restore(in io.ReadCloser) error {
	err := fmt.Errorf("home %s: a snapshot marker holds no state to restore; bring the store's files first", f.r.opts.Home)
	f.r.fail(err)
	return errors.Join(err, in.Close())
}

// applied implements role.
func (r *core) applied(term uint64) { r.merger.applied(term) }

// recorded implements role.
func (r *core) recorded(n, index uint64) { r.tail.add(n, index) }

// appliedMore implements role: it tells those who wait for what was just applied.
func (r *core) appliedMore() {
	r.fresh.applied(r.reached)
	r.water.raise()
	if t, ok := r.transport.(*transport); ok {
		t.push()
	}
	r.followers.applied()
}

// reached implements role. What
// raft writes for itself at the start of a term is not shown to the state, so the
// last indexes may hold nothing to apply.
func (r *core) reached(index uint64) bool {
	applied := r.fsm.index.Load()
	if applied >= index {
		return true
	}
	if index-applied > fewOwn {
		return false
	}
	var l raft.Log
	for i := applied + 1; i <= index; i++ {
		if r.cache.GetLog(i, &l) != nil || l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			return false
		}
	}
	return true
}

// fewOwn is how many entries of raft's own may stand in a row.
const fewOwn = 4
