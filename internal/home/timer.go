package home

import (
	"cmp"
	"slices"
)

// timerKind orders what falls due at one instant; the order is part of the
// state machine, since it numbers messages.
type timerKind uint8

const (
	timerWill timerKind = iota
	timerSession
	timerRetained
	timerPause
)

// timer is a promise to look at something at a time. Nothing cancels one: what
// it looks at knows whether it is due. Those that were overtaken are swept when
// they are as many as the others, since a device that comes and goes leaves one
// behind each time, for as long as its session may last.
type timer struct {
	at    Time
	kind  timerKind
	key   SessionKey // session; or namespace and topic of a retained message; or a peer
	epoch SessionEpoch
}

func (t timer) compare(o timer) int {
	return cmp.Or(cmp.Compare(t.at, o.at), cmp.Compare(t.kind, o.kind),
		cmp.Compare(t.key.Namespace, o.key.Namespace), cmp.Compare(t.key.ClientID, o.key.ClientID),
		cmp.Compare(t.epoch, o.epoch))
}

// timers is a binary heap. Its order is total over contents, so a heap rebuilt
// from the store fires like the one that grew.
type timers []timer

func (h *timers) push(t timer) {
	*h = append(*h, t)
	q := *h
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if q[up].compare(q[i]) <= 0 {
			break
		}
		q[up], q[i] = q[i], q[up]
		i = up
	}
}

func (h *timers) pop() timer {
	q := *h
	top := q[0]
	last := len(q) - 1
	q[0] = q[last]
	q = q[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q); c++ {
			if q[c].compare(q[least]) < 0 {
				least = c
			}
		}
		if least == i {
			break
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
	*h = q
	return top
}

// arm adds a timer.
func (s *State) arm(t timer) {
	s.timers.push(t)
	if len(s.timers) > s.timerLimit {
		live := slices.DeleteFunc(s.timers, func(t timer) bool { return !s.due(t) })
		slices.SortFunc(live, timer.compare) // sorted is a heap
		s.timers = append(timers(nil), slices.Compact(live)...)
		s.timerLimit = roomFor(len(s.timers))
	}
}

// due says whether what a timer is for still waits for it.
func (s *State) due(t timer) bool {
	switch t.kind {
	case timerWill:
		x := s.sessions[t.key]
		return x != nil && x.epoch == t.epoch && x.willAt == t.at
	case timerSession:
		x := s.sessions[t.key]
		return x != nil && x.epoch == t.epoch && x.expireAt == t.at
	case timerPause:
		p := s.peers[ID(t.key.ClientID)]
		return p != nil && p.policy.Pause.On && p.policy.Pause.Until == t.at
	default:
		r := s.space(t.key.Namespace).retained.get(t.key.ClientID)
		return r != nil && r.msg != nil && r.msg.Expires == t.at
	}
}

// advance moves home time and does what fell due. Time never goes back.
func (s *State) advance(to Time) {
	if to <= s.time {
		return
	}
	s.time = to
	s.ring()
}

// ring does what fell due.
func (s *State) ring() {
	for len(s.timers) > 0 && s.timers[0].at <= s.time {
		t := s.timers.pop()
		if !s.due(t) {
			continue
		}
		switch t.kind {
		case timerWill:
			s.fireWill(s.sessions[t.key])
		case timerSession:
			s.endSession(s.sessions[t.key])
		case timerRetained:
			s.expireRetained(t.key.Namespace, t.key.ClientID)
		case timerPause:
			s.resumePeer(s.peers[ID(t.key.ClientID)])
		}
	}
}

// NextTimer returns when something falls due next.
func (s *State) NextTimer() (Time, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.timers) == 0 {
		return 0, false
	}
	return s.timers[0].at, true
}
