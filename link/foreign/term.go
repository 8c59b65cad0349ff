package foreign

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
)

// term is the time in which a node has the link, with one state of its home. What it knows of messages under way outlives
// connections; a new term begins at what the spool still has.
type term struct {
	l          *linkTo
	st         *home.State
	high       home.Seq // of the home when the term began
	fed        int      // messages given to lanes; owned by feed
	ledger     *ledger
	receipts   receipts
	held       map[home.Seq]bool // that the broker had when the term began and was not told to release; owned by feed
	echoes     *echoes
	settled    chan struct{} // closed when lanes is final: a broker has accepted the first one
	first      *lane         // fixed; what comes in comes by it
	lanes      []*lane       // that share what goes out, first among them
	dialect    dialect       // of the first; fixed when settled
	once       sync.Once
	subscribed bool         // by a connection of this term; guarded by first.mu
	up         atomic.Int32 // lanes that are connected
}

func newTerm(l *linkTo, st *home.State) *term {
	t := &term{l: l, st: st, high: st.HighSeq(), ledger: newLedger(l.m.o.Window, l.m.o.WindowBytes), echoes: newEchoes(), receipts: receipts{added: make(chan struct{}, 1)}, held: map[home.Seq]bool{}, settled: make(chan struct{})}
	for i := range l.cfg.Connections {
		t.lanes = append(t.lanes, newLane(t, i))
	}
	t.first = t.lanes[0]
	for _, seq := range st.Received(l.peer()) {
		t.held[seq] = true
	}
	return t
}

// settle notes how the broker is spoken to. Without user properties only one connection knows what comes from this link:
// the broker itself gives it nothing back.
func (t *term) settle(d dialect) error {
	t.once.Do(func() {
		t.dialect = d
		t.echoes.come.Store(!d.bridge)
		if d.version != packet.V5 && len(t.l.cfg.In) > 0 {
			t.lanes = t.lanes[:1]
		}
		close(t.settled)
	})
	if t.dialect != d {
		return errDialectNow
	}
	return nil
}

func (t *term) waitSettled(ctx context.Context) error {
	select {
	case <-t.settled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runLanes runs the first connection, and the others once that has found out how the broker is spoken to.
func (t *term) runLanes(ctx context.Context) error {
	g := group.New(ctx)
	g.Do(t.first.run)
	g.Do(func(ctx context.Context) error {
		if t.waitSettled(ctx) != nil {
			return nil
		}
		for _, c := range t.lanes[1:] {
			g.Do(c.run)
		}
		return nil
	})
	return g.Wait()
}

// watch ends a term of a node that is not the gateway any more, or whose home was opened anew, or when the link is paused.
func (t *term) watch(ctx context.Context) error {
	sure := time.Now()
	for time.Since(sure) < gatewayLapse {
		if group.Pause(ctx, gatewayPoll) != nil {
			return nil
		}
		if t.l.m.o.Home.State() != t.st {
			return errHomeChanged
		}
		if t.l.paused() {
			return errPaused
		}
		if t.l.m.o.Gateway() {
			sure = time.Now()
		}
	}
	return errNotGateway(t.l.m.o.Region)
}

// propose asks the home for an operation and waits for room.
func (t *term) propose(ctx context.Context, op home.Op, done func(home.Outcome, error)) error {
	for {
		err := t.l.m.o.Home.Propose(op, done)
		if !errors.Is(err, t.l.m.o.Full) { // nil, too
			return err
		}
		if err := t.l.m.o.Home.Room(ctx); err != nil {
			return err
		}
		if err := group.Pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// proposeWait also waits for the outcome.
func (t *term) proposeWait(ctx context.Context, op home.Op) (home.Outcome, error) {
	type result struct {
		o   home.Outcome
		err error
	}
	done := make(chan result, 1)
	if err := t.propose(ctx, op, func(o home.Outcome, err error) { done <- result{o, err} }); err != nil {
		return home.Outcome{}, err
	}
	select {
	case r := <-done:
		return r.o, r.err
	case <-ctx.Done():
		return home.Outcome{}, context.Cause(ctx)
	}
}
