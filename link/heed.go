package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
	"causeway/routing"
)

// maxSnapshotBytes bounds the filters of one peer while its snapshot comes in.
const maxSnapshotBytes = 256 << 20

// unknownPeerPoll is how often a home is asked again that does not know the peer
// yet: SetPeer may come after the tunnel.
const unknownPeerPoll = 250 * time.Millisecond

// heeder puts what the peer wants into our home's log. One message is proposed
// and applied before the next is read.
type heeder struct {
	t     *tunnel
	step  int  // bytes of filters in one operation
	asked bool // an answer is on its way: what comes before it is old
	// The snapshot that is coming in.
	chunks  uint64
	bytes   int
	filters []routing.Filter
	audited time.Time // when the table was last compared as it is in memory
}

func (t *tunnel) receiveInterest(ctx context.Context, r *bufio.Reader) error {
	h := &heeder{t: t, step: stepBytes}
	counted := &countingReader{r: r, n: &t.p.counts.interestIn}
	in := bufio.NewReader(counted)
	for {
		m, err := wire.ReadControl(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("interest stream: %w", err)
		}
		if err := h.known(ctx); err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.InterestDigest:
			h.compare(m)
		case *wire.InterestDelta:
			err = h.delta(ctx, m)
		case *wire.InterestChunk:
			err = h.chunk(ctx, m)
		default:
			err = protocolError("%T in the interest stream", m)
		}
		if err != nil {
			return err
		}
	}
}

func (h *heeder) id() home.ID        { return h.t.p.config().ID }
func (h *heeder) state() *home.State { return h.t.st }

// known waits until the home knows the peer.
func (h *heeder) known(ctx context.Context) error {
	for {
		if _, ok := h.state().Peer(h.id()); ok {
			return nil
		}
		if err := group.Pause(ctx, unknownPeerPoll); err != nil {
			return err
		}
	}
}

// auditEvery is how often the table itself is compared, and not the digest that
// is kept beside it: a flipped bit shows in the table alone.
const auditEvery = 10 * time.Minute

// compare holds the peer's digest against what our home has of it.
func (h *heeder) compare(m *wire.InterestDigest) {
	if h.asked {
		return
	}
	info, _ := h.state().Peer(h.id())
	version, d := h.digest()
	switch {
	case info.Epoch != homeEpoch(m.Epoch):
		h.ask(true)
	case version != m.Version:
		h.ask(version > m.Version)
	case d != homeDigest(m.Digest):
		if version != 0 { // a new peer starts at 0 with nothing
			h.t.p.counts.digestMismatches.Add(1)
			h.t.p.log.Warn("what the peer wants differs from what we hold: asking again", "version", version, "filters", info.Filters)
		}
		h.ask(true)
	}
}

func (h *heeder) digest() (version uint64, d routing.Digest) {
	if time.Since(h.audited) < auditEvery {
		version, d, _ = h.state().PeerDigest(h.id())
		return version, d
	}
	h.audited = time.Now()
	held, _ := h.state().PeerInterest(h.id())
	return held.Version, held.Compute()
}

func (h *heeder) ask(full bool) {
	info, _ := h.state().Peer(h.id())
	h.asked = true
	h.t.out.ask(wire.InterestRequest{Full: full, Epoch: wireEpoch(info.Epoch), Version: info.Version})
}

func (h *heeder) delta(ctx context.Context, m *wire.InterestDelta) error {
	info, _ := h.state().Peer(h.id())
	switch {
	case m.Base != info.Version && h.asked:
		return nil // told before our question was heard
	case m.Base == m.Version && m.Base == info.Version && len(m.Add)+len(m.Remove) == 0:
		h.asked = false // the answer is that nothing was missed
		return nil
	}
	to := stretch{peer: h.id(), epoch: homeEpoch(m.Epoch), base: m.Base, version: m.Version, step: h.step}
	gap, err := h.propose(ctx, to.ops(routingFilters(m.Add), routingFilters(m.Remove)))
	if h.asked = gap; gap && err == nil {
		h.ask(m.Base == info.Version)
	}
	return err
}

func (h *heeder) chunk(ctx context.Context, m *wire.InterestChunk) error {
	if m.Index != h.chunks {
		return protocolError("chunk %d of an interest snapshot after %d", m.Index, h.chunks)
	}
	h.chunks++
	for _, f := range m.Filters {
		h.bytes += wire.FilterBytes(f)
		h.filters = append(h.filters, routing.Filter(f))
	}
	if h.bytes > maxSnapshotBytes {
		return protocolError("an interest snapshot of more than %d bytes", maxSnapshotBytes)
	}
	if !m.Last {
		return nil
	}
	filters := h.filters
	h.chunks, h.bytes, h.filters = 0, 0, nil
	return h.replace(ctx, m, filters)
}

// replace proposes a whole set once its digest was found right.
func (h *heeder) replace(ctx context.Context, m *wire.InterestChunk, filters []routing.Filter) error {
	s := routing.Snapshot{Version: m.Version, Filters: filters, Digest: homeDigest(m.Digest)}
	if err := s.Check(); err != nil {
		return fmt.Errorf("the peer's interest: %w: %w", err, errProtocol)
	}
	h.t.p.counts.snapshotsIn.Add(1)
	h.asked = false
	full, err := h.propose(ctx, h.steps(homeEpoch(m.Epoch), s))
	if full && err == nil { // the table changed under our hands
		h.ask(true)
	}
	return err
}

// propose applies operations one after the other, and not together, since nothing
// else is applied while one is. It stops at the first that the home refuses; gap
// says that the home has another table than they were made for.
func (h *heeder) propose(ctx context.Context, ops iter.Seq[*home.Interest]) (gap bool, err error) {
	for op := range ops {
		o, err := h.t.p.proposeWait(ctx, op)
		if err != nil {
			return false, fmt.Errorf("take in what the peer wants: %w", err)
		}
		if o.Code != home.CodeOK { // else the peer was forgotten: known waits for it
			return o.Code == home.CodeGap, nil
		}
	}
	return false, nil
}
