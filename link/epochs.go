package link

import (
	"context"
	"slices"
	"strings"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// Which region hosts a home is said by the host itself: in its openings, and of all
// homes that it hosts on every tunnel. The highest epoch of a home that its host said
// counts. Anyone may say what it heard of the home at the other end; of that the
// callback is told, and nobody else.

// knownEpoch is the highest epoch of a home of which is known that it was begun.
func (e *Endpoint) knownEpoch(id home.ID) home.Epoch {
	e.mu.Lock()
	known := e.known[id]
	e.mu.Unlock()
	for _, m := range e.all() {
		if own := m.hosted(); m.id == id && own.Compare(known) > 0 {
			known = own
		}
	}
	return known
}

// hosted is the epoch at which our copy hosts; zero if it does not.
func (m *Manager) hosted() (epoch home.Epoch) {
	if m.o.Home == nil || m.o.Role() != RoleHost {
		return epoch
	}
	if st := m.o.Home.State(); st.ID() != "" {
		epoch = st.Epoch()
	}
	return epoch
}

func (e *Endpoint) hostsHere(id home.ID) bool {
	return slices.ContainsFunc(e.all(), func(m *Manager) bool { return m.id == id && m.hosted() != home.Epoch{} })
}

// heard takes what an opening to or from m says of epochs; the region in it is that of
// its certificate.
func (e *Endpoint) heard(m *Manager, h *wire.Hello) {
	if h.Role == RoleHost && h.Home != "" {
		e.learn(home.ID(h.Home), homeEpoch(h.Epoch), h.Region)
	}
	if home.ID(h.To) == m.id {
		m.told(homeEpoch(h.Known), h.Region)
	}
}

// learn takes what a region says of a home that it hosts.
func (e *Endpoint) learn(id home.ID, epoch home.Epoch, from string) {
	if epoch.Host != from || !e.speaks(from, id) {
		return
	}
	e.mu.Lock()
	higher := epoch.Compare(e.known[id]) > 0
	if higher {
		e.known[id] = epoch
	}
	e.mu.Unlock()
	for _, m := range e.all() {
		if m.id == id {
			m.told(epoch, from)
			if p := (*m.peers.Load())[linkKey{purpose: wire.PurposeShip, id: id}]; p != nil && higher {
				group.Wake(p.changed) // our copy stands by, and its host is known now
			}
		}
		if p := (*m.peers.Load())[linkTo(id)]; p != nil && higher {
			p.superseded(epoch)
		}
	}
}

// speaks says whether a region may host a home, as configured here.
func (e *Endpoint) speaks(region string, id home.ID) bool {
	return string(id) == region || slices.Contains(e.o.Hosts(id), region) ||
		slices.ContainsFunc(e.links(), func(p *peer) bool { return p.config().ID == id && p.mayBe(region) })
}

// told takes what a region says of our home.
func (m *Manager) told(epoch home.Epoch, from string) {
	if m.o.Home == nil {
		return
	}
	if st := m.o.Home.State(); st.ID() != "" && epoch.Compare(st.Epoch()) > 0 {
		m.o.Heard(m.id, epoch, from)
	}
}

// superseded ends the tunnel to a host that has a successor, which is dialled.
func (p *peer) superseded(by home.Epoch) {
	t := p.current()
	if t != nil && t.purpose == wire.PurposeLink && homeEpoch(t.remote.Epoch).Compare(by) < 0 {
		t.close(wire.GoodbyeSuperseded, "home "+string(p.config().ID)+" is at epoch "+by.String())
	}
	group.Wake(p.changed)
}

// announcePoll is how often is looked what homes this region hosts.
const announcePoll = 250 * time.Millisecond

// announce tells the peer what homes this region hosts.
func (t *tunnel) announce(ctx context.Context) error {
	if t.agreed.Features&wire.FeatureHomes == 0 {
		return nil
	}
	var told []wire.Source
	for {
		if now := t.p.m.ep.hosting(); !slices.Equal(now, told) {
			told = now
			t.out.hosts(wire.Hosts{Homes: now})
		}
		if group.Pause(ctx, announcePoll) != nil {
			return nil
		}
	}
}

// hosting lists the homes that this region hosts, by name.
func (e *Endpoint) hosting() (list []wire.Source) {
	for _, m := range e.all() {
		if epoch := m.hosted(); epoch != (home.Epoch{}) && len(list) < wire.MaxHosts {
			list = append(list, wire.Source{Home: string(m.id), Epoch: wireEpoch(epoch)})
		}
	}
	slices.SortFunc(list, func(a, b wire.Source) int { return strings.Compare(a.Home, b.Home) })
	return list
}

// heardHosts takes what homes the peer hosts.
func (t *tunnel) heardHosts(h *wire.Hosts) {
	for _, s := range h.Homes {
		t.p.m.ep.learn(home.ID(s.Home), homeEpoch(s.Epoch), t.remote.Region)
	}
}
