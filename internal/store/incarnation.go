package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"syscall"
)

// bump raises the incarnation and makes it durable. The number is used only after that: a number
// given to two processes would let the second one's proposals be taken for the first one's [A2].
func (d *Dir) bump() error {
	path := d.fs.PathJoin(d.path, incarnationFile)
	data, err := ReadFile(d.fs, path, maxSmallFile)
	if IsNotExist(err) {
		return fmt.Errorf("%w: %s is missing beside FORMAT; treat this disk as wiped: empty the directory and let the node join again",
			ErrDamagedDir, incarnationFile)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamagedDir, err)
	}
	last, err := decodeIncarnation(string(data))
	if err != nil {
		return err
	}
	if err := d.writeIncarnation(last + 1); err != nil {
		return err
	}
	d.incarnation = last + 1
	return nil
}

func (d *Dir) writeIncarnation(n uint64) error {
	return WriteFileAtomic(d.fs, d.path, incarnationFile, []byte(encodeIncarnation(n)))
}

// encodeIncarnation is "<number> <crc32c of the number's digits>\n".
func encodeIncarnation(n uint64) string {
	digits := fmt.Sprint(n)
	return fmt.Sprintf("%s %08x\n", digits, crc32.Checksum([]byte(digits), castagnoli))
}

func decodeIncarnation(s string) (uint64, error) {
	var n uint64
	digits, _, _ := strings.Cut(s, " ")
	if _, err := fmt.Sscanf(digits, "%d", &n); err != nil || encodeIncarnation(n) != s || n == math.MaxUint64 {
		return 0, fmt.Errorf("%w: %s holds %.40q; treat this disk as wiped: empty the directory and let the node join again",
			ErrDamagedDir, incarnationFile, s)
	}
	return n, nil
}

// lockHeld says that a Lock failed because somebody holds it, in this process or another.
func lockHeld(err error) bool {
	return errors.Is(err, syscall.EAGAIN) ||
		strings.Contains(err.Error(), "lock held by current process") // pebble's vfs has no sentinel for it
}

// RaiseIncarnation makes the incarnation at least n, durably: a node whose disk is
// new counts on from what others know of it. It never lowers it.
func (d *Dir) RaiseIncarnation(n uint64) error {
	if n <= d.incarnation {
		return nil
	}
	if err := d.writeIncarnation(n); err != nil {
		return err
	}
	d.incarnation = n
	return nil
}
