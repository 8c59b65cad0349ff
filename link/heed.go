package link

import (
	"bufio"
	"context"
	"errors"
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
	step  int  // bytes of filters in one operation
	asked bool // an answer is on its way: what comes before it is old
	// The snapshot that is coming in.
	chunks  uint64
	bytes   int
	filters []wire.Filter
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
		Add: interestFilters(routingFilters(m.Add)), Remove: interestFilters(routingFilters(m.Remove))})
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
	h.t.p.counts.snapshotsIn.Add(1)
	h.asked = false
	for _, op := range h.steps(m, routingFilters(filters)) {
		o, err := h.t.p.proposeWait(ctx, op)
		if err != nil {
			return fmt.Errorf("take in what the peer wants: %w", err)
		}
		switch o.Code {
		case home.CodeOK:
		case home.CodeGap: // the table changed under our hands
			h.ask(true)
			return nil
		default: // the peer was forgotten: known waits for it
			return nil
		}
	}
	return nil
}

// stepBytes is how much of a snapshot goes into one operation. The log bounds
// those.
const stepBytes = 4 << 20

// steps turns a snapshot into operations. A large one changes the table in
// steps, of which none makes it narrower than it was before and will be after:
// what is wanted stays wanted.
func (h *heeder) steps(m *wire.InterestChunk, filters []routing.Filter) []home.Op {
	epoch := homeEpoch(m.Epoch)
	info, _ := h.state().Peer(h.id())
	if filterBytes(filters) <= h.step || info.Epoch != epoch {
		return []home.Op{&home.Interest{Peer: h.id(), Epoch: epoch, Full: true, Version: m.Version, Add: interestFilters(filters)}}
	}
	held, _ := h.state().PeerInterest(h.id())
	add, remove := difference(held.Filters, filters)
	var ops []home.Op
	at := held.Version
	step := func(add, remove []routing.Filter) {
		ops = append(ops, &home.Interest{Peer: h.id(), Epoch: epoch, Base: at, Version: at, Add: interestFilters(add), Remove: interestFilters(remove)})
	}
	for _, part := range parts(add, h.step) {
		step(part, nil)
	}
	for _, part := range parts(remove, h.step) {
		step(nil, part)
	}
	// The last one carries the version; it may be lower than ours after a restore,
	// which only a whole table may say.
	if m.Version < at {
		return []home.Op{&home.Interest{Peer: h.id(), Epoch: epoch, Full: true, Version: m.Version, Add: interestFilters(filters)}}
	}
	return append(ops, &home.Interest{Peer: h.id(), Epoch: epoch, Base: at, Version: m.Version})
}

// difference compares two sorted lists.
func difference(held, want []routing.Filter) (add, remove []routing.Filter) {
	for len(held) > 0 || len(want) > 0 {
		switch {
		case len(held) == 0 || len(want) > 0 && compareFilters(want[0], held[0]) < 0:
			add, want = append(add, want[0]), want[1:]
		case len(want) == 0 || compareFilters(want[0], held[0]) > 0:
			remove, held = append(remove, held[0]), held[1:]
		default:
			held, want = held[1:], want[1:]
		}
	}
	return add, remove
}

// parts cuts a list so that no part has more than limit bytes.
func parts(list []routing.Filter, limit int) (out [][]routing.Filter) {
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) {
			if size += wire.FilterBytes(wire.Filter(list[n])); size > limit && n > 0 {
				break
			}
			n++
		}
		out, list = append(out, list[:n]), list[n:]
	}
	return out
}
