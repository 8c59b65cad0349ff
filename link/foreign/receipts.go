package foreign

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
)

// receipts are messages of QoS 2 that the broker has. That is an entry of the home before the broker is told to release
// them: a node that has the link next releases them, and does not send them again.
//
//	PUBREC ──▶ receipts ── Received commits ──▶ PUBREL ── PUBCOMP ──▶ done
type receipts struct {
	order sync.Mutex // held from the look at a flight to its proposal
	added chan struct{}

	mu   sync.Mutex
	list []receipt
}

type receipt struct {
	c *lane
	f *flight
}

func (r *receipts) add(c *lane, f *flight) {
	r.mu.Lock()
	r.list = append(r.list, receipt{c, f})
	r.mu.Unlock()
	group.Wake(r.added)
}

func (r *receipts) take() []receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// runReceipts commits receipts, one entry at a time.
func (t *term) runReceipts(ctx context.Context) error {
	for {
		await(ctx, t.receipts.added)
		if ctx.Err() != nil {
			return nil
		}
		if err := t.commitReceipts(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("note what the broker has: %w", err)
		}
	}
}

func (t *term) commitReceipts(ctx context.Context) error {
	done := make(chan error, 1)
	t.receipts.order.Lock()
	list := slices.DeleteFunc(t.receipts.take(), func(r receipt) bool { return !r.c.holds(r.f) })
	if len(list) == 0 {
		t.receipts.order.Unlock()
		return nil
	}
	err := t.propose(ctx, &home.Received{Peer: t.l.peer(), Seqs: seqsOf(list)}, func(_ home.Outcome, err error) { done <- err })
	t.receipts.order.Unlock()
	if err != nil {
		return err
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, r := range list {
		r.c.release(r.f)
	}
	return err
}

func seqsOf(list []receipt) (seqs []home.Seq) {
	for _, r := range list {
		seqs = append(seqs, r.f.seq)
	}
	slices.Sort(seqs)
	return slices.Compact(seqs)
}

// holds says whether the broker has a flight that is not released.
func (c *lane) holds(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f.received && !f.kept
}

// release tells the broker to go on with a message, now that the home knows that it has it.
func (c *lane) release(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.received || c.ids[f.id] != f {
		return // the broker has lost its session meanwhile
	}
	f.kept = true
	c.sendRelease(f)
}

func (c *lane) sendRelease(f *flight) {
	if c.s != nil {
		c.control = packet.AppendAck(c.control, c.s.dialect.version, packet.PUBREL, f.id, packet.Success)
		group.Wake(c.wake)
	}
}

// forget takes back what the home knows of a session that the broker has lost: all of it is to be sent again.
func (c *lane) forget(ctx context.Context) error {
	c.t.receipts.order.Lock()
	defer c.t.receipts.order.Unlock()
	c.mu.Lock()
	c.found = false
	var seqs []home.Seq
	for _, f := range c.flights {
		if f.received {
			seqs = append(seqs, f.seq)
			f.received, f.kept = false, false
		}
	}
	c.mu.Unlock()
	return c.t.forget(ctx, seqs)
}

func (t *term) forget(ctx context.Context, seqs []home.Seq) error {
	if len(seqs) == 0 {
		return nil
	}
	slices.Sort(seqs)
	_, err := t.proposeWait(ctx, &home.Received{Peer: t.l.peer(), Seqs: seqs, Forgotten: true})
	return err
}

// takeUp goes on with a message that a former term did not get released, once it is known whether the broker has the
// session still. If it has not the message is sent again.
func (c *lane) takeUp(ctx context.Context, f *flight) error {
	await(ctx, c.began)
	if ctx.Err() != nil {
		return nil
	}
	if c.adopt(f) {
		return nil
	}
	if err := c.t.forget(ctx, []home.Seq{f.seq}); err != nil {
		return err
	}
	c.enqueue(f)
	return nil
}

func (c *lane) adopt(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.found || !c.identify(f) {
		return false
	}
	f.qos, f.sent, f.received, f.kept = 2, true, true, true
	c.clean.first(f.id)
	c.ids[f.id] = f
	c.flights = append(c.flights, f)
	c.sendRelease(f)
	return true
}
