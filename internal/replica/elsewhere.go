package replica

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// otherHost is until when another region is known to host the home. The leader is told,
// again and again, by who hears that region; other nodes hear it with the leader's answers,
// so what a leader knew that is gone ends with them.
type otherHost struct{ until atomic.Int64 } // nanoseconds since freshness.started

func (r *Replica) hearOther(until time.Time) {
	if n := int64(until.Sub(r.fresh.started)); n > r.other.until.Load() {
		r.other.until.Store(n)
	}
}

// SetElsewhere says that another region hosts the home, which is believed for a time. The
// leader is told; on others it does nothing.
func (r *Replica) SetElsewhere(d time.Duration) {
	if r.role.inOffice() {
		r.hearOther(time.Now().Add(d))
	}
}

// Elsewhere says that another region is known to host the home: it was heard a moment ago.
// False while this one does, and while nobody knows.
func (r *Replica) Elsewhere() bool {
	return !r.hosting.Load() && int64(time.Since(r.fresh.started)) < r.other.until.Load()
}

// appendElsewhere appends to an answer that another region hosts the home, if that is known.
func (r *Replica) appendElsewhere(b []byte, number uint64) []byte {
	if !r.Elsewhere() {
		return b
	}
	b = append(binary.BigEndian.AppendUint64(b, number), answerElsewhere)
	return binary.BigEndian.AppendUint64(b, 0)
}
