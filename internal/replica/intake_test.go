package replica

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// late starts eu alone, under load until its log is cut, and then us.
func (p *pair) late() *traffic {
	p.t.Helper()
	p.eu.start()
	p.eu.await("eu to serve", 20*time.Second, p.eu.allReady())
	p.eu.subscribe()
	p.eu.every = 8 * time.Millisecond
	tr := p.eu.traffic()
	time.Sleep(3 * time.Second)
	p.us.start()
	p.us.await("us to stand by", 20*time.Second, p.us.allOpen())
	return tr
}

func (p *pair) promoteRefused(want error) {
	p.t.Helper()
	if err := p.us.leading().Promote(p.t.Context(), &home.Promote{Epoch: epoch(2, "us")}); !errors.Is(err, want) {
		p.t.Errorf("promote: %v, want %v", err, want)
	}
}

// A standby that comes late gets a copy, whatever happens on its way, and until it is whole
// there is nothing to promote.
func TestCopy_InterruptedAndResumed(t *testing.T) {
	for name, do := range map[string]func(p *pair) func(i int){
		"link down": func(p *pair) func(i int) {
			cuts := 0
			return func(i int) {
				if i == 3 && cuts < 2 {
					cuts++
					p.cut.Store(true)
					time.AfterFunc(2*time.Second, func() { p.cut.Store(false) })
				}
			}
		},
		"the standby's leader killed": func(p *pair) func(i int) {
			killed := false
			return func(i int) {
				if i == 5 && !killed {
					killed = true
					d := p.us.leader()
					d.kill()
					d.start()
				}
			}
		},
		"the host's leader killed": func(p *pair) func(i int) {
			killed := false
			return func(i int) {
				if i == 5 && !killed {
					killed = true
					d := p.eu.leader()
					d.kill()
					d.start()
				}
			}
		},
		"a follower away for a part": func(p *pair) func(i int) {
			var d *node
			return func(i int) {
				switch {
				case i == 2 && d == nil:
					d = p.us.others(p.us.leader())[0]
					d.kill()
				case i == 6:
					d.start()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, small)
				tr := p.late()
				refused := false
				more := do(p)
				p.parts = func(i int) {
					if i == 1 && !refused {
						refused = true
						p.promoteRefused(ErrIncomplete)
					}
					more(i)
				}
				p.ship(p.eu, p.us)
				p.us.await("a copy", 30*time.Second, func() bool { return p.copied.Load() > 0 })
				time.Sleep(500 * time.Millisecond)
				p.eu.await("eu to serve", 30*time.Second, p.eu.allReady())
				tr.end()
				p.us.await("equal copies", 60*time.Second, p.level)
				t.Logf("%d acknowledged, %d copies", tr.count(), p.copied.Load())
				p.check(tr.acked)
				p.promote(&home.Promote{Epoch: epoch(2, "us")})
				p.us.await("us to serve", 5*time.Second, p.us.allReady())
			})
		})
	}
}

// A transfer that broke goes on behind what has come, also with another leader.
func TestCopy_GoesOnBehindWhatHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		p.late().end()
		c, err := p.eu.leading().Copy(t.Context(), "us")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		was := p.us.leader()
		s, err := was.replica().Incoming(t.Context(), c.Position(), true)
		if err != nil {
			t.Fatal(err)
		}
		chunk, last, err := c.Next(nil, 1<<10)
		if err == nil {
			err = s.Put(t.Context(), chunk)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.us.await("what came, everywhere", 5*time.Second, func() bool {
			for _, d := range p.us.nodes {
				if _, got, _ := d.replica().core().intake.holds(); string(got) != string(last) {
					return false
				}
			}
			return true
		})
		was.kill()
		p.us.await("another leader", 10*time.Second, func() bool { return p.us.leader() != nil })
		if s, err = p.us.leading().Incoming(t.Context(), c.Position(), true); err != nil {
			t.Fatal(err)
		}
		if string(s.After()) != string(last) {
			t.Errorf("it goes on behind %q, and %q had come", s.After(), last)
		}
		if s, err = p.us.leading().Incoming(t.Context(), c.Position(), false); err != nil || s.After() != nil {
			t.Errorf("begun anew, it goes on behind %q, %v", s.After(), err)
		}
	})
}

