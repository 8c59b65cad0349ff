package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"causeway/broker"
	"causeway/broker/packet"
	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/store"
	"causeway/link"
	"causeway/routing"
)

func (n node) Status() admin.Status {
	a := n.a
	st := admin.Status{Region: a.cfg.Region, Node: a.cfg.Node, StartedAt: a.started.UTC(), Links: n.Links(), Listeners: n.listeners(), Connections: n.connections(), Admission: n.admission(), CRLs: a.revocationLists()}
	for _, h := range a.homes {
		if r := h.current(); r != nil {
			st.Homes = append(st.Homes, h.status(r))
			st.Sessions = append(st.Sessions, h.sessionCounts(r.State())...)
		}
	}
	if free, ok, err := store.FreeBytes(a.opts.FS, a.cfg.DataDir); err == nil && ok {
		st.Stores = []admin.Store{n.spoolSpace(admin.Store{Name: "data", Path: a.cfg.DataDir, Bytes: n.storeBytes(), FreeBytes: int64(free)})}
	}
	return st
}

func (n node) admission() admin.Admission {
	a := n.a.broker.Admission()
	out := admin.Admission{PerSecond: a.PerSecond, Waiting: a.Waiting, Parked: a.Parked, DrainSeconds: a.Drain.Seconds(), Namespaces: []admin.QueueCount{}}
	if !a.Until.IsZero() {
		until := a.Until.UTC()
		out.Until = &until
	}
	for _, q := range a.ByName {
		out.Namespaces = append(out.Namespaces, admin.QueueCount{Namespace: q.Namespace, Count: q.Count})
	}
	return out
}

func (n node) storeBytes() int64 {
	if r := n.a.home.current(); r != nil {
		return r.Stats().StateBytes
	}
	return 0
}

func (h *homeService) sessionCounts(s *home.State) (list []admin.SessionCount) {
	for _, c := range s.SessionCounts() {
		list = append(list,
			admin.SessionCount{Home: string(h.id), Namespace: c.Namespace, State: "attached", Count: c.Attached},
			admin.SessionCount{Home: string(h.id), Namespace: c.Namespace, State: "detached", Count: c.Detached})
	}
	return list
}

func (n node) listeners() (list []admin.Listener) {
	stats := n.a.broker.Stats()
	for _, l := range n.a.cfg.Listeners {
		out := admin.Listener{Name: l.Name, Type: string(l.Type), Address: l.Listen, Namespace: l.Namespace, MaxConnections: l.MaxConnections}
		if addr := n.a.broker.Addr(l.Name); addr != nil {
			out.Open, out.Address = true, addr.String()
		} else {
			out.Error = "closed"
		}
		if s := stats.Listeners[l.Name]; s != nil {
			out.Connections = int(s.Open.Load())
		}
		list = append(list, out)
	}
	return list
}

var protocols = map[packet.Version]string{packet.V31: "3.1", packet.V311: "3.1.1", packet.V5: "5"}

func (n node) connections() (list []admin.ConnectionCount) {
	stats := n.a.broker.Stats()
	for _, l := range n.a.cfg.Listeners {
		s := stats.Listeners[l.Name]
		for v := packet.V31; s != nil && v <= packet.V5; v++ {
			if c := s.Connected[v].Load(); c > 0 {
				list = append(list, admin.ConnectionCount{Listener: l.Name, Protocol: protocols[v], Namespace: l.Namespace, Count: int(c)})
			}
		}
	}
	return list
}

