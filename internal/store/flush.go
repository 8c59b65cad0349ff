package store

import (
	"fmt"
	"time"
)

// Flush writes what is committed into synced tables and returns an index that will be found applied
// after a crash. It blocks for the writing, not for later commits. Nothing to do costs nothing.
func (s *Store) Flush() (appliedDurable uint64, err error) {
	if err := s.begin(); err != nil {
		return s.durable.Load(), err
	}
	defer s.calls.Done()
	return s.flush()
}

// flush is Flush for callers that hold off Close, and for Close.
func (s *Store) flush() (appliedDurable uint64, err error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()

	// Everything committed up to here is in a memtable that AsyncFlush covers.
	s.mu.Lock()
	pos, commits := s.applied, s.commits
	s.mu.Unlock()
	if commits == s.flushed {
		return s.durable.Load(), nil
	}
	start := time.Now()
	done, err := s.db.AsyncFlush()
	if err != nil {
		s.fail(fmt.Errorf("flush: %w", err))
		return s.durable.Load(), s.Err()
	}
	select {
	case <-done:
	case <-s.failed: // Pebble retries for ever
		return s.durable.Load(), s.Err()
	}
	if err := s.Err(); err != nil { // the flush may have ended behind a shut gate
		return s.durable.Load(), err
	}
	s.flushed = commits
	s.durable.Store(pos.Index)
	s.stats.add(time.Since(start))
	return pos.Index, nil
}

// Checkpoint makes a copy of the store in dir, which must not exist and must be on the same file
// system: tables are linked, not copied. It returns the position read back from the copy, which is
// durable with it and is the one to truncate the raft log by [B2]: what was applied while the copy
// was made may or may not be in it. The copy opens as a store; the caller removes it.
func (s *Store) Checkpoint(dir string) (Position, error) {
	if err := s.begin(); err != nil {
		return Position{}, err
	}
	defer s.calls.Done()
	// Without a WAL a checkpoint holds tables only, so memtables must become tables first.
	if _, err := s.flush(); err != nil {
		return Position{}, err
	}
	pos, err := s.checkpoint(dir)
	if err != nil {
		return Position{}, fmt.Errorf("checkpoint of %s in %s: %w", s.dir, dir, ExplainDiskError(s.fs, dir, err))
	}
	return pos, nil
}

func (s *Store) checkpoint(dir string) (Position, error) {
	if err := s.db.Checkpoint(dir); err != nil {
		return Position{}, err
	}
	if err := s.Err(); err != nil { // part of the copy may have gone to a shut gate
		return Position{}, err
	}
	return ReadApplied(s.fs, dir) // Pebble has synced the copy and its parent
}

func (f *flushStats) add(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	f.last = d
	f.total += d
	f.max = max(f.max, d)
}
