package link

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

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
	asked bool // an answer is on its way: what comes before it is old
	// The snapshot that is coming in.
	chunks  uint64
	bytes   int
	filters []wire.Filter
}

func (t *tunnel) receiveInterest(ctx context.Context, r *bufio.Reader) error {
	h := &heeder{t: t}
	counted := &countingReader{r: r, n: &t.p.counts.interestIn}
	in := bufio.NewReader(counted)
	for {
		m, err := wire.ReadControl(in)
		if err == io.EOF {
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
func (h *heeder) state() *home.State { return h.t.p.m.o.Home.State() }

// known waits until the home knows the peer.
func (h *heeder) known(ctx context.Context) error {
	for {
		if _, ok := h.state().Peer(h.id()); ok {
			return nil
		}
		if err := pause(ctx, unknownPeerPoll); err != nil {
			return err
		}
	}
}

// compare holds the peer's digest against what our home has of it, computed from
// the table itself.
func (h *heeder) compare(m *wire.InterestDigest) {
	if h.asked {
		return
	}
	info, _ := h.state().Peer(h.id())
	version, d, _ := h.state().PeerDigest(h.id())
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
	o, err := h.t.p.proposeWait(ctx, &home.Interest{Peer: h.id(), Epoch: homeEpoch(m.Epoch), Base: m.Base, Version: m.Version,
		Add: homeFilters(m.Add), Remove: homeFilters(m.Remove)})
	if err != nil {
		return err
	}
	if h.asked = o.Code != home.CodeOK; h.asked {
		h.ask(m.Base == info.Version)
	}
	return nil
}

func (h *heeder) chunk(ctx context.Context, m *wire.InterestChunk) error {
	if m.Index != h.chunks {
		return protocolError("chunk %d of an interest snapshot after %d", m.Index, h.chunks)
	}
	h.chunks++
	for _, f := range m.Filters {
		h.bytes += wire.FilterBytes(f)
	}
	if h.bytes > maxSnapshotBytes {
		return protocolError("an interest snapshot of more than %d bytes", maxSnapshotBytes)
	}
	h.filters = append(h.filters, m.Filters...)
	if !m.Last {
		return nil
	}
	filters := h.filters
	h.chunks, h.bytes, h.filters = 0, 0, nil
	return h.replace(ctx, m, filters)
}

// replace proposes a whole set once its digest was found right.
func (h *heeder) replace(ctx context.Context, m *wire.InterestChunk, filters []wire.Filter) error {
	set := routing.NewRemote(nil)
	if err := set.Replace(routing.Snapshot{Version: m.Version, Filters: routingFilters(filters), Digest: homeDigest(m.Digest)}); err != nil {
		return fmt.Errorf("the peer's interest: %w: %w", err, errProtocol)
	}
	o, err := h.t.p.proposeWait(ctx, &home.Interest{Peer: h.id(), Epoch: homeEpoch(m.Epoch), Full: true, Version: m.Version, Add: homeFilters(filters)})
	if err != nil {
		return err
	}
	h.t.p.counts.snapshotsIn.Add(1)
	h.asked = false
	if o.Code != home.CodeOK && o.Code != home.CodeUnknown {
		return fmt.Errorf("our home does not take the peer's interest (code %#x): %w", byte(o.Code), errProtocol)
	}
	return nil
}
