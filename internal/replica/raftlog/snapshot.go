package raftlog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"causeway/internal/store"
)

const (
	snapshotMetaName  = "meta.json"
	snapshotStateName = "state.bin"
	snapshotTmpSuffix = ".tmp"
	maxSnapshotMeta   = 1 << 20
	// retainSnapshots keeps the newest and, should it turn out damaged, the one before.
	retainSnapshots = 2
)

// SnapshotStore is a raft.SnapshotStore: a folder of snapshots, each a folder with its meta.json and
// state.bin. A snapshot exists from the moment its Close returned nil, durably, or not at all.
//
// Raft calls Create, List and Open from several goroutines.
type SnapshotStore struct {
	// Set by OpenSnapshots.
	fs  store.FS
	dir string
	log *slog.Logger

	mu   sync.Mutex
	last uint64 // guarded by mu; the highest number used in an id
}

var _ raft.SnapshotStore = (*SnapshotStore)(nil)

// snapshotMeta is meta.json. Checksum is the CRC32C of this encoding with Checksum zero.
type snapshotMeta struct {
	raft.SnapshotMeta
	Number      uint64 // orders snapshots of the same term and index
	StateCRC32C uint32
	Checksum    uint32
}

// OpenSnapshots opens the snapshots in dir, making it if it is new, and removes what a crash left
// unfinished. dir belongs to it alone. A nil logger discards.
func OpenSnapshots(fs store.FS, dir string, log *slog.Logger) (*SnapshotStore, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &SnapshotStore{fs: fs, dir: dir, log: log}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open snapshots %s: %w", dir, store.ExplainDiskError(fs, dir, err))
	}
	return s, nil
}

func (s *SnapshotStore) open() error {
	if err := store.MkdirAll(s.fs, s.dir); err != nil {
		return err
	}
	names, err := store.List(s.fs, s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasSuffix(n, snapshotTmpSuffix) {
			if err := s.fs.RemoveAll(s.path(n)); err != nil {
				return err
			}
		}
		var term, index, number uint64
		if _, err := fmt.Sscanf(n, snapshotIDFormat, &term, &index, &number); err == nil {
			s.last = max(s.last, number)
		}
	}
	// A snapshot renamed by a process that was killed before the directory's sync is answered for
	// from here on.
	return store.SyncDir(s.fs, s.dir)
}

func (s *SnapshotStore) path(elem ...string) string {
	return s.fs.PathJoin(append([]string{s.dir}, elem...)...)
}

const snapshotIDFormat = "%d-%d-%d" // term, index, number

// Create implements raft.SnapshotStore. The sink belongs to one goroutine and ends with Close or
// Cancel.
func (s *SnapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("create snapshot: version %d is not supported", version)
	}
	s.mu.Lock()
	s.last++
	number := s.last
	s.mu.Unlock()
	k := &snapshotSink{store: s, meta: snapshotMeta{
		Number: number,
		SnapshotMeta: raft.SnapshotMeta{
			Version: version, ID: fmt.Sprintf(snapshotIDFormat, term, index, number), Index: index, Term: term,
			Configuration: configuration, ConfigurationIndex: configurationIndex,
		},
	}}
	if err := k.open(); err != nil {
		return nil, s.explain("create snapshot "+k.ID(), err)
	}
	return k, nil
}

func (s *SnapshotStore) explain(what string, err error) error {
	return fmt.Errorf("%s in %s: %w", what, s.dir, store.ExplainDiskError(s.fs, s.dir, err))
}

// List implements raft.SnapshotStore: whole snapshots, newest first, at most two. One whose meta.json
// is damaged is left out, with a warning.
func (s *SnapshotStore) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.list()
	if err != nil {
		return nil, s.explain("list snapshots", err)
	}
	var out []*raft.SnapshotMeta
	for _, m := range metas[:min(len(metas), retainSnapshots)] {
		out = append(out, &m.SnapshotMeta)
	}
	return out, nil
}

func (s *SnapshotStore) list() ([]snapshotMeta, error) {
	names, err := store.List(s.fs, s.dir)
	if err != nil {
		return nil, err
	}
	var metas []snapshotMeta
	for _, n := range names {
		if strings.HasSuffix(n, snapshotTmpSuffix) {
			continue
		}
		m, err := s.readMeta(n)
		if err != nil {
			s.log.Warn("snapshot left out", "snapshot", s.path(n), "error", err)
			continue
		}
		metas = append(metas, m)
	}
	slices.SortFunc(metas, func(a, b snapshotMeta) int {
		switch {
		case a.newer(b):
			return -1
		case b.newer(a):
			return 1
		}
		return 0
	})
	return metas, nil
}

func (m snapshotMeta) newer(o snapshotMeta) bool {
	if m.Term != o.Term {
		return m.Term > o.Term
	}
	if m.Index != o.Index {
		return m.Index > o.Index
	}
	return m.Number > o.Number
}

func (s *SnapshotStore) readMeta(id string) (snapshotMeta, error) {
	data, err := store.ReadFile(s.fs, s.path(id, snapshotMetaName), maxSnapshotMeta)
	if err != nil {
		return snapshotMeta{}, err
	}
	m, err := decodeSnapshotMeta(data)
	if err == nil && m.ID != id {
		err = fmt.Errorf("it says it is snapshot %q", m.ID)
	}
	return m, err
}

