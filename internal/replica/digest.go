package replica

import (
	"errors"
	"maps"
	"sync"

	"causeway/internal/home"
)

// digestEvery is how many indexes of the log lie between two comparisons of what
// applying it gave.
const digestEvery = 1024

// digest is what the state's chain was after an index.
type digest struct{ index, sum uint64 }

// errDiverged stops a copy that is not what the log gave the others.
var errDiverged = errors.New("this copy differs from the others of the region: it will be set aside and fetched anew")

// digests remembers this copy's last digests and what the others say of theirs.
type digests struct {
	mu         sync.Mutex
	ring       [16]digest // by index
	last       digest
	others     map[home.NodeID]digest // their newest
	mismatches map[home.NodeID]uint64
}

func newDigests() *digests {
	return &digests{others: map[home.NodeID]digest{}, mismatches: map[home.NodeID]uint64{}}
}

func (d *digests) slot(index uint64) *digest { return &d.ring[index/digestEvery%uint64(len(d.ring))] }

// add notes this copy's digest after an index.
func (d *digests) add(x digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*d.slot(x.index), d.last = x, x
}

func (d *digests) newest() digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// compare says whether the copy of a node, with the given digest, is the one
// that differs. Of three the two that agree are right; of two nobody knows, and
// the one that leads is believed. A replicant has no say: it has its state of a
// copy that may be the one that is wrong.
func (d *digests) compare(node home.NodeID, theirs digest, core bool) (diverged bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	mine := *d.slot(theirs.index)
	if core {
		d.others[node] = theirs
	}
	if theirs.index == 0 || mine.index != theirs.index || mine.sum == theirs.sum {
		return false
	}
	d.mismatches[node]++
	if core {
		return d.agree(node, theirs) == 0
	}
	return d.agree(node, theirs) < 2
}

// agree is how many other cores' digest is theirs, and not ours. Guarded by mu.
func (d *digests) agree(node home.NodeID, theirs digest) (n int) {
	for other, x := range d.others {
		if other != node && x == theirs {
			n++
		}
	}
	return n
}

// alone says that two others agree on a digest that is not ours.
func (d *digests) alone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for node, x := range d.others {
		if mine := *d.slot(x.index); mine.index == x.index && x.index != 0 && mine.sum != x.sum && d.agree(node, x) > 0 {
			return true
		}
	}
	return false
}

// counts are the mismatches, by the node whose digest was not ours.
func (d *digests) counts() map[home.NodeID]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.mismatches)
}
