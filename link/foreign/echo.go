package foreign

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/home"
)

// Echoes are kept so many and so long.
const (
	maxEchoes = 1 << 16
	echoLife  = time.Minute
)

// echoes knows what this link sent lately to a broker that gives it back, where no user property tells: each message sent
// takes one that comes with the same topic and payload. A device over there that publishes the very same within the time
// may be taken for an echo, once.
type echoes struct {
	seed maphash.Seed
	come atomic.Bool // the broker gives back what it got: always, unless it takes us for a bridge and keeps to it

	mu    sync.Mutex
	at    map[uint64][]time.Time // by hash, when one was sent that did not come back
	order []echo                 // oldest first; some have come back
}

type echo struct {
	hash uint64
	at   time.Time
}

func newEchoes() *echoes { return &echoes{seed: maphash.MakeSeed(), at: map[uint64][]time.Time{}} }

func (e *echoes) hash(m *home.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	_, _ = h.WriteString(m.Topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(m.Payload)
	return h.Sum64()
}

// sent notes a message that may come back.
func (e *echoes) sent(m *home.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := echo{e.hash(m), time.Now()}
	e.at[x.hash] = append(e.at[x.hash], x.at)
	e.order = append(e.order, x)
	e.forget()
}

// heard says whether a message is an echo, once for each that was sent.
func (e *echoes) heard(m *home.Message) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget()
	h := e.hash(m)
	known := e.come.Load() && len(e.at[h]) > 0
	if known {
		e.drop(h)
	}
	return known
}

// forget lets go of what is too old or too much.
func (e *echoes) forget() {
	for len(e.order) > 0 && (len(e.order) > maxEchoes || time.Since(e.order[0].at) > echoLife) {
		x := e.order[0]
		if list := e.at[x.hash]; len(list) > 0 && list[0].Equal(x.at) {
			e.drop(x.hash)
		}
		e.order = e.order[1:]
	}
}

func (e *echoes) drop(h uint64) {
	if e.at[h] = e.at[h][1:]; len(e.at[h]) == 0 {
		delete(e.at, h)
	}
}
