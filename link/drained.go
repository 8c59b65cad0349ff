package link

import (
	"fmt"

	"causeway/internal/home"
	"causeway/link/wire"
)

// Drained says whether everything that our copy, which is fenced, had for its peers is in
// their homes, and if not, of whom it still has something. What a peer has is known once
// there is a tunnel to it.
func (m *Manager) Drained() (bool, string) {
	st := m.o.Home.State()
	for k, p := range *m.peers.Load() {
		if k.purpose != wire.PurposeLink {
			continue
		}
		for _, info := range st.SpoolInfo(k.id) {
			if info.Messages+info.Canaries > 0 && !p.has(st, info.Class) {
				return false, fmt.Sprintf("%d messages of class %q may not be in home %q yet", info.Messages, info.Class, k.id)
			}
		}
	}
	return true, ""
}

// has says whether the peer acknowledged all of a class.
func (p *peer) has(st *home.State, class string) bool {
	p.mu.Lock()
	to := p.given[class]
	p.mu.Unlock()
	id := p.config().ID
	_, more := st.SpoolRun(id, class, to)
	return !more && len(st.Spool(id, class, to, 1, 1, nil)) == 0
}

// gave notes what the peer has of a class of a fenced copy, which trims nothing.
func (p *peer) gave(class string, to home.Seq) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == nil {
		p.given = map[string]home.Seq{}
	}
	p.given[class] = max(p.given[class], to)
}
