package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// tunnel is one open connection to a peer. run owns it; close may be called by
// anyone.
type tunnel struct {
	stance     // of our end: another one needs another tunnel
	p          *peer
	c          conn
	s          control
	r          *bufio.Reader
	remote     wire.Hello
	agreed     wire.Agreement
	dialled    bool                   // by us
	whyNotUDP  string                 // why it is not on UDP; fixed before adopt
	wanted     atomic.Int32           // connections that the peer needs for what it sends
	why        atomic.Pointer[string] // why it has several connections, or is on TCP by choice
	wishTCP    atomic.Bool            // this side wants it on TCP
	peerTCP    atomic.Bool            // and so does the peer
	detour     chan struct{}          // signalled when it should move to TCP
	heardAt    time.Time              // when the peer asked for that last; owned by readControl
	joinFailed time.Time              // owned by fit
	began      time.Time
	ended      chan struct{} // closed when run has returned

	before *tunnel // the one it replaced, until that has ended; owned by adopt, then serve

	calling   chan struct{} // a slot for each call of ours that is under way
	answering chan struct{} // and of the peer's
	relayed   chan struct{} // a slot for each relayed tunnel that this one carries
	out       *outbox
	asked     chan wire.InterestRequest // of the peer, newest
	answers   chan wire.Answer          // of the peer, newest
	asking    uint64                    // questions asked; owned by who tests the link
	viewing   atomic.Bool               // a view is being made for the peer
	senders   senderList
}

func newTunnel(p *peer, ours stance, c conn, s control, r *bufio.Reader, remote wire.Hello, agreed wire.Agreement, dialled bool) *tunnel {
	why := "the peer dialled over TCP"
	if c.network() == overRelay {
		why = "the peer dialled through a relay"
	}
	return &tunnel{
		stance: ours, p: p, c: fitting(c, agreed, p.m.ep.o.ConnWindow), s: s, r: r, remote: remote, agreed: agreed, dialled: dialled,
		began: time.Now(), ended: make(chan struct{}), whyNotUDP: why,
		detour: make(chan struct{}, 1), relayed: make(chan struct{}, maxRelayed),
		calling: make(chan struct{}, maxCalls), answering: make(chan struct{}, maxCalls), out: newOutbox(), asked: make(chan wire.InterestRequest, 1),
		answers: make(chan wire.Answer, 1),
	}
}

// preferred says whether the tunnel is the one of a pair that stays: dialled by
// the region with the smaller name.
func (t *tunnel) preferred() bool {
	ours, theirs := t.p.m.ep.o.Region, t.remote.Region
	if ours == theirs { // two homes of one region
		ours, theirs = string(t.p.m.id), t.remote.Home
	}
	return t.dialled == (ours < theirs)
}

// outranks says whether t stays although n, of the same two runs, was opened after
// it. Both sides answer alike.
func (t *tunnel) outranks(n *tunnel) bool {
	switch {
	case t.dialled == n.dialled: // its dialler gave it up, or moves
		return false
	case t.c.network() != n.c.network():
		return t.c.network().outranks(n.c.network())
	}
	return t.preferred()
}

func (t *tunnel) close(code uint64, reason string) { t.c.close(code, reason) }

// run serves the tunnel until it breaks or ctx ends, and returns why.
func (t *tunnel) run(ctx context.Context) error {
	g := group.New(ctx)
	g.Do(func(ctx context.Context) error { // reads and writes end with the connection, not with ctx
		select {
		case <-ctx.Done():
			t.closeFor(ctx)
			return nil
		case <-t.c.done():
			_, err := t.c.receive(ctx) // says why it was closed
			return err
		}
	})
	g.Do(t.watchHome)
	g.Do(t.watchHeard)
	g.Do(t.watchGateway)
	g.Do(func(ctx context.Context) error { return t.readControl(ctx, g) })
	g.Do(t.out.writeTo(t.s, &t.p.counts))
	g.Do(t.out.watch)
	g.Do(func(ctx context.Context) error { return t.acceptStreams(ctx, g, t.c.receive) })
	g.Do(func(ctx context.Context) error { return t.acceptStreams(ctx, g, t.receiveBoth) })
	g.Do(t.announce)
	g.Do(t.fit)
	t.begin(g)
	err := g.Wait()
	if b, ok := t.c.(*bundle); ok {
		return b.because(err)
	}
	return err
}

// begin starts what the tunnel is for.
func (t *tunnel) begin(g *group.Group) {
	switch {
	case t.purpose == wire.PurposeLink:
		g.Do(func(ctx context.Context) error { return t.runSenders(ctx, g) })
		g.Do(t.sendLive)
		g.Do(t.tellWanted)
		g.Do(t.sendCanaries)
	case t.purpose == wire.PurposeDrain && t.role == RoleFenced:
		g.Do(func(ctx context.Context) error { return t.runSenders(ctx, g) })
	case t.purpose == wire.PurposeShip && t.role == RoleHost:
		g.Do(t.runShipper)
	case t.purpose == wire.PurposeShip:
		g.Do(t.tellPosition)
	}
}

// errHomeChanged ends a tunnel whose home was closed or opened anew.
var errHomeChanged = errors.New("our home was closed, or opened anew")

// errStance ends a tunnel whose end here is not what it was: another role, or epoch.
func (t *tunnel) errStance() error {
	return refuse(wire.GoodbyeRole, "the copy of home %q in region %q is now: %s", t.p.m.id, t.p.m.ep.o.Region, t.p.m.o.Role())
}

// homePoll is how often a tunnel looks whether its home is still the same.
const homePoll = 500 * time.Millisecond

