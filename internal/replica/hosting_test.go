package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
)

// The home is handed over and comes back, by records alone: what was acknowledged on either
// side is there once, and what was proposed behind the last word has failed with a reason.
func TestHand_ThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.start()
		end := p.ship(p.eu, p.us)
		acked := map[message]bool{}
		from, to := p.eu, p.us
		for n, host := range []string{"us", "eu", "us"} {
			tr := from.traffic()
			time.Sleep(300 * time.Millisecond)
			if err := from.others(from.leader())[0].replica().Hand(t.Context(), host); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower hands over: %v", err)
			}
			if err := from.leading().Hand(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			last := from.leading().State().Position()
			time.Sleep(100 * time.Millisecond)
			tr.end()
			if now := from.leading().State().Position(); now != last {
				t.Errorf("behind the last word, at %+v, the log went on to %+v", last, now)
			}
			for m := range tr.sofar() {
				acked[message{m.publisher, m.n}] = true
			}
			for _, d := range from.nodes {
				r := d.replica()
				if r.Hosting() || r.Fresh() {
					t.Errorf("%s: hosting %v, fresh %v after the home was handed over", d.name, r.Hosting(), r.Fresh())
				}
				if _, err := d.propose(&home.Tick{}); !errors.Is(err, ErrStandby) {
					t.Errorf("%s: propose: %v", d.name, err)
				}
			}
			to.await("equal copies", 5*time.Second, func() bool { return sameCopies(from, to) })
			for _, d := range to.nodes {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				if err := d.replica().WaitHeir(ctx, true); err != nil {
					t.Errorf("%s does not know that its region is the heir: %v", d.name, err)
				}
				cancel()
			}
			if err := to.leading().Promote(t.Context(), &home.Promote{Epoch: epoch(uint64(n+2), host), Planned: true}); err != nil {
				t.Fatal(err)
			}
			to.await("the new host to serve", 2*time.Second, to.allReady())
			end()
			from, to = to, from
			end = p.ship(from, to)
			to.await("the old host to follow", 5*time.Second, func() bool { return sameCopies(from, to) })
			from.base = 1000 * uint32(n+1)
		}
		if p.copied.Load() > 0 {
			t.Errorf("it took %d copies", p.copied.Load())
		}
		p.eu.await("equal copies", 5*time.Second, func() bool { return sameCopies(p.us, p.eu) })
		p.us.check(&traffic{acked: acked})
		p.eu.check(&traffic{acked: acked})
	})
}

// Nothing goes into the log behind the operation that hands the home over, unless it was void.
func TestMerger_NothingBehindHand(t *testing.T) {
	m := &merger{batching: Batching{MaxOps: 512, MaxBytes: 1 << 20}, limit: 1 << 20, wake: make(chan struct{}, 1)}
	m.room = sync.NewCond(&m.mu)
	m.lead(1)
	m.add([]byte("a"), []home.Op{&home.Tick{}})
	m.add([]byte("b"), []home.Op{&home.Hand{}})
	m.add([]byte("c"), []home.Op{&home.Tick{}})
	if entries, _ := m.take(); len(entries) != 2 || !m.sealed {
		t.Errorf("%d entries in the record, sealed %v", len(entries), m.sealed)
	}
	if m.applied(1); m.sealed {
		t.Error("sealed though it was void")
	}
	if entries, _ := m.take(); len(entries) != 1 {
		t.Errorf("%d entries in the next record", len(entries))
	}
}

// sameCopies says that all nodes of both regions are as far.
func sameCopies(a, b *region) bool {
	var want *home.CopyPosition
	for _, d := range append(a.nodes[:len(a.nodes):len(a.nodes)], b.nodes...) {
		r := d.replica()
		if r == nil {
			return false
		}
		at := r.State().Position()
		if want == nil {
			want = &at
		}
		if at != *want {
			return false
		}
	}
	return true
}

