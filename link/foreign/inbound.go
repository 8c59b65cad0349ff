package foreign

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/routing"
)

// inboundMax is how many messages a broker may have unacknowledged; one of 3.1.1 has a bound of its own.
const inboundMax = 1024

// inbound is what comes by one connection: each message is proposed to the home, and acknowledged once it is committed,
// in the order in which it came.
type inbound struct {
	c      *lane
	s      *conn
	on     bool
	epoch  home.SessionEpoch // of the link's session in the home
	acks   *acks
	sub    uint16 // packet id of the SUBSCRIBE under way
	topics []string
	broken chan error
	slow   *brake
}

var (
	errFenced = errors.New("another node has the link now")
	errNoRoom = errors.New("the region has no room for what the broker sends: a limit of its retained messages, or the spool of a peer, is reached")
)

// openInbound makes ready for what comes in. The home's session of the link remembers the QoS 2 ids of the broker's
// session, so it begins anew when that does.
func (c *lane) openInbound(ctx context.Context, s *conn) (*inbound, error) {
	in := &inbound{c: c, s: s, on: c.n == 0 && len(c.t.l.cfg.In) > 0, acks: c.acks, broken: make(chan error, 1), slow: newBrake()}
	if !in.on {
		return in, nil
	}
	o, err := c.t.proposeWait(ctx, &home.Attach{Session: home.LinkSession(c.t.l.peer()), CleanStart: !s.present, Expiry: math.MaxUint32})
	switch {
	case err != nil:
		return nil, fmt.Errorf("attach the link's session: %w", err)
	case o.Epoch == 0:
		return nil, errors.New("attach the link's session: the home has no room for another session")
	}
	in.epoch = o.Epoch
	in.subscribe()
	return in, nil
}

// subscribe asks for what the link takes. One of 3.1.1 sends what it retains at each SUBSCRIBE, so it is asked once.
func (in *inbound) subscribe() {
	cfg, c := &in.c.t.l.cfg, in.c
	if in.s.present && in.s.dialect.version != packet.V5 && c.t.subscribed {
		return
	}
	handling := byte(2)
	if cfg.Retained {
		handling = 1
	}
	var p packet.Subscribe
	for _, f := range cfg.In {
		p.Filters = append(p.Filters, packet.Subscription{Filter: f, QoS: cfg.QoSMax, NoLocal: true, RetainAsPublished: true, RetainHandling: handling})
	}
	if cfg.CanaryTopic != "" && len(cfg.Out) > 0 {
		p.Filters = append(p.Filters, packet.Subscription{Filter: cfg.CanaryTopic, QoS: 1, RetainHandling: 2})
	}
	for _, f := range p.Filters {
		in.topics = append(in.topics, f.Filter)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in.sub = c.free()
	c.ids[in.sub] = &flight{}
	p.PacketID = in.sub
	c.control = packet.AppendSubscribe(c.control, in.s.dialect.version, &p)
}

func (in *inbound) heed(ctx context.Context, h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return in.publish(ctx, h, body)
	case packet.PUBREL:
		return in.release(ctx, h, body)
	}
	return in.subscribed(body)
}

// subscribed reads what the broker says of each filter.
func (in *inbound) subscribed(body []byte) error {
	a, err := packet.DecodeSuback(body, in.s.dialect.version)
	if err != nil {
		return err
	}
	if a.PacketID != in.sub || in.sub == 0 || len(a.Codes) != len(in.topics) {
		return errors.New("the broker sent a SUBACK for no SUBSCRIBE")
	}
	for i, code := range a.Codes {
		if code.Failed() {
			in.c.t.l.setPart(fmt.Sprintf("the broker refuses the filter %q: %s", in.topics[i], code))
		}
	}
	in.c.mu.Lock()
	defer in.c.mu.Unlock()
	delete(in.c.ids, in.sub)
	in.sub = 0
	in.c.t.subscribed = true
	return nil
}