// Records that do not belong to the copy are refused with words, and leave it as it is.
func TestAppend_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.start()
		end := p.ship(p.eu, p.us)
		for i := range uint32(20) {
			if _, err := p.eu.nodes[0].propose(numbered(1, i, 50)); err != nil {
				t.Fatal(err)
			}
		}
		p.us.await("equal copies", 5*time.Second, p.level)
		end()
		if _, err := p.eu.nodes[0].propose(numbered(1, 30, 50)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.eu.nodes[0].propose(numbered(1, 31, 50)); err != nil {
			t.Fatal(err)
		}
		dst := p.us.leading()
		at, _ := dst.Position()
		good, err := p.eu.leading().Tail(t.Context(), "us", at, 1<<20)
		if err != nil || len(good) < 3 {
			t.Fatalf("%d shipments, %v", len(good), err)
		}
		record := func(id home.ID, ops ...home.Op) []byte {
			r := home.Record{Home: id, Time: dst.State().Now(), Entries: []home.Entry{{Owner: home.Owner{Node: "eu-1", Incarnation: 1}, N: 1, Ops: ops}}}
			return r.Append(nil)
		}
		one := func(data []byte) []home.Shipment { return []home.Shipment{good[0], {N: at.Records + 1, Data: data}} }
		other := append([]home.Shipment{}, good...)
		other[0].Chain++
		for name, c := range map[string]struct {
			list []home.Shipment
			want string
		}{
			"no anchor":           {good[1:], "anchor"},
			"a gap":               {append(good[:1:1], good[2:]...), "should"},
			"behind a gap":        {[]home.Shipment{{N: at.Records + 1}, good[2]}, "follow on record"},
			"again":               {[]home.Shipment{{N: at.Records - 1}, {N: at.Records, Data: good[1].Data}}, "follow on record"},
			"another chain":       {other, "different ways"},
			"not a record":        {one([]byte("\x01nonsense")), "corrupt"},
			"of a newer version":  {one([]byte{9, 9}), "version"},
			"another home's":      {one(record("ap", &home.Tick{})), `home "ap"`},
			"our own promotion":   {one(record("eu", &home.Promote{Epoch: epoch(9, "us")})), "only its own leader"},
			"too high a level":    {one(record("eu", &home.Raise{Level: 99})), "newer version"},
			"founds another home": {one(record("eu", &home.Genesis{Home: "ap"})), `founds home "ap"`},
		} {
			if err := dst.Append(t.Context(), c.list); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
		if now, err := dst.Position(); now != at || err != nil {
			t.Errorf("what was refused moved the copy from %+v to %+v, %v", at, now, err)
		}
		if err := p.us.others(p.us.leader())[0].replica().Append(t.Context(), good); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower: %v", err)
		}
		if err := p.eu.leading().Append(t.Context(), good); !errors.Is(err, ErrHosting) {
			t.Errorf("the host: %v", err)
		}
		if err := dst.Append(t.Context(), good); err != nil {
			t.Errorf("the right ones: %v", err)
		}
		p.us.await("equal copies", 5*time.Second, p.level)
	})
}

// A record that gives something else here than there puts the copy into quarantine on every
// node, over restarts, until another copy has come.
func TestStandby_Quarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.start()
		end := p.ship(p.eu, p.us)
		time.Sleep(200 * time.Millisecond)
		p.us.await("equal copies", 5*time.Second, p.level)
		end()
		dst := p.us.leading()
		at, _ := dst.Position()
		r := home.Record{Home: "eu", Time: dst.State().Now()}
		if err := dst.Append(t.Context(), []home.Shipment{{N: at.Records, Chain: at.Chain}, {N: at.Records + 1, Chain: 42, Data: r.Append(nil)}}); err != nil {
			t.Fatal(err)
		}
		quarantined := func() bool {
			for _, d := range p.us.nodes {
				r := d.replica()
				if r == nil {
					return false
				}
				if _, err := r.Position(); !errors.Is(err, ErrQuarantined) {
					return false
				}
			}
			return p.us.leader() != nil
		}
		p.us.await("quarantine", 5*time.Second, quarantined)
		p.promoteRefused(ErrQuarantined)
		for _, d := range p.us.nodes {
			d.kill()
			d.start()
		}
		p.us.await("quarantine after a restart", 20*time.Second, quarantined)
		if err := p.us.leading().Append(t.Context(), []home.Shipment{{N: at.Records + 1}}); !errors.Is(err, ErrQuarantined) {
			t.Errorf("append: %v", err)
		}
		p.ship(p.eu, p.us)
		p.us.await("equal copies", 30*time.Second, p.level)
		p.promote(&home.Promote{Epoch: epoch(2, "us")})
	})
}

