package broker

import (
	"strings"

	"causeway/broker/packet"
	"causeway/internal/home"
	"causeway/internal/trace"
)

// opOverhead is what an operation costs beside the bytes it carries.
const opOverhead = 64

func (c *conn) handleSubscribe(p *packet.Subscribe) error {
	size := opOverhead
	filters := make([]home.Subscription, len(p.Filters))
	for i := range p.Filters {
		f := &p.Filters[i]
		size += opOverhead + len(f.Filter)
		if f.NoLocal && strings.HasPrefix(f.Filter, "$share/") { // [MQTT-3.8.3-4]
			return &packet.Error{Code: packet.ProtocolError, Reason: "SUBSCRIBE has No Local on a shared subscription"}
		}
		filters[i] = home.Subscription{
			Filter: f.Filter, QoS: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished,
			RetainHandling: f.RetainHandling, ID: p.SubscriptionID,
		}
		if !c.s.opt.Authenticator.Authorize(&c.who, sharedFilter(f.Filter), false) {
			filters[i].Denied = byte(packet.NotAuthorized)
			c.s.stats.DeniedSubscribes.Add(1)
		}
	}
	if err := c.reserve(size); err != nil {
		return err
	}
	op := &home.Subscribe{Session: c.key, Epoch: c.epoch, Filters: filters}
	return c.proposeFor(size, op, c.resumable(), func(o home.Outcome) {
		codes := asCodes(o, len(filters))
		c.traceSubscribe(filters, codes)
		c.suback(p.PacketID, codes)
	})
}

// suback answers once every node of the region knows the subscription: from then on a message that is in no log finds it,
// wherever it is published. [C4] It is called with mu held.
func (c *conn) suback(id uint16, codes []packet.Code) {
	c.subacks++
	answer := func() {
		c.subacks--
		c.control(func(b []byte) []byte { return packet.AppendSuback(b, c.v, id, codes) })
		c.wake()
	}
	if _, alone := c.house.siblings.(noSiblings); alone {
		answer()
		return
	}
	go func() { // not in the home's apply goroutine, with mu held
		defer c.s.guard()
		c.house.siblings.Known(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			answer()
		})
	}()
}

func (c *conn) handleUnsubscribe(p *packet.Unsubscribe) error {
	size := opOverhead
	for _, f := range p.Filters {
		size += opOverhead + len(f)
	}
	if err := c.reserve(size); err != nil {
		return err
	}
	op := &home.Unsubscribe{Session: c.key, Epoch: c.epoch, Filters: p.Filters}
	return c.proposeFor(size, op, c.resumable(), func(o home.Outcome) {
		codes := asCodes(o, len(p.Filters))
		c.traceFilters(trace.Unsubscribed, p.Filters, codes)
		c.control(func(b []byte) []byte { return packet.AppendUnsuback(b, c.v, p.PacketID, codes) })
		c.wake()
	})
}

// resumable says that the session outlives its connection, and may so go on in another region: there it must not be
// without what the device was told is done. [E3]
func (c *conn) resumable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expiry > 0
}

// asCodes gives each filter a reason code, also when the operation failed as a whole. [MQTT-3.8.4-5]
func asCodes(o home.Outcome, n int) []packet.Code {
	codes := make([]packet.Code, n)
	for i := range codes {
		switch {
		case i < len(o.Codes):
			codes[i] = packet.Code(o.Codes[i])
		case o.Code >= 0x80:
			codes[i] = packet.Code(o.Code)
		default:
			codes[i] = packet.UnspecifiedError
		}
	}
	return codes
}

// sharedFilter returns the filter of a shared subscription, and any other filter as it is.
func sharedFilter(filter string) string {
	tail, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return filter
	}
	if _, rest, ok := strings.Cut(tail, "/"); ok {
		return rest
	}
	return filter
}
