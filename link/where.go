package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"causeway/link/wire"
)

// Where the other end of a link may be: a home is hosted by the region it is named for,
// or by one of its standbys. All of their addresses are dialled in one round; who does
// not host says so, and of those who do the one with the highest epoch is right.

// candidate is an address of a region where the other end may be.
type candidate struct {
	endpoint string // as in Peer.Dial
	region   string
}

// target is a candidate whose name was resolved.
type target struct {
	net.Addr
	region string
}

// speakers lists the regions that may be at the other end: the one that the link is
// configured for, and those that may host that home, too.
func (p *peer) speakers() []string {
	e, cfg := p.m.ep, p.config()
	if p.key.region != "" {
		return []string{p.key.region}
	}
	list := []string{cfg.region()}
	for _, r := range e.o.Hosts(cfg.ID) {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	if p.key.purpose == wire.PurposeShip { // another copy than ours
		list = slices.DeleteFunc(list, func(r string) bool { return r == e.o.Region })
	}
	return list
}

// mayBe says whether a region may be at the other end.
func (p *peer) mayBe(region string) bool { return slices.Contains(p.speakers(), region) }

// candidates are the addresses to dial.
func (p *peer) candidates() (list []candidate) {
	own := p.m.ep.o.Region
	for _, region := range p.speakers() {
		if region == own && !p.m.ep.hostsHere(p.config().ID) {
			continue
		}
		for _, e := range p.m.addresses(region) {
			list = append(list, candidate{e, region})
		}
	}
	return list
}

// likely are the candidates of the region where the home is known to be hosted, or all
// of them where it is not known.
func (p *peer) likely() []candidate {
	all := p.candidates()
	host := p.m.ep.knownEpoch(p.config().ID).Host
	if there := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.region != host }); len(there) > 0 {
		return there
	}
	return all
}

// addresses are where a region is dialled: as the Manager says, or another one does, or
// the Endpoint.
func (m *Manager) addresses(region string) []string {
	for _, m := range append([]*Manager{m}, m.ep.all()...) {
		for _, p := range m.configuration() {
			if p.region() == region && len(p.Dial) > 0 {
				return p.Dial
			}
		}
	}
	if list := m.ep.o.Addresses(region); len(list) > 0 || region != m.ep.o.Region {
		return list
	}
	return m.ep.itself()
}

// itself are the addresses of our own sockets.
func (e *Endpoint) itself() (list []string) {
	for n, a := range map[network]net.Addr{overUDP: e.Addr(), overTCP: e.AddrTCP()} {
		if a == nil {
			continue
		}
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil {
			continue
		}
		ip := ap.Addr().Unmap()
		if ip.IsUnspecified() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		list = append(list, fmt.Sprintf("%s://%s", n, netip.AddrPortFrom(ip, ap.Port())))
	}
	return list
}