// The power goes at many moments while a copy comes in and takes the old one's place: there is
// always one of the two, whole.
func TestCopy_PowerGoesAtManySteps(t *testing.T) {
	src := start(t, options(store.NewCrashFS(), 1))
	src.subscribe()
	for i := range uint32(300) {
		src.do(numbered(1, i, 200))
	}
	c, err := src.Copy(t.Context(), "us")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	standby := func(fs store.FS, i home.Incarnation) Options {
		o := options(fs, i)
		o.Region, o.FlushEvery, o.SnapshotEntries, o.TrailingEntries = "us", 3*time.Millisecond, 5, 2
		return o
	}
	fs := store.NewCrashFS()
	r := start(t, standby(fs, 1))
	old := newCopyOf(t, r.Replica, src.Replica)
	type image struct {
		op   store.Op
		disk *store.CrashFS
	}
	var images []image
	images = crashes(fs, 3, func() { sendAll(t, c, r.Replica) }, func(op store.Op, disk *store.CrashFS) image { return image{op, disk} })
	<-r.ended
	if !errors.Is(r.err, ErrAdopted) {
		t.Fatalf("the run ended with %v", r.err)
	}
	images = append(images, image{disk: fs.Crash()})
	adopted := 0
	for i, x := range images {
		again := start(t, standby(x.disk, home.Incarnation(i+2)))
		got, err := again.Position()
		if got != old && got != c.Position() || err != nil {
			t.Errorf("after step %d (%v %s): the copy is at %+v, %v; want %+v or %+v", x.op.N, x.op.Kind, x.op.Path, got, err, old, c.Position())
		}
		if got == c.Position() {
			adopted++
			if list := again.queued(); len(list) != 300 {
				t.Errorf("after step %d: the queue holds %d messages", x.op.N, len(list))
			}
			_ = again.stop()
			continue
		}
		sendAll(t, c, again.Replica)
		<-again.ended
		more := start(t, standby(x.disk, home.Incarnation(i+1000)))
		if got, _ := more.Position(); got != c.Position() {
			t.Errorf("after step %d, sent again: the copy is at %+v", x.op.N, got)
		}
		_ = more.stop()
	}
	t.Logf("%d moments, at %d of them the new copy was there", len(images), adopted)
	if adopted == 0 || adopted == len(images) {
		t.Error("the moments are all on one side")
	}
}

// crashes does something and looks at the disk at every so many steps of it.
func crashes[T any](fs *store.CrashFS, every int, do func(), see func(store.Op, *store.CrashFS) T) (list []T) {
	var images []T
	lock := newTurn()
	fs.BeforeOp(func(op store.Op) {
		if int(op.N)%every != 0 {
			return
		}
		lock.lock()
		defer lock.unlock()
		images = append(images, see(op, fs.Crash()))
	})
	do()
	fs.BeforeOp(nil)
	lock.lock()
	defer lock.unlock()
	return images
}

// newCopyOf makes the standby follow the first records of a home, so that it has a copy.
func newCopyOf(t *testing.T, dst, src *Replica) home.CopyPosition {
	t.Helper()
	list, err := src.Tail(t.Context(), "us", home.CopyPosition{}, 2<<10)
	if err == nil {
		err = dst.Append(t.Context(), list)
	}
	if err != nil {
		t.Fatal(err)
	}
	at, err := dst.WaitPosition(t.Context(), list[len(list)-1].N-1)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// sendAll sends a copy, going on with what has come.
func sendAll(t *testing.T, c *Copier, dst *Replica) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := dst.Incoming(ctx, c.Position(), true)
	for err == nil {
		var chunk, last []byte
		if chunk, last, err = c.Next(s.After(), 1<<10); err == nil && last == nil {
			if err = s.Finish(ctx); err == nil {
				return
			}
		} else if err == nil {
			err = s.Put(ctx, chunk)
		}
	}
	t.Error(err)
}

// The host hands the home over and is cut off before the last records are shipped; the standby
// is promoted without them. The old host's copy stands by and has what was acknowledged: until
// it is set aside nothing takes its place.
func TestCopy_DoesNotReplaceWhatOnlyThisCopyHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, smaller)
		p.start()
		end := p.ship(p.eu, p.us)
		tr := p.eu.traffic()
		time.Sleep(300 * time.Millisecond)
		p.cut.Store(true)
		time.Sleep(500 * time.Millisecond)
		tr.end()
		end()
		if err := p.eu.leading().Hand(t.Context(), "us"); err != nil {
			t.Fatal(err)
		}
		p.promote(&home.Promote{Epoch: epoch(2, "us")})
		p.us.await("us to serve", 2*time.Second, p.us.allReady())
		p.cut.Store(false)
		if err := p.copy(t.Context(), p.us.leading(), p.eu.leading()); !errors.Is(err, ErrOtherChain) {
			t.Fatalf("a copy takes the place of one that has more: %v", err)
		}
		if err := p.eu.leading().Retire(t.Context(), epoch(2, "us")); err != nil {
			t.Fatal(err)
		}
		if err := p.copy(t.Context(), p.us.leading(), p.eu.leading()); err != nil {
			t.Fatalf("what the copy has is kept aside, and another one is refused: %v", err)
		}
		p.eu.await("eu to stand by again", 20*time.Second, p.eu.allOpen())
		for _, d := range p.eu.nodes {
			list, err := Retired(d.fs, "/data/home-eu")
			if err != nil || len(list) != 1 {
				t.Errorf("%s kept %+v, %v", d.name, list, err)
			}
		}
	})
}
