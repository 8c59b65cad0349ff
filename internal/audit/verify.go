package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// Verified is what a reading of the whole log found.
type Verified struct {
	Records  uint64
	First    uint64 // number of the oldest record that is kept
	Last     uint64
	LastTime time.Time
	Head     string // hash of the newest record
}

// ErrAltered: the log is not as it was written.
var ErrAltered = errors.New("the audit log was altered")

// Verify reads a log, as Export wrote it, and checks that each record follows the one before. An error of what it says
// matches ErrAltered and names the line.
func Verify(r io.Reader) (Verified, error) {
	var c chain
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		if err := c.line(s.Bytes()); err != nil {
			return c.Verified, err
		}
	}
	if err := s.Err(); err != nil {
		return c.Verified, fmt.Errorf("read the audit log: %w", err)
	}
	return c.Verified, nil
}

// chain follows records.
type chain struct {
	Verified
	lines int
}

func (c *chain) line(line []byte) error {
	c.lines++
	r, body, err := parseLine(bytes.TrimSuffix(line, []byte{'\r'}))
	switch {
	case err != nil:
		return fmt.Errorf("%w: line %d: %w", ErrAltered, c.lines, err)
	case c.lines == 1: // what was before it is not kept any more, or nothing was
		c.First = r.N
		if r.N == 1 && hashOf(noHash, body) != r.Hash {
			return fmt.Errorf("%w: line 1, record 1: its hash is not of what it says", ErrAltered)
		}
	case r.N != c.Last+1:
		return fmt.Errorf("%w: line %d is record %d, and record %d is before it: what was between them is gone", ErrAltered, c.lines, r.N, c.Last)
	case hashOf(c.Head, body) != r.Hash:
		return fmt.Errorf("%w: line %d, record %d: its hash is not of what it says and the record before", ErrAltered, c.lines, r.N)
	}
	c.Records++
	c.Last, c.LastTime, c.Head = r.N, r.Time, r.Hash
	return nil
}
