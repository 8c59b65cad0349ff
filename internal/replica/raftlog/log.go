package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metrics"
	"github.com/hashicorp/raft-wal/segment"

	"causeway/internal/store"
)

const (
	defaultSegmentBytes = 64 << 20
	minSegmentBytes     = 64 << 10
	maxSegmentBytes     = 1 << 30
	// maxAppendBytes bounds one StoreLogs, since a segment's offsets have 32 bits. Raft sends at most
	// MaxAppendEntries (64) entries of at most 2 MiB.
	maxAppendBytes = 1 << 30
)

// Options of a Log. The zero value is that of a large home on a real disk.
type Options struct {
	// SegmentBytes is the size at which a segment ends; 64 MiB if 0. A segment takes its space at
	// once, and the last batch may make it larger. Use 16 MiB for small homes, 1 MiB in tests.
	SegmentBytes int
	// VerifySealed reads all segments when the log is opened, not only the last, at the speed of the
	// disk.
	VerifySealed bool
	// Logger is told about repairs, and raft-wal's warnings. Nothing is logged if nil.
	Logger *slog.Logger
}

// Validate names an option that makes no sense, and its bounds.
func (o Options) Validate() error {
	if o.SegmentBytes != 0 && (o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes) {
		return fmt.Errorf("raft log: SegmentBytes %d: use 64 KiB to 1 GiB", o.SegmentBytes)
	}
	return nil
}

// Log is a raft log on disk. It implements raft.LogStore, raft.MonotonicLogStore and
// raft.StableStore. When a write returned nil it survives power loss. After the first failed write
// every write fails with the same error.
type Log struct {
	// Set by Open.
	fs      store.FS
	dir     string
	wal     *wal.WAL
	brk     *breaker
	counter *metrics.AtomicCollector

	// writeMu is held by everything that changes entries. raft-wal panics when it is closed under a
	// writer. It is a channel and no mutex because a disk may hang while it is held: who waits for it
	// does not keep a virtual clock from moving.
	writeMu chan struct{}
	// readMu keeps truncation and Close, which close files, away from readers. A write that hangs
	// does not hold it: what is in the log can still be read and sent.
	readMu sync.RWMutex
	closed bool // changed with both mutexes held
}

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
	_ raft.StableStore       = (*Log)(nil)
)

// Open opens the log in dir, making it if it is new, and repairs what a crash left (see the package
// comment). Everything whose StoreLogs or Set returned nil is there; ErrDamaged says that something
// of it is not. dir belongs to the log alone.
func Open(fs store.FS, dir string, o Options) (*Log, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{writeMu: make(chan struct{}, 1),
		fs: fs, dir: dir, brk: &breaker{fs: fs, dir: dir},
		counter: metrics.NewAtomicCollector(wal.MetricDefinitions),
	}
	if err := l.open(o); err != nil {
		return nil, fmt.Errorf("open raft log %s: %w", dir, store.ExplainDiskError(fs, dir, err))
	}
	return l, nil
}

func (l *Log) open(o Options) (err error) {
	if err := store.MkdirAll(l.fs, l.dir); err != nil {
		return err
	}
	meta := &metaStore{fs: l.fs, dir: l.dir, brk: l.brk}
	r := repair{fs: l.fs, dir: l.dir, meta: meta, segmentBytes: o.SegmentBytes, log: o.Logger}
	if err := r.run(o.VerifySealed); err != nil {
		return err
	}
	l.wal, err = wal.Open(l.dir,
		wal.WithSegmentFiler(segment.NewFiler(l.dir, walFS{fs: l.fs, brk: l.brk})),
		wal.WithMetaStore(meta),
		wal.WithSegmentSize(o.SegmentBytes),
		wal.WithLogger(HCLog(o.Logger, "wal")),
		wal.WithMetricsCollector(l.counter),
	)
	if err == nil {
		return nil
	}
	if errors.Is(err, wal.ErrCorrupt) || store.IsNotExist(err) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// IsMonotonic says that indexes have no gaps, so raft clears the log after it installs a snapshot.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) { return l.index((*wal.WAL).FirstIndex) }

// LastIndex is the index of the newest entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) { return l.index((*wal.WAL).LastIndex) }

func (l *Log) index(of func(*wal.WAL) (uint64, error)) (uint64, error) {
	l.readMu.RLock()
	defer l.readMu.RUnlock()
	if l.closed {
		return 0, ErrClosed
	}
	return of(l.wal)
}

// GetLog fills entry with the one at index, or returns raft.ErrLogNotFound. It may run beside a
// write. The entry's bytes are the caller's.
func (l *Log) GetLog(index uint64, entry *raft.Log) (err error) {
	l.readMu.RLock()
	defer l.readMu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	defer func() {
		// raft-wal's decoder runs off the end of some damaged entries.
		if p := recover(); p != nil {
			err = fmt.Errorf("raft log %s: entry %d: %w: %v", l.dir, index, ErrDamaged, p)
		}
	}()
	switch err := l.wal.GetLog(index, entry); {
	case errors.Is(err, raft.ErrLogNotFound):
		return raft.ErrLogNotFound // raft compares, it does not unwrap
	case err != nil:
		return fmt.Errorf("raft log %s: entry %d: %w", l.dir, index, err)
	case entry.Index != index:
		return fmt.Errorf("raft log %s: entry %d: %w: it says it is %d", l.dir, index, ErrDamaged, entry.Index)
	}
	return nil
}

// StoreLog is StoreLogs of one.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs appends entries, which must follow the last one without a gap, and returns when they are
// durable: one write and one sync, plus a directory sync in a new segment. It copies what it needs.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if err := checkAppend(entries); err != nil {
		return fmt.Errorf("raft log %s: %w", l.dir, err)
	}
	return l.write("append", func() error { return l.wal.StoreLogs(entries) })
}

