package foreign

import (
	"cmp"
	"slices"
	"sync"

	"causeway/internal/group"
	"causeway/internal/home"
)

// ledger knows which messages of the spool are under way. Several connections are done with them in any order; the spool
// is trimmed up to the first one that is not done. What is done and not trimmed still counts: the next node with the link
// finds it at the front of the spool, and takes no more than the bound for what may have been sent.
type ledger struct {
	messages, size int           // bounds
	room           chan struct{} // there may be room again
	trims          chan struct{} // trim has something new

	mu    sync.Mutex
	list  []entry // by number
	bytes int
	trim  entry // the last one that is done with, with all before it
	added uint64
	gone  uint64 // of added, that are out of the spool
}

type entry struct {
	seq   home.Seq
	epoch home.Epoch
	bytes int
	n     uint64 // how many were added, with this one
	done  bool
}

func newLedger(messages, size int) *ledger {
	return &ledger{messages: messages, size: size, room: make(chan struct{}, 1), trims: make(chan struct{}, 1)}
}

// full says that nothing more may get under way.
func (l *ledger) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.added-l.gone >= uint64(l.messages) || l.bytes >= l.size
}

func (l *ledger) underWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

// add notes a message, in the order of the spool.
func (l *ledger) add(ref *home.Spooled, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.added++
	l.list = append(l.list, entry{seq: ref.Seq, epoch: ref.Epoch, bytes: bytes, n: l.added})
	l.bytes += bytes
}

// done notes that a message needs no more care: the broker has it, or it is dropped and counted.
func (l *ledger) done(seq home.Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(l.list, seq, func(e entry, seq home.Seq) int { return cmp.Compare(e.seq, seq) })
	if !ok || l.list[i].done {
		return
	}
	l.list[i].done = true
	l.bytes -= l.list[i].bytes
	n := 0
	for n < len(l.list) && l.list[n].done {
		n++
	}
	if n > 0 {
		l.trim = l.list[n-1]
		l.list = l.list[n:]
		group.Wake(l.trims)
	}
	group.Wake(l.room)
}

// trimmable is up to where the spool may be trimmed, of which epoch.
func (l *ledger) trimmable() entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trim
}

// trimmed notes that the home has trimmed the spool up to an entry.
func (l *ledger) trimmed(e entry) {
	l.mu.Lock()
	l.gone = max(l.gone, e.n)
	l.mu.Unlock()
	group.Wake(l.room)
}
