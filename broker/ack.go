package broker

import (
	"causeway/broker/packet"
	"causeway/internal/home"
)

// Acknowledgements of a device reach the log as ranges, one operation at a time a connection: the first goes at once,
// and while it is in the log the next ones gather. So an idle device's ack is as fast as the log, and a busy device
// costs one operation per commit (10 ms and less), without a timer.

// flushAcks proposes what was gathered, if no Ack is in the log's hands, and what was skipped.
func (c *conn) flushAcks() {
	c.mu.Lock()
	var ack *home.Ack
	if !c.acking && (c.gathered > 0 || c.cleared > 0) {
		ack = c.takeAcks(false)
		c.acking = true
	}
	skips := c.takeSkips()
	c.mu.Unlock()
	for _, op := range skips {
		c.proposeSkip(op)
	}
	if ack != nil {
		c.proposeAck(ack)
	}
}

// takeAcks builds the next Ack operation; with again, from what an earlier one says, too.
func (c *conn) takeAcks(again bool) *home.Ack {
	op := &home.Ack{Session: c.key, Epoch: c.epoch, Cleared: c.takeCleared()}
	for i := range c.win {
		switch r := &c.win[i]; {
		case r.state == refDone, again && r.state == refDoneLogged:
			r.state = refDoneLogged
			op.Done = appendRef(op.Done, r.ref)
		case r.state == refReceived, again && r.state == refReceivedLogged:
			r.state = refReceivedLogged
			op.Received = appendRef(op.Received, r.ref)
		}
	}
	c.gathered = 0
	return op
}

// lastAcks proposes, at the end of the connection, what the device acknowledged and no operation has said yet. They
// must be in the log before the Detach: a device that acknowledges and says goodbye must not get the message again. An
// operation that waits for room might come after it, so what that one says is said again.
func (c *conn) lastAcks() {
	c.mu.Lock()
	var ack *home.Ack
	if c.gathered > 0 || c.cleared > 0 || c.stuck {
		ack = c.takeAcks(c.stuck)
	}
	skips := c.takeSkips()
	c.mu.Unlock()
	for _, op := range skips {
		_ = c.house.propose(op.Op, ignoreOutcome)
	}
	if ack != nil {
		_ = c.house.propose(ack, ignoreOutcome)
	}
}

func ignoreOutcome(home.Outcome, error) {}

func (c *conn) proposeAck(op *home.Ack) {
	if c.house.home.Propose(op, c.acksCommitted) == nil {
		return
	}
	// No room. Nobody may wait here: not the reader, whose device would be slowed for what others do, and not the
	// apply goroutine. The operation has the connection's only ack slot, so one goroutine a connection waits.
	c.setStuck(true)
	c.s.spawn(func() {
		if c.house.propose(op, c.acksCommitted) != nil {
			c.lost()
			return
		}
		c.setStuck(false)
	})
}

func (c *conn) setStuck(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = on
}

// acksCommitted runs in the home's apply goroutine.
func (c *conn) acksCommitted(o home.Outcome, err error) {
	if err != nil {
		c.lost()
		return
	}
	c.mu.Lock()
	c.acking = false
	head := uint64(0)
	if len(c.win) > 0 {
		head = c.win[0].ref
	}
	kept := c.win[:0]
	for _, r := range c.win {
		switch r.state {
		case refDoneLogged:
			continue
		case refReceivedLogged:
			r.state = refReleased
			id := home.PacketID(r.ref)
			c.control(func(b []byte) []byte { return packet.AppendAck(b, c.v, packet.PUBREL, id, packet.Success) })
		}
		kept = append(kept, r)
	}
	if c.win = kept; len(kept) == 0 && cap(kept) > 2*ringKeep {
		c.win = nil
	}
	c.afterClearing()
	// The home holds back what is so far ahead of an unacknowledged reference that its packet id would come round. With
	// nothing left in the window it may be anywhere: what was between has expired.
	if head != 0 && (len(kept) == 0 || c.pulled-head >= queuedIDs/2 && kept[0].ref != head) {
		c.more = true
	}
	if c.more || c.memN.len() > 0 || c.controlBytes() > 0 {
		c.wake()
	}
	c.mu.Unlock()
	c.flushAcks()
}

// skipOp is an operation for references that were not delivered.
type skipOp struct {
	home.Op
	refs int
}

// takeSkips builds the operations for what was not delivered.
func (c *conn) takeSkips() (ops []skipOp) {
	for why, refs := range c.skips {
		if len(refs) == 0 {
			continue
		}
		var op home.Op = &home.Skip{Session: c.key, Epoch: c.epoch, Refs: refs, Reason: skipReasons[why]}
		if sentResult(why) == sentWithheld && c.house.home.Owes() {
			op = &home.Owe{Session: c.key, Epoch: c.epoch, Refs: refs}
		}
		n := 0
		for _, r := range refs {
			n += int(r.To-r.From) + 1
		}
		ops = append(ops, skipOp{op, n})
		c.skips[why] = nil
	}
	return ops
}

func (c *conn) proposeSkip(op skipOp) {
	done := func(home.Outcome, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.skipping -= op.refs
		if c.more || c.memN.len() > 0 {
			c.wake()
		}
	}
	if c.house.home.Propose(op.Op, done) == nil {
		return
	}
	c.s.spawn(func() {
		_ = c.house.propose(op.Op, done) // a home that stops offers the reference again to the next connection
	})
}