func (n node) Counts() (c admin.Counts) {
	stats := n.a.broker.Stats()
	for name, l := range stats.Listeners {
		for r := range broker.ConnectResults {
			c.Connects = append(c.Connects, admin.ConnectsCount{Listener: name, Result: broker.ConnectResult(r).String(), Count: l.Connects[r].Load()})
		}
	}
	for r := range broker.EndReasons {
		c.Disconnects = append(c.Disconnects, admin.DisconnectsCount{Reason: broker.EndReason(r).String(), Count: stats.Disconnects[r].Load()})
	}
	for r := range broker.DropReasons {
		d := broker.Drop(r)
		c.Dropped = append(c.Dropped, admin.DroppedCount{Place: d.Place(), Reason: d.String(), Count: stats.Dropped[r].Load()})
	}
	for _, l := range n.a.cfg.Listeners {
		s := stats.Listeners[l.Name]
		if s == nil {
			continue
		}
		for q := range s.Sent {
			c.Messages = append(c.Messages, admin.MessagesCount{Sent: true, QoS: q, Namespace: l.Namespace, Count: s.Sent[q].Load()},
				admin.MessagesCount{QoS: q, Namespace: l.Namespace, Count: s.Received[q].Load()})
		}
	}
	for r := range broker.Takeovers {
		t := broker.Takeover(r)
		c.Takeovers = append(c.Takeovers, admin.TakeoversCount{Scope: t.Scope(), Result: t.String(), Count: stats.Takeovers[r].Load()})
	}
	for r := range roamResults {
		result := roamResult(r)
		c.Takeovers = append(c.Takeovers, admin.TakeoversCount{Scope: "peer", Result: result.String(), Count: n.a.roaming.results[result].Load()})
	}
	for _, l := range n.a.certs.lists() {
		if l.Status() != nil {
			c.CRLFailures = append(c.CRLFailures, admin.UseCount{Use: l.use, Count: l.Failures()})
		}
	}
	c.BytesIn, c.BytesOut = stats.BytesIn.Load(), stats.BytesOut.Load()
	n.regionCounts(&c)
	for _, h := range n.a.homes {
		c.Queues = append(c.Queues, h.queues.ages(h)...)
	}
	c.Objects = n.objectsCounts(stats)
	for _, h := range n.a.homes {
		if h.links == nil {
			continue
		}
		for _, l := range h.links.Status() {
			for r, count := range l.Counters.Dropped {
				c.Dropped = append(c.Dropped, admin.DroppedCount{Place: "link", Reason: string(r), Count: int64(count)})
			}
		}
	}
	if n.a.foreign != nil {
		for _, l := range n.a.foreign.Status() {
			for r, count := range l.Counters.Dropped {
				c.Dropped = append(c.Dropped, admin.DroppedCount{Place: "link", Reason: string(r), Count: int64(count)})
			}
		}
	}
	c.Dropped = sumDropped(c.Dropped)
	if r := n.a.home.current(); r != nil {
		st := r.Stats()
		c.Commits = []admin.Durations{durations(n.a.cfg.Region, st.Commit)}
		c.Fsyncs = []admin.Durations{durations("log", st.Fsync)}
	}
	return c
}

func durations(label string, h replica.Histogram) admin.Durations {
	return admin.Durations{Label: label, Bounds: h.Bounds, Counts: h.Counts, Sum: h.Sum}
}

// sumDropped adds up what several links dropped for one reason.
func sumDropped(list []admin.DroppedCount) []admin.DroppedCount {
	sums := map[[2]string]int64{}
	for _, d := range list {
		sums[[2]string{d.Place, d.Reason}] += d.Count
	}
	out := make([]admin.DroppedCount, 0, len(sums))
	for k, v := range sums {
		out = append(out, admin.DroppedCount{Place: k[0], Reason: k[1], Count: v})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Place+out[i].Reason < out[j].Place+out[j].Reason })
	return out
}

func (n node) ClientsAfter(after admin.Key, max int) ([]admin.Client, error) {
	var list []admin.Client
	n.a.broker.Clients(func(c broker.Client) bool {
		if out := n.client(c); out.Key().Compare(after) > 0 {
			list = append(list, out)
		}
		return true
	})
	slices.SortFunc(list, func(x, y admin.Client) int { return x.Key().Compare(y.Key()) })
	return list[:min(max, len(list))], nil
}

