package foreign

import (
	"causeway/internal/home"
	"causeway/routing"
)

// policy is what holds for the link now, as the home has it from the leader's node file. A link that only takes in is none of the home's peers; what the file says holds then.
func (l *linkTo) policy() *home.LinkPolicy {
	if p := l.m.o.Home.State().LinkPolicy(l.peer()); p != nil {
		return p
	}
	c := &l.cfg
	return &home.LinkPolicy{SetPeer: home.SetPeer{In: c.In, Out: c.Out, Never: c.Never, QoSMax: c.QoSMax, Retained: c.Retained}}
}

// mayGo says whether a topic goes out; an empty list of a policy means all, of the configuration nothing.
func (l *linkTo) mayGo(p *home.LinkPolicy, topic string) bool {
	return len(l.cfg.Out) > 0 && p.MayGo(topic)
}

// mayCome says whether a topic, as the broker names it, comes in.
func (l *linkTo) mayCome(p *home.LinkPolicy, topic string) bool {
	return len(l.cfg.In) > 0 && p.MayCome(topic) && len(p.InPrefix)+len(topic) <= routing.MaxBytes
}