// Without its lease a region stops serving on every node, and nothing is acknowledged; with it,
// what was proposed meanwhile is done.
func TestLease_LapseStopsEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		held.Store(true)
		rg := newRegion(t, 3)
		rg.opts = func(o *Options) { o.Region, o.Lease = "eu", held.Load }
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		held.Store(false)
		time.Sleep(freshFor + time.Millisecond)
		var done atomic.Int32
		for _, d := range rg.nodes {
			if d.replica().Fresh() {
				t.Errorf("%s is fresh %s after the lease has lapsed", d.name, freshFor)
			}
			if err := d.replica().Propose(&home.Tick{}, func(_ home.Outcome, err error) {
				if err == nil {
					done.Add(1)
				}
			}); err != nil {
				t.Error(err)
			}
		}
		last := rg.leading().Applied()
		time.Sleep(10 * time.Second)
		if done.Load() > 0 || rg.leading().Applied() != last {
			t.Errorf("%d proposals were done without the lease; applied %d, then %d", done.Load(), last, rg.leading().Applied())
		}
		// A restart does not help, and does not hang either.
		d := rg.others(rg.leader())[0]
		d.kill()
		d.start()
		rg.await("the node to be open", 10*time.Second, func() bool { return d.replica() != nil })
		if ok, why := d.replica().Ready(); ok {
			t.Errorf("ready without the lease: %s", why)
		}
		held.Store(true)
		rg.await("three ready nodes again", 5*time.Second, rg.allReady())
		if n := done.Load(); n < 2 {
			t.Errorf("%d of the proposals that waited were done", n)
		}
	})
}

// While the leader hushes no node speaks for its sessions, each hears that at its next question, and what is proposed is done.
func TestHush_SilencesEveryNodeAndTakesEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hush atomic.Bool
		rg := newRegion(t, 3)
		rg.opts = func(o *Options) { o.Region, o.Hush = "eu", hush.Load }
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		hush.Store(true)
		time.Sleep(askEvery + beat + time.Millisecond)
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			for _, d := range rg.nodes {
				if r := d.replica(); r.Fresh() || !r.Hushed() {
					t.Fatalf("%s speaks for its sessions although the leader hushes, or takes itself for cut off: fresh %v", d.name, r.Fresh())
				}
			}
			if o, err := rg.others(rg.leader())[0].propose(&home.Tick{}); err != nil || o.Code != home.CodeOK {
				t.Fatalf("an entry while it is hushed: %+v, %v", o, err)
			}
		}
		if n := rg.leading().Stats().NodeDowns; n > 0 {
			t.Errorf("%d nodes were declared dead since nobody may speak", n)
		}
		hush.Store(false)
		rg.await("three ready nodes again", time.Second, rg.allReady())
		time.Sleep(freshFor)
		for _, d := range rg.nodes {
			if d.replica().Hushed() {
				t.Errorf("%s is hushed although nobody hushes", d.name)
			}
		}
	})
}