func (t *tunnel) watchHome(ctx context.Context) error {
	for t.st == nil || t.p.m.o.Home.State() == t.st {
		if now, err := t.p.stance(); err != nil || now != t.stance {
			return t.errStance()
		}
		if group.Pause(ctx, homePoll) != nil {
			return nil
		}
	}
	return errHomeChanged
}

// gatewayPoll is how often a tunnel looks whether this node is still the gateway,
// and gatewayLapse for how long it may be unsure: a node under load is at times,
// and is still the only one.
const (
	gatewayPoll  = 100 * time.Millisecond
	gatewayLapse = time.Second
)

// watchGateway ends a tunnel of a node that is not the gateway any more. It may
// not know why: a leader whose disk hangs, cut off from the others, believes that
// it leads.
func (t *tunnel) watchGateway(ctx context.Context) error {
	if t.p.m.o.Gateway == nil {
		return nil // the region's only node
	}
	sure := time.Now()
	for time.Since(sure) < gatewayLapse {
		if group.Pause(ctx, gatewayPoll) != nil {
			return nil
		}
		if t.p.m.gateway() {
			sure = time.Now()
		}
	}
	t.p.canaries.forget()
	return errNotGateway(t.p.m.ep.o.Region)
}

// closeFor tells the peer why, as far as it is the peer's business.
func (t *tunnel) closeFor(ctx context.Context) {
	cause := context.Cause(ctx)
	var no *refusal
	switch {
	case errors.As(cause, &no):
		t.close(no.code, no.reason)
	case errors.Is(cause, context.Canceled):
		t.close(wire.GoodbyeShutdown, "region "+t.p.m.ep.o.Region+" stops the link")
	case isBreach(cause):
		t.close(wire.GoodbyeProtocol, cause.Error())
	default:
		t.close(wire.GoodbyeFailed, "region "+t.p.m.ep.o.Region+" gave the tunnel up")
	}
}

// isBreach says that the peer broke the format or the protocol.
func isBreach(err error) bool {
	return errors.Is(err, wire.ErrCorrupt) || errors.Is(err, wire.ErrTooLarge) || errors.Is(err, errProtocol)
}

// errProtocol is wrapped by errors for what the format allows and the protocol
// does not.
var errProtocol = errors.New("the peer broke the protocol")

// readControl hands the control stream's messages to whom they concern.
func (t *tunnel) readControl(ctx context.Context, g *group.Group) error {
	for {
		m, err := wire.ReadControl(t.r)
		if err != nil {
			return fmt.Errorf("control stream: %w", err)
		}
		switch m := m.(type) {
		case *wire.Ack:
			t.p.counts.acksIn.Add(1)
			if s := t.senders.find(m.Class); s != nil {
				s.acked(m)
			}
		case *wire.Cursor:
			if s := t.senders.find(m.Class); s != nil {
				s.stands(m)
			}
		case *wire.InterestRequest:
			select { // the newest counts
			case <-t.asked:
			default:
			}
			t.asked <- *m
		case *wire.Question:
			t.answer(ctx, g, m)
		case *wire.Answer:
			t.heard(m)
		case *wire.Connections:
			t.heardWish(m)
		case *wire.Hosts:
			t.heardHosts(m)
		case *wire.ShipAt, *wire.ShipFrom, *wire.ShipAck:
			t.heardStandby(m)
		case *wire.Goodbye:
			return &closedError{m.Code, m.Reason}
		}
	}
}

// receiveBoth waits for a stream of both directions that the peer opens.
func (t *tunnel) receiveBoth(ctx context.Context) (receiveStream, error) {
	s, err := t.c.accept(ctx)
	return bothWays{s}, err
}

// acceptStreams serves the streams that the peer opens.
func (t *tunnel) acceptStreams(ctx context.Context, g *group.Group, next func(context.Context) (receiveStream, error)) error {
	for {
		s, err := next(ctx)
		if err != nil {
			return err
		}
		g.Do(func(ctx context.Context) error {
			err := t.serveStream(ctx, s)
			s.refuse()
			if errors.Is(err, errStream) {
				return nil // the peer opens another
			}
			return err
		})
	}
}

// streamBuffer is the read buffer of a stream; frames are larger and pass it by.
const streamBuffer = 4 << 10

func (t *tunnel) serveStream(ctx context.Context, s receiveStream) error {
	r := bufio.NewReaderSize(s, streamBuffer)
	head, err := wire.ReadStreamHead(r)
	if err != nil {
		return err
	}
	switch {
	case head.Kind == wire.StreamSpool && t.takesSpool():
		return t.receiveSpool(ctx, s, r, head)
	case head.Kind == wire.StreamLive && t.purpose == wire.PurposeLink:
		return t.receiveLive(ctx, r)
	case head.Kind == wire.StreamInterest && t.purpose == wire.PurposeLink:
		return t.receiveInterest(ctx, r)
	case head.Kind == wire.StreamShip && t.purpose == wire.PurposeShip && t.role == RoleStandby:
		return t.receiveShip(ctx, r, head.Nonce)
	}
	switch head.Kind {
	case wire.StreamRelay:
		if both, ok := s.both(); ok {
			t.serveRelay(ctx, both, r, head.Path)
		}
	case wire.StreamCall:
		if both, ok := s.both(); ok {
			t.serveCall(ctx, both, r, head.Call)
		}
	case wire.StreamPadding:
		return t.discard(r, head)
	}
	return nil // of a later version: refused alone
}

// takesSpool says whether the peer may send what it spooled for us.
func (t *tunnel) takesSpool() bool {
	return t.purpose == wire.PurposeLink || t.purpose == wire.PurposeDrain && t.role == RoleHost
}
