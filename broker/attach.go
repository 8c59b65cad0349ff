package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
)

// attachment is an Attach on its way through the log.
type attachment struct {
	c  *conn
	ch chan struct{} // closed when it is decided

	mu        sync.Mutex
	out       home.Outcome
	err       error
	in        bool // the outcome is known
	abandoned bool // nobody waits for it any more
}

// attachAgain is for how long an Attach is made again that another connection of the session overtook. One that took
// longer was held up: the device may be elsewhere by now, and comes back if it is not.
const attachAgain = time.Second

// attach makes the connection the owner of its session. While the home cannot serve it the CONNECT is parked: the
// answer is withheld for up to ParkTime, then the connection is closed without one. A CONNACK with an error would make
// many clients give up for good; a closed connection makes them come back.
func (k *connecting) attach(c *conn, p *packet.Connect) (home.Outcome, *refusal) {
	s := k.s
	ctx, cancel := context.WithTimeout(s.ctx, s.opt.ParkTime)
	defer cancel()
	s.stats.Parked.Add(1)
	defer s.stats.Parked.Add(-1)
	parkedOut := &refusal{result: ConnectParkedOut, reason: "the home did not serve it in time"}
	house, err := s.houseOf(ctx, c.key, p.CleanStart, func() bool { return hungUp(k.sock) })
	switch {
	case errors.Is(err, errHungUp):
		return home.Outcome{}, k.gone("answer to its CONNECT", err)
	case err != nil:
		return home.Outcome{}, parkedOut
	}
	c.house = house
	c.who.Home = house.id
	began := time.Now()
	out, err := attachOnce(ctx, c, p)
	for err == nil && out.Code == home.CodeVoid && time.Since(began) < attachAgain {
		out, err = attachOnce(ctx, c, p)
	}
	switch {
	case err != nil:
		return home.Outcome{}, parkedOut
	case out.Code >= 0x80:
		return home.Outcome{}, &refusal{
			result: ConnectQuota, code: packet.Code(out.Code), v: p.Version, reason: "the home has no room for the session",
		}
	case out.Code != home.CodeOK:
		return home.Outcome{}, parkedOut
	}
	if !c.created(ctx, p, out) {
		c.giveUp()
		return home.Outcome{}, parkedOut
	}
	c.silenceBefore()
	if err := c.silenceElsewhere(ctx, out.Formers); err != nil {
		s.stats.Takeovers[TakeoverParkedOut].Add(1)
		c.giveUp()
		return home.Outcome{}, parkedOut
	}
	if len(out.Formers) > 0 {
		s.stats.Takeovers[TakeoverElsewhere].Add(1)
	}
	return out, nil
}

// created waits until a standby knows, too, that the session began or was cleaned: where it takes over there must be
// neither no session nor the old one. A session that goes on does not wait, unless it has just come from another home,
// which takes it for its own again if a standby takes over that knows nothing of it. It reports false when ctx ended. [E3]
func (c *conn) created(ctx context.Context, p *packet.Connect, out home.Outcome) bool {
	if out.SessionPresent && !out.Arriving || out.Expiry == 0 && !p.CleanStart {
		return true
	}
	known := make(chan struct{})
	c.house.home.AwaitShipped(out.Record, func() { close(known) })
	select {
	case <-known:
		return true
	case <-ctx.Done():
		return false
	}
}

// attachOnce proposes the Attach and waits until it is decided. The error is that it was not, or that nobody waits for it
// any more.
func attachOnce(ctx context.Context, c *conn, p *packet.Connect) (home.Outcome, error) {
	h := c.house
	defer c.s.admission.attaching()()
	a := &attachment{c: c, ch: make(chan struct{})}
	h.sessions.expect(c.key)
	op := &home.Attach{
		Session: c.key, Seen: h.home.SessionEpoch(), CleanStart: p.CleanStart, Expiry: p.SessionExpiry,
		Window: uint16(c.window), Will: willOf(p.Will),
	}
	if err := h.proposeWithin(ctx, op, a.decided); err != nil {
		h.sessions.forget(c.key)
		return home.Outcome{}, err
	}
	select {
	case <-a.ch:
	case <-ctx.Done():
		if a.abandon() {
			return home.Outcome{}, ctx.Err()
		}
		<-a.ch
	}
	return a.out, a.err
}

// silenceElsewhere returns when no other node sends for the session any more.
func (c *conn) silenceElsewhere(ctx context.Context, formers []home.Owner) error {
	asked := make(chan error, len(formers))
	for _, f := range formers {
		go func() {
			asked <- group.Protect(func() error { return c.house.siblings.Yield(ctx, f, c.key, c.epoch) })
		}()
	}
	for range formers {
		if err := <-asked; err != nil {
			return err
		}
	}
	return nil
}

// giveUp detaches the session of a connection that was not answered. The device never heard that it was connected, so it
// does not leave a will either.
func (c *conn) giveUp() {
	h := c.house
	h.sessions.remove(c)
	c.mu.Lock()
	c.closing = true
	c.dropAll()
	ended := c.ended
	c.mu.Unlock()
	if !ended {
		op := &home.Detach{Session: c.key, Epoch: c.epoch, DropWill: true}
		h.s.spawn(func() { h.proposeDetach(op) })
	}
}

func willOf(w *packet.Will) *home.Will {
	if w == nil {
		return nil
	}
	return &home.Will{
		Topic: w.Topic, Payload: w.Payload, Forward: w.Forward, Expiry: lifetime(w.MessageExpiry), QoS: w.QoS,
		Retain: w.Retain, Delay: w.Delay,
	}
}

// proposeWithin is propose with a limit on the waiting.
func (h *House) proposeWithin(ctx context.Context, op home.Op, done func(home.Outcome, error)) error {
	for {
		err := h.home.Propose(op, done)
		if err == nil {
			return nil
		}
		if e := h.home.Room(ctx); e != nil {
			return e
		}
	}
}

// decided hears the outcome, in the home's apply goroutine. What the home says about the session next comes after it,
// so the connection takes its place in the table here.
func (a *attachment) decided(out home.Outcome, err error) {
	c := a.c
	a.mu.Lock()
	a.out, a.err, a.in = out, err, true
	failed := err != nil || out.Code != home.CodeOK
	abandoned := a.abandoned
	a.mu.Unlock()
	switch {
	case failed:
		c.house.sessions.forget(c.key)
	case abandoned:
		c.house.sessions.forget(c.key)
		// The device never heard that it was connected, so it did not leave a will either.
		op := &home.Detach{Session: c.key, Epoch: out.Epoch, DropWill: true}
		c.s.spawn(func() { c.house.proposeDetach(op) })
	default:
		c.epoch, c.resumed, c.more = out.Epoch, out.Resumed, true
		before, ended := c.house.sessions.attached(c)
		if before != nil {
			c.tookOver = true
			c.s.stats.Takeovers[TakeoverHere].Add(1)
			before.sessionEnded(home.EndTakenOver)
		}
		if ended != 0 {
			c.sessionEnded(ended)
		}
	}
	close(a.ch)
}

// abandon reports whether the outcome was not in yet; then decided will detach the session again.
func (a *attachment) abandon() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.abandoned = !a.in
	return a.abandoned
}