// A region that was cut off went on alone. Its copy is retired, read, and another takes its
// place; then it hosts the home again.
func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, smaller)
		p.start()
		end := p.ship(p.eu, p.us)
		tr := p.eu.traffic()
		time.Sleep(300 * time.Millisecond)
		p.cut.Store(true)
		time.Sleep(500 * time.Millisecond)
		tr.end()
		p.promote(&home.Promote{Epoch: epoch(2, "us")})
		p.us.await("us to serve", 2*time.Second, p.us.allReady())
		end()
		eu := p.eu.leading()
		for _, e := range []home.Epoch{epoch(1, "eu"), epoch(2, "eu")} {
			if err := eu.Retire(t.Context(), e); err == nil {
				t.Errorf("retired for epoch %s", e)
			}
		}
		if _, err := eu.Incoming(t.Context(), home.CopyPosition{Records: 1}, false); !errors.Is(err, ErrHosting) {
			t.Errorf("a copy comes in at the host: %v", err)
		}
		was := eu.State().Position()
		for range 2 {
			if err := p.eu.leading().Retire(t.Context(), epoch(2, "us")); err != nil {
				t.Fatal(err)
			}
		}
		p.eu.await("eu to stand by", 5*time.Second, func() bool {
			for _, d := range p.eu.nodes {
				if r := d.replica(); r == nil || r.Hosting() {
					return false
				}
			}
			return true
		})
		p.cut.Store(false)
		end = p.ship(p.us, p.eu)
		p.eu.await("eu to follow us", 60*time.Second, func() bool { return sameCopies(p.us, p.eu) })
		if p.copied.Load() == 0 {
			t.Error("eu followed without a copy, though it went its own way")
		}
		for _, d := range p.eu.nodes {
			list, err := Retired(d.fs, "/data/home-eu")
			if err != nil || len(list) != 1 || list[0].By != epoch(2, "us") || list[0].Position.Records < was.Records {
				t.Fatalf("%s: %+v, %v", d.name, list, err)
			}
			o := Options{Home: "eu", Epoch: epoch(1, "eu"), Node: home.NodeID(d.name), Incarnation: 1, Sink: deaf{}, FS: d.fs}
			old, err := OpenRetired(o, list[0])
			if err != nil {
				t.Fatal(err)
			}
			checkQueue(t, d.name, old, tr.acked)
			if err := old.Propose(&home.Tick{}, nil); !errors.Is(err, ErrStandby) {
				t.Errorf("propose: %v", err)
			}
			if err := old.Close(); err != nil {
				t.Error(err)
			}
			if err := RemoveRetired(d.fs, list[0]); err != nil {
				t.Error(err)
			}
			if list, err := Retired(d.fs, "/data/home-eu"); err != nil || len(list) > 0 {
				t.Errorf("removed, and there is %+v, %v", list, err)
			}
		}
		if err := p.us.leading().Hand(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		p.eu.await("eu to follow us", 5*time.Second, func() bool { return sameCopies(p.us, p.eu) })
		if err := p.eu.leading().Promote(t.Context(), &home.Promote{Epoch: epoch(3, "eu"), Planned: true}); err != nil {
			t.Fatal(err)
		}
		p.eu.await("eu to serve", 5*time.Second, p.eu.allReady())
	})
}

// checkQueue says that everything acknowledged is in the subscriber's queue, once.
func checkQueue(t *testing.T, who string, r *Replica, acked map[message]bool) {
	t.Helper()
	seen := map[message]int{}
	for _, q := range r.State().Peek(subscriber, 0, 1<<20) {
		m := q.Message
		if q.Evicted {
			var err error
			if m, err = r.Body(q.Seq); err != nil {
				t.Fatalf("%s: %v", who, err)
			}
		}
		seen[payloadOf(m.Payload)]++
	}
	for m := range acked {
		if seen[m] != 1 {
			t.Errorf("%s: message %v is there %d times", who, m, seen[m])
		}
	}
}

