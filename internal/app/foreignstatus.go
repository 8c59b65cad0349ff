package app

import (
	"strings"

	"causeway/internal/admin"
	"causeway/link"
	"causeway/link/foreign"
)

// foreignLinks describes the links to brokers of another make.
func (n node) foreignLinks() (list []admin.Link) {
	if n.a.foreign == nil {
		return nil
	}
	for _, s := range n.a.foreign.Status() {
		list = append(list, n.foreignLink(s))
	}
	return list
}

func (n node) foreignLink(s foreign.Status) admin.Link {
	out := admin.Link{Kind: admin.LinkKindMQTT, Peer: s.Name, Name: s.Name, State: string(s.State), Reason: s.Reason, Since: s.Since.UTC(), Address: s.Address,
		Dialled: true, Connections: s.Connected, RTTSeconds: admin.SecondsOf(s.Canaries.RoundTrip), LagSeconds: admin.SecondsOf(s.LagAge), LagMessages: s.LagMessages,
		SpoolMessages: s.LagMessages, SpoolBytes: int64(s.LagBytes), DialFailures: int64(s.Counters.DialFailures), SlowedSeconds: admin.SecondsOf(s.Counters.Slowed), Bytes: []admin.LinkBytes{
			{Direction: "out", Form: "wire", Bytes: int64(s.Counters.BytesOut)}, {Direction: "in", Form: "wire", Bytes: int64(s.Counters.BytesIn)}}}
	out.Transport, _, _ = strings.Cut(s.Address, "://")
	out.Cause = foreignCause(s)
	out.Foreign = n.foreignDetail(s)
	if c := s.Canaries; c.Known {
		out.Canary = &admin.LinkCanary{OutAgeSeconds: admin.SecondsOf(c.OutAge), InAgeSeconds: admin.SecondsOf(c.InAge), RoundTripSeconds: admin.SecondsOf(c.RoundTrip)}
	}
	if n.a.cluster != nil && !n.a.home.leads() {
		out.Canary = nil
		out.State, out.Cause, out.Reason = admin.LinkElsewhere, "", "the region's links are at the node that leads its home"
	}
	if h := n.a.home; !h.hosts() {
		out.Canary = nil
		out.State, out.Cause, out.Reason = admin.LinkElsewhere, "", "home "+string(h.id)+" is served by another region, and what it has for the broker waits there until the home is back"
	}
	if cfg := n.linkConfig(s.Name); cfg != nil && len(cfg.Out) > 0 {
		out.SpoolCapacityBytes = int64(cfg.Spool.Bytes)
	}
	if st, err := n.state(); err == nil {
		if l := st.LinkPolicy(s.Peer); l != nil {
			out.SpoolCapacityBytes, out.Pause = int64(l.SpoolBytes), n.pause(l)
		}
		if out.Pause != nil && out.State != admin.LinkElsewhere {
			out.State, out.Cause, out.Reason = admin.LinkPaused, "", ""
		}
		for _, sp := range st.SpoolInfo(s.Peer) {
			out.Dropped += int64(sp.Dropped)
		}
	}
	out.SpoolFullInSeconds = admin.SecondsOf(fullIn(s.LagBytes, uint64(out.SpoolCapacityBytes), s.LagAge))
	return out
}

func (n node) foreignDetail(s foreign.Status) *admin.LinkForeign {
	f := &admin.LinkForeign{Protocol: s.Protocol, Connections: s.Connections, ConnectionsUp: s.Connected, UnderWay: s.UnderWay,
		MessagesOut: int64(s.Counters.MessagesOut), MessagesIn: int64(s.Counters.MessagesIn), Again: int64(s.Counters.Again),
		PutOff: int64(s.Counters.PutOff), Bare: int64(s.Counters.Bare), CanaryReturns: s.Returns, Drops: []admin.LinkDrops{}}
	if cfg := n.linkConfig(s.Name); cfg != nil {
		f.Direction = string(cfg.Direction)
	}
	for _, r := range foreign.DropReasons() {
		if c := s.Counters.Dropped[r]; c > 0 {
			f.Drops = append(f.Drops, admin.LinkDrops{Reason: string(r), Count: int64(c)})
		}
	}
	return f
}

// foreignCause is why a link is down, in a word that can be a label.
func foreignCause(s foreign.Status) string {
	if s.State == link.Up {
		return ""
	}
	for _, c := range []struct{ in, word string }{
		{"the broker refuses", "refused"}, {"TLS", "identity"}, {"certificate", "identity"}, {"silent", "timeout"}, {"timeout", "timeout"},
		{"deadline", "timeout"}, {"refused", "refused"}, {"closed the connection", "cut"}, {"ends the connection", "cut"}, {"no room", "full"},
	} {
		if strings.Contains(s.Reason, c.in) {
			return c.word
		}
	}
	return string(s.State)
}
