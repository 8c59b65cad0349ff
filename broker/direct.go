package broker

import (
	"slices"
	"sync"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// Messages that are in no log: matched against the home's table here, delivered to connections of this node, forwarded
// to peers that want them.

// fanOut is the room one publish needs while it is matched.
type fanOut struct {
	targets []*home.Target
	to      []recipient
	peers   []crossing
	nodes   []home.NodeID // of the region, whose devices want it
	chosen  []directed    // members of shared subscriptions there
	index   map[*conn]int // into to, once it is long
}

// crossing is a peer that a message goes to, and what for.
type crossing struct {
	peer  home.ID
	claim home.Claim
}

// recipient is a connection and what it asked for, over all its filters that match: one copy, at the highest QoS, with
// all subscription identifiers. [MQTT-3.3.4-2], [MQTT-3.3.4-3]
type recipient struct {
	c        *conn
	qos      byte
	retainAs bool
	subs     []uint32
}

var fanOuts = sync.Pool{New: func() any { return &fanOut{} }}

func (f *fanOut) free() {
	clear(f.targets)
	clear(f.to)
	clear(f.chosen)
	clear(f.peers)
	f.targets, f.to, f.peers, f.nodes, f.chosen, f.index = f.targets[:0], f.to[:0], f.peers[:0], f.nodes[:0], f.chosen[:0], nil
	if cap(f.targets) <= 4096 {
		fanOuts.Put(f)
	}
}

// publishDirect delivers and forwards; it returns how many wanted the message. Nothing is copied when nobody does.
func (h *House) publishDirect(from *conn, topic string, kept bool, p *packet.Publish) int {
	f := fanOuts.Get().(*fanOut)
	defer f.free()
	f.targets = h.home.Match(from.key.Namespace, topic, f.targets)
	if len(f.targets) == 0 {
		return 0
	}
	n := h.resolve(f, &from.key, topic, p.QoS, nil)
	if len(f.to) == 0 && len(f.peers) == 0 && len(f.nodes) == 0 && len(f.chosen) == 0 {
		return n
	}
	body := make([]byte, 0, len(p.Payload)+len(p.Forward))
	body = append(append(body, p.Payload...), p.Forward...)
	m := &home.Message{
		Namespace: from.key.Namespace, Topic: from.keep(topic, kept), QoS: p.QoS,
		Payload: body[:len(p.Payload):len(p.Payload)],
	}
	if len(p.Forward) > 0 {
		m.Forward = body[len(p.Payload):]
	}
	if life := lifetime(p.MessageExpiry); life > 0 {
		m.Expires = h.home.Now().Add(time.Duration(life) * time.Second)
	}
	h.handOut(f, m)
	h.handOver(f, m)
	for _, x := range f.peers {
		from.traceForward(m, x.peer)
		h.forward.Forward(x.peer, m, x.claim)
	}
	return n
}

// handOver gives the message to the other nodes of the region that have devices for it.
func (h *House) handOver(f *fanOut, m *home.Message) {
	for _, n := range f.nodes {
		h.siblings.Deliver(n, m)
	}
	for _, d := range f.chosen {
		d.delivery.Message = m
		d.delivery.Retain = d.delivery.Retain && m.Retain
		h.siblings.DeliverTo(d.node, d.delivery)
	}
}

// DeliverFromPeer delivers a message that came by a link and is in no log to connections of this region, as far as it
// came for them. It is not forwarded to peers again: every region hears from the message's own region. [D6] m must not
// be written afterwards.
func (h *House) DeliverFromPeer(m *home.Message, c home.Claim) {
	f := fanOuts.Get().(*fanOut)
	defer f.free()
	f.targets = h.home.Match(m.Namespace, m.Topic, f.targets)
	self := h.home.Owner().Node
	for _, t := range f.targets {
		switch {
		case t.Peer != "":
		case t.Group != nil:
			if t.Group.Arrived(c) {
				h.addPick(f, t.Group, self, m.QoS)
			}
		case !c.Live || h.elsewhere(f, t.Owner().Node, self):
		default:
			h.addRecipient(f, t.Session, min(m.QoS, t.QoS), t.RetainAs, t.SubID, true)
		}
	}
	h.handOut(f, m)
	h.handOver(f, m)
}

// addPick adds a member of a shared subscription.
func (h *House) addPick(f *fanOut, g *home.Group, self home.NodeID, qos byte) {
	if m, ok := g.Pick(); ok {
		h.addMember(f, &m, self, min(qos, m.QoS))
	}
}

// choose adds who gets a message on behalf of a shared subscription: a member here, one region, or both.
func (h *House) choose(f *fanOut, to home.Choice, g *home.Group, self home.NodeID, qos byte) (n int) {
	if to.Here {
		n++
		h.addMember(f, &to.Member, self, min(qos, to.Member.QoS))
	}
	if to.Peer != "" {
		x, added := f.crossing(to.Peer)
		x.claim.Groups = append(x.claim.Groups, g.Text())
		n += added
	}
	return n
}

// resolve turns the targets of a message of this region into recipients and peers; it returns how many wanted it, here
// or not. Peers in not get nothing on behalf of a shared subscription.
func (h *House) resolve(f *fanOut, from *home.SessionKey, topic string, qos byte, not []home.ID) (n int) {
	self := h.home.Owner().Node
	for _, t := range f.targets {
		switch {
		case t.Peer != "":
			x, added := f.crossing(t.Peer)
			x.claim.Live = true
			n += added
		case t.Group != nil:
			n += h.choose(f, t.Group.Choose(topic, not), t.Group, self, qos)
		case t.NoLocal && from != nil && t.Session == *from: // [MQTT-3.8.3-3]
		case h.elsewhere(f, t.Owner().Node, self):
			n++
		default:
			n++
			h.addRecipient(f, t.Session, min(qos, t.QoS), t.RetainAs, t.SubID, true)
		}
	}
	return n
}

// elsewhere notes that another node has devices for the message; false: the session is this node's, or nobody's.
func (h *House) elsewhere(f *fanOut, node, self home.NodeID) bool {
	if node == "" || node == self {
		return false
	}
	if !slices.Contains(f.nodes, node) {
		f.nodes = append(f.nodes, node)
	}
	return true
}

// addMember adds the chosen member of a shared subscription, here or at another node.
func (h *House) addMember(f *fanOut, m *home.MemberInfo, self home.NodeID, qos byte) {
	if m.Owner.Node == self {
		h.addRecipient(f, m.Session, qos, m.RetainAs, m.SubID, false)
		return
	}
	d := home.Delivery{Session: m.Session, Epoch: m.Epoch, Owner: m.Owner, QoS: qos, Retain: m.RetainAs}
	if m.SubID != 0 {
		d.SubIDs = []uint32{m.SubID}
	}
	f.chosen = append(f.chosen, directed{m.Owner.Node, d})
}

// crossing returns the entry of a peer, and 1 if it is new.
func (f *fanOut) crossing(peer home.ID) (x *crossing, added int) {
	for i := range f.peers {
		if f.peers[i].peer == peer {
			return &f.peers[i], 0
		}
	}
	f.peers = append(f.peers, crossing{peer: peer})
	return &f.peers[len(f.peers)-1], 1
}

// addRecipient adds a connection. With merge it joins an earlier match of the same session.
func (h *House) addRecipient(f *fanOut, key home.SessionKey, qos byte, retainAs bool, sub uint32, merge bool) {
	c := h.sessions.get(key)
	if c == nil {
		if qos > 0 {
			h.s.stats.drop(DropAway, 1)
		}
		return
	}
	if r := f.find(c); merge && r != nil {
		r.qos, r.retainAs = max(r.qos, qos), r.retainAs || retainAs
		if sub != 0 {
			r.subs = append(r.subs, sub)
		}
		return
	}
	f.to = append(f.to, recipient{c: c, qos: qos, retainAs: retainAs})
	if sub != 0 {
		f.to[len(f.to)-1].subs = []uint32{sub}
	}
	if merge && f.index != nil {
		f.index[c] = len(f.to) - 1
	}
}

// fewRecipients is up to where a search beats a map.
const fewRecipients = 16

// find returns the recipient that stands for c already.
func (f *fanOut) find(c *conn) *recipient {
	if len(f.to) < fewRecipients {
		for i := range f.to {
			if f.to[i].c == c {
				return &f.to[i]
			}
		}
		return nil
	}
	if f.index == nil {
		f.index = make(map[*conn]int, 4*fewRecipients)
		for i := range f.to {
			f.index[f.to[i].c] = i
		}
	}
	if i, ok := f.index[c]; ok {
		return &f.to[i]
	}
	return nil
}

// handOut gives each recipient its copy, which is a reference.
func (h *House) handOut(f *fanOut, m *home.Message) {
	for i := range f.to {
		r := &f.to[i]
		r.c.deliver(item{msg: m, subs: r.subs, qos: r.qos, retain: r.retainAs && m.Retain, weak: true})
	}
}
