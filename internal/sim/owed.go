package sim

import (
	"fmt"
	"slices"

	"causeway/internal/home"
)

// In some runs us may not store what one of the publishers sends. Where us serves, that waits
// until eu or ap do: they have it in their copies, or in one that they set aside.

// kept is a copy that was set aside.
type kept struct {
	state   *home.State
	store   map[string][]byte
	origins *home.Origins
}

func (w *copies) confined() string { return fmt.Sprint("t/pub", 1+w.opt.Seed%2) }

func (w *copies) isConfined(p *roamer) bool { return w.opt.Resident && "t/"+p.id == w.confined() }

// refuses says that a site may not store what a device publishes. It keeps it for another one.
func (s *site) refuses(d *roamer) bool { return s.name == "us" && d.w.isConfined(d) }

// keep sets the copy aside before another one takes its place.
func (s *site) keep() {
	if !s.w.opt.Resident {
		return
	}
	s.flush()
	s.kept = append(s.kept, &kept{s.state, s.store, s.state.Origins()})
}

// owe says that the site may not store what a reference is of.
func (c *line) owe(ref uint64) {
	refs := []home.Range{{From: ref, To: ref}}
	if c.d.w.opt.Plant == SkipOwed {
		c.s.do(&home.Skip{Session: c.d.key, Epoch: c.epoch, Refs: refs, Reason: home.SkipWithheld})
		return
	}
	c.s.do(&home.Owe{Session: c.d.key, Epoch: c.epoch, Refs: refs})
}

// repay brings back what the site has of what the home owes.
func (s *site) repay() {
	if !s.state.Owes() {
		return
	}
	for after := home.Seq(0); ; {
		op, last := s.state.Repay(after, 500, s.name, s.lost, s.body)
		if op == nil {
			return
		}
		o := s.do(op)
		s.w.say("%s brings %d messages back, %d of which were owed", s.name, len(op.Messages), o.Count)
		after = last
	}
}

func (s *site) lost(d home.Debt) (home.Message, bool) {
	for _, k := range s.kept {
		if s.w.opt.Plant == ForgetOld {
			break
		}
		if seq, ok := k.origins.Find(home.Numbered{Source: d.Source, Seq: d.SourceSeq}); ok {
			if m, ok := bodyIn(k.store, seq); ok {
				return m, true
			}
		}
	}
	return home.Message{}, false
}

func (s *site) body(seq home.Seq) (home.Message, error) {
	s.flush()
	m, ok := bodyIn(s.store, seq)
	if !ok {
		return m, fmt.Errorf("%s has no message %d", s.name, seq)
	}
	return m, nil
}

func bodyIn(store map[string][]byte, seq home.Seq) (home.Message, bool) {
	b, ok := store[string(home.BodyKey(seq))]
	if !ok {
		return home.Message{}, false
	}
	m, err := home.DecodeBody(seq, b)
	return m, err == nil && !m.Withheld
}

// checkParts wants nothing to go where it may not be.
func (s *site) checkParts(op *home.Reconcile, host *site) {
	if i := slices.IndexFunc(op.Messages, func(m home.MessageExport) bool { return !s.state.MayLeave(m.Namespace, m.Topic, host.name) }); i >= 0 {
		s.w.violate("%s takes %s along to %s", s.name, op.Messages[i].Topic, host.name)
	}
}

// bringHome moves the home, once all is mended, to a site that may store everything.
func (w *copies) bringHome() {
	if h := w.host(); w.opt.Resident && h != nil && h.name == "us" && !w.moving {
		for _, to := range []*site{w.sites[0], w.sites[2]} {
			if to.up && to.state.Position() == h.state.Position() {
				w.handTo(h, to)
				return
			}
		}
	}
}