func (n node) Client(k admin.Key) (admin.Client, error) {
	for _, h := range n.a.homes {
		if c, ok := h.house.Client(sessionKey(k)); ok {
			return n.client(c), nil
		}
	}
	return admin.Client{}, admin.ErrNotFound
}

func (n node) client(c broker.Client) admin.Client {
	return admin.Client{Namespace: c.Session.Namespace, ClientID: c.Session.ClientID, Node: n.a.cfg.Node, Listener: c.Listener, Address: c.Remote,
		Username: c.Username, Protocol: protocols[c.Version], ConnectedAt: c.ConnectedAt.UTC(), KeepAliveSeconds: int(c.KeepAlive.Seconds()),
		CleanStart: c.CleanStart, InFlight: c.InFlight, Waiting: c.InMemory}
}

func (n node) Links() (list []admin.Link) {
	if n.a.home.links != nil {
		for _, s := range n.a.home.links.Status() {
			list = append(list, n.link(s))
		}
	}
	list = append(list, n.foreignLinks()...)
	slices.SortFunc(list, func(a, b admin.Link) int { return strings.Compare(a.Peer, b.Peer) })
	return list
}

func (n node) link(s link.Status) admin.Link {
	cfg := n.linkConfig(string(s.Peer))
	out := admin.Link{Kind: admin.LinkKindRegion, Peer: string(s.Peer), State: string(s.State), Reason: s.Reason, Since: s.Since.UTC(), Address: s.Address, Dialled: s.Dialled,
		RTTSeconds: admin.SecondsOf(s.RTT), LagSeconds: admin.SecondsOf(s.LagAge), LagMessages: s.LagMessages, SpoolMessages: s.LagMessages,
		SpoolBytes: int64(s.LagBytes), Bytes: []admin.LinkBytes{
			{Direction: "out", Form: "raw", Bytes: int64(s.Counters.RawOut)}, {Direction: "out", Form: "wire", Bytes: int64(s.Counters.WireOut)},
			{Direction: "in", Form: "raw", Bytes: int64(s.Counters.RawIn)}, {Direction: "in", Form: "wire", Bytes: int64(s.Counters.WireIn)},
			{Direction: "out", Form: "transport", Bytes: int64(s.BytesSent)}, {Direction: "in", Form: "transport", Bytes: int64(s.BytesRecv)}}}
	out.Leaf = s.Leaf
	out.Transport, out.TransportReason, out.Via = s.Network, s.WhyNotUDP, s.Via
	out.Connections, out.ConnectionsReason = s.Connections, s.WhyConnections
	out.Relayed, out.RelayRefused = relayed(s)
	if c := s.Canary; c.Known {
		out.Canary = &admin.LinkCanary{OutAgeSeconds: admin.SecondsOf(c.OutAge), InAgeSeconds: admin.SecondsOf(c.InAge), RoundTripSeconds: admin.SecondsOf(c.RoundTrip)}
	}
	out.Cause = cause(s)
	if n.a.cluster != nil && !n.a.home.leads() {
		out.Canary = nil
		out.State, out.Cause, out.Reason = admin.LinkElsewhere, "", "the region's links are at the node that leads its home"
	}
	out.TunnelsTCP, out.TunnelsRelay = int64(s.Counters.TunnelsTCP), int64(s.Counters.TunnelsRelay)
	out.TunnelsUDP = int64(s.Counters.Tunnels) - out.TunnelsTCP - out.TunnelsRelay
	out.UDPProbes, out.DialFailures = int64(s.Counters.Probes), int64(s.Counters.DialFailures)
	if cfg != nil {
		out.Name, out.SpoolCapacityBytes = cfg.Name, int64(cfg.Spool.Bytes)
	}
	if st, err := n.state(); err == nil {
		if l := st.LinkPolicy(s.Peer); l != nil {
			out.SpoolCapacityBytes, out.Pause = int64(l.SpoolBytes), n.pause(l)
		}
		for _, sp := range st.SpoolInfo(s.Peer) {
			out.Dropped += int64(sp.Dropped)
		}
	}
	if out.Pause != nil && out.State == admin.LinkUp {
		out.State = admin.LinkPaused
	}
	out.ThrottledSeconds, out.SlowedSeconds = admin.SecondsOf(s.Counters.Throttled), admin.SecondsOf(s.Counters.Slowed)
	out.SpoolFullInSeconds = admin.SecondsOf(fullIn(s.LagBytes, uint64(out.SpoolCapacityBytes), s.LagAge))
	return out
}

