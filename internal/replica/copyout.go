package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"causeway/internal/home"
	"causeway/internal/store"
)

// Copier is a copy of the state on its way out: all keys and values of one position, whatever
// is applied meanwhile. Close it; it keeps old files of the store from being removed.
type Copier struct {
	r    *core
	at   home.CopyPosition
	to   string
	mu   sync.Mutex
	snap *store.Snapshot // nil once closed; guarded by mu
}

// copiers are those under way.
type copiers struct {
	mu     sync.Mutex
	all    map[*Copier]struct{}
	closed bool
}

// Copy takes a copy of the state for a region. What may not be stored there is left out.
// Errors: ErrStopped, ErrNotLeader; a home that does not exist yet has no copy.
func (r *Replica) Copy(ctx context.Context, to string) (*Copier, error) {
	c, ok := r.role.(*core)
	if !ok || !r.Leads() {
		return nil, ErrNotLeader
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.state.ID() == "" {
		return nil, fmt.Errorf("home %s does not exist yet: there is nothing to copy", r.opts.Home)
	}
	return c.copyOut(to)
}

// Backup takes a copy of the state for who stores it in a region; any core that holds the home
// can, so that the leader need not. Errors: ErrNotLeader from a replicant, which keeps nothing;
// ErrStopped; ErrQuarantined; a home that does not exist yet has no copy.
func (r *Replica) Backup(ctx context.Context, to string) (*Copier, error) {
	c, ok := r.role.(*core)
	if !ok {
		return nil, ErrNotLeader
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.state.ID() == "" {
		return nil, fmt.Errorf("home %s does not exist yet: there is nothing to back up", r.opts.Home)
	}
	if _, err := r.Position(); err != nil {
		return nil, err
	}
	return c.copyOut(to)
}

func (r *core) copyOut(to string) (*Copier, error) {
	if err := r.flush(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStopped, err)
	}
	// What is flushed is one position.
	r.flushMu.Lock()
	defer r.flushMu.Unlock()
	snap, err := r.store.Snapshot()
	if err != nil {
		return nil, err
	}
	c := &Copier{r: r, at: r.flushedCopy, to: to, snap: snap}
	if !r.copiers.add(c) {
		return nil, errors.Join(ErrStopped, snap.Close())
	}
	return c, nil
}

func (s *copiers) add(c *Copier) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.all == nil {
		s.all = map[*Copier]struct{}{}
	}
	s.all[c] = struct{}{}
	return true
}

// close ends all copies: the store is about to be closed.
func (s *copiers) close() {
	s.mu.Lock()
	s.closed = true
	var all []*Copier
	for c := range s.all {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// Position is where the copy was taken: what follows it is Tail's.
func (c *Copier) Position() home.CopyPosition { return c.at }

// Next returns what follows a key, nil for all, as a chunk for CopySink.Put of about maxBytes,
// and the last key in it. A nil last says that there is nothing more. Errors: ErrStopped
// once the copy was closed.
func (c *Copier) Next(after []byte, maxBytes int) (chunk, last []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap == nil {
		return nil, nil, ErrStopped
	}
	err = c.snap.ScanAfter(after, func(key, value []byte) error {
		k, v, err := c.r.state.Veil(c.to, key, value)
		if err != nil {
			return err
		}
		if k != nil {
			chunk = appendPair(chunk, k, v)
		}
		last = append(last[:0], key...)
		if len(chunk) >= maxBytes {
			return store.ErrStop
		}
		return nil
	})
	return chunk, last, err
}

// Close lets the copy go. It may be called more than once.
func (c *Copier) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap == nil {
		return
	}
	if err := c.snap.Close(); err != nil {
		c.r.log.Debug("let go of a copy", "error", err)
	}
	c.snap = nil
	c.r.copiers.mu.Lock()
	defer c.r.copiers.mu.Unlock()
	delete(c.r.copiers.all, c)
}
