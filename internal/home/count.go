package home

import (
	"slices"
	"strings"
)

// counts are kept up rather than counted when asked: a home has millions of
// sessions, and who walks them holds up Apply.
type counts struct {
	attached    int
	queued      int
	queuedBytes uint64
	spaces      map[string]*SessionCount // those that have sessions
	bySpace     map[string]uint64        // queued bytes of namespaces that have some
}

// SessionCount counts the sessions of a namespace.
type SessionCount struct {
	Namespace          string
	Attached, Detached int
}

// admit adds a session, which nobody owns yet.
func (s *State) admit(x *session) {
	s.sessions[x.key] = x
	c := s.counts.spaces[x.key.Namespace]
	if c == nil {
		c = &SessionCount{Namespace: x.key.Namespace}
		s.counts.spaces[c.Namespace] = c
	}
	c.Detached++
	s.list(x)
}

// dismiss removes a session, which nobody owns any more.
func (s *State) dismiss(x *session) {
	delete(s.sessions, x.key)
	s.unlist(x)
	c := s.counts.spaces[x.key.Namespace]
	if c.Detached--; c.Attached+c.Detached == 0 {
		delete(s.counts.spaces, c.Namespace)
	}
}

// moved counts a session that was attached or detached.
func (c *counts) moved(x *session) {
	by := -1
	if x.attached() {
		by = 1
	}
	c.attached += by
	at := c.spaces[x.key.Namespace]
	at.Attached += by
	at.Detached -= by
}

// waits counts a reference that came to a queue (by 1) or left one (by -1).
func (c *counts) waits(m *message, by int) {
	c.queued += by
	c.queuedBytes += uint64(by * int(m.size))
	if n := c.bySpace[m.Namespace] + uint64(by*int(m.size)); n > 0 {
		c.bySpace[m.Namespace] = n
	} else {
		delete(c.bySpace, m.Namespace)
	}
}

// AttachedIn counts the sessions of a namespace that have a connection.
func (s *State) AttachedIn(namespace string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.counts.spaces[namespace]; c != nil {
		return c.Attached
	}
	return 0
}

// Attached says whether a session has a connection.
func (s *State) Attached(k SessionKey) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.sessions[k]
	return x != nil && x.attached()
}

// SessionCounts counts sessions by namespace.
func (s *State) SessionCounts() []SessionCount {
	s.mu.RLock()
	list := make([]SessionCount, 0, len(s.counts.spaces))
	for _, c := range s.counts.spaces {
		list = append(list, *c)
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b SessionCount) int { return strings.Compare(a.Namespace, b.Namespace) })
	return list
}
