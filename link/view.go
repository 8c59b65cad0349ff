package link

import (
	"encoding/json"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// View is how one side sees a link, told to the other one on request. It is for
// people; a field that is not known there is empty.
type View struct {
	Region   string  `json:"region"`
	Software string  `json:"software"`
	Wants    Wish    `json:"wants"` // of the other side
	Holds    Wish    `json:"holds"` // what the other side wants, as it is held here
	Canary   *Ages   `json:"canary,omitempty"`
	Messages int     `json:"messages"` // spooled for the other side
	Bytes    uint64  `json:"bytes"`
	Oldest   float64 `json:"oldest_seconds"`
	Held     string  `json:"held"` // why a class is not sent
	Paused   bool    `json:"paused"`
	// When the other side's certificate begins and ends.
	YourCertificateFrom  time.Time  `json:"your_certificate_from"`
	YourCertificateUntil time.Time  `json:"your_certificate_until"`
	Topic                *TopicView `json:"topic,omitempty"`
}

// Wish is a set of filters without the filters.
type Wish struct {
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
	Hi      uint64 `json:"hi,string"`
	Lo      uint64 `json:"lo,string"`
}

// Ages are those of canaries, in seconds.
type Ages struct {
	Out float64 `json:"out_seconds"`
	In  float64 `json:"in_seconds"`
}

// TopicView says what becomes of a message that comes by the link.
type TopicView struct {
	MayCome bool `json:"may_come"` // the link's policy and the rules of residency there let it in
	Wanted  bool `json:"wanted"`   // a session there subscribed
}

func (v *View) encode() []byte {
	b, err := json.Marshal(v)
	if err != nil { // it has nothing that could fail
		return nil
	}
	return b
}

// view is how this side sees the link.
func (t *tunnel) view(q *wire.Question) *View {
	cfg, st, policy := t.p.config(), t.st, t.policy()
	v := &View{Region: t.p.m.ep.o.Region, Software: t.p.m.ep.o.Software, Wants: t.wants(), Holds: t.holds()}
	if c := t.p.canaries.status(time.Now()); c.Known {
		v.Canary = &Ages{c.OutAge.Seconds(), c.InAge.Seconds()}
	}
	if info, ok := st.Peer(cfg.ID); ok {
		v.Messages, v.Bytes = info.Spooled, info.Bytes
		if info.Oldest != 0 {
			v.Oldest = max(0, st.Now().Sub(info.Oldest)).Seconds()
		}
	}
	v.Held, v.Paused = t.p.whyHeld(), policy.Paused()
	if chain := t.c.tls().PeerCertificates; len(chain) > 0 {
		v.YourCertificateFrom, v.YourCertificateUntil = chain[0].NotBefore.UTC(), chain[0].NotAfter.UTC()
	}
	if q.Topic != "" {
		here, why := hereTopic(policy, q.Topic)
		if why == "" && !st.MayLeave(q.Namespace, here, string(st.ID())) {
			why = DropResidency
		}
		v.Topic = &TopicView{MayCome: why == "", Wanted: why == "" && wantsTopic(st, q.Namespace, here)}
	}
	return v
}

// wants is what this side asks of the peer.
func (t *tunnel) wants() Wish {
	policy := t.policy()
	if policy == nil { // the home does not know the peer
		return Wish{}
	}
	version, d := newWants(t.st, policy, t.st.ID(), t.agreed.Groups()).digest()
	return Wish{t.st.Epoch().Number, version, d.Hi, d.Lo}
}

// holds is what the peer wants, as our home has it.
func (t *tunnel) holds() Wish {
	id := t.p.config().ID
	info, _ := t.st.Peer(id)
	version, d, _ := t.st.PeerDigest(id)
	return Wish{info.Epoch.Number, version, d.Hi, d.Lo}
}

// wantsTopic says whether a session or group of a home wants a topic.
func wantsTopic(st *home.State, ns, topic string) bool {
	for _, x := range st.Match(ns, topic, nil) {
		if x.Peer == "" {
			return true
		}
	}
	return false
}
