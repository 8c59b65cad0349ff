package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// The opening of a tunnel: the dialling side sends Hello on the control stream;
// the accepting side answers Hello and then Welcome or Goodbye. Both check the
// other's Hello against its certificate and against the configured peer.

// refuseWait is how long the accepting side keeps a refused connection open, so
// that the reason arrives.
const refuseWait = time.Second

// refusal is an opening that one side does not agree to.
type refusal struct {
	code   uint64
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(code uint64, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// homeOf returns the state that a new tunnel works for. A home that is not open
// yet has no name; nothing may be told of it.
func (m *Manager) homeOf() (*home.State, error) {
	st := m.o.Home.State()
	if st.ID() == "" {
		return nil, errNotOpen(m.o.Region)
	}
	return st, nil
}

func errNotOpen(region string) error {
	return refuse(wire.GoodbyeFailed, "the home of region %q is not open yet", region)
}

func (m *Manager) hello(st *home.State) wire.Hello {
	h := wire.Hello{
		Min: wire.MinVersion, Max: wire.MaxVersion, Features: wire.Features,
		Region: m.o.Region, Home: string(st.ID()), Epoch: wireEpoch(st.Epoch()),
		Software: m.o.Software, Instance: m.instance, MaxMessage: uint64(m.o.MaxMessage),
	}
	if m.o.Leaf {
		h.Features |= wire.IsLeaf
	}
	return h
}

// gateway says whether this node may have tunnels now.
func (m *Manager) gateway() bool { return m.o.Gateway == nil || m.o.Gateway() }

func errNotGateway(region string) error {
	return refuse(wire.GoodbyeNotGateway, "this node of region %q has no links now: it does not lead, or cannot be sure that it does", region)
}

// expected says that an opening ended as openings do in a region of several
// nodes: its dialler tries them all and takes one.
func expected(err error) bool {
	var no *refusal
	var closed *closedError
	switch {
	case errors.As(err, &no):
		return no.code == wire.GoodbyeNotGateway
	case errors.As(err, &closed):
		return closed.code == wire.GoodbyeReplaced
	}
	return false
}

// check compares an opening with the certificate it came with and the peer that
// is configured.
func (p *peer) check(c conn, h wire.Hello) error {
	cfg := p.config()
	region, err := p.m.o.Identity.PeerRegion(c.tls())
	switch {
	case err != nil:
		return refuse(wire.GoodbyeIdentity, "identity: %v", err)
	case region != cfg.region():
		return refuse(wire.GoodbyeIdentity, "identity: wanted region %q, %s has a certificate of region %q", cfg.region(), c.remote(), region)
	case h.Region != region:
		return refuse(wire.GoodbyeIdentity, "identity: %s says it is region %q, its certificate is of %q", c.remote(), h.Region, region)
	case h.Home == "":
		return refuse(wire.GoodbyeFailed, "region %q has not opened its home yet", region)
	case h.Home != string(cfg.ID):
		return refuse(wire.GoodbyeIdentity, "region %q hosts home %q, the link is configured for home %q", region, h.Home, cfg.ID)
	}
	return nil
}

// dialOpening runs the dialling side's opening on a fresh connection.
func (p *peer) dialOpening(ctx context.Context, st *home.State, c conn) (*tunnel, error) {
	stop := context.AfterFunc(ctx, func() { c.close(wire.GoodbyeFailed, "the opening took too long") })
	defer stop()
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if !p.m.gateway() { // now: a peer that hears us gives up the tunnel it has
		return nil, errNotGateway(p.m.o.Region)
	}
	ours := p.m.hello(st)
	if _, err := s.Write(ours.Append(nil)); err != nil {
		return nil, fmt.Errorf("send the opening: %w", err)
	}
	r := bufio.NewReader(s)
	theirs, err := wire.ReadHello(r)
	if err != nil {
		return nil, opened(err)
	}
	if err := p.check(c, theirs); err != nil {
		return nil, err
	}
	agreed, err := wire.Agree(ours, theirs)
	if err != nil {
		return nil, refuse(wire.GoodbyeIncompatible, "%v", err)
	}
	answer, err := wire.ReadControl(r)
	switch a := answer.(type) {
	case *wire.Welcome:
		return newTunnel(p, st, c, s, r, theirs, agreed, true), nil
	case *wire.Goodbye:
		return nil, refuse(a.Code, "the peer refuses the tunnel: %s", a.Reason)
	}
	if err == nil {
		err = errors.New("the peer does not answer the opening")
	}
	return nil, opened(err)
}

// opened drops the wrapping of read errors that say it all by themselves.
func opened(err error) error {
	var closed *closedError
	if errors.As(err, &closed) {
		return closed
	}
	return err
}

// acceptOpening runs the accepting side's opening; adopt is asked before the
// peer is welcomed.
func (m *Manager) acceptOpening(ctx context.Context, c conn) (*tunnel, error) {
	stop := context.AfterFunc(ctx, func() { c.close(wire.GoodbyeFailed, "the opening took too long") })
	defer stop()
	s, err := c.accept(ctx)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(s)
	theirs, err := wire.ReadHello(r)
	if err != nil {
		return nil, err
	}
	st := m.o.Home.State()
	t, err := m.admit(st, c, s, r, theirs)
	ours := m.hello(st)
	out := ours.Append(nil)
	if err != nil {
		var no *refusal
		if errors.As(err, &no) {
			_, _ = s.Write(wire.AppendControl(out, &wire.Goodbye{Code: no.code, Reason: no.reason}))
			s.closeWrite()
		}
		return nil, err
	}
	if _, err := s.Write(wire.AppendControl(out, &wire.Welcome{Agreement: t.agreed})); err != nil {
		t.p.abandon(t)
		return nil, fmt.Errorf("answer the opening: %w", err)
	}
	return t, nil
}

// admit finds the peer that opens a tunnel and makes it the peer's tunnel.
func (m *Manager) admit(st *home.State, c conn, s control, r *bufio.Reader, theirs wire.Hello) (*tunnel, error) {
	region, err := m.o.Identity.PeerRegion(c.tls())
	if err != nil {
		return nil, refuse(wire.GoodbyeIdentity, "identity: %v", err)
	}
	p := m.peerOf(region)
	if st.ID() == "" {
		return nil, errNotOpen(m.o.Region)
	}
	if p == nil {
		return nil, refuse(wire.GoodbyeUnknownPeer, "region %q has no link to region %q: configure it there too", m.o.Region, region)
	}
	if err := p.check(c, theirs); err != nil {
		p.setDown(err)
		return nil, err
	}
	agreed, err := wire.Agree(m.hello(st), theirs)
	if err != nil {
		p.setDown(err)
		return nil, refuse(wire.GoodbyeIncompatible, "%v", err)
	}
	if !m.gateway() { // last: what it tells is of a home that leads now
		return nil, errNotGateway(m.o.Region)
	}
	t := newTunnel(p, st, c, s, r, theirs, agreed, false)
	if err := p.adopt(t); err != nil {
		return nil, err
	}
	return t, nil
}
