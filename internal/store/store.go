package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("store: key not found")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
	// ErrDamaged: what the store reads is not what it wrote. The state is to be brought from elsewhere.
	ErrDamaged = errors.New("store: damaged")
	// ErrStop, returned by the function of a scan, ends the scan without an error.
	ErrStop = errors.New("store: stop scanning")
)

// Options sizes a Store. The zero value is that of a small process.
type Options struct {
	// CacheBytes is the block cache; 8 MiB if 0.
	CacheBytes int64
	// MemTableBytes is one memtable; 16 MiB if 0. Up to three exist at a time. What is in them is
	// lost in a crash and applied again from the raft log.
	MemTableBytes int64
	// MaxOpenFiles bounds open tables; 256 if 0.
	MaxOpenFiles int
	// Logger gets Pebble's own talk at debug level; nothing is logged if nil.
	Logger *slog.Logger
	// OnFatal is told the first error after which the store refuses to go on, once, in a goroutine
	// of its own. The process should end. It may be nil.
	OnFatal func(error)
}

const (
	defaultCacheBytes    = 8 << 20
	defaultMemTableBytes = 16 << 20
	defaultMaxOpenFiles  = 256
	minMemTableBytes     = 64 << 10
)

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = defaultMaxOpenFiles
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Validate names an option that makes no sense, and its bounds.
func (o Options) Validate() error {
	o = o.withDefaults()
	switch {
	case o.CacheBytes < 0:
		return fmt.Errorf("store: CacheBytes %d is negative", o.CacheBytes)
	case o.MemTableBytes < minMemTableBytes || o.MemTableBytes > 1<<30:
		return fmt.Errorf("store: MemTableBytes %d: use 64 KiB to 1 GiB", o.MemTableBytes)
	case o.MaxOpenFiles < 16:
		return fmt.Errorf("store: MaxOpenFiles %d: use at least 16", o.MaxOpenFiles)
	}
	return nil
}

// Keys beginning with reserved are the store's own and cannot be written or read from outside.
const reserved = 0x00

// appliedKey holds the applied index and term, 8 bytes each, big endian.
var appliedKey = []byte{reserved, 'a', 'p', 'p', 'l', 'i', 'e', 'd'}

// Position is a place in the raft log: index and term of the last entry whose effects are held.
type Position struct {
	Index, Term uint64
}

func (p Position) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), p.Index)
	return binary.BigEndian.AppendUint64(b, p.Term)
}

func decodePosition(b []byte) (Position, error) {
	if len(b) != 16 {
		return Position{}, fmt.Errorf("applied index is %d bytes long, want 16", len(b))
	}
	return Position{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

// Store is one home's state on disk. One goroutine commits; Get, Scan, Applied, Flush, Checkpoint
// and Metrics may be called from others meanwhile.
type Store struct {
	// Set by Open.
	fs   FS
	dir  string
	opts Options
	db   *pebble.DB
	log  *slog.Logger

	// Close waits for the calls in progress.
	life   sync.Mutex
	closed bool           // guarded by life
	calls  sync.WaitGroup // Add only under life, and not once closed

	// mu makes a commit and the applied position it moves one step for Applied and Flush.
	mu      sync.Mutex
	applied Position // guarded by mu
	commits uint64   // guarded by mu; counts commits

	// flushMu lets one Flush run at a time; it guards flushed, the value of commits that the last
	// flush covered.
	flushMu sync.Mutex
	flushed uint64
	durable atomic.Uint64 // index; only grows

	stats  flushStats
	stalls atomic.Int64

	opened   atomic.Bool // until Open has returned a store, failures are its error and not OnFatal's
	failOnce sync.Once
	failed   chan struct{} // closed by fail, after failure is set
	failure  error
}

// Open opens the store in dir, making it if it is new. dir belongs to the store alone. What it holds
// is the state at Applied, whole: a crash never leaves half a batch.
func Open(fs FS, dir string, opts Options) (*Store, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if err := MkdirAll(fs, dir); err != nil {
		return nil, ExplainDiskError(fs, dir, err)
	}
	s := newStore(fs, dir, opts)
	db, err := pebble.Open(dir, s.pebbleOptions())
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, judge(ExplainDiskError(fs, dir, err)))
	}
	s.db = db
	if s.applied, err = readApplied(db); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, judge(err)), db.Close())
	}
	// Without a WAL everything that came back was in a synced table.
	s.durable.Store(s.applied.Index)
	s.opened.Store(true)
	if err := s.Err(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func newStore(fs FS, dir string, opts Options) *Store {
	opts = opts.withDefaults()
	return &Store{fs: fs, dir: dir, opts: opts, log: opts.Logger.With("store", dir), failed: make(chan struct{})}
}

// ReadApplied returns the position held by the store or checkpoint in dir, without changing it. The
// store must not be open. A directory without a store is an error.
func ReadApplied(fs FS, dir string) (Position, error) {
	s := newStore(fs, dir, Options{})
	o := s.pebbleOptions()
	o.ReadOnly, o.ErrorIfNotExists = true, true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return Position{}, fmt.Errorf("read applied index of %s: %w", dir, err)
	}
	p, err := readApplied(db)
	if err = errors.Join(err, db.Close(), s.Err()); err != nil {
		return Position{}, fmt.Errorf("read applied index of %s: %w", dir, err)
	}
	return p, nil
}

