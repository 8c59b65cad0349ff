package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that become visible, and later durable, together. It belongs to one
// goroutine. Keys and values are copied. End it with Commit or Discard.
type Batch struct {
	s   *Store
	b   *pebble.Batch
	err error // the first misuse; Commit returns it
}

// NewBatch starts a batch. It may be filled while others are read and committed.
func (s *Store) NewBatch() *Batch {
	if err := s.begin(); err != nil {
		return &Batch{s: s, err: err}
	}
	defer s.calls.Done()
	return &Batch{s: s, b: s.db.NewBatch()}
}

// Set stores value under key, which must be non-empty and not begin with byte 0.
func (b *Batch) Set(key, value []byte) {
	if b.ok(key) {
		b.note(b.b.Set(key, value, nil))
	}
}

// Delete removes key, if it is there.
func (b *Batch) Delete(key []byte) {
	if b.ok(key) {
		b.note(b.b.Delete(key, nil))
	}
}

// DeleteRange removes the keys from start up to, not including, end.
func (b *Batch) DeleteRange(start, end []byte) {
	if b.ok(start) {
		b.note(b.b.DeleteRange(start, end, nil))
	}
}

// Len is the number of changes, Bytes their encoded size.
func (b *Batch) Len() int {
	if b.b == nil {
		return 0
	}
	return int(b.b.Count())
}

// Bytes is the encoded size of the changes.
func (b *Batch) Bytes() int {
	if b.b == nil {
		return 0
	}
	return b.b.Len()
}

func (b *Batch) ok(key []byte) bool {
	if b.err != nil {
		return false
	}
	if len(key) == 0 || key[0] == reserved {
		b.err = fmt.Errorf("store: key %q: empty keys and keys beginning with byte 0 are the store's own", key)
		return false
	}
	return true
}

func (b *Batch) note(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Commit applies the batch, and in it the position of the last raft entry it contains. index must
// not be below the one held, nor term: that would be an entry applied twice. An equal position is
// fine, for state written in parts. When Commit returns nil the changes can be read; they are
// durable after the next Flush. A failed Commit changes nothing. The batch is used up either way.
func (b *Batch) Commit(index, term uint64) error {
	defer b.Discard()
	if b.err != nil {
		return b.err
	}
	s := b.s
	if err := s.begin(); err != nil {
		return err
	}
	defer s.calls.Done()
	pos := Position{index, term}
	if err := b.b.Set(appliedKey, pos.encode(), nil); err != nil {
		return fmt.Errorf("store %s: commit at %d: %w", s.dir, index, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if index < s.applied.Index || term < s.applied.Term {
		return fmt.Errorf("store %s: commit at index %d term %d, but index %d term %d is applied already",
			s.dir, index, term, s.applied.Index, s.applied.Term)
	}
	if err := b.b.Commit(pebble.NoSync); err != nil {
		s.fail(fmt.Errorf("commit at index %d: %w", index, err))
		return s.Err()
	}
	s.applied = pos
	s.commits++
	return nil
}

// errSpent is what a batch says after Commit or Discard.
var errSpent = errors.New("store: batch was committed or discarded already")

// Discard drops the batch. It does nothing after Commit.
func (b *Batch) Discard() {
	if b.b == nil {
		return
	}
	// Close returns memory to a pool; it has no error to report for a batch without an iterator.
	_ = b.b.Close()
	b.b = nil
	b.note(errSpent)
}
