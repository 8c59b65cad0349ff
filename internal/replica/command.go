package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"causeway/internal/store"
)

// What stands in a group's log beside the records that are proposed here says so in the
// extensions of its entry, which those do not have. None of it is a record of the home, but
// for extNumbered, whose record another region's leader made, or that begins an epoch.
//
//	extensions := kind u8 | fields
const (
	extNumbered = 1 // number u64 | chain u64: the record is the home's with that number; chain after it, 0 unknown
	extEntered  = 2 // all that was committed before a leader's term, or a moment, is applied once this is
	extBegin    = 3 // a copy of the home begins to come in; data: its position, JSON
	extPairs    = 4 // and goes on, records u64 | chain u64 being its position; data: the key behind which this goes, then keys and values
	extWhole    = 5 // and is whole; data: its position and how many keys it has, JSON
	extRetire   = 6 // the copy is kept for reading, and stands by; data: the epoch that superseded it, JSON
)

func numberedExt(n, chain uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{extNumbered}, n), chain)
}

// numberOf is the number that an entry's record has by its extensions, and the chain.
func numberOf(ext []byte) (n, chain uint64, ok bool) {
	if len(ext) != 17 || ext[0] != extNumbered {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(ext[1:]), binary.BigEndian.Uint64(ext[9:]), true
}

// isRecord says that an entry of the log holds a record of the home.
func isRecord(l *raft.Log) bool {
	return l.Type == raft.LogCommand && (len(l.Extensions) == 0 || l.Extensions[0] == extNumbered)
}

// errSkipped comes out of an entry that does not follow on what is applied.
var errSkipped = errors.New("the record does not follow on the last one")

// command applies an entry with extensions. What comes back, nil or an error, is for who
// appended it.
func (r *core) command(at store.Position, l *raft.Log) error {
	if r.fsm.known(at) {
		return nil
	}
	if n, chain, ok := numberOf(l.Extensions); ok {
		return r.fsm.numbered(at, n, chain, l.Data)
	}
	var err error
	switch l.Extensions[0] {
	case extEntered:
	case extBegin:
		err = r.beginIntake(at, l.Data)
	case extPairs:
		err = r.fillIntake(at, l)
	case extWhole:
		err = r.endIntake(at, l.Data)
	case extRetire:
		err = r.retire(at, l.Data)
	default:
		err = r.stopAt(at, fmt.Errorf("an entry of kind %d, which this version does not know", l.Extensions[0]))
	}
	if r.failure() != nil {
		return err
	}
	r.fsm.other(at)
	r.fsm.term.Store(at.Term)
	r.turn(false)
	return err
}

// stopAt stops the home at an entry that cannot be applied.
func (r *core) stopAt(at store.Position, err error) error {
	r.fsm.breakOff(err)
	r.fail(fmt.Errorf("apply index %d of home %s: %w; the home stops rather than guess: run the version that wrote the entry",
		at.Index, r.opts.Home, err))
	return err
}
