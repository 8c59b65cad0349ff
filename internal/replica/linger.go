package replica

import (
	"time"

	"causeway/internal/home"
)

// load is what the decision to send an entry depends on.
type load struct {
	ops, bytes int           // waiting
	urgent     int           // of the ops, those that somebody waits for
	patient    int           // and those of devices that come or go
	flights    int           // entries under way
	flightOps  int           // operations in them
	lastOps    int           // operations in the last that was sent
	sinceSent  time.Duration // since the last entry was sent; large if never
	draining   bool          // the replica stops: nobody else will come
	leaderless bool          // nobody to send to
}

// never as a wait: only a completed entry, a new operation or a leader can
// change the answer.
const never = time.Duration(-1)

// wait says how long to linger before the next entry: 0 sends now, never waits
// for something to happen.
func (b Batching) wait(l load) time.Duration {
	switch {
	case l.ops == 0, l.leaderless, l.flights >= b.InFlight:
		return never
	case l.draining, b.full(l.ops, l.bytes):
		return 0
	case l.urgent == 0 && l.patient == 0:
		return max(0, b.LazyLinger-l.sinceSent)
	case l.urgent == 0:
		return max(0, b.PatientLinger-l.sinceSent)
	case l.flights == 0 && (l.sinceSent >= b.Linger || l.urgent <= b.SoloOps && l.lastOps <= b.SoloOps):
		return 0 // idle until now, or nearly: lingering would only add latency
	}
	linger := b.Linger
	if l.ops+l.flightOps <= b.FewOps {
		linger = b.ShortLinger
	}
	return max(0, linger-l.sinceSent)
}

// haste is who waits for what comes of an operation. It goes with the next of more haste.
type haste uint8

const (
	lazy    haste = iota // nobody
	patient              // a device that comes or goes
	urgent
)

func hasteOf(op home.Op) haste {
	switch op := op.(type) {
	case *home.Ack:
		if len(op.Received) == 0 { // else PUBREL waits
			return lazy
		}
	case *home.Trim:
		return lazy
	case *home.Attach, *home.Detach:
		return patient
	}
	return urgent
}

// full says that more operations would not fit an entry.
func (b Batching) full(ops, bytes int) bool { return ops >= b.MaxOps || bytes >= b.MaxBytes }

// proposer is the batching of a proposer's entries on their way to the leader,
// which makes records of them and lingers there: a little, so that an operation
// is not a packet of its own under load.
func (b Batching) proposer() Batching {
	b.InFlight = proposerInFlight
	b.Linger = min(b.Linger, proposerLinger)
	b.ShortLinger = min(b.ShortLinger, proposerLinger)
	return b
}

const (
	proposerInFlight = 8
	proposerLinger   = time.Millisecond
)
