package raftlog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"causeway/internal/store"
)

// breaker remembers the first failed write of a log and fails all later ones with it.
type breaker struct {
	fs  store.FS
	dir string

	once sync.Once
	err  atomic.Pointer[error]
}

// trip records that op failed, and returns the first failure there was.
func (b *breaker) trip(op string, err error) error {
	b.once.Do(func() {
		failure := fmt.Errorf("raft log %s: %s: %w", b.dir, op, store.ExplainDiskError(b.fs, b.dir, err))
		b.err.Store(&failure)
	})
	return b.check()
}

// check returns the failure, or nil while all is well.
func (b *breaker) check() error {
	if e := b.err.Load(); e != nil {
		return *e
	}
	return nil
}

var (
	// ErrDamaged: the log lost something it had acknowledged. Its disk counts as wiped: the node must
	// not vote with it, and joins again with an empty one, as another disk.
	ErrDamaged = errors.New("raft log is damaged")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("raft log is closed")
)
