package raftlog

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Store is what a Watchdog watches: a log with its stable values. *Log is one.
type Store interface {
	raft.LogStore
	raft.StableStore
}

// WatchdogOptions are the Watchdog's ways out. Both functions may be nil, must not block, and are
// called in raft's goroutines with no lock held.
type WatchdogOptions struct {
	// Observe is told how long each StoreLogs took, failed ones too.
	Observe func(time.Duration)
	// OnFatal is told the first error of a write, once. Raft only steps down on such an error, and
	// would try the same disk again as a follower; the process must end instead. A full disk comes as
	// *store.DiskFullError.
	OnFatal func(error)
}

// Watchdog stands between raft and its log. Raft's heartbeats do not pass through the log, so a
// leader whose disk hangs stays leader for ever; the transport asks Stalled and stops sending
// heartbeats and appends, and another node is elected.
type Watchdog struct {
	Store
	opts  WatchdogOptions
	epoch time.Time
	// began is when the write in progress began, in nanoseconds since epoch plus one; 0 if none is.
	// Raft's main loop is the one writer of entries, term and vote.
	began atomic.Int64
	fatal atomic.Bool
}

var (
	_ Store                  = (*Watchdog)(nil)
	_ raft.MonotonicLogStore = (*Watchdog)(nil)
)

// NewWatchdog watches log. Give it to raft in the log's place, under a raft.LogCache if there is one:
// the cache hides what kind of error it was.
func NewWatchdog(log Store, o WatchdogOptions) *Watchdog {
	return &Watchdog{Store: log, opts: o, epoch: time.Now()}
}

// Running is how long the write in progress has been running, 0 if there is none.
func (w *Watchdog) Running() time.Duration {
	began := w.began.Load()
	if began == 0 {
		return 0
	}
	return max(time.Since(w.epoch)-time.Duration(began-1), 1)
}

// Stalled says that a write has been running for longer than threshold. It may be called from any
// goroutine, at any rate.
func (w *Watchdog) Stalled(threshold time.Duration) bool { return w.Running() > threshold }

// StoreLog implements raft.LogStore.
func (w *Watchdog) StoreLog(entry *raft.Log) error { return w.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (w *Watchdog) StoreLogs(entries []*raft.Log) error {
	start := time.Now()
	err := w.timed(func() error { return w.Store.StoreLogs(entries) })
	if w.opts.Observe != nil {
		w.opts.Observe(time.Since(start))
	}
	return err
}

// Set implements raft.StableStore. Raft's main loop waits for it as it does for StoreLogs.
func (w *Watchdog) Set(key, value []byte) error {
	return w.timed(func() error { return w.Store.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (w *Watchdog) SetUint64(key []byte, value uint64) error {
	return w.timed(func() error { return w.Store.SetUint64(key, value) })
}

// DeleteRange implements raft.LogStore. Raft calls it beside StoreLogs too, which then waits for it
// and is what stalls.
func (w *Watchdog) DeleteRange(min, max uint64) error {
	return w.judge(w.Store.DeleteRange(min, max))
}

// IsMonotonic implements raft.MonotonicLogStore.
func (w *Watchdog) IsMonotonic() bool {
	m, ok := w.Store.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (w *Watchdog) timed(write func() error) error {
	w.began.Store(int64(time.Since(w.epoch)) + 1)
	err := write()
	w.began.Store(0)
	return w.judge(err)
}

// judge reports the first failure. A closed log is not one: the process is stopping.
func (w *Watchdog) judge(err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	if w.fatal.CompareAndSwap(false, true) && w.opts.OnFatal != nil {
		w.opts.OnFatal(err)
	}
	return err
}