// Every node hears how far the standby is, soon if somebody waits there.
func TestShipped_EveryNodeHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.nodes = append(rg.nodes, &node{rg: rg, name: "eu-4", role: cluster.Replicant, fs: store.NewCrashFS(), port: rg.net.Node("eu-4")})
		rg.opts = func(o *Options) { o.Region = "eu" }
		rg.start()
		rg.await("ready nodes", 20*time.Second, rg.allReady())
		began := time.Now()
		var done atomic.Int32
		var took atomic.Int64
		wait := func(record uint64) {
			for _, d := range rg.nodes {
				d.replica().AwaitShipped(record, func() {
					done.Add(1)
					took.Store(int64(time.Since(began)))
				})
			}
		}
		wait(10)
		time.Sleep(50 * time.Millisecond)
		rg.leading().SetShipped(9, false)
		time.Sleep(50 * time.Millisecond)
		if done.Load() > 0 {
			t.Errorf("%d heard of a record that is not shipped", done.Load())
		}
		began = time.Now()
		rg.leading().SetShipped(10, false)
		time.Sleep(50 * time.Millisecond)
		if done.Load() != 4 {
			t.Errorf("%d of 4 heard", done.Load())
		}
		if d := time.Duration(took.Load()); d > 5*time.Millisecond {
			t.Errorf("the last one heard after %s", d)
		}
		wait(100)
		rg.others(rg.leader())[0].replica().SetShipped(100, true) // it does not lead
		time.Sleep(200 * time.Millisecond)
		if done.Load() != 4 {
			t.Error("a follower's word counts")
		}
		rg.leading().SetShipped(10, true)
		time.Sleep(200 * time.Millisecond)
		if done.Load() != 8 {
			t.Errorf("%d of 8 heard that nobody need wait", done.Load())
		}
		wait(200)
		if done.Load() != 12 {
			t.Error("somebody waits, and nobody need")
		}
		for _, d := range rg.nodes {
			if n, degraded := d.replica().Shipped(); n != 10 || !degraded {
				t.Errorf("%s: shipped %d, degraded %v", d.name, n, degraded)
			}
		}
		if err := rg.leading().Hand(t.Context(), "us"); err != nil {
			t.Fatal(err)
		}
		rg.await("what was known of the standby to be forgotten, until the home comes back", 5*time.Second, func() bool {
			for _, d := range rg.nodes {
				if n, degraded := d.replica().Shipped(); d.replica().Hosting() || n != 0 || degraded {
					return false
				}
			}
			return true
		})
	})
}

// Every node of a region that stands by knows that another one serves while its leader is told so, and no longer; a region
// that hosts the home never does.
func TestElsewhere_EveryNodeHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.nodes = append(rg.nodes, &node{rg: rg, name: "eu-4", role: cluster.Replicant, fs: store.NewCrashFS(), port: rg.net.Node("eu-4")})
		rg.opts = func(o *Options) { o.Region = "eu" }
		rg.start()
		rg.await("ready nodes", 20*time.Second, rg.allReady())
		know := func() (n int) {
			for _, d := range rg.nodes {
				if r := d.replica(); r != nil && r.Elsewhere() {
					n++
				}
			}
			return n
		}
		rg.leading().SetElsewhere(time.Hour)
		if n := know(); n > 0 {
			t.Errorf("%d nodes of the region that hosts the home say that another one does", n)
		}
		if err := rg.leading().Hand(t.Context(), "us"); err != nil {
			t.Fatal(err)
		}
		rg.await("all nodes to know that another region serves", time.Second, func() bool { return know() == 4 })
		rg.leader().kill()
		time.Sleep(2 * freshFor)
		if n := know(); n > 0 {
			t.Errorf("%d nodes still believe a leader that is gone", n)
		}
		rg.await("another leader", 20*time.Second, func() bool { return rg.leading() != nil })
		for _, d := range rg.others(rg.leader()) {
			if r := d.replica(); r != nil {
				r.SetElsewhere(time.Hour) // it does not lead
			}
		}
		time.Sleep(time.Second)
		if n := know(); n > 0 {
			t.Errorf("a follower's word counts for %d", n)
		}
		rg.leading().SetElsewhere(time.Second)
		rg.await("the nodes that are there to know it", time.Second, func() bool { return know() == 3 })
		rg.await("them to forget it", 2*time.Second, func() bool { return know() == 0 })
	})
}

