package app

import (
	"context"
	"time"

	"causeway/internal/home"
	"causeway/internal/replica"
)

// A region that may not store a message could not deliver it while it served the home, and
// the home owes it. The node that leads the home, in a region that serves it now, brings
// back what is in its own copy, and in those that were set aside here: a copy that went
// away with the lost region has the bodies, the one that came in its place has not.

const (
	repayEvery = 500 * time.Millisecond // and half a minute at most while nothing can be brought back
	repayRests = 30 * time.Second
)

// watchOwed brings back what the home owes.
func (h *homeService) watchOwed(ctx context.Context) error {
	pause := repayEvery
	for wait(ctx, pause) {
		r := h.current()
		if r == nil || !r.Leads() || !r.Hosting() || !r.State().Owes() {
			pause = repayEvery
			continue
		}
		seen, n, err := h.repay(ctx, r)
		switch {
		case err != nil:
			h.a.log.Warn("bring back what the region before could not deliver; it is tried again", "home", string(h.id), "error", err)
			pause = repayRests
		case seen > 0:
			h.a.log.Info("what the region before could not deliver is back", "home", string(h.id), "messages", seen, "owed", n)
			pause = repayEvery
		default:
			pause = min(2*pause, repayRests)
		}
	}
	return nil
}

// repay goes through all that is owed or lacking once. It returns how many messages came
// back, and how many references that were owed go to queues.
func (h *homeService) repay(ctx context.Context, r *replica.Replica) (messages, refs int, err error) {
	if err := h.formers.turn.take(ctx); err != nil {
		return 0, 0, err
	}
	defer h.formers.turn.leave()
	if h.gateway() == nil || h.gateway()() {
		list, err := h.a.retired(h)
		if err != nil {
			return 0, 0, err
		}
		for _, c := range list {
			if _, err := h.former(c); err != nil {
				return 0, 0, err
			}
		}
	}
	for after := home.Seq(0); ; {
		var op *home.Repay
		if op, after = r.State().Repay(after, partBytes, h.a.cfg.Region, h.lost, r.Body); op == nil {
			return messages, refs, nil
		}
		o, err := outcomeOf(ctx, r, op)
		if err != nil {
			return messages, refs, err
		}
		messages += len(op.Messages)
		refs += o.Count
	}
}

// lost finds a message in the copies that were set aside and are open here. The caller has
// the turn.
func (h *homeService) lost(d home.Debt) (home.Message, bool) {
	for _, f := range h.formers.open {
		if m, ok := f.has(d); ok {
			return m, true
		}
	}
	return home.Message{}, false
}

// has finds a message in a copy that was set aside.
func (f *former) has(d home.Debt) (m home.Message, ok bool) {
	if f.origins == nil {
		f.origins = f.r.State().Origins()
	}
	seq, ok := f.origins.Find(home.Numbered{Source: d.Source, Seq: d.SourceSeq})
	if !ok {
		return m, false
	}
	m, err := f.r.Body(seq)
	return m, err == nil && !m.Withheld
}

// wanted says that a copy that was set aside has a message of which the one that follows
// has the number only, or that this cannot be told yet. The caller has the turn.
func (h *homeService) wanted(r *replica.Replica, f *former) bool {
	st := r.State()
	if len(f.r.State().Config().Residency) == 0 {
		return false
	}
	if superseded(r, h.a.cfg.Region) || !h.formers.void[f.copy.Dir] && !st.Reconciled(f.copy.Position.Epoch, h.a.cfg.Region).Done {
		return true
	}
	const some = 1024
	for after := home.Seq(0); ; {
		list := st.Debts(after, some)
		for _, d := range list {
			after = d.Seq
			if !d.Lacking {
				continue
			}
			if _, ok := f.has(d); ok {
				return true
			}
		}
		if len(list) < some {
			return false
		}
	}
}