func (in *inbound) publish(ctx context.Context, h packet.Header, body []byte) error {
	var p packet.Publish
	if err := packet.DecodeServerPublish(h, body, in.s.dialect.version, &p); err != nil {
		return err
	}
	if p.TopicAlias != 0 {
		return errors.New("the broker uses a topic alias, which was not allowed")
	}
	l := in.c.t.l
	policy := l.policy()
	trail, forward := cutTrail(p.Forward)
	m := home.Message{Namespace: l.cfg.Namespace, Topic: string(p.Topic), Payload: p.Payload, Forward: forward, QoS: p.QoS,
		Retain: p.Retain && policy.Retained, Trail: trail}
	n := 0
	switch p.QoS {
	case 1:
		n = in.reserve(packet.PUBACK, p.PacketID)
	case 2:
		n = in.reserve(packet.PUBREC, p.PacketID)
	}
	if !in.takes(policy, &m, &p) {
		in.ready(n)
		return nil
	}
	m.Topic = policy.InPrefix + m.Topic
	l.counts.messagesIn.Add(1)
	not := append(regions(trail), l.peer())
	if p.QoS == 0 && !m.Retain {
		if p.MessageExpiry.Set {
			m.Expires = l.m.o.Home.State().Now().Add(time.Duration(p.MessageExpiry.Value) * time.Second)
		}
		l.m.o.Local.PublishFromForeign(&m, not)
		return nil
	}
	op := &home.Import{Namespace: m.Namespace, Trail: trail, Not: not, Publish: home.Publish{Session: home.LinkSession(l.peer()), Epoch: in.epoch,
		PacketID: p.PacketID, Topic: m.Topic, Payload: m.Payload, Forward: forward, Expiry: p.MessageExpiry.Value, QoS: p.QoS, Retain: m.Retain}}
	return in.c.t.propose(ctx, op, in.committed(n))
}

// skip acknowledges and drops a message that is too large, whose header was read: not acknowledged it would come again for
// ever. A broker of MQTT 5 was told the limit, and sends none.
func (in *inbound) skip(h packet.Header) error {
	r := in.s.r
	b, err := r.Peek(2)
	if err != nil {
		return err
	}
	topic := 2 + int(binary.BigEndian.Uint16(b))
	if topic+2 > h.Remaining {
		return errors.New("the broker sent a PUBLISH that ends in its topic")
	}
	if _, err := r.Discard(topic); err != nil {
		return err
	}
	if h.QoS() > 0 {
		if b, err = r.Peek(2); err != nil {
			return err
		}
		t := packet.PUBACK
		if h.QoS() == 2 {
			t = packet.PUBREC
		}
		in.ready(in.reserve(t, binary.BigEndian.Uint16(b)))
	}
	in.c.t.l.counts.drop(DropTooLarge, 1)
	_, err = io.CopyN(io.Discard, r, int64(h.Remaining-topic))
	return err
}

// takes says whether a message comes in; what does not is counted.
func (in *inbound) takes(policy *home.LinkPolicy, m *home.Message, p *packet.Publish) bool {
	l := in.c.t.l
	switch {
	case m.Topic == l.cfg.CanaryTopic && in.on:
		if l.canaryIn(m.Payload) {
			in.c.t.echoes.come.Store(true) // a bridge's own
		}
		return false
	case isCanary(m.Topic):
		return false
	case !in.on || !l.mayCome(policy, m.Topic) || routing.ValidTopic(m.Topic) != nil:
		l.counts.drop(DropPolicyIn, 1)
	case p.MessageExpiry.Set && p.MessageExpiry.Value == 0:
		l.counts.drop(DropExpired, 1)
	case l.loops(m.Trail), in.s.dialect.version != packet.V5 && in.c.t.echoes.heard(m):
		l.counts.drop(DropLoop, 1)
	default:
		return true
	}
	return false
}

// release answers a PUBREL once the home has forgotten the id.
func (in *inbound) release(ctx context.Context, h packet.Header, body []byte) error {
	a, err := packet.DecodeAck(h, body, in.s.dialect.version)
	if err != nil {
		return err
	}
	n := in.reserve(packet.PUBCOMP, a.PacketID)
	if !in.on {
		in.ready(n)
		return nil
	}
	return in.c.t.propose(ctx, &home.Release{Session: home.LinkSession(in.c.t.l.peer()), Epoch: in.epoch, PacketID: a.PacketID}, in.committed(n))
}

// committed acknowledges what the home has.
func (in *inbound) committed(n int) func(home.Outcome, error) {
	return func(o home.Outcome, err error) {
		switch {
		case err != nil:
		case o.Code == home.CodeVoid:
			err = errFenced
		case o.Code == home.CodeQuota:
			err = errNoRoom
		default:
			if o.Code == home.CodeTopicInvalid {
				in.c.t.l.counts.drop(DropPolicyIn, 1)
			}
			if n == 0 || !in.slow.take(n, o.Fill) {
				in.ready(n)
			}
			return
		}
		select {
		case in.broken <- err:
		default:
		}
	}
}

// watch ends the connection when what came by it cannot be taken in: it comes again by the next one.
func (in *inbound) watch(ctx context.Context) error {
	select {
	case err := <-in.broken:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (in *inbound) reserve(t packet.Type, id uint16) int {
	in.c.mu.Lock()
	defer in.c.mu.Unlock()
	return in.acks.reserve(t, id)
}

func (in *inbound) ready(n int) {
	in.c.mu.Lock()
	defer in.c.mu.Unlock()
	in.acks.ready(n)
	group.Wake(in.c.wake)
}
