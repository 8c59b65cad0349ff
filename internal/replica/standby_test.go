package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// pair is a region that hosts home eu, and one that stands by for it, with what ships between
// them: a stand-in for a link, which knows no more than a link does.
type pair struct {
	t        *testing.T
	eu, us   *region
	cut      atomic.Bool // the link between them is down
	copied   atomic.Int64
	parts    func(i int) // called before each part of a copy
	refusals atomic.Int64
	wg       sync.WaitGroup
	stop     context.CancelFunc
}

// smaller cuts logs soon: nodes of a pair publish little.
func smaller(o *Options) {
	small(o)
	o.SnapshotEntries, o.TrailingEntries = 20, 5
}

func newPair(t *testing.T, opts func(*Options)) *pair {
	p := &pair{t: t, eu: newRegionOf(t, "eu", 3), us: newRegionOf(t, "us", 3)}
	for name, rg := range map[string]*region{"eu": p.eu, "us": p.us} {
		rg.every = 25 * time.Millisecond
		rg.opts = func(o *Options) {
			o.Region = name
			if opts != nil {
				opts(o)
			}
		}
	}
	return p
}

// ship ships from one region to the other until the test ends, or end is called.
func (p *pair) ship(from, to *region) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := p.shipOnce(ctx, from, to); err != nil {
				p.refusals.Add(1)
			}
			_ = group.Pause(ctx, 20*time.Millisecond)
		}
	}()
	end = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	p.t.Cleanup(end)
	return end
}

var errCut = errors.New("the link is down")

// shipOnce is one tunnel between the two leaders.
func (p *pair) shipOnce(ctx context.Context, from, to *region) error {
	src, dst := from.leading(), to.leading()
	if src == nil || dst == nil || p.cut.Load() {
		return errCut
	}
	at, err := dst.Position()
	for err == nil && ctx.Err() == nil {
		var list []home.Shipment
		tctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		list, err = src.Tail(tctx, "us", at, 64<<10)
		cancel()
		if p.cut.Load() {
			return errCut
		}
		switch {
		case errors.Is(err, ErrTooOld) || errors.Is(err, ErrOtherChain):
			return p.copy(ctx, src, dst)
		case errors.Is(err, context.DeadlineExceeded):
			err = nil
			got, _ := dst.Position()
			src.SetShipped(got.Records, false)
			continue
		case err != nil:
			return err
		}
		if err = dst.Append(ctx, list); err != nil {
			return err
		}
		last := list[len(list)-1]
		at = home.CopyPosition{Epoch: src.State().Epoch(), Records: last.N, Chain: last.Chain}
		got, err := dst.Position()
		if err != nil {
			return err
		}
		src.SetShipped(got.Records, false)
	}
	if errors.Is(err, ErrQuarantined) {
		return p.copy(ctx, src, dst)
	}
	return err
}

func (p *pair) copy(ctx context.Context, src, dst *Replica) error {
	c, err := src.Copy(ctx, "us")
	if err != nil {
		return err
	}
	defer c.Close()
	for first := true; ; first = false {
		s, err := dst.Incoming(ctx, c.Position(), !first)
		if err != nil {
			return err
		}
		err = p.send(ctx, c, s)
		if err == nil {
			p.copied.Add(1)
			return nil
		}
		if !errors.Is(err, errCut) {
			return err
		}
		for p.cut.Load() && group.Pause(ctx, 10*time.Millisecond) == nil {
		}
	}
}

func (p *pair) send(ctx context.Context, c *Copier, s *CopySink) error {
	at := s.After()
	for i := 0; ; i++ {
		if p.parts != nil {
			p.parts(i)
		}
		if p.cut.Load() {
			return errCut
		}
		chunk, last, err := c.Next(at, 1<<10)
		if err != nil {
			return err
		}
		if last == nil {
			return s.Finish(ctx)
		}
		if err := s.Put(ctx, chunk); err != nil {
			return err
		}
		at = last
	}
}

// leading is the replica of the region's leader, nil without one.
func (rg *region) leading() *Replica {
	if d := rg.leader(); d != nil {
		return d.replica()
	}
	return nil
}

// start starts both and waits until eu serves and us stands by.
func (p *pair) start() {
	p.t.Helper()
	p.eu.start()
	p.us.start()
	p.eu.await("eu to serve", 20*time.Second, p.eu.allReady())
	p.us.await("us to stand by", 20*time.Second, p.us.allOpen())
	p.eu.subscribe()
}

// allOpen says that all nodes have the home open, have a vote and hear a leader.
func (rg *region) allOpen() func() bool {
	return func() bool {
		for _, d := range rg.nodes {
			r := d.replica()
			if r == nil || !r.fresh.now() || r.role.unwell() != "" {
				return false
			}
		}
		return rg.leader() != nil
	}
}

// level says that all nodes of the other region have applied what eu's leader has.
func (p *pair) level() bool {
	src := p.eu.leading()
	if src == nil {
		return false
	}
	want := src.State().Position()
	for _, d := range p.us.nodes {
		r := d.replica()
		if r == nil || r.State().Position() != want {
			return false
		}
	}
	return true
}

// promote makes us the host and returns its leader.
func (p *pair) promote(op *home.Promote) *node {
	p.t.Helper()
	d := p.us.leader()
	if d == nil {
		p.t.Fatal("us has no leader")
	}
	if err := d.replica().Promote(p.t.Context(), op); err != nil {
		p.t.Fatal(err)
	}
	return d
}

