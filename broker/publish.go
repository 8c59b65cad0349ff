package broker

import (
	"strings"
	"time"
	"unsafe"

	"causeway/broker/packet"
	"causeway/internal/home"
	"causeway/internal/trace"
)

// handlePublish takes a message from the device: into the home's log, or straight to who wants it.
func (c *conn) handlePublish(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := packet.DecodePublish(h, body, c.v, &p); err != nil {
		return err
	}
	topic, kept, err := c.topicOf(&p)
	if err != nil {
		return err
	}
	if p.QoS > 0 && c.leaving.Load() {
		return nil // not acknowledged: the device sends it again to the node it goes to
	}
	c.l.stats.Received[p.QoS].Add(1)
	c.tracePublish(trace.Published, topic, &p)
	if !c.mayPublish(topic) {
		c.traceDenied(topic, &p)
		return c.refusePublish(&p)
	}
	if over, err := c.overRate(&p); over || err != nil {
		return err
	}
	policy := home.PolicyMemory
	if p.QoS > 0 {
		policy = c.house.home.PolicyOf(topic)
	}
	if c.direct(&p, policy) {
		return c.publishDirect(topic, kept, &p)
	}
	return c.publishLogged(topic, kept, &p, policy)
}

// topicOf resolves the topic alias. When kept is false the topic is a view of the packet and ends with it. [MQTT-3.3.2-8]
func (c *conn) topicOf(p *packet.Publish) (topic string, kept bool, err error) {
	if p.TopicAlias == 0 {
		return c.knownTopic(p.Topic)
	}
	if int(p.TopicAlias) > c.s.opt.TopicAliasMax {
		return "", false, &packet.Error{Code: packet.TopicAliasInvalid, Reason: "PUBLISH has a topic alias above the maximum"}
	}
	if c.aliases == nil {
		c.aliases = make([]string, c.s.opt.TopicAliasMax+1)
	}
	known := &c.aliases[p.TopicAlias]
	if len(p.Topic) > 0 {
		if *known != string(p.Topic) {
			*known = string(p.Topic)
		}
	} else if *known == "" {
		return "", false, &packet.Error{Code: packet.ProtocolError, Reason: "PUBLISH has a topic alias that stands for nothing"}
	}
	return *known, true, nil
}

// knownTopic avoids a copy of the topic for devices that publish to one.
func (c *conn) knownTopic(topic []byte) (string, bool, error) {
	if c.lastTopic == string(topic) {
		return c.lastTopic, true, nil
	}
	// Sound because the view is only compared and matched; keep copies it before it outlives the packet.
	return unsafe.String(unsafe.SliceData(topic), len(topic)), false, nil
}

// keep returns the topic as a string that may outlive the packet.
func (c *conn) keep(topic string, kept bool) string {
	if kept {
		return topic
	}
	c.lastTopic = strings.Clone(topic)
	return c.lastTopic
}

// mayPublish asks the access rules. Topics that begin with $ are the server's. (section 4.7.2)
func (c *conn) mayPublish(topic string) bool {
	return topic[0] != '$' && c.s.opt.Authenticator.Authorize(&c.who, topic, true)
}

// refusePublish drops a message the device may not publish. MQTT 5 says so in the acknowledgement; 3.x has no word for
// it and allows a positive one [MQTT-3.3.5-2 of 3.1.1]: closing would make the device send it for ever.
func (c *conn) refusePublish(p *packet.Publish) error {
	c.s.stats.drop(DropDenied, 1)
	if p.QoS == 2 && c.v == packet.V5 {
		return c.refuseExactlyOnce(p.PacketID, packet.NotAuthorized)
	}
	if err := c.waitForReader(); err != nil {
		return err
	}
	c.answerNow(p.PacketID, p.QoS, packet.NotAuthorized)
	return nil
}

// refuseExactlyOnce refuses a message once its id is free: it may have been taken before its PUBREC was lost, and a device
// that hears of an error sends no PUBREL. The home would take the next message of that id for this one. [MQTT-4.3.3]
func (c *conn) refuseExactlyOnce(id uint16, code packet.Code) error {
	const size = 64
	if err := c.reserve(size); err != nil {
		return err
	}
	c.mu.Lock()
	number := c.expect(id, 2)
	c.mu.Unlock()
	return c.proposeFor(size, &home.Release{Session: c.key, Epoch: c.epoch, PacketID: id}, false, func(home.Outcome) { c.decide(number, code) })
}

