package store

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpKind names a mutating file system operation.
type OpKind string

// The operations that CrashFS counts, may fail, and shows to BeforeOp. Reads are not among them.
const (
	OpCreate    OpKind = "create"
	OpWrite     OpKind = "write"
	OpSync      OpKind = "sync"
	OpDirSync   OpKind = "dirsync"
	OpRename    OpKind = "rename"
	OpRemove    OpKind = "remove"
	OpLink      OpKind = "link"
	OpMkdir     OpKind = "mkdir"
	OpAllocate  OpKind = "allocate"
	OpOpenWrite OpKind = "openwrite"
)

// Op is one mutating operation about to happen.
type Op struct {
	// N counts operations of this CrashFS from 1.
	N    int
	Kind OpKind
	// Path is the file or directory; the new name for rename and link.
	Path string
}

// CrashFS is a disk in memory that forgets what was not synced. See the package comment for what it
// models. All methods may be called from many goroutines.
type CrashFS struct {
	mem *vfs.MemFS

	// gate keeps operations and Crash apart: MemFS.Link takes its clone lock twice and would
	// deadlock with a waiting CrashClone.
	gate sync.RWMutex

	mu     sync.Mutex
	n      int
	before func(Op)
	ignore func(path string) bool
	faults []*fault
	free   uint64 // what GetDiskUsage says; 0: it does not
}

// fault is a planted error: the operations it matches fail once skip of them have passed.
type fault struct {
	match func(Op) bool
	skip  int
	err   error
	short bool
}

var _ FS = (*CrashFS)(nil)

// NewCrashFS is an empty disk with a root directory.
func NewCrashFS() *CrashFS { return &CrashFS{mem: vfs.NewCrashableMem()} }

// Crash returns the disk as a machine would find it after losing power now: only what was synced.
// The copy is healthy: no planted faults, no ignored syncs. The old disk stays usable so that what
// runs on it can be closed; nothing done there reaches the copy.
func (c *CrashFS) Crash() *CrashFS { return c.crash(vfs.CrashCloneCfg{}) }

// CrashKeeping is Crash, but each unsynced 4 KiB block and directory entry survives with a chance of
// percent (0-100), drawn from seed.
func (c *CrashFS) CrashKeeping(seed uint64, percent int) *CrashFS {
	return c.crash(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))})
}

func (c *CrashFS) crash(cfg vfs.CrashCloneCfg) *CrashFS {
	c.gate.Lock()
	defer c.gate.Unlock()
	return &CrashFS{mem: c.mem.CrashClone(cfg)}
}

// FailAfter lets n more mutating operations pass; every one after that fails with err, until Heal.
func (c *CrashFS) FailAfter(n int, err error) { c.plant(&fault{skip: n, err: err}) }

// FailMatching is FailAfter for the operations that match.
func (c *CrashFS) FailMatching(match func(Op) bool, n int, err error) {
	c.plant(&fault{match: match, skip: n, err: err})
}

// FillUp is a disk that gets full: n more writes and creations pass, then ENOSPC; writes that fail are
// short ones, as on a real disk. Removing, renaming and syncing go on working.
func (c *CrashFS) FillUp(n int) {
	grows := func(op Op) bool {
		return op.Kind == OpWrite || op.Kind == OpCreate || op.Kind == OpAllocate || op.Kind == OpMkdir
	}
	c.plant(&fault{match: grows, skip: n, err: syscall.ENOSPC, short: true})
}

// ShortWriteAfter lets n more writes pass; the following ones write half of what they were given and
// return err.
func (c *CrashFS) ShortWriteAfter(n int, err error) {
	c.plant(&fault{match: func(op Op) bool { return op.Kind == OpWrite }, skip: n, err: err, short: true})
}

// Heal removes the planted faults.
func (c *CrashFS) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// SetFree has the disk say that it has so many bytes free; nothing else changes.
func (c *CrashFS) SetFree(bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = bytes
}

// IgnoreSyncs drops the syncs of files and directories whose path matches: they report success and
// do nothing, like a disk that lies or code that forgot to sync. nil ends it.
func (c *CrashFS) IgnoreSyncs(match func(path string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ignore = match
}

// BeforeOp calls fn before each mutating operation, in the goroutine that does it, with no lock
// held: fn may call Crash and so see the disk at that very moment. nil ends it.
func (c *CrashFS) BeforeOp(fn func(Op)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = fn
}

// Ops is how many mutating operations were begun.
func (c *CrashFS) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *CrashFS) plant(f *fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
}