// paceAfter is how old a backlog must be before its pace says anything.
const paceAfter = 10 * time.Second

// fullIn says when a spool that holds so many bytes after an age is full; 0 if
// that cannot be said.
func fullIn(bytes, capacity uint64, age time.Duration) time.Duration {
	if age < paceAfter || bytes == 0 || bytes >= capacity {
		return 0
	}
	return time.Duration(min(float64(age)*float64(capacity-bytes)/float64(bytes), float64(maxFullIn)))
}

// maxFullIn is as good as never.
const maxFullIn = 10 * 365 * 24 * time.Hour

// cause is the reason in a word that can be a label: why the link is down, or why it
// is up and not over UDP.
func cause(s link.Status) string {
	if s.State == link.Up {
		switch {
		case s.WhyNotUDP == "":
			return ""
		case s.Via != "":
			return "relayed"
		case strings.HasPrefix(s.WhyNotUDP, "the path loses"):
			return "lossy_path"
		case strings.HasPrefix(s.WhyNotUDP, "UDP"):
			return "udp_blocked"
		case s.Dialled:
			return "tcp_only"
		}
		return "peer_dialled"
	}
	for _, c := range []struct{ in, word string }{
		{"certificate", "identity"}, {"identity", "identity"}, {"no tunnel to region", "relay"}, {"silent", "timeout"}, {"timeout", "timeout"}, {"no answer", "timeout"},
		{"refused", "refused"}, {"cut", "cut"}, {"restarted", "restarted"}, {"waiting", "waiting"},
	} {
		if strings.Contains(s.Reason, c.in) {
			return c.word
		}
	}
	return string(s.State)
}

func (n node) linkConfig(peer string) *config.Link {
	for i := range n.a.cfg.Links {
		if n.a.cfg.Links[i].Peer == peer {
			return &n.a.cfg.Links[i]
		}
	}
	return nil
}

func (n node) Link(peer string) (admin.LinkDetail, error) {
	var d admin.LinkDetail
	i := slices.IndexFunc(n.Links(), func(l admin.Link) bool { return l.Peer == peer })
	if i < 0 {
		return d, admin.ErrNotFound
	}
	d.Link = n.Links()[i]
	if cfg := n.linkConfig(peer); cfg != nil { // until the home knows the peer
		fillPolicy(&d, setPeerOp(cfg))
	}
	s, err := n.state()
	if err != nil {
		return d, nil // the link is known without its home
	}
	if l := s.LinkPolicy(home.ID(peer)); l != nil {
		fillPolicy(&d, &l.SetPeer)
	}
	if p, ok := s.Peer(home.ID(peer)); ok {
		d.Interest = admin.LinkInterest{Epoch: p.Epoch.Number, Version: p.Version, Filters: p.Filters}
	}
	d.Spools = n.spoolClasses(s, peer)
	for _, c := range s.Cursors(home.ID(peer)) {
		d.Cursors = append(d.Cursors, admin.LinkCursor{Home: string(c.Source.Home), Epoch: c.Source.Epoch.Number, Class: c.Class, Seq: uint64(c.At)})
	}
	return d, nil
}