// direct says whether a message goes past the log: QoS 0, and QoS 1 under the policy memory. While an earlier message
// of the device that would go past it is in the log because of its RETAIN, later ones follow it there: order.
func (c *conn) direct(p *packet.Publish, policy home.Policy) bool {
	if p.QoS == 2 || p.Retain || policy != home.PolicyMemory {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logged == 0
}

// publishDirect delivers from this node's memory. A QoS 1 publisher is answered at once.
func (c *conn) publishDirect(topic string, kept bool, p *packet.Publish) error {
	if err := c.waitForReader(); err != nil {
		return err
	}
	if !c.house.home.Fresh() && !c.fresh() {
		return errClosing
	}
	began := c.s.now()
	n := c.house.publishDirect(c, topic, kept, p)
	code := packet.Success
	if n == 0 {
		code = packet.NoMatchingSubscribers
	}
	c.traceAccepted(topic, p.QoS, p.PacketID, code)
	c.answerNow(p.PacketID, p.QoS, code)
	if p.QoS > 0 && c.s.opt.AckLatency != nil {
		c.s.opt.AckLatency(home.PolicyMemory, p.QoS, time.Duration(c.s.now()-began))
	}
	return nil
}

// loggedPublish is a publish on its way through the log. One allocation holds the operation and what its outcome needs.
type loggedPublish struct {
	op     home.Publish
	c      *conn
	number uint64 // of its answer
	size   int
	id     uint16 // of its PUBLISH
	past   bool   // without RETAIN it would not be in the log
	policy home.Policy
	began  instant
}

// publishLogged proposes a message; the device is answered when it is committed, and under the policy standby when a
// standby has it too.
func (c *conn) publishLogged(topic string, kept bool, p *packet.Publish, policy home.Policy) error {
	size := opOverhead + len(topic) + len(p.Payload) + len(p.Forward)
	if err := c.reserve(size); err != nil {
		return err
	}
	body := make([]byte, 0, len(p.Payload)+len(p.Forward))
	body = append(append(body, p.Payload...), p.Forward...)
	l := &loggedPublish{c: c, size: size, began: c.s.now(), policy: policy, past: p.QoS < 2 && policy == home.PolicyMemory}
	if p.QoS == 2 && policy == home.PolicyMemory {
		l.policy = home.PolicyRegion // an exchange of two steps is the log's
	}
	l.op = home.Publish{
		Session: c.key, Epoch: c.epoch, Topic: c.keep(topic, kept), Expiry: lifetime(p.MessageExpiry),
		Payload: body[:len(p.Payload):len(p.Payload)], Forward: body[len(p.Payload):], QoS: p.QoS, Retain: p.Retain,
	}
	if p.QoS == 2 {
		l.op.PacketID = p.PacketID
	}
	l.id = p.PacketID
	c.mu.Lock()
	if l.past {
		c.logged++
	}
	if p.QoS > 0 {
		l.number = c.expect(p.PacketID, p.QoS)
	}
	c.mu.Unlock()
	if err := c.house.propose(&l.op, l.done); err != nil {
		c.lost()
		return errClosing
	}
	return nil
}

// lifetime is a message expiry in the home's terms, where 0 never expires: an expiry of 0 seconds, which MQTT allows,
// becomes the shortest there is.
func lifetime(o packet.Optional[uint32]) uint32 {
	if !o.Set {
		return 0
	}
	return max(1, o.Value)
}

// done runs in the home's apply goroutine.
func (l *loggedPublish) done(o home.Outcome, err error) {
	if l.policy == home.PolicyStandby && err == nil && o.Code != home.CodeVoid {
		l.c.house.home.AwaitShipped(o.Record, func() { l.answer(o, nil) })
		return
	}
	l.answer(o, err)
}

func (l *loggedPublish) answer(o home.Outcome, err error) {
	c := l.c
	c.mu.Lock()
	c.release(l.size)
	if l.past {
		c.logged--
	}
	void := err != nil || o.Code == home.CodeVoid
	if !void && l.op.QoS > 0 {
		c.decide(l.number, packet.Code(o.Code))
	}
	c.mu.Unlock()
	if !void {
		c.traceAccepted(l.op.Topic, l.op.QoS, l.id, packet.Code(o.Code))
	}
	if !void && o.Code >= 0x80 {
		c.s.stats.drop(DropRefused, 1)
	}
	switch {
	case void:
		c.lost()
	case l.op.QoS > 0 && c.s.opt.AckLatency != nil:
		c.s.opt.AckLatency(l.policy, l.op.QoS, time.Duration(c.s.now()-l.began))
	}
}
