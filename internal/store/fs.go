package store

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system: the disk, or a test's stand-in for it. Paths are built with PathJoin.
//
// Content is durable after File.Sync or SyncData, names (create, rename, remove) after Sync of the
// directory. Implementations may be called from many goroutines; one file has one writer.
type FS = vfs.FS

// File is an open file of an FS. Write may change the slice it is given.
type File = vfs.File

// writeCategory is how Pebble accounts for disk writes; this project does not use the accounting.
const writeCategory = vfs.WriteCategoryUnspecified

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DiskFS is the operating system's file system.
func DiskFS() FS { return vfs.Default }

// Create makes an empty file, replacing one of that name. The name is durable after SyncDir.
func Create(fs FS, path string) (File, error) {
	return fs.Create(path, writeCategory)
}

// OpenExisting opens a file for reading and writing and returns an error matching os.ErrNotExist if
// there is none (FS.OpenReadWrite would create it).
func OpenExisting(fs FS, path string) (File, error) {
	if _, err := fs.Stat(path); err != nil {
		return nil, err
	}
	return fs.OpenReadWrite(path, writeCategory)
}

// Exists says whether there is a file or directory at path.
func Exists(fs FS, path string) (bool, error) {
	_, err := fs.Stat(path)
	switch {
	case err == nil:
		return true, nil
	case IsNotExist(err):
		return false, nil
	}
	return false, err
}

// List names the entries of a directory in order.
func List(fs FS, dir string) ([]string, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	sort.Strings(names)
	return names, nil
}

// SyncDir makes the names in dir durable: what was created, renamed or removed there before.
func SyncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s to sync it: %w", dir, err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// MkdirAll makes dir and its missing parents, durably: each directory that received a new entry is
// synced, so a crash cannot lose a folder under the files synced in it.
func MkdirAll(fs FS, dir string) error {
	var fresh []string
	for d := dir; ; {
		ok, err := Exists(fs, d)
		if err != nil {
			return fmt.Errorf("look for directory %s: %w", d, err)
		}
		if ok {
			break
		}
		fresh = append(fresh, d)
		up := fs.PathDir(d)
		if up == d {
			break
		}
		d = up
	}
	if len(fresh) == 0 {
		// An earlier start may have died between making dir and syncing its parent. A parent that we
		// may not even read is the administrator's, who made dir in it.
		if err := SyncDir(fs, fs.PathDir(dir)); !isAny(err, os.ErrPermission) {
			return err
		}
		return nil
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	for _, d := range fresh {
		if err := SyncDir(fs, fs.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

// WriteFileAtomic replaces dir/name with data so that a crash at any moment leaves the old content
// or the new, whole, and once it returned nil, the new: temporary file, sync, rename, directory sync.
func WriteFileAtomic(fs FS, dir, name string, data []byte) error {
	path, tmp := fs.PathJoin(dir, name), fs.PathJoin(dir, name+tmpSuffix)
	f, err := Create(fs, tmp)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	_, err = f.Write(append([]byte(nil), data...)) // Write may scribble on its argument
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := fs.Rename(tmp, path); err != nil {
		return fmt.Errorf("rename %s to %s: %w", tmp, path, err)
	}
	return SyncDir(fs, dir)
}

const tmpSuffix = ".tmp"

// ReadFile reads a whole file of at most max bytes. A larger one is an error, not a truncation.
func ReadFile(fs FS, path string, max int64) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("read %s: larger than %d bytes, which this file never is", path, max)
	}
	return data, nil
}

// IsNotExist says that err means "no such file or directory".
func IsNotExist(err error) bool { return isAny(err, os.ErrNotExist) }