func checkAppend(entries []*raft.Log) error {
	total := 0
	for _, e := range entries {
		const overhead = 64 // index, term, type, lengths, time
		n := len(e.Data) + len(e.Extensions) + overhead
		if n > segment.MaxEntrySize {
			return fmt.Errorf("entry %d has %d bytes, at most %d fit: it must be bounded before it is proposed",
				e.Index, n, segment.MaxEntrySize)
		}
		if total += n; total > maxAppendBytes {
			return fmt.Errorf("append of %d entries has more than %d bytes", len(entries), maxAppendBytes)
		}
	}
	return nil
}

// DeleteRange removes the entries from min to max: the oldest after a snapshot, the newest when they
// conflict with the leader's. Readers wait for its sync.
func (l *Log) DeleteRange(min, max uint64) error {
	return l.write("truncate", func() error {
		l.readMu.Lock()
		defer l.readMu.Unlock()
		return l.wal.DeleteRange(min, max)
	})
}

// write runs do as the log's one writer.
func (l *Log) write(what string, do func() error) error {
	l.writeMu <- struct{}{}
	defer func() { <-l.writeMu }()
	if l.closed {
		return ErrClosed
	}
	if err := l.brk.check(); err != nil {
		return err
	}
	err := do()
	// A write that failed in the background, rotating a segment, shows up here as another error.
	if failure := l.brk.check(); failure != nil {
		return failure
	}
	if err != nil {
		return fmt.Errorf("raft log %s: %s: %w", l.dir, what, err)
	}
	return nil
}

// Set implements raft.StableStore; durable when it returns nil.
func (l *Log) Set(key, value []byte) error { return stableError(l.wal.Set(key, value)) }

// Get implements raft.StableStore: nil for an unknown key.
func (l *Log) Get(key []byte) ([]byte, error) {
	v, err := l.wal.Get(key)
	return v, stableError(err)
}

// SetUint64 implements raft.StableStore; durable when it returns nil.
func (l *Log) SetUint64(key []byte, value uint64) error {
	return stableError(l.wal.SetUint64(key, value))
}

// GetUint64 implements raft.StableStore: 0 for an unknown key.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	v, err := l.wal.GetUint64(key)
	return v, stableError(err)
}

func stableError(err error) error {
	if errors.Is(err, wal.ErrClosed) {
		return ErrClosed
	}
	return err
}

// Err is the failure after which the log takes no more writes, or nil.
func (l *Log) Err() error { return l.brk.check() }

// Stats counts since Open.
type Stats struct {
	Appends, Entries, Bytes          uint64 // of StoreLogs
	Reads, ReadBytes                 uint64 // of GetLog
	Rotations                        uint64
	TruncatedOldest, TruncatedNewest uint64 // entries
}

// Stats reads the counters. Bytes divided by Entries tells how many entries a budget in bytes is.
func (l *Log) Stats() Stats {
	c := l.counter.Summary().Counters
	return Stats{
		Appends: c["log_appends"], Entries: c["log_entries_written"], Bytes: c["log_entry_bytes_written"],
		Reads: c["log_entries_read"], ReadBytes: c["log_entry_bytes_read"], Rotations: c["segment_rotations"],
		TruncatedOldest: c["head_truncations"], TruncatedNewest: c["tail_truncations"],
	}
}

// DiskBytes is the size of the segment files.
func (l *Log) DiskBytes() (int64, error) {
	names, err := store.List(l.fs, l.dir)
	if err != nil {
		return 0, fmt.Errorf("raft log: %w", err)
	}
	total := int64(0)
	for _, n := range names {
		if !strings.HasSuffix(n, segmentSuffix) {
			continue
		}
		st, err := l.fs.Stat(l.fs.PathJoin(l.dir, n))
		if store.IsNotExist(err) {
			continue // truncated meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("raft log: %w", err)
		}
		total += st.Size()
	}
	return total, nil
}

// Close waits for the write and the reads in progress and releases the files. It syncs nothing: what
// was acknowledged is durable. A hanging write makes it hang. Closing twice does nothing.
func (l *Log) Close() error {
	l.writeMu <- struct{}{}
	defer func() { <-l.writeMu }()
	l.readMu.Lock()
	defer l.readMu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if err := l.wal.Close(); err != nil {
		return fmt.Errorf("close raft log %s: %w", l.dir, err)
	}
	return nil
}