func (m snapshotMeta) encode() ([]byte, error) {
	m.Checksum = 0
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	m.Checksum = crc32.Checksum(body, castagnoli)
	return json.MarshalIndent(m, "", " ")
}

func decodeSnapshotMeta(data []byte) (snapshotMeta, error) {
	var m snapshotMeta
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", snapshotMetaName, err)
	}
	again, err := m.encode()
	if err != nil {
		return m, err
	}
	var sum snapshotMeta
	if err := json.Unmarshal(again, &sum); err != nil {
		return m, err
	}
	if sum.Checksum != m.Checksum {
		return m, fmt.Errorf("%s fails its checksum", snapshotMetaName)
	}
	if m.Version != raft.SnapshotVersionMax {
		return m, fmt.Errorf("snapshot version %d is not supported", m.Version)
	}
	return m, nil
}

// Open implements raft.SnapshotStore. It reads the body once to check it before it hands it out;
// the caller reads it again and closes it. Damage matches ErrDamaged.
func (s *SnapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, err := s.readMeta(id)
	if err != nil {
		return nil, nil, s.explain("open snapshot "+id, err)
	}
	if err := s.checkState(m); err != nil {
		return nil, nil, s.explain("open snapshot "+id, err)
	}
	f, err := s.fs.Open(s.path(id, snapshotStateName))
	if err != nil {
		return nil, nil, s.explain("open snapshot "+id, err)
	}
	return &m.SnapshotMeta, &snapshotReader{Reader: bufio.NewReaderSize(f, 64<<10), file: f}, nil
}

// snapshotReader reads the body of a snapshot. Raft closes it after the state machine, which must
// close it too; a file may be closed once.
type snapshotReader struct {
	io.Reader
	file   store.File
	closed bool
}

func (r *snapshotReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	return r.file.Close()
}

func (s *SnapshotStore) checkState(m snapshotMeta) error {
	f, err := s.fs.Open(s.path(m.ID, snapshotStateName))
	if err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if n != m.Size || sum.Sum32() != m.StateCRC32C {
		return fmt.Errorf("%w: %s has %d bytes of %d, or fails its checksum", ErrDamaged, snapshotStateName, n, m.Size)
	}
	return nil
}

// reap removes all but the newest snapshots. What it cannot remove it leaves to the next time: the
// new snapshot is good.
func (s *SnapshotStore) reap() {
	metas, err := s.list()
	if err != nil {
		s.log.Warn("old snapshots not removed", "error", err)
		return
	}
	for _, m := range metas[min(len(metas), retainSnapshots):] {
		if err := s.fs.RemoveAll(s.path(m.ID)); err != nil {
			s.log.Warn("old snapshot not removed", "snapshot", s.path(m.ID), "error", err)
		}
	}
}

// snapshotSink writes one snapshot into a folder of its own, which gets its final name last.
type snapshotSink struct {
	store *SnapshotStore
	meta  snapshotMeta
	file  store.File
	buf   *bufio.Writer
	sum   hash.Hash32
	ended bool
}

func (k *snapshotSink) tmp() string { return k.store.path(k.meta.ID + snapshotTmpSuffix) }

func (k *snapshotSink) open() (err error) {
	fs := k.store.fs
	if err := fs.MkdirAll(k.tmp(), 0o750); err != nil {
		return err
	}
	if k.file, err = store.Create(fs, fs.PathJoin(k.tmp(), snapshotStateName)); err != nil {
		return errors.Join(err, fs.RemoveAll(k.tmp()))
	}
	k.sum = crc32.New(castagnoli)
	k.buf = bufio.NewWriterSize(k.file, 64<<10)
	return nil
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.meta.ID }

// Write implements io.Writer. Errors stay: Close reports them again.
func (k *snapshotSink) Write(p []byte) (int, error) {
	k.sum.Write(p) // before the file, which may scribble on what it is given
	n, err := k.buf.Write(p)
	k.meta.Size += int64(n)
	if err != nil {
		err = k.store.explain("write snapshot "+k.ID(), err)
	}
	return n, err
}

// Close implements raft.SnapshotSink: it makes the snapshot durable and puts it in the list. After an
// error there is no snapshot. Closing again, or after Cancel, does nothing.
func (k *snapshotSink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if err := k.finish(); err != nil {
		return k.store.explain("write snapshot "+k.ID(), errors.Join(err, k.store.fs.RemoveAll(k.tmp())))
	}
	k.store.reap()
	return nil
}

func (k *snapshotSink) finish() error {
	fs := k.store.fs
	err := k.buf.Flush()
	if err == nil {
		err = k.file.Sync()
	}
	if cerr := k.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	k.meta.StateCRC32C = k.sum.Sum32()
	data, err := k.meta.encode()
	if err != nil {
		return err
	}
	// Syncs the folder too, and with it the name of the state file.
	if err := store.WriteFileAtomic(fs, k.tmp(), snapshotMetaName, data); err != nil {
		return err
	}
	if err := fs.Rename(k.tmp(), k.store.path(k.meta.ID)); err != nil {
		return err
	}
	return store.SyncDir(fs, k.store.dir)
}

// Cancel implements raft.SnapshotSink: it removes what was written. After Close it does nothing.
func (k *snapshotSink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if err := errors.Join(k.file.Close(), k.store.fs.RemoveAll(k.tmp())); err != nil {
		return k.store.explain("cancel snapshot "+k.ID(), err)
	}
	return nil
}
