package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// A relay connects a stream of one peer with a stream of another one and copies
// bytes. It sees a TLS session of those two between which it can read and forge
// nothing. It stores nothing: what a peer does not take the other one cannot send.

const (
	// maxRelayed bounds the relayed tunnels of which a tunnel carries a stream.
	maxRelayed = 32
	// relayBuffer is what a relay holds of a stream in one direction, beside the
	// windows of the two streams.
	relayBuffer = 32 << 10
	// relayIdle ends a relayed stream on which nothing moved. The ends ping every
	// Options.KeepAlive.
	relayIdle = 30 * time.Second
	// relayWait is how long a relay waits for a tunnel to the region asked for: after
	// its own restart both ends dial it at about the same time.
	relayWait = 3 * time.Second
	relayPoll = 50 * time.Millisecond
)

// relayShare is by how much the window of a relayed tunnel is smaller than that of
// the tunnel that carries it. So much of the latter is held up by one whose far end
// has just died, until that is noticed.
const relayShare = 8

// window is the receive window of all of a connection's streams together.
func (o *EndpointOptions) window(over network) int {
	if over == overRelay {
		return o.ConnWindow / relayShare
	}
	return o.ConnWindow
}

// relayLimit is the rate of a rule, which all that is relayed by it shares.
type relayLimit struct {
	rate  uint64
	meter meter
}

// relayBy is the limit of the rule that lets two regions meet here; nil if none does.
func (e *Endpoint) relayBy(a, b string) *relayLimit {
	for i, r := range e.o.Relay {
		if a != b && slices.Contains(r.Between, a) && slices.Contains(r.Between, b) {
			return &e.relayLimits[i]
		}
	}
	return nil
}

func newRelayLimits(rules []RelayRule) []relayLimit {
	limits := make([]relayLimit, len(rules))
	for i, r := range rules {
		limits[i].rate = r.Rate
	}
	return limits
}

// spend waits until n bytes may be passed on. Nothing is dropped: the windows of the
// streams hold the sender back.
func (l *relayLimit) spend(ctx context.Context, n int) error {
	for d := l.meter.wait(l.rate, 0); d > 0; d = l.meter.wait(l.rate, 0) {
		if err := group.Pause(ctx, d); err != nil {
			return err
		}
	}
	l.meter.spend(n)
	return nil
}

// serveRelay serves a stream of a relayed tunnel, as the relay or as the far end,
// until it has ended. What goes wrong is that stream's trouble.
func (t *tunnel) serveRelay(ctx context.Context, s duplex, r *bufio.Reader, path wire.RelayPath) {
	err := t.admitRelay(path)
	if err == nil {
		defer func() { <-t.relayed }()
		if path.To == t.p.m.ep.o.Region {
			err = t.takeRelayed(s, r, path)
		} else {
			err = t.passOn(ctx, s, r, path)
		}
	}
	var no *refusal
	if errors.As(err, &no) {
		t.p.relays.refused(no.code)
		refuseRelay(s, no)
	}
}

// admitRelay takes a slot for a stream that the peer opened.
func (t *tunnel) admitRelay(path wire.RelayPath) error {
	own := t.p.m.ep.o.Region
	switch {
	case t.c.network() == overRelay:
		return refuse(wire.RelayHops, "region %q takes no relayed tunnel by one that is relayed itself", own)
	case !take(t.relayed):
		return refuse(wire.RelayBusy, "region %q has %d relayed tunnels on that of region %q already", own, maxRelayed, t.remote.Region)
	}
	return nil
}

// refuseRelay says why and waits for the peer to hear it.
func refuseRelay(s duplex, no *refusal) {
	_ = s.SetDeadline(time.Now().Add(refuseWait))
	_, err := s.Write(wire.AppendControl(nil, &wire.RelayAnswer{Code: no.code, Reason: no.reason}))
	if s.closeWrite(); err == nil {
		_, _ = io.Copy(io.Discard, s)
	}
}

