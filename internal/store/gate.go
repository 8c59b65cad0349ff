package store

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// gateFS is the file system that Pebble sees. The first write, sync or naming that fails stops the
// store and shuts the gate: from then on writes succeed and go nowhere.
//
// Pebble would do worse by itself: it retries a failed flush for ever, in Open even before it gives
// us anything to close; a second manifest record, written when the disk works again, makes the
// directory unreadable for the next start; and after some failures it panics. Behind the gate it
// comes to an end quietly, and the disk keeps what it had. No success seen through a shut gate is
// reported: Store checks Err after each operation.
//
// Errors that Pebble handles (removing what is gone, linking across file systems, preallocation) and
// those of reading pass through.
type gateFS struct {
	FS
	s *Store
}

// through runs do unless the gate is shut, and shuts it if do fails.
func (g gateFS) through(do func() error) error {
	if g.s.Err() != nil {
		return nil
	}
	if err := do(); err != nil {
		g.s.fail(err)
	}
	return nil
}

// writable opens a file for writing, or one that forgets.
func (g gateFS) writable(open func() (File, error)) (f File, err error) {
	_ = g.through(func() (err error) {
		f, err = open()
		return err
	})
	if g.s.Err() != nil {
		if f != nil {
			_ = f.Close() // nothing was written to it
		}
		return vfs.NewMem().Create("nowhere", writeCategory)
	}
	return gateFile{f, g}, nil
}

// Create implements FS.
func (g gateFS) Create(name string, cat vfs.DiskWriteCategory) (File, error) {
	return g.writable(func() (File, error) { return g.FS.Create(name, cat) })
}

// OpenReadWrite implements FS.
func (g gateFS) OpenReadWrite(name string, cat vfs.DiskWriteCategory, opts ...vfs.OpenOption) (File, error) {
	return g.writable(func() (File, error) { return g.FS.OpenReadWrite(name, cat, opts...) })
}

// ReuseForWrite implements FS.
func (g gateFS) ReuseForWrite(oldname, newname string, cat vfs.DiskWriteCategory) (File, error) {
	return g.writable(func() (File, error) { return g.FS.ReuseForWrite(oldname, newname, cat) })
}

// OpenDir implements FS. Directories are opened to be synced.
func (g gateFS) OpenDir(name string) (File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return gateFile{f, g}, nil
}

// Link implements FS.
func (g gateFS) Link(oldname, newname string) error {
	if g.s.Err() != nil {
		return nil
	}
	return g.FS.Link(oldname, newname)
}

// Remove implements FS.
func (g gateFS) Remove(name string) error {
	if g.s.Err() != nil {
		return nil
	}
	return g.FS.Remove(name)
}

// RemoveAll implements FS.
func (g gateFS) RemoveAll(name string) error {
	if g.s.Err() != nil {
		return nil
	}
	return g.FS.RemoveAll(name)
}

// Rename implements FS.
func (g gateFS) Rename(oldname, newname string) error {
	return g.through(func() error { return g.FS.Rename(oldname, newname) })
}

// MkdirAll implements FS.
func (g gateFS) MkdirAll(dir string, perm os.FileMode) error {
	return g.through(func() error { return g.FS.MkdirAll(dir, perm) })
}

// Unwrap implements FS.
func (g gateFS) Unwrap() vfs.FS { return g.FS }

// gateFile is a file behind the gate.
type gateFile struct {
	File
	gate gateFS
}

// Write implements File.
func (f gateFile) Write(p []byte) (int, error) {
	return len(p), f.gate.through(func() error {
		_, err := f.File.Write(p)
		return err
	})
}

// WriteAt implements File.
func (f gateFile) WriteAt(p []byte, off int64) (int, error) {
	return len(p), f.gate.through(func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
}

// Sync implements File.
func (f gateFile) Sync() error { return f.gate.through(f.File.Sync) }

// SyncData implements File.
func (f gateFile) SyncData() error { return f.gate.through(f.File.SyncData) }

// SyncTo implements File.
func (f gateFile) SyncTo(n int64) (fullSync bool, err error) {
	err = f.gate.through(func() (err error) {
		fullSync, err = f.File.SyncTo(n)
		return err
	})
	return fullSync, err
}