func epoch(n uint64, host string) home.Epoch { return home.Epoch{Number: n, Host: host} }

// checkPromoted says that what was acknowledged before, or is in kept, is in every copy of us.
func (p *pair) check(acked map[message]bool) {
	p.t.Helper()
	p.us.check(&traffic{acked: acked})
}

func (tr *traffic) sofar() map[message]bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	m := map[message]bool{}
	for k := range tr.acked {
		m[k] = true
	}
	return m
}

// A region's copy follows record by record, is the same, and hosts the home from its promotion
// on, without being opened again.
func TestStandby_FollowsAndIsPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.start()
		end := p.ship(p.eu, p.us)
		tr := p.eu.traffic()
		time.Sleep(time.Second)
		for _, d := range p.us.nodes {
			if r := d.replica(); r.Hosting() || r.Fresh() {
				t.Errorf("%s: hosting %v, fresh %v while it stands by", d.name, r.Hosting(), r.Fresh())
			}
			if _, err := d.propose(numbered(9, 9, 10)); !errors.Is(err, ErrStandby) {
				t.Errorf("%s: propose: %v", d.name, err)
			}
		}
		tr.end()
		p.us.await("equal copies", 5*time.Second, p.level)
		acked := tr.sofar()
		for _, d := range p.eu.nodes {
			d.kill()
		}
		end()
		runs := map[string]*Replica{}
		for _, d := range p.us.nodes {
			runs[d.name] = d.replica()
		}
		began := time.Now()
		p.promote(&home.Promote{Epoch: epoch(2, "us"), Grace: 30})
		at := time.Now()
		var took []time.Duration
		for _, d := range p.us.nodes {
			r := d.replica()
			if err := r.WaitHosting(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			for r.Room(t.Context()) != nil {
				time.Sleep(time.Millisecond)
			}
			if o, err := d.propose(numbered(7, uint32(len(took)+1), 50)); err != nil || o.Code != home.CodeOK {
				t.Errorf("%s: %+v, %v", d.name, o, err)
			}
			took = append(took, time.Since(began))
			acked[message{7, uint32(len(took))}] = true
		}
		t.Logf("promoted after %s, first proposals done after %v", at.Sub(began), took)
		if took[0] > 100*time.Millisecond {
			t.Errorf("the first proposal was done %s after the promotion", took[0])
		}
		p.us.await("us to serve", 2*time.Second, p.us.allReady())
		for _, d := range p.us.nodes {
			if d.replica() != runs[d.name] {
				t.Errorf("%s was opened again", d.name)
			}
		}
		p.check(acked)
	})
}

// Whatever happens to nodes on either side while records are shipped, the copies stay equal.
func TestStandby_FaultsOnBothSides(t *testing.T) {
	for name, do := range map[string]func(p *pair){
		"leaders killed": func(p *pair) {
			for _, rg := range []*region{p.us, p.eu, p.us} {
				d := rg.leader()
				d.kill()
				rg.await("another leader", 10*time.Second, func() bool { return rg.leader() != nil })
				time.Sleep(300 * time.Millisecond)
				d.start()
				rg.await("the node to be back", 20*time.Second, func() bool { return d.replica() != nil })
			}
		},
		"leaders moved": func(p *pair) {
			for i := range 6 {
				rg := []*region{p.us, p.eu}[i%2]
				d := rg.leader()
				to := rg.others(d)[i%2]
				if err := d.replica().Change(p.t.Context(), "transfer", home.NodeID(to.name), false); err != nil {
					p.t.Error(err)
				}
				rg.await("a leader", 10*time.Second, func() bool { return rg.leader() != nil })
				time.Sleep(100 * time.Millisecond)
			}
		},
		"nodes cut off": func(p *pair) {
			for _, rg := range []*region{p.us, p.eu} {
				d := rg.leader()
				for _, o := range rg.others(d) {
					rg.net.Cut(d.name, o.name)
				}
				time.Sleep(2 * time.Second)
				rg.net.HealAll()
			}
		},
		"a disk of the standby wiped": func(p *pair) {
			d := p.us.leader()
			d.kill()
			time.Sleep(2 * time.Second)
			d.wipe()
			d.start()
		},
		"the standby far behind": func(p *pair) {
			p.cut.Store(true)
			time.Sleep(2 * time.Second)
			p.cut.Store(false)
		},
		"all killed": func(p *pair) {
			for _, d := range append(p.us.nodes[:3:3], p.eu.nodes...) {
				d.kill()
			}
			time.Sleep(time.Second)
			p.us.start()
			p.eu.start()
			p.eu.await("eu to serve", 30*time.Second, p.eu.allReady())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, smaller)
				p.start()
				p.ship(p.eu, p.us)
				tr := p.eu.traffic()
				time.Sleep(300 * time.Millisecond)
				do(p)
				p.eu.await("eu to serve", 30*time.Second, p.eu.allReady())
				time.Sleep(300 * time.Millisecond)
				tr.end()
				p.us.await("equal copies", 60*time.Second, p.level)
				t.Logf("%d acknowledged, %d copies, %d tunnels ended", tr.count(), p.copied.Load(), p.refusals.Load())
				p.eu.check(tr)
				p.check(tr.acked)
			})
		})
	}
}