// passOn is the relay's part. It hands on to the region asked for alone, and only by
// a tunnel that is not relayed: a stream passes one relay.
func (t *tunnel) passOn(ctx context.Context, near duplex, r *bufio.Reader, path wire.RelayPath) error {
	e, from := t.p.m.ep, t.remote.Region
	limit := e.relayBy(from, path.To)
	switch {
	case path.From != from:
		return refuse(wire.RelayForbidden, "region %q asks on behalf of region %q: each asks for itself", from, path.From)
	case path.Hops == 0:
		return refuse(wire.RelayHops, "the stream has passed as many relays as it may when it comes to region %q", e.o.Region)
	case limit == nil:
		return refuse(wire.RelayForbidden, "region %q does not relay between %q and %q: list both in its link.relay", e.o.Region, from, path.To)
	}
	on, err := e.tunnelTo(ctx, path.To)
	if err != nil {
		return err
	}
	if !take(on.relayed) {
		return refuse(wire.RelayBusy, "region %q has %d relayed tunnels on that of region %q already", e.o.Region, maxRelayed, path.To)
	}
	defer func() { <-on.relayed }()
	far, err := on.openRelay(ctx, wire.RelayPath{From: from, To: path.To, Hops: path.Hops - 1})
	if err != nil {
		return refuse(wire.RelayFailed, "region %q cannot pass the stream on to %q: %v", e.o.Region, path.To, err)
	}
	there, back := t.p.relays.to(on.p), on.p.relays.to(t.p)
	there.begin()
	defer there.end()
	// Whoever waits for far to take something does not see near end, and near's next
	// tunnel waits for this one.
	defer context.AfterFunc(ctx, far.reset)()
	splice(ctx, limit, relayEnd{near, r, &there.bytes}, relayEnd{far, far, &back.bytes})
	return nil
}

// tunnelTo waits a little for a tunnel on which a relayed one may go on to a region.
func (e *Endpoint) tunnelTo(ctx context.Context, region string) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	for {
		t, err := e.carrier(region)
		if err == nil || group.Pause(ctx, relayPoll) != nil {
			return t, err
		}
	}
}

// carrier returns a tunnel to a region that may carry relayed ones.
func (e *Endpoint) carrier(region string) (*tunnel, error) {
	if !e.knows(region) {
		return nil, refuse(wire.RelayNoTunnel, "region %q has no link to region %q", e.o.Region, region)
	}
	err := refuse(wire.RelayNoTunnel, "region %q has no tunnel to region %q now", e.o.Region, region)
	for t := range e.tunnels(region) {
		switch {
		case t.c.network() == overRelay:
			err = refuse(wire.RelayNoTunnel, "the tunnel from region %q to region %q is relayed itself", e.o.Region, region)
		case t.agreed.Features&wire.FeatureRelay == 0:
			err = refuse(wire.RelayTooOld, "version %s of region %q knows no relayed tunnels: upgrade it", t.remote.Software, region)
		default:
			return t, nil
		}
	}
	return nil, err
}

// openRelay opens a stream of a relayed tunnel.
func (t *tunnel) openRelay(ctx context.Context, path wire.RelayPath) (duplex, error) {
	ctx, cancel := context.WithTimeout(ctx, t.p.m.ep.o.DialTimeout)
	defer cancel()
	s, err := t.c.open(ctx)
	if err != nil {
		return nil, err
	}
	head := wire.StreamHead{Kind: wire.StreamRelay, Path: path}
	if _, err := s.Write(head.Append(nil)); err != nil {
		s.reset()
		return nil, err
	}
	return s, nil
}

// relayEnd is one side of a stream that is passed on: what comes of it, by r, is
// counted.
type relayEnd struct {
	s      duplex
	r      io.Reader
	passed *atomic.Uint64
}

// splice copies both ways until both have ended, or one has failed.
func splice(ctx context.Context, limit *relayLimit, a, b relayEnd) {
	var ways sync.WaitGroup
	for _, way := range [2][2]relayEnd{{a, b}, {b, a}} {
		ways.Go(func() {
			if err := group.Protect(func() error { return pass(ctx, limit, way[0], way[1].s) }); err != nil {
				a.s.reset()
				b.s.reset()
			}
		})
	}
	ways.Wait()
	a.s.reset()
	b.s.reset()
}

func pass(ctx context.Context, limit *relayLimit, from relayEnd, to duplex) error {
	buf := make([]byte, relayBuffer)
	for {
		_ = from.s.SetReadDeadline(time.Now().Add(relayIdle))
		n, err := from.r.Read(buf)
		if n > 0 {
			if err := limit.spend(ctx, n); err != nil {
				return fmt.Errorf("wait for the rate: %w", err)
			}
			_ = to.SetWriteDeadline(time.Now().Add(relayIdle))
			if _, err := to.Write(buf[:n]); err != nil {
				return fmt.Errorf("pass on: %w", err)
			}
			from.passed.Add(uint64(n))
		}
		if errors.Is(err, io.EOF) {
			to.closeWrite()
			return nil
		}
		if err != nil {
			return err
		}
	}
}
