package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
)

// Errors of Tail.
var (
	// ErrTooOld: the log does not reach back to what was asked for, or what the records
	// need beside it is forgotten. It takes a copy of the state.
	ErrTooOld = errors.New("the home's log does not reach back so far: it takes a copy of the state")
	// ErrOtherChain: the two copies went different ways. It takes a copy of the state.
	ErrOtherChain = errors.New("the two copies of the home went different ways: it takes a copy of the state")
)

// tailIndex finds the home's records in the log by their numbers: an index of the log counts
// what raft and the group write for themselves as well. And it remembers the chains.
type tailIndex struct {
	mu sync.Mutex
	// base is the oldest record known, where the first of runs begins, or will.
	base place
	runs []place // each holds up to the next: so many records in a row
	last uint64  // the newest record
}

// place is where a record stands in the log.
type place struct{ record, index uint64 }

const runsKept = 1 << 10

// start begins with a state that has applied records up to an index.
func (t *tailIndex) start(records, index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.base, t.runs, t.last = place{records + 1, index + 1}, nil, records
}

// add notes the record just applied.
func (t *tailIndex) add(record, index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.runs); n == 0 || t.runs[n-1].index-t.runs[n-1].record != index-record {
		t.runs = append(t.runs, place{record, index})
	}
	if len(t.runs) > runsKept {
		t.runs = slices.Delete(t.runs, 0, runsKept/2)
		t.base = t.runs[0]
	}
	t.last = record
}

// find is where a record stands; not known: it is before what is returned.
func (t *tailIndex) find(record uint64) (p place, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.runs), func(i int) bool { return t.runs[i].record > record })
	if i == 0 {
		return t.base, record == t.base.record
	}
	r := t.runs[i-1]
	return place{record, r.index + record - r.record}, true
}

// lower notes where an older record stands.
func (t *tailIndex) lower(p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.record >= t.base.record {
		return
	}
	if len(t.runs) > 0 && t.runs[0].index-t.runs[0].record == p.index-p.record {
		t.runs[0] = p
	} else {
		t.runs = slices.Insert(t.runs, 0, p)
	}
	t.base = p
}

// Tail returns the records behind a position, as they go to a region: first an anchor, which
// is a shipment without Data that has the number and the chain of the position itself, then
// the records, in order, of about maxBytes together and at least one. It waits until there is
// one. The shipments' Data must not be written. Errors: ErrTooOld, ErrOtherChain,
// ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) Tail(ctx context.Context, to string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error) {
	c, ok := r.role.(*core)
	if !ok {
		return nil, ErrNotLeader
	}
	if err := c.continuesChain(after); err != nil {
		return nil, err
	}
	err := r.await(ctx, func() bool { return c.tail.newest() > after.Records || !r.Leads() })
	if err != nil {
		return nil, err
	}
	if !r.Leads() {
		return nil, ErrNotLeader
	}
	return c.read(to, after, maxBytes)
}

func (t *tailIndex) newest() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// continuesChain says why a copy at a position cannot go on with this one's records; nil if it
// can, or nobody remembers.
func (r *core) continuesChain(at home.CopyPosition) error {
	mine := r.state.Position()
	if at.Records > mine.Records {
		return fmt.Errorf("the other copy has %d records, and this one %d: %w", at.Records, mine.Records, ErrOtherChain)
	}
	if at.Records > 0 {
		if err := r.inLineage(at); err != nil {
			return err
		}
	}
	if chain, ok := r.state.ChainAt(at.Records); ok && at.Chain != 0 && chain != at.Chain {
		return fmt.Errorf("record %d gave %x here and %x there: %w", at.Records, chain, at.Chain, ErrOtherChain)
	}
	return nil
}

// inLineage says that a position of an epoch is one of ours: it does not go beyond where the
// next epoch began.
func (r *core) inLineage(at home.CopyPosition) error {
	spans := r.state.Lineage()
	i := slices.IndexFunc(spans, func(s home.Span) bool { return s.Epoch == at.Epoch })
	switch {
	case i < 0:
		return fmt.Errorf("the other copy is of epoch %s, which this one never had: %w", at.Epoch, ErrOtherChain)
	case i+1 < len(spans) && at.Records > spans[i+1].Record:
		return fmt.Errorf("the other copy has %d records of epoch %s, which ended at %d: %w", at.Records, at.Epoch, spans[i+1].Record, ErrOtherChain)
	case i+1 < len(spans) && at.Records == spans[i+1].Record && at.Chain != 0 && at.Chain != spans[i+1].Chain:
		return fmt.Errorf("epoch %s ended at %x here and %x there: %w", at.Epoch, spans[i+1].Chain, at.Chain, ErrOtherChain)
	}
	return nil
}

// read reads records of the log.
func (r *core) read(to string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error) {
	chain, _ := r.state.ChainAt(after.Records)
	list := []home.Shipment{{N: after.Records, Chain: chain}}
	at, err := r.locate(after.Records + 1)
	if err != nil {
		return nil, err
	}
	last := r.tail.newest()
	for bytes := 0; at.record <= last && (bytes < maxBytes || len(list) == 1); at.index++ {
		var l raft.Log
		if err := r.cache.GetLog(at.index, &l); err != nil {
			return nil, tooOld(err)
		}
		if !isRecord(&l) {
			continue
		}
		if n, _, ok := numberOf(l.Extensions); ok && n != at.record {
			continue // it was skipped
		}
		data, err := r.state.Ship(at.record, l.Data, to)
		if errors.Is(err, home.ErrForgotten) {
			err = fmt.Errorf("%w: %w", ErrTooOld, err)
		}
		if err != nil {
			return nil, err
		}
		chain, _ := r.state.ChainAt(at.record)
		list = append(list, home.Shipment{N: at.record, Chain: chain, Data: data})
		bytes += len(data)
		at.record++
	}
	return list, nil
}

// locate finds a record in the log, going back through it if it was applied before this run.
func (r *core) locate(record uint64) (place, error) {
	at, known := r.tail.find(record)
	for !known {
		at.index--
		var l raft.Log
		if err := r.cache.GetLog(at.index, &l); err != nil {
			return at, tooOld(err)
		}
		if l.Type == raft.LogCommand && len(l.Extensions) > 0 && l.Extensions[0] == extWhole {
			return at, ErrTooOld // what is before it is another copy's
		}
		if n, _, ok := numberOf(l.Extensions); !isRecord(&l) || ok && n >= at.record {
			continue
		}
		at.record--
		r.tail.lower(at)
		known = at.record == record
	}
	return at, nil
}

func tooOld(err error) error {
	if errors.Is(err, raft.ErrLogNotFound) {
		return ErrTooOld
	}
	return fmt.Errorf("read the log: %w", err)
}
