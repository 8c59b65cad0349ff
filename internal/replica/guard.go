package replica

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"causeway/internal/replica/raftlog"
)

// guard stands between raft and its log where raft would panic: over an entry
// it cannot read, and a term it cannot write. That would take along every other
// home of the process; here it only fails this one. The watchdog below it times
// writes and reports the first that fails, and the log refuses all later ones.
type guard struct {
	*raftlog.Watchdog
	fail func(error)
	// live is set once raft's own goroutines run.
	live atomic.Bool
}

// GetLog implements raft.LogStore.
func (g *guard) GetLog(index uint64, l *raft.Log) error {
	err := g.Watchdog.GetLog(index, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) && !errors.Is(err, raftlog.ErrClosed) {
		g.fail(fmt.Errorf("read entry %d: %w", index, err))
		g.endRaft()
	}
	return err
}

// Set implements raft.StableStore.
func (g *guard) Set(key, value []byte) error {
	err := g.Watchdog.Set(key, value)
	if err != nil {
		g.endRaft()
	}
	return err
}

// SetUint64 implements raft.StableStore.
func (g *guard) SetUint64(key []byte, value uint64) error {
	err := g.Watchdog.SetUint64(key, value)
	if err != nil {
		g.endRaft()
	}
	return err
}

// endRaft ends the goroutine of raft that calls it: the home was just failed,
// and raft will be shut down.
func (g *guard) endRaft() {
	if g.live.Load() {
		runtime.Goexit()
	}
}