// Voters promised another region an epoch and that region is gone: its own is refused to the host for ever, so it begins
// another one, without having stood by in between. What waited has failed or is done, and nothing is twice.
func TestPromote_AHostBeginsAnotherEpochOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		held.Store(true)
		rg := newRegion(t, 3)
		rg.nodes = append(rg.nodes, &node{rg: rg, name: "eu-4", role: cluster.Replicant, fs: store.NewCrashFS(), port: rg.net.Node("eu-4")})
		rg.opts = func(o *Options) { o.Region, o.Lease = "eu", held.Load }
		rg.start()
		rg.await("ready nodes", 20*time.Second, rg.allReady())
		rg.subscribe()
		var runs []*Replica
		for _, d := range rg.nodes {
			runs = append(runs, d.replica())
		}
		acked := map[message]bool{}
		for n := range uint64(3) {
			tr := rg.traffic()
			time.Sleep(300 * time.Millisecond)
			if err := rg.leading().Promote(t.Context(), &home.Promote{Epoch: epoch(n+2, "eu"), Planned: true}); !errors.Is(err, ErrHosting) {
				t.Errorf("promoted with a lease: %v", err)
			}
			held.Store(false)
			time.Sleep(300 * time.Millisecond)
			if err := rg.leading().Promote(t.Context(), &home.Promote{Epoch: epoch(n+2, "eu"), Planned: true}); err != nil {
				t.Fatal(err)
			}
			held.Store(true)
			tr.end()
			for m := range tr.sofar() {
				acked[message{m.publisher, m.n}] = true
			}
			rg.await("all nodes to serve the new epoch", 5*time.Second, rg.allReady())
			rg.base = 1000 * uint32(n+1)
		}
		for i, d := range rg.nodes {
			if d.replica() != runs[i] {
				t.Errorf("%s had to open the home again", d.name)
			}
			if got := d.replica().State().Epoch(); got != epoch(4, "eu") {
				t.Errorf("%s is at epoch %s", d.name, got)
			}
			if o, err := d.propose(&home.Tick{}); err != nil || o.Code != home.CodeOK {
				t.Errorf("%s: %v, %v", d.name, o, err)
			}
		}
		rg.check(&traffic{acked: acked})
	})
}

// A node that was away when its region was promoted hosts the home once it has caught up; and a
// replicant serves it like any other.
func TestPromote_LaggingNodeAndReplicant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.us.nodes = append(p.us.nodes, &node{rg: p.us, name: "us-4", role: cluster.Replicant, fs: store.NewCrashFS(), port: p.us.net.Node("us-4")})
		p.eu.start()
		p.eu.await("eu to serve", 20*time.Second, p.eu.allReady())
		p.eu.subscribe()
		p.us.start()
		end := p.ship(p.eu, p.us)
		p.us.await("us to stand by", 20*time.Second, p.us.allOpen())
		tr := p.eu.traffic()
		time.Sleep(300 * time.Millisecond)
		away := p.us.others(p.us.leader())[0]
		for _, o := range p.us.others(away) {
			p.us.net.Cut(away.name, o.name)
		}
		time.Sleep(time.Second)
		tr.end()
		p.us.await("us to have it all", 5*time.Second, func() bool {
			at, _ := p.us.leading().Position()
			return at == p.eu.leading().State().Position()
		})
		end()
		p.promote(&home.Promote{Epoch: epoch(2, "us")})
		rest := []*node{}
		for _, d := range p.us.nodes {
			if d != away {
				rest = append(rest, d)
			}
		}
		p.us.await("the others to serve", 2*time.Second, p.us.allReady(rest...))
		for i, d := range rest {
			if o, err := d.propose(numbered(7, uint32(i), 50)); err != nil || o.Code != home.CodeOK {
				t.Errorf("%s: %+v, %v", d.name, o, err)
			}
		}
		if r := away.replica(); r != nil && r.Fresh() {
			t.Error("the node that is cut off is fresh")
		}
		p.us.net.HealAll()
		p.us.await("all to serve", 20*time.Second, p.us.allReady())
		p.check(tr.acked)
	})
}

// The leadership of a copy goes where it is told, and shipping goes on with it.
func TestStandby_LeadershipIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.start()
		p.ship(p.eu, p.us)
		for _, d := range p.us.others(p.us.leader()) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := p.us.leading().Change(ctx, "transfer", home.NodeID(d.name), false)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			p.us.await("it to lead", 5*time.Second, func() bool { return p.us.leader() == d })
			if _, err := p.eu.nodes[0].propose(numbered(1, 1, 10)); err != nil {
				t.Fatal(err)
			}
			p.us.await("equal copies", 5*time.Second, p.level)
		}
	})
}