// Verify reads all of the store or checkpoint in dir, and with it the checksum of each block, without
// changing it, and returns the position it holds. The store must not be open. Damage matches
// ErrDamaged.
func Verify(fs FS, dir string) (p Position, err error) {
	s := newStore(fs, dir, Options{})
	o := s.pebbleOptions()
	o.ReadOnly, o.ErrorIfNotExists = true, true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return p, fmt.Errorf("verify store %s: %w", dir, judge(err))
	}
	p, err = readApplied(db)
	if err == nil {
		err = readAll(db)
	}
	if err = errors.Join(err, db.Close(), s.Err()); err != nil {
		return p, fmt.Errorf("verify store %s: %w", dir, judge(err))
	}
	return p, nil
}

func readAll(db *pebble.DB) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		_, err = it.ValueAndErr() // values may lie elsewhere than keys
	}
	return errors.Join(err, it.Close())
}

// judge adds ErrDamaged to what Pebble says when it finds a table, a manifest or one of their blocks
// damaged or gone.
func judge(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) || !pebble.IsCorruptionError(err) && !IsNotExist(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func readApplied(db *pebble.DB) (Position, error) {
	v, closer, err := db.Get(appliedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return Position{}, nil
	}
	if err != nil {
		return Position{}, fmt.Errorf("read applied index: %w", err)
	}
	p, derr := decodePosition(v)
	return p, errors.Join(derr, closer.Close())
}

// Applied is the position of the last committed batch; zero in a new store. After a crash it is
// where the last finished flush left it, so entries after it are applied again.
func (s *Store) Applied() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// DurableApplied is an index that a crash cannot take back: that of the last Flush, or of Open.
// Pebble may have flushed more on its own.
func (s *Store) DurableApplied() uint64 { return s.durable.Load() }

// begin holds off Close and refuses a closed or failed store. If it returned nil, calls.Done ends
// the call. Calls may nest: a scan may get.
func (s *Store) begin() error {
	if err := s.Err(); err != nil {
		return err
	}
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls.Add(1)
	return nil
}

// Err is the error that stopped the store, or nil.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return s.failure
	default:
		return nil
	}
}

// fail stops the store for good. Pebble may hold locks here, so OnFatal gets its own goroutine.
func (s *Store) fail(err error) {
	s.failOnce.Do(func() {
		s.failure = fmt.Errorf("store %s stopped: %w", s.dir, judge(ExplainDiskError(s.fs, s.dir, err)))
		close(s.failed)
		if s.opts.OnFatal != nil && s.opened.Load() {
			go s.opts.OnFatal(s.failure)
		}
	})
}

// Close flushes, so that a clean stop leaves nothing to apply again, and releases everything. A
// failed store is closed without a flush; its error is returned. Closing twice returns ErrClosed.
func (s *Store) Close() error {
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.life.Unlock()
	s.calls.Wait()
	var err error
	if s.Err() == nil {
		_, err = s.flush()
	}
	if cerr := s.db.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close store %s: %w", s.dir, cerr))
	}
	if err == nil {
		err = s.Err()
	}
	return err
}

// flushStats is what Metrics says about flushes; guarded by mu.
type flushStats struct {
	mu          sync.Mutex
	count       uint64
	last, total time.Duration
	max         time.Duration
}
