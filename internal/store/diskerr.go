package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// DiskFullError says that the file system of the data directory has no room left. It is fatal for
// the process like every failed write, and the one an operator can mend by freeing space.
type DiskFullError struct {
	// Dir is the directory that could not be written to.
	Dir string
	// FreeBytes is what the file system reported as available, or -1 if it did not say.
	FreeBytes int64
	// Err is the failed operation.
	Err error
}

// Error names the directory and what to free.
func (e *DiskFullError) Error() string {
	free := "free space unknown"
	if e.FreeBytes >= 0 {
		free = fmt.Sprintf("%d MiB free", e.FreeBytes>>20)
	}
	return fmt.Sprintf("disk full at %s (%s): free or add space on that file system (old backups, core dumps, other "+
		"programs' logs) and start again; delete nothing inside the data directory: %v", e.Dir, free, e.Err)
}

// Unwrap returns the failed operation.
func (e *DiskFullError) Unwrap() error { return e.Err }

// ExplainDiskError returns err in the operator's words: a full disk becomes a *DiskFullError that
// names dir. Other errors, and nil, come back as they are. It does not block beyond one statfs.
func ExplainDiskError(fs FS, dir string, err error) error {
	var full *DiskFullError
	if err == nil || errors.As(err, &full) || !isAny(err, syscall.ENOSPC, syscall.EDQUOT) {
		return err
	}
	full = &DiskFullError{Dir: dir, FreeBytes: -1, Err: err}
	if u, uerr := fs.GetDiskUsage(dir); uerr == nil {
		full.FreeBytes = int64(u.AvailBytes)
	}
	return full
}

// FreeBytes is what is available on the file system of dir. ok is false where it cannot be known.
func FreeBytes(fs FS, dir string) (free uint64, ok bool, err error) {
	u, err := fs.GetDiskUsage(dir)
	if isAny(err, vfs.ErrUnsupported) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return u.AvailBytes, true, nil
}

// Usage is what a file system has, in bytes.
type Usage struct{ Size, Free uint64 }

// Space says how large the file system of dir is and what of it is free. ok is false where it cannot be known.
func Space(fs FS, dir string) (u Usage, ok bool, err error) {
	d, err := fs.GetDiskUsage(dir)
	if isAny(err, vfs.ErrUnsupported) {
		return u, false, nil
	}
	if err != nil {
		return u, false, fmt.Errorf("space of %s: %w", dir, err)
	}
	return Usage{Size: d.TotalBytes, Free: d.AvailBytes}, true, nil
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
