package raftlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft-wal/types"

	"causeway/internal/store"
)

const segmentSuffix = ".wal"

// walFS is raft-wal's view of a store.FS. raft-wal syncs a segment once per append and relies on the
// file system to make a new segment's name durable by then.
type walFS struct {
	fs  store.FS
	brk *breaker
}

var _ types.VFS = walFS{}

// ListDir implements types.VFS. Only segments are shown.
func (w walFS) ListDir(dir string) ([]string, error) {
	names, err := store.List(w.fs, dir)
	if err != nil {
		return nil, err
	}
	segments := names[:0]
	for _, n := range names {
		if strings.HasSuffix(n, segmentSuffix) {
			segments = append(segments, n)
		}
	}
	return segments, nil
}

// Create implements types.VFS. The space is taken in advance, so that a full disk shows when a
// segment begins and appends do not wait for allocation.
func (w walFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	path := w.fs.PathJoin(dir, name)
	if ok, err := store.Exists(w.fs, path); err != nil {
		return nil, err
	} else if ok {
		return nil, fmt.Errorf("create segment %s: %w", path, os.ErrExist)
	}
	f, err := store.Create(w.fs, path)
	if err != nil {
		return nil, w.brk.trip("create segment "+path, err)
	}
	if err := preallocate(f, int64(size)); err != nil {
		return nil, errors.Join(w.brk.trip("preallocate segment "+path, err), f.Close())
	}
	return w.writable(f, dir, path), nil
}

// preallocate is best effort, except for a full disk.
func preallocate(f store.File, size int64) error {
	err := f.Preallocate(0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

// Delete implements types.VFS. A segment that is gone already is no error: a crash may have come
// between its removal and the next start's. One that a loss of power brings back is not in the meta
// file, and goes when the log is opened.
func (w walFS) Delete(dir, name string) error {
	if err := w.brk.check(); err != nil {
		return err
	}
	path := w.fs.PathJoin(dir, name)
	if err := w.fs.Remove(path); err != nil && !store.IsNotExist(err) {
		return w.brk.trip("remove segment "+path, err)
	}
	return nil
}

// OpenReader implements types.VFS.
func (w walFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.fs.Open(w.fs.PathJoin(dir, name))
}

// OpenWriter implements types.VFS.
func (w walFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	path := w.fs.PathJoin(dir, name)
	f, err := store.OpenExisting(w.fs, path)
	if err != nil {
		return nil, err
	}
	return w.writable(f, dir, path), nil
}

func (w walFS) writable(f store.File, dir, path string) types.WritableFile {
	return &walFile{f: f, fs: w, dir: dir, path: path}
}

// walFile is a segment open for appending. raft-wal has one writer for it and many readers.
type walFile struct {
	f         store.File
	fs        walFS
	dir, path string
	named     atomic.Bool // the directory was synced since the file was opened
}

// ReadAt implements io.ReaderAt.
func (f *walFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// WriteAt implements io.WriterAt.
func (f *walFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.brk.check(); err != nil {
		return 0, err
	}
	n, err := f.f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return n, f.fs.brk.trip("write segment "+f.path, err)
	}
	return n, nil
}

// Sync makes what was written durable. The first time it also makes the file's size and name so,
// whether the file was created or reopened: the process that created it may have been killed before.
func (f *walFile) Sync() error {
	if err := f.fs.brk.check(); err != nil {
		return err
	}
	sync := f.f.SyncData
	first := !f.named.Load()
	if first {
		sync = f.f.Sync
	}
	if err := sync(); err != nil {
		return f.fs.brk.trip("sync segment "+f.path, err)
	}
	if first {
		if err := store.SyncDir(f.fs.fs, f.dir); err != nil {
			return f.fs.brk.trip("sync segment "+f.path, err)
		}
		f.named.Store(true)
	}
	return nil
}

// Close implements io.Closer.
func (f *walFile) Close() error { return f.f.Close() }
