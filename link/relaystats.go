package link

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"causeway/internal/home"
	"causeway/link/wire"
)

// relayCounts is what was relayed for a peer and what was refused to it. The pairs
// are those that the configuration allows.
type relayCounts struct {
	mu       sync.Mutex
	pairs    map[home.ID]*pairCounts
	refusals [len(wire.RelayReasons)]atomic.Uint64
}

// pairCounts is one direction between two peers; tunnels are counted where they come
// from.
type pairCounts struct {
	open    atomic.Int64
	streams atomic.Uint64
	bytes   atomic.Uint64
}

func (c *pairCounts) begin() { c.open.Add(1); c.streams.Add(1) }
func (c *pairCounts) end()   { c.open.Add(-1) }

// to is what goes to another peer.
func (r *relayCounts) to(p *peer) *pairCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := p.config().ID
	c := r.pairs[id]
	if c == nil {
		if r.pairs == nil {
			r.pairs = map[home.ID]*pairCounts{}
		}
		c = &pairCounts{}
		r.pairs[id] = c
	}
	return c
}

func (r *relayCounts) refused(code uint64) {
	if code < uint64(len(r.refusals)) {
		r.refusals[code].Add(1)
	}
}

// Relayed is what this region relayed from a peer to another one.
type Relayed struct {
	To      home.ID
	Open    int    // tunnels that the peer opened and that go on
	Tunnels uint64 // that the peer opened
	Bytes   uint64 // from the peer, whoever opened the tunnel
}

// relayed tells what was relayed from the peer, by where to.
func (r *relayCounts) relayed() (list []Relayed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, c := range r.pairs {
		list = append(list, Relayed{To: id, Open: int(c.open.Load()), Tunnels: c.streams.Load(), Bytes: c.bytes.Load()})
	}
	slices.SortFunc(list, func(a, b Relayed) int { return strings.Compare(string(a.To), string(b.To)) })
	return list
}

// refusedBy tells how often the peer's streams were refused, by reason.
func (r *relayCounts) refusedBy() map[string]uint64 {
	out := map[string]uint64{}
	for code := range r.refusals {
		if n := r.refusals[code].Load(); n > 0 {
			out[wire.RelayReasons[code]] = n
		}
	}
	return out
}
