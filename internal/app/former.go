package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/link"
)

// A copy that was set aside still has what it took in for other homes and did not send.
// It is a source of links until they have it: a Manager of its own offers it, as a fenced
// copy, and sends what a peer's cursor says that it lacks. Nothing of it changes. [E6]

// former is a copy that was set aside and is open.
type former struct {
	copy  replica.RetiredCopy
	r     *replica.Replica
	links *link.Manager // nil without links to regions
	end   func()        // stops the links and closes the copy

	origins *home.Origins // nil until it is asked for
}

// formers are those of a home that are open at this node, by folder.
type formers struct {
	turn turn // of who opens one, closes one, or reads one for a reconciliation
	open map[string]*former
	done map[string]bool // the host said that it has taken all of it in
	void map[string]bool // there was nothing to take in
	gone map[string]bool // an operator gave up what else it has
}

// formerHome is a copy that was set aside, for its links.
type formerHome struct{ r *replica.Replica }

func (f formerHome) Propose(op home.Op, done func(home.Outcome, error)) error {
	return f.r.Propose(op, done) // refused: it is only read
}
func (f formerHome) Room(ctx context.Context) error              { return f.r.Room(ctx) }
func (f formerHome) State() *home.State                          { return f.r.State() }
func (f formerHome) Body(seq home.Seq) (home.Message, error)     { return f.r.Body(seq) }
func (f formerHome) SpoolRun(key []byte) ([]home.Spooled, error) { return f.r.SpoolRun(key) }

// former opens a copy that was set aside, or finds it open. The caller has the turn.
func (h *homeService) former(c replica.RetiredCopy) (*former, error) {
	if f := h.formers.open[c.Dir]; f != nil {
		return f, nil
	}
	r, err := replica.OpenRetired(replica.Options{Home: h.id, Node: home.NodeID(h.a.cfg.Node), FS: h.a.opts.FS, Logger: h.a.log}, c)
	if err != nil {
		return nil, err
	}
	f := &former{copy: c, r: r, end: func() { _ = r.Close() }}
	if h.links != nil {
		if err := h.drain(f); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	if h.formers.open == nil {
		h.formers.open = map[string]*former{}
	}
	h.formers.open[c.Dir] = f
	return f, nil
}

// drain offers what a copy still has to those whom it is for.
func (h *homeService) drain(f *former) (err error) {
	o := h.linkOptions()
	o.Peers = slices.DeleteFunc(o.Peers, func(p link.Peer) bool { return p.Calls })
	o = link.Options{ID: h.id, Home: formerHome{f.r}, Full: o.Full, Local: o.Local, Peers: o.Peers, MaxMessage: o.MaxMessage, Trace: o.Trace, Gateway: o.Gateway, Keep: func(ctx context.Context, part string, run func(context.Context) error) {
		h.keep(ctx, "set aside: "+part, run)
	},
		Role: func() link.Role { return link.RoleFenced }, Logger: o.Logger.With("set_aside", f.copy.Position.Epoch.String())}
	if f.links, err = link.New(h.a.endpoint, o); err != nil {
		return fmt.Errorf("offer what the copy of %s still has: %w", f.copy.Position.Epoch, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := group.Protect(func() error { return f.links.Run(ctx) }); err != nil {
			h.a.crashed("set aside", err)
			h.a.log.Warn("the links of a copy that was set aside", "home", string(h.id), "error", err)
		}
	}()
	f.end = func() {
		stop()
		<-ended
		f.links.Close()
		_ = f.r.Close()
	}
	return nil
}

// drained says whether others have all that a copy was to send them, and if not, what they
// may lack.
func (f *former) drained() (bool, string) {
	if f.links == nil {
		return true, ""
	}
	return f.links.Drained()
}

// tend opens what is set aside while this node has the home's links, and removes what is
// needed no more: the home in force has taken its difference in, others have what it had
// for them, and it has nothing that the home owes.
func (h *homeService) tend(ctx context.Context, r *replica.Replica) {
	if h.formers.turn.take(ctx) != nil {
		return
	}
	defer h.formers.turn.leave()
	list, err := h.a.retired(h)
	if err != nil {
		return
	}
	mine := h.gateway() == nil || h.gateway()()
	for _, c := range list {
		done := h.formers.done[c.Dir] || !superseded(r, h.a.cfg.Region) && r.State().Reconciled(c.Position.Epoch, h.a.cfg.Region).Done
		var f *former
		if mine {
			if f, err = h.former(c); err != nil {
				h.a.log.Warn("open a copy that was set aside", "home", string(h.id), "epoch", c.Position.Epoch.String(), "error", err)
				continue
			}
		}
		if !done {
			continue
		}
		if f != nil {
			if !h.formers.gone[c.Dir] && h.wanted(r, f) {
				continue
			}
			if empty, _ := f.drained(); !empty {
				continue
			}
			if err := h.a.book.noteDrained(ctx, h.id, c.Position.Epoch); err != nil {
				continue
			}
		} else if !h.a.book.drained(h.id, c.Position.Epoch) {
			continue
		}
		h.shutFormer(c.Dir)
		if err := h.a.removeRetired(c); err != nil {
			h.a.log.Warn("remove a copy that was reconciled", "home", string(h.id), "epoch", c.Position.Epoch.String(), "error", err)
			continue
		}
		delete(h.formers.done, c.Dir)
		delete(h.formers.gone, c.Dir)
		delete(h.formers.void, c.Dir)
		h.a.log.Info("the copy that was set aside is reconciled, has nothing left for others, and is removed", "home", string(h.id), "epoch", c.Position.Epoch.String())
	}
	if !mine {
		for dir := range h.formers.open {
			h.shutFormer(dir)
		}
	}
}

// shutFormer closes a copy, if it is open. The caller has the turn.
func (h *homeService) shutFormer(dir string) {
	if f := h.formers.open[dir]; f != nil {
		delete(h.formers.open, dir)
		f.end()
	}
}

// shutFormers closes all.
func (h *homeService) shutFormers() {
	_ = h.formers.turn.take(context.Background())
	defer h.formers.turn.leave()
	for dir := range h.formers.open {
		h.shutFormer(dir)
	}
}
