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

// stance is what our end of a tunnel is. A tunnel ends with it.
type stance struct {
	st      *home.State // nil of a tunnel for calls alone, and of a copy that stands by
	epoch   home.Epoch
	role    Role
	purpose wire.Purpose
}

// stance says what our end of a tunnel would be now, or why there may be none. A home
// that is not open yet has no name; nothing may be told of it.
func (p *peer) stance() (stance, error) {
	m := p.m
	s := stance{role: m.o.Role()}
	if s.purpose = p.key.purpose; s.purpose == wire.PurposeCalls {
		if s.role != RoleWitness {
			s.role = RoleHost // a region is called, whatever its copies are by then
		}
		return s, p.spare()
	}
	if s.purpose == wire.PurposeShip && p.key.region == "" {
		if s.role != RoleStandby { // its copy may be empty, and gets its epochs from the host
			return s, errRole(m.ep.o.Region, m.id, s.role)
		}
		return s, nil
	}
	s.st = m.o.Home.State()
	if s.st.ID() == "" {
		return s, refuse(wire.GoodbyeFailed, "the home of region %q is not open yet", m.ep.o.Region)
	}
	s.epoch = s.st.Epoch()
	if s.purpose == wire.PurposeLink && s.role == RoleFenced {
		s.purpose = wire.PurposeDrain
		return s, nil
	}
	if s.role != RoleHost {
		return s, errRole(m.ep.o.Region, m.id, s.role)
	}
	return s, nil
}

// spare says that a tunnel for calls alone is not needed: calls go by any tunnel to the region.
func (p *peer) spare() error {
	for t := range p.m.ep.tunnels(p.key.region) {
		if t.purpose != wire.PurposeCalls {
			return refuse(wire.GoodbyeRole, "calls between regions %q and %q go by another tunnel", p.m.ep.o.Region, p.key.region)
		}
	}
	return nil
}

// stands is our end of a tunnel that there may not be.
func (m *Manager) stands(purpose wire.Purpose) *stance {
	s := &stance{role: m.o.Role(), purpose: purpose}
	if m.o.Home != nil {
		s.st = m.o.Home.State()
		s.epoch = s.st.Epoch()
	}
	return s
}

func errRole(region string, id home.ID, role Role) error {
	return refuse(wire.GoodbyeRole, "the copy of home %q in region %q is not what the tunnel is for: %s", id, region, role)
}

// far is what the other end of a tunnel must be, given ours.
func (s *stance) far() Role {
	if s.purpose == wire.PurposeDrain && s.role == RoleHost {
		return RoleFenced
	}
	if s.purpose == wire.PurposeShip && s.role == RoleHost {
		return RoleStandby
	}
	return RoleHost
}

func (m *Manager) hello(s *stance, to home.ID) wire.Hello {
	h := m.ep.hello()
	h.Role, h.Purpose = s.role, s.purpose
	switch {
	case s.role == RoleStandby:
		h.Home, h.Epoch = string(m.id), wireEpoch(m.o.Home.State().Epoch())
	case s.st != nil:
		h.Home, h.Epoch = string(s.st.ID()), wireEpoch(s.epoch)
	}
	h.Instance, h.MaxMessage = m.instance, uint64(m.o.MaxMessage)
	h.To, h.Known = string(to), wireEpoch(m.ep.knownEpoch(to))
	return h
}

// hello is what each opening says.
func (e *Endpoint) hello() wire.Hello {
	h := wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Features: wire.Features, Region: e.o.Region, Software: e.o.Software}
	if e.o.Leaf {
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
		return no.code == wire.GoodbyeNotGateway || no.code == wire.GoodbyeRole
	case errors.As(err, &closed):
		return closed.code == wire.GoodbyeReplaced
	}
	return false
}

// mayDial says why there must be no dial now.
func (p *peer) mayDial() error {
	if _, err := p.stance(); err != nil {
		return err
	}
	if !p.m.gateway() {
		return errNotGateway(p.m.ep.o.Region)
	}
	return nil
}

// identify compares an opening with the certificate it came with. wanted is the region
// that was dialled.
func (e *Endpoint) identify(c conn, h *wire.Hello, wanted string) error {
	region, err := e.o.Identity.PeerRegion(c.tls())
	switch {
	case err != nil:
		return refuse(wire.GoodbyeIdentity, "identity: %v", err)
	case wanted != "" && region != wanted:
		return refuse(wire.GoodbyeIdentity, "identity: wanted region %q, %s has a certificate of region %q", wanted, c.remote(), region)
	case h.Region != region:
		return refuse(wire.GoodbyeIdentity, "identity: %s says it is region %q, its certificate is of %q", c.remote(), h.Region, region)
	}
	return nil
}

// check compares an opening, whose region is what its certificate says, with the peer
// that is configured.
func (p *peer) check(s *stance, h *wire.Hello) error {
	cfg := p.config()
	if s.purpose == wire.PurposeCalls {
		return nil
	}
	switch {
	case h.Home == "":
		return refuse(wire.GoodbyeFailed, "region %q has not opened its home yet", h.Region)
	case h.Home != string(cfg.ID):
		return refuse(wire.GoodbyeIdentity, "region %q hosts home %q, the link is configured for home %q", h.Region, h.Home, cfg.ID)
	case !p.mayBe(h.Region):
		return refuse(wire.GoodbyeIdentity, "region %q does not speak for home %q: it is not among its standbys as configured here", h.Region, h.Home)
	case h.Role != s.far():
		return errRole(h.Region, cfg.ID, h.Role)
	case h.Role == RoleHost:
		if known := p.m.ep.knownEpoch(cfg.ID); homeEpoch(h.Epoch).Compare(known) < 0 {
			return refuse(wire.GoodbyeSuperseded, "home %q is at epoch %s, region %q is still at %s", cfg.ID, known, h.Region, homeEpoch(h.Epoch))
		}
	}
	return nil
}

// dialOpening runs the dialling side's opening on a fresh connection to a region.
func (p *peer) dialOpening(ctx context.Context, s stance, c conn, region string) (*tunnel, error) {
	stop := context.AfterFunc(ctx, func() { c.close(wire.GoodbyeFailed, "the opening took too long") })
	defer stop()
	w, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if !p.m.gateway() { // now: a peer that hears us gives up the tunnel it has
		return nil, errNotGateway(p.m.ep.o.Region)
	}
	ours := p.m.hello(&s, p.config().ID)
	if _, err := w.Write(ours.Append(nil)); err != nil {
		return nil, fmt.Errorf("send the opening: %w", err)
	}
	r := bufio.NewReader(w)
	theirs, err := wire.ReadHello(r)
	if err != nil {
		return nil, opened(err)
	}
	if err := p.m.ep.identify(c, &theirs, region); err != nil {
		return nil, err
	}
	p.m.ep.heard(p.m, &theirs)
	if err := p.check(&s, &theirs); err != nil {
		return nil, err
	}
	agreed, err := wire.Agree(ours, theirs)
	if err != nil {
		return nil, refuse(wire.GoodbyeIncompatible, "%v", err)
	}
	answer, err := wire.ReadControl(r)
	switch a := answer.(type) {
	case *wire.Welcome:
		return newTunnel(p, s, c, w, r, theirs, agreed, true), nil
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
func (e *Endpoint) acceptOpening(ctx context.Context, c conn) (*tunnel, error) {
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
	a := &admission{e: e, c: c, theirs: theirs, ours: e.hello()}
	t, err := a.admit(s, r)
	out := a.ours.Append(nil)
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
