package broker

import (
	"context"
	"time"

	"causeway/internal/home"
)

// Siblings are the other nodes of the region. Its methods may be called from any goroutine.
type Siblings interface {
	// Deliver hands a message that is in no log to another node, for its devices. At most once; it does not block. The
	// message is not written afterwards.
	Deliver(node home.NodeID, m *home.Message)
	// DeliverTo is Deliver for one session: the member of a shared subscription that was chosen.
	DeliverTo(node home.NodeID, d home.Delivery)
	// Yield returns nil when the former owner of a session surely sends nothing more for epochs below epoch, and ctx's
	// error otherwise. It is called after the Attach that took the session away was applied here.
	Yield(ctx context.Context, former home.Owner, k home.SessionKey, epoch home.SessionEpoch) error
	// Known calls done once every sibling has applied what is applied here now, or may not speak for its sessions. It
	// may call at once.
	Known(done func())
}

// noSiblings is used by a region of one node.
type noSiblings struct{}

func (noSiblings) Deliver(home.NodeID, *home.Message)   {}
func (noSiblings) DeliverTo(home.NodeID, home.Delivery) {}
func (noSiblings) Yield(context.Context, home.Owner, home.SessionKey, home.SessionEpoch) error {
	return nil
}
func (noSiblings) Known(done func()) { done() }

// direct is a message for one session of another node.
type directed struct {
	node     home.NodeID
	delivery home.Delivery
}

// DeliverFromSibling delivers a message that came from another node and is in no log to the devices of this one. Shared
// subscriptions and peers were served where it came from. m must not be written afterwards.
func (h *House) DeliverFromSibling(m *home.Message) {
	f := fanOuts.Get().(*fanOut)
	defer f.free()
	f.targets = h.home.Match(m.Namespace, m.Topic, f.targets)
	for _, t := range f.targets {
		if t.Peer == "" && t.Group == nil {
			h.addRecipient(f, t.Session, min(m.QoS, t.QoS), t.RetainAs, t.SubID, true)
		}
	}
	h.handOut(f, m)
}

// DeliverToSession delivers a message that another node has chosen a session of this one for.
func (h *House) DeliverToSession(d home.Delivery) {
	c := h.sessions.get(d.Session)
	if c == nil || c.epoch != d.Epoch {
		h.s.stats.drop(DropAway, 1)
		return
	}
	c.deliver(item{msg: d.Message, subs: d.SubIDs, qos: d.QoS, retain: d.Retain, weak: true})
}

// yieldIn is how long a connection that gives up its session may take to finish the write it is at.
const yieldIn = 100 * time.Millisecond

// Yield ends this node's connection of a session, if its epoch is lower: another node has the session now. When it
// returns nothing more is written to that connection's socket.
func (h *House) Yield(k home.SessionKey, epoch home.SessionEpoch) {
	if c := h.sessions.yield(k, epoch); c != nil {
		c.sessionEnded(home.EndTakenOver)
		c.silence()
	}
}

// silence returns when nothing more is written to the socket of a connection whose session has ended, nor to that of the
// one that it replaced.
func (c *conn) silence() {
	c.silenceBefore()
	t := time.NewTimer(yieldIn)
	defer t.Stop()
	for c.writing() {
		select {
		case <-t.C:
			_ = c.sock.Close()
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// silenceBefore silences the connection that had the session on this node.
func (c *conn) silenceBefore() {
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before == nil {
		return
	}
	before.sessionEnded(home.EndTakenOver)
	before.silence()
	c.mu.Lock()
	c.before = nil
	c.mu.Unlock()
}

// writing says that a goroutine may be about to write. None begins on a closing connection, but for its DISCONNECT.
func (c *conn) writing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining && !c.silent
}

// CloseAll closes all connections of the home at once, without a word: this node cannot speak for their sessions any
// more, and another will. It closes their sockets, too: a reader may be waiting for the home, and must not keep its device.
func (h *House) CloseAll() (n int) {
	h.sessions.each(func(c *conn) {
		n++
		c.shut(EndHome, 0, "")
		_ = c.sock.Close()
	})
	return n
}

// closingPoll is how soon who waits for freshness notices that the connection is closing.
const closingPoll = time.Second

// fresh waits until the home may speak for its sessions. It reports false when the connection is closing.
func (c *conn) fresh() bool {
	for !c.house.home.Fresh() {
		t := time.NewTimer(closingPoll)
		select {
		case <-c.house.freshSoon():
		case <-t.C:
		case <-c.s.ctx.Done():
		}
		t.Stop()
		if c.s.ctx.Err() != nil || c.isClosing() {
			return false
		}
	}
	return true
}
