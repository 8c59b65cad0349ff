package store

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// Get returns a copy of the value of key, or ErrNotFound. The copy is the caller's.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	if len(key) == 0 || key[0] == reserved {
		return nil, ErrNotFound
	}
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, s.readError(err)
	}
	out := append([]byte{}, v...)
	if err := closer.Close(); err != nil {
		return nil, s.readError(err)
	}
	return out, nil
}

// Scan calls fn for every key that begins with prefix, in order, as of one moment. An empty prefix
// means all keys. Key and value are valid during the call only. An error of fn ends the scan and is
// returned, except ErrStop. fn must not call Close.
func (s *Store) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return s.ScanRange(prefix, prefixEnd(prefix), fn)
}

// ScanRange is Scan for the keys from start up to, not including, end; nil means no bound.
func (s *Store) ScanRange(start, end []byte, fn func(key, value []byte) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.calls.Done()
	if first := []byte{reserved + 1}; bytes.Compare(start, first) < 0 {
		start = first
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return s.readError(err)
	}
	return s.walk(it, fn)
}

// readError stops the store: what cannot be read is damaged or on a broken disk, and a replica that
// answers from the rest would diverge from its siblings.
func (s *Store) readError(err error) error {
	if isAny(err, syscall.EIO) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	s.fail(fmt.Errorf("read: %w", err))
	return s.Err()
}

// prefixEnd is the first key after all those with the prefix, or nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// ScanAll calls begin with the position of one state and fn with all its keys and values, in
// ascending order, whatever is committed meanwhile. The slices are fn's until it returns. Errors are
// as with Scan.
func (s *Store) ScanAll(begin func(Position) error, fn func(key, value []byte) error) (err error) {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.calls.Done()
	it, err := s.db.NewIter(nil)
	if err != nil {
		return s.readError(err)
	}
	defer func() {
		if cerr := it.Close(); cerr != nil {
			err = s.readError(cerr)
		}
	}()
	var at Position
	if it.SeekGE(appliedKey) && bytes.Equal(it.Key(), appliedKey) {
		v, err := it.ValueAndErr()
		if err != nil {
			return err // reported by it.Close as well
		}
		if at, err = decodePosition(v); err != nil {
			return err
		}
	}
	if err := begin(at); err != nil {
		return err
	}
	for ok := it.SeekGE([]byte{reserved + 1}); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := fn(it.Key(), v); errors.Is(err, ErrStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return it.Error()
}