// begin counts op, shows it to the hook, and returns the error planted for it.
func (c *CrashFS) begin(kind OpKind, path string) (short bool, err error) {
	c.mu.Lock()
	c.n++
	op := Op{N: c.n, Kind: kind, Path: path}
	hook := c.before
	for _, f := range c.faults {
		if f.match != nil && !f.match(op) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if err == nil {
			short, err = f.short, fmt.Errorf("%s %s: %w", kind, path, f.err)
		}
	}
	c.mu.Unlock()
	if hook != nil {
		hook(op)
	}
	return short, err
}

func (c *CrashFS) syncIgnored(path string) bool {
	c.mu.Lock()
	match := c.ignore
	c.mu.Unlock()
	return match != nil && match(path)
}

// mutate runs do as one counted operation.
func (c *CrashFS) mutate(kind OpKind, path string, do func() error) error {
	if _, err := c.begin(kind, path); err != nil {
		return err
	}
	c.gate.RLock()
	defer c.gate.RUnlock()
	return do()
}

func (c *CrashFS) openWritable(kind OpKind, path string, open func() (File, error)) (File, error) {
	var f File
	err := c.mutate(kind, path, func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &crashFile{File: f, fs: c, path: path}, nil
}

// Create implements FS.
func (c *CrashFS) Create(name string, cat vfs.DiskWriteCategory) (File, error) {
	return c.openWritable(OpCreate, name, func() (File, error) { return c.mem.Create(name, cat) })
}

// OpenReadWrite implements FS.
func (c *CrashFS) OpenReadWrite(name string, cat vfs.DiskWriteCategory, opts ...vfs.OpenOption) (File, error) {
	return c.openWritable(OpOpenWrite, name, func() (File, error) { return c.mem.OpenReadWrite(name, cat, opts...) })
}

// ReuseForWrite implements FS.
func (c *CrashFS) ReuseForWrite(oldname, newname string, cat vfs.DiskWriteCategory) (File, error) {
	return c.openWritable(OpRename, newname, func() (File, error) { return c.mem.ReuseForWrite(oldname, newname, cat) })
}

// Open implements FS.
func (c *CrashFS) Open(name string, opts ...vfs.OpenOption) (File, error) {
	f, err := c.mem.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &crashFile{File: f, fs: c, path: name}, nil
}

// OpenDir implements FS.
func (c *CrashFS) OpenDir(name string) (File, error) {
	f, err := c.mem.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &crashFile{File: f, fs: c, path: name, dir: true}, nil
}

// Link implements FS.
func (c *CrashFS) Link(oldname, newname string) error {
	return c.mutate(OpLink, newname, func() error { return c.mem.Link(oldname, newname) })
}

// Remove implements FS.
func (c *CrashFS) Remove(name string) error {
	return c.mutate(OpRemove, name, func() error { return c.mem.Remove(name) })
}

// RemoveAll implements FS.
func (c *CrashFS) RemoveAll(name string) error {
	return c.mutate(OpRemove, name, func() error { return c.mem.RemoveAll(name) })
}

// Rename implements FS.
func (c *CrashFS) Rename(oldname, newname string) error {
	return c.mutate(OpRename, newname, func() error { return c.mem.Rename(oldname, newname) })
}

// MkdirAll implements FS.
func (c *CrashFS) MkdirAll(dir string, perm os.FileMode) error {
	return c.mutate(OpMkdir, dir, func() error { return c.mem.MkdirAll(dir, perm) })
}

// Lock implements FS. Locks are held in this CrashFS only; a crash frees them.
func (c *CrashFS) Lock(name string) (io.Closer, error) { return c.mem.Lock(name) }

// List implements FS.
func (c *CrashFS) List(dir string) ([]string, error) { return c.mem.List(dir) }

// Stat implements FS.
func (c *CrashFS) Stat(name string) (vfs.FileInfo, error) { return c.mem.Stat(name) }

// PathBase implements FS.
func (c *CrashFS) PathBase(path string) string { return c.mem.PathBase(path) }

// PathJoin implements FS.
func (c *CrashFS) PathJoin(elem ...string) string { return c.mem.PathJoin(elem...) }

// PathDir implements FS.
func (c *CrashFS) PathDir(path string) string { return c.mem.PathDir(path) }

// GetDiskUsage implements FS.
func (c *CrashFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free > 0 {
		return vfs.DiskUsage{AvailBytes: c.free}, nil
	}
	return c.mem.GetDiskUsage(path)
}

// Unwrap implements FS. It returns nil: looking under the faults would miss the point.
func (c *CrashFS) Unwrap() vfs.FS { return nil }
