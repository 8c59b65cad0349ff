package store

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// Snapshot is the store as of one moment, whatever is committed meanwhile. It keeps what was
// overwritten since from being removed, and the store from being closed: close it soon. Its methods are for one goroutine at a time.
type Snapshot struct {
	s    *Store
	snap *pebble.Snapshot
}

// Snapshot takes one.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	return &Snapshot{s: s, snap: s.db.NewSnapshot()}, nil
}

// ScanAfter calls fn for the keys behind one, nil for all, as Store.Scan does.
func (n *Snapshot) ScanAfter(after []byte, fn func(key, value []byte) error) (err error) {
	start := []byte{reserved + 1}
	if after != nil {
		start = append(bytes.Clone(after), 0)
	}
	it, err := n.snap.NewIter(&pebble.IterOptions{LowerBound: start})
	if err != nil {
		return n.s.readError(err)
	}
	return n.s.walk(it, fn)
}

// walk calls fn for what an iterator finds, and closes it.
func (s *Store) walk(it *pebble.Iterator, fn func(key, value []byte) error) (err error) {
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err != nil {
			break // reported by it.Close as well
		}
		err = fn(it.Key(), v)
	}
	if ierr := it.Error(); ierr != nil {
		err = ierr
	}
	cerr := it.Close()
	switch {
	case cerr != nil:
		return s.readError(cerr)
	case errors.Is(err, ErrStop):
		return nil
	}
	return err
}

// Close lets the moment go. Once.
func (n *Snapshot) Close() error {
	defer n.s.calls.Done()
	return n.snap.Close()
}

// Last returns the last key there is, nil if there is none, and how many there are.
func (s *Store) Last() (key []byte, count uint64, err error) {
	err = s.Scan(nil, func(k, _ []byte) error {
		key = append(key[:0], k...)
		count++
		return nil
	})
	return key, count, err
}
