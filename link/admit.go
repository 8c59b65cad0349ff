package link

import (
	"bufio"

	"causeway/internal/home"
	"causeway/link/wire"
)

// admission is one opening at the accepting side.
type admission struct {
	e      *Endpoint
	c      conn
	theirs wire.Hello
	ours   wire.Hello // the answer, whatever becomes of the opening
}

// admit finds the link that a peer opens a tunnel of and makes it the link's tunnel.
func (a *admission) admit(s control, r *bufio.Reader) (*tunnel, error) {
	e, theirs := a.e, &a.theirs
	m := e.wanted(theirs)
	if m == nil {
		return nil, refuse(wire.GoodbyeUnknownPeer, "region %q has no home here", e.o.Region)
	}
	a.ours = m.hello(m.stands(theirs.Purpose), home.ID(theirs.Home))
	if err := e.identify(a.c, theirs, ""); err != nil {
		return nil, err
	}
	if theirs.To != "" && m.id != home.ID(theirs.To) {
		return nil, refuse(wire.GoodbyeUnknownPeer, "region %q has no copy of home %q", e.o.Region, theirs.To)
	}
	p := m.peerFor(theirs)
	if p == nil {
		return nil, refuse(wire.GoodbyeUnknownPeer, "region %q has no link to region %q: configure it there too", e.o.Region, theirs.Region)
	}
	st, err := p.stance()
	a.ours = m.hello(&st, home.ID(theirs.Home))
	e.heard(m, theirs)
	if err != nil {
		return nil, err
	}
	if err := p.check(&st, theirs); err != nil {
		p.setDown(err)
		return nil, err
	}
	agreed, err := wire.Agree(a.ours, *theirs)
	if err != nil {
		p.setDown(err)
		return nil, refuse(wire.GoodbyeIncompatible, "%v", err)
	}
	if !m.running.Load() || !m.gateway() { // last: what it tells is of a home that leads now
		return nil, errNotGateway(e.o.Region)
	}
	t := newTunnel(p, st, a.c, s, r, *theirs, agreed, false)
	if err := p.adopt(t); err != nil {
		return nil, err
	}
	return t, nil
}

// wanted is the Manager of the copy that an opening is for, or else the one of our
// region's home, which is meant by who says no more.
func (e *Endpoint) wanted(h *wire.Hello) (found *Manager) {
	rank := 0
	for _, m := range e.all() {
		n := 1
		switch {
		case m.id == home.ID(h.To) && m.suits(h):
			n = 4
		case m.id == home.ID(h.To):
			n = 3
		case m.id == home.ID(e.o.Region):
			n = 2
		}
		if n > rank {
			found, rank = m, n
		}
	}
	return found
}

// suits says whether our copy is what an opening is for: of a home there may be two
// here, one that is fenced and another that stands by.
func (m *Manager) suits(h *wire.Hello) bool {
	s := stance{role: h.Role, purpose: h.Purpose}
	return m.o.Role() == s.far()
}

// peerFor is the link that an opening is of, nil if there is none.
func (m *Manager) peerFor(h *wire.Hello) *peer {
	id := home.ID(h.Home)
	k := linkTo(id)
	switch {
	case h.Purpose == wire.PurposeCalls:
		k = linkKey{purpose: wire.PurposeCalls, region: h.Region}
	case h.Purpose == wire.PurposeDrain && h.Role == RoleFenced:
		return m.source(id, h.Region)
	case h.Purpose == wire.PurposeShip && h.Role == RoleStandby:
		k = linkKey{wire.PurposeShip, m.id, h.Region}
	case h.Purpose == wire.PurposeShip:
		k = linkKey{purpose: wire.PurposeShip, id: m.id}
	}
	if p := (*m.peers.Load())[k]; p != nil || k.purpose != wire.PurposeLink {
		return p
	}
	for _, p := range *m.peers.Load() { // it is told what is wrong
		if p.key.purpose == wire.PurposeLink && p.config().region() == h.Region {
			return p
		}
	}
	return nil
}

// source is the link by which comes what a fenced copy of a peer's home still has.
func (m *Manager) source(id home.ID, region string) *peer {
	k := linkKey{wire.PurposeDrain, id, region}
	link := (*m.peers.Load())[linkTo(id)]
	if link == nil || !link.mayBe(region) || m.o.Role() != RoleHost {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sources[k] {
		m.sources[k] = true
		m.arrange()
	}
	return (*m.peers.Load())[k]
}

// exhausted forgets a source: there is no fenced copy, or it has nothing for us any more.
func (m *Manager) exhausted(k linkKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sources[k] {
		delete(m.sources, k)
		m.arrange()
	}
}

// lookForSources asks the other regions that may have hosted the home at the far end of t
// before whether they have anything left for us.
func (t *tunnel) lookForSources() {
	if t.purpose != wire.PurposeLink || t.remote.Epoch.Number < 2 {
		return // it has no former host
	}
	for _, region := range t.p.speakers() {
		if region != t.remote.Region {
			t.p.m.source(t.p.config().ID, region)
		}
	}
}
