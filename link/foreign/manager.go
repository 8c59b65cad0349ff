package foreign

import (
	"context"
	"slices"
	"strings"
	"sync"

	"causeway/internal/group"
	"causeway/internal/home"
)

// Manager runs a node's links to foreign brokers. Forward and Spooled never block and may be called at any time, also
// before Run.
type Manager struct {
	o     Options             // fixed after New
	links map[home.ID]*linkTo // fixed after New
}

// New returns a Manager for the links in o. It opens nothing before Run.
func New(o Options) (*Manager, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m := &Manager{o: o.withDefaults(), links: map[home.ID]*linkTo{}}
	for _, cfg := range m.o.Links {
		m.links[cfg.peer()] = newLink(m, cfg)
	}
	return m, nil
}

// Run serves the links until ctx ends, which is not an error. It may be called again after it returned.
func (m *Manager) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, l := range m.links {
		all.Go(func() { m.o.Keep(ctx, "link "+l.cfg.Name, l.run) })
	}
	all.Wait()
	return nil
}

// Has says whether a peer is one of these links.
func (m *Manager) Has(id home.ID) bool { return m.links[id] != nil }

// Spooled says that a peer's spool grew: part of home.Sink.
func (m *Manager) Spooled(id home.ID) {
	if l := m.links[id]; l != nil {
		group.Wake(l.spooled)
	}
}

// Forward sends a message that is in no log: at most once, in the order of calls. It never blocks; a message that cannot
// go at once is dropped and counted. The message must not be changed afterwards.
func (m *Manager) Forward(id home.ID, msg *home.Message) {
	if l := m.links[id]; l != nil {
		l.forward(msg)
	}
}

// Status describes all links, by name.
func (m *Manager) Status() []Status {
	var list []Status
	for _, l := range m.links {
		list = append(list, l.status())
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}
