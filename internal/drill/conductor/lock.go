package conductor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile keeps two conductors from one drill. The kernel lets go of it with the process.
const lockFile = ".lock"

func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the drill: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("another process conducts the drill; causeway ctl drill abort tells it to give up")
		}
		return nil, fmt.Errorf("lock the drill: %w", err)
	}
	return f, nil
}

// Locked says whether somebody conducts a drill.
func Locked(dir string) bool {
	f, err := lock(dir)
	if err == nil {
		_ = f.Close()
	}
	return err != nil
}