// Route asks the same table that deliveries use.
func (n node) Route(namespace, topic string, max int) (admin.Route, error) {
	s, err := n.state()
	if err != nil {
		return admin.Route{}, err
	}
	if err := routing.ValidTopic(topic); err != nil {
		return admin.Route{}, admin.Refuse("topic_invalid", err.Error(), "name a topic without wildcards")
	}
	r := admin.Route{Namespace: namespace, Topic: topic, Ack: policyName(s.PolicyOf(topic)), AckFilter: ackFilter(s, topic)}
	targets := map[string]admin.Target{}
	rule, refused := s.ResidencyOf(namespace, topic, string(s.ID()))
	for _, t := range s.Match(namespace, topic, nil) {
		target := n.target(s, t, namespace, topic)
		if refused {
			target.Sends, target.Reason = false, "publishers are refused: residency keeps "+rule.Filter+" in "+orNone(rule.Regions)
		}
		key := target.Kind + "\x00" + target.Name
		if old, ok := targets[key]; !ok || old.QoS < target.QoS {
			targets[key] = target
		}
	}
	for _, t := range targets {
		switch {
		case t.Kind == "session":
			r.Sessions++
		case t.Kind == "group":
			r.Groups++
		case t.Sends:
			r.Peers++
		}
		r.Targets = append(r.Targets, t)
	}
	slices.SortFunc(r.Targets, func(x, y admin.Target) int {
		return admin.Key{Namespace: x.Kind, Name: x.Name}.Compare(admin.Key{Namespace: y.Kind, Name: y.Name})
	})
	if len(r.Targets) > max {
		r.Targets, r.Truncated = r.Targets[:max], true
	}
	return r, nil
}

func ackFilter(s *home.State, topic string) string {
	for _, a := range s.Config().Acks {
		if routing.Matches(a.Filter, topic) {
			return a.Filter
		}
	}
	return ""
}

// orNone writes a list of names.
func orNone(names []string) string {
	if len(names) == 0 {
		return "no region"
	}
	return strings.Join(names, ", ")
}

func (n node) target(s *home.State, t *home.Target, ns, topic string) admin.Target {
	switch {
	case t.Peer != "":
		out := admin.Target{Kind: "peer", Name: string(t.Peer), QoS: 2, Sends: true, Reason: "a session there subscribed"}
		if !s.MayGo(t.Peer, topic) {
			out.Sends, out.Reason = false, "a session there subscribed, but the link's out or never filters hold it back"
		}
		if rule, denied := s.ResidencyOf(ns, topic, string(t.Peer)); denied {
			out.Sends, out.Reason = false, "a session there subscribed, but residency keeps "+rule.Filter+" in "+orNone(rule.Regions)
		}
		return out
	case t.Group != nil:
		return groupTarget(t.Group, topic)
	}
	out := admin.Target{Kind: "session", Name: t.Session.String(), QoS: int(t.QoS), Sends: true, Reason: "subscribed, attached"}
	if info, ok := s.Session(t.Session); ok && info.Owner == (home.Owner{}) {
		out.Reason = "subscribed, away: QoS 1 and 2 are queued"
	}
	return out
}

func (n node) Config() (list []admin.ConfigValue) {
	var b bytes.Buffer
	f := n.a.home.objects.inForce()
	if err := config.Print(&b, f.cfg, n.a.sources.Load(), config.JSON); err != nil {
		return nil
	}
	var entries []struct {
		Key    string          `json:"key"`
		Value  json.RawMessage `json:"value"`
		Source string          `json:"source"`
	}
	if err := json.Unmarshal(b.Bytes(), &entries); err != nil {
		return nil
	}
	for _, e := range entries {
		if f.objects.Says(e.Key) {
			e.Source = fmt.Sprintf("region objects, revision %d; the node file is ignored", f.revision)
		}
		list = append(list, admin.ConfigValue{Key: e.Key, Value: plain(e.Value), Source: e.Source})
	}
	return list
}

// plain writes a value in one line, and text as it is.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var line bytes.Buffer
	if json.Compact(&line, value) != nil { // cannot be: it was read as JSON
		return string(value)
	}
	return line.String()
}
