package home

import (
	"strings"

	"causeway/routing"
)

func (s *State) subscribe(op *Subscribe) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	codes := make([]byte, len(op.Filters))
	for i := range op.Filters {
		codes[i] = s.subscribeFilter(x, op.Filters[i])
	}
	return Outcome{Codes: codes}
}

const (
	codeFilterInvalid byte = 0x8F
	codeQuota         byte = 0x97
)

func (s *State) subscribeFilter(x *session, f Subscription) byte {
	if f.Denied != 0 {
		return f.Denied
	}
	name, rest, shared, err := routing.ParseShared(f.Filter)
	if err == nil {
		err = routing.ValidFilter(rest)
	}
	if err != nil {
		return codeFilterInvalid
	}
	old := x.subs[f.Filter]
	if old == nil && len(x.subs) >= int(s.config.Load().limits().Subscriptions) {
		return codeQuota
	}
	f.Filter = strings.Clone(f.Filter)
	sub := &subscription{Subscription: f}
	sp := s.space(x.key.Namespace)
	if shared {
		s.join(x, sub, old, name, rest)
	} else {
		sub.target = s.plainTarget(x, &f)
		sp.table.Add(f.Filter, sub.target)
		if old != nil {
			sp.table.Remove(f.Filter, old.target)
		} else {
			s.want(x.key.Namespace, f.Filter)
		}
	}
	if x.subs == nil {
		x.subs = map[string]*subscription{}
	}
	x.subs[f.Filter] = sub
	s.changes.sub(x, f.Filter)
	// [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; shared subscriptions get none.
	if !shared && (f.RetainHandling == 0 || f.RetainHandling == 1 && old == nil) {
		s.sendRetained(x, sub, rest)
	}
	return f.QoS
}

func (s *State) plainTarget(x *session, f *Subscription) *Target {
	return &Target{Session: x.key, Durable: !x.transient, QoS: f.QoS, NoLocal: f.NoLocal,
		RetainAs: f.RetainAsPublished, SubID: f.ID, session: x}
}

func (s *State) unsubscribe(op *Unsubscribe) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	codes := make([]byte, len(op.Filters))
	for i, f := range op.Filters {
		if !s.unsubscribeFilter(x, f) {
			codes[i] = byte(CodeNoSuchSub)
		}
	}
	return Outcome{Codes: codes}
}

func (s *State) unsubscribeFilter(x *session, filter string) bool {
	sub := x.subs[filter]
	if sub == nil {
		return false
	}
	delete(x.subs, filter)
	s.changes.sub(x, filter)
	if sub.member != nil {
		s.leave(x, sub.member)
		return true
	}
	s.space(x.key.Namespace).table.Remove(filter, sub.target)
	s.unwant(x.key.Namespace, filter)
	return true
}

// want and unwant keep the set of filters that this home asks its peers for.
func (s *State) want(ns, filter string) {
	if s.wanted.Add(ns, filter) {
		s.sink.Wanted()
	}
}

func (s *State) unwant(ns, filter string) {
	if s.wanted.Remove(ns, filter) {
		s.sink.Wanted()
	}
}
