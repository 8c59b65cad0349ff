package replica

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
)

// addReplicant adds a replicant that does not run yet.
func (rg *region) addReplicant(name string) *node {
	d := &node{rg: rg, name: name, role: cluster.Replicant, fs: store.NewCrashFS(), port: rg.net.Node(name)}
	rg.nodes = append(rg.nodes, d)
	return d
}

// followed is the core that a replicant follows; nil if none.
func (d *node) followed() *node {
	r := d.replica()
	if r == nil {
		return nil
	}
	for _, o := range d.rg.nodes {
		if o.name == string(r.Stats().Following) {
			return o
		}
	}
	return nil
}

// cut cuts a node off from the others.
func (rg *region) cut(d *node) {
	for _, o := range rg.others(d) {
		rg.net.Cut(d.name, o.name)
	}
}

// underReplicant is under with three cores and a replicant, at which everything is
// proposed, too.
func underReplicant(t *testing.T, opts func(*Options), do func(rg *region, d *node)) {
	underReplicantLoad(t, 8*time.Millisecond, opts, do)
}

// underReplicantLoad is underReplicant with a publish of each node every so often.
func underReplicantLoad(t *testing.T, every time.Duration, opts func(*Options), do func(rg *region, d *node)) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.opts, rg.every = opts, every
		d := rg.addReplicant("eu-r")
		rg.start()
		rg.await("three ready cores and a ready replicant", 20*time.Second, rg.allReady())
		rg.subscribe()
		tr := rg.traffic()
		time.Sleep(300 * time.Millisecond)
		do(rg, d)
		time.Sleep(300 * time.Millisecond)
		rg.net.HealAll()
		rg.await("all to be ready again", 60*time.Second, rg.allReady())
		time.Sleep(300 * time.Millisecond)
		rg.await("a hundred acknowledged messages", 20*time.Second, func() bool { return tr.count() >= 100 })
		tr.end()
		rg.check(tr)
		if n := len(rg.leader().replica().core().servers()); n != 3 {
			t.Errorf("the group has %d members: the replicant counts", n)
		}
	})
}

func TestReplicant_Follows(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		if f := d.followed(); f == nil || f == rg.leader() {
			t.Error("it follows nobody, or the one that leads, which has enough to do")
		}
		if o, err := d.propose(numbered(9, 1, 100)); err != nil || o.Code != home.CodeOK {
			t.Errorf("%+v, %v", o, err)
		}
		if !d.replica().Fresh() {
			t.Error("it is not fresh")
		}
		if _, list, err := d.replica().Group(context.Background()); err != nil || len(list) != 3 {
			t.Errorf("the group is %v, %v", list, err)
		}
	})
}

// A replicant that is started before there is a home waits, and says what for. It
// founds none.
func TestReplicant_FoundsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		d := rg.addReplicant("a-replicant") // the first by name
		d.start()
		rg.nodes[0].start()
		rg.nodes[1].start()
		time.Sleep(20 * time.Second)
		if rg.leader() != nil {
			t.Error("two cores and a replicant founded a home of three")
		}
		d.mu.Lock()
		why := d.opening
		d.mu.Unlock()
		if why == "" {
			t.Error("it does not say what it waits for")
		}
		t.Log(why)
		rg.nodes[2].start()
		rg.await("all to be ready", 20*time.Second, rg.allReady())
	})
}

// The core that is followed dies: the replicant goes on with another in the same
// run, within the time in which nobody's connection is closed.
func TestReplicant_ItsCoreKilled(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		was, run := d.followed(), d.replica()
		was.kill()
		rg.await("another core to be followed", 2*time.Second, func() bool { f := d.followed(); return f != nil && f != was && d.ready() })
		if d.replica() != run {
			t.Error("the replicant began anew")
		}
		time.Sleep(time.Second)
		was.start()
	})
}

// The core that is followed is stopped without a word: it neither closes its
// streams nor says anything.
func TestReplicant_ItsCoreSilent(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		was, run := d.followed(), d.replica()
		rg.net.Cut(was.name, d.name)
		rg.await("another core to be followed", 5*time.Second, func() bool { f := d.followed(); return f != nil && f != was && d.ready() })
		if d.replica() != run {
			t.Error("the replicant began anew")
		}
	})
}

// The core that is followed is cut off from the other cores, and not from the
// replicant: what it says is true, and old.
func TestReplicant_ItsCoreCutOff(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		was := d.followed()
		for _, o := range rg.others(was) {
			if o != d {
				rg.net.Cut(was.name, o.name)
			}
		}
		rg.await("another core to be followed", 5*time.Second, func() bool { f := d.followed(); return f != nil && f != was && d.ready() })
	})
}

func TestReplicant_LeaderKilled(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		was, run := rg.leader(), d.replica()
		was.kill()
		rg.await("another leader", 10*time.Second, func() bool { l := rg.leader(); return l != nil && l != was })
		rg.await("the replicant to be ready", 3*time.Second, d.ready)
		if d.replica() != run {
			t.Error("the replicant began anew")
		}
		time.Sleep(time.Second)
		was.start()
	})
}

// The replicant dies: the leader declares it dead, and its sessions are detached.
// It comes back as another run, with an empty folder or the one it had.
func TestReplicant_Killed(t *testing.T) {
	for _, wiped := range []bool{false, true} {
		t.Run(fmt.Sprint("wiped ", wiped), func(t *testing.T) {
			underReplicant(t, small, func(rg *region, d *node) {
				o, err := d.propose(&home.Attach{Session: home.SessionKey{ClientID: "its"}, Expiry: 3600})
				if err != nil {
					t.Fatal(err)
				}
				was := d.replica().Owner()
				d.kill()
				state := rg.leader().replica().State()
				rg.await("its session to be detached", 5*time.Second, func() bool {
					x, ok := state.Session(home.SessionKey{ClientID: "its"})
					return ok && x.Owner == (home.Owner{}) && x.Epoch == o.Epoch
				})
				if wiped {
					d.wipe()
				}
				d.start()
				rg.await("it to be back", 20*time.Second, d.ready)
				if now := d.replica().Owner(); now.Incarnation <= was.Incarnation {
					t.Errorf("run %s comes after %s", now, was)
				}
			})
		})
	}
}

// Cut off from all, the replicant stops speaking for its sessions within its
// freshness, is stale long enough to close its connections, hears when it is back
// that it was declared dead, and begins another run.
func TestReplicant_CutOff(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		run := d.replica()
		rg.cut(d)
		time.Sleep(freshFor + 50*time.Millisecond)
		if run.Fresh() {
			t.Error("it is fresh, cut off")
		}
		time.Sleep(6 * time.Second)
		if ok, why := run.Ready(); ok || why == "" || run.Stale() < 5*time.Second {
			t.Errorf("cut off for 6 s it is ready %v (%s), stale for %s", ok, why, run.Stale())
		} else {
			t.Log(why)
		}
		if x := rg.leader().replica().State().Nodes(); !downIn(x, run.Owner()) {
			t.Errorf("it was not declared dead: %v", x)
		}
		rg.net.HealAll()
		rg.await("another run", 20*time.Second, func() bool { r := d.replica(); return r != nil && r != run && d.ready() })
	})
}

func downIn(list []home.NodeInfo, o home.Owner) bool {
	for _, n := range list {
		if n.Owner == o {
			return n.Down
		}
	}
	return false
}

// Cut off for a moment, it goes on in the same run.
func TestReplicant_CutOffShortly(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		run := d.replica()
		rg.cut(d)
		time.Sleep(1500 * time.Millisecond)
		rg.net.HealAll()
		rg.await("it to be ready", 3*time.Second, d.ready)
		if d.replica() != run {
			t.Error("it began anew")
		}
	})
}

// Away for longer than the cores' logs reach back, it begins with a new copy.
func TestReplicant_LeftBehind(t *testing.T) {
	underReplicant(t, small, func(rg *region, d *node) {
		run := d.replica()
		for _, o := range rg.nodes[:3] {
			rg.net.CutOneWay(o.name, d.name) // what it asks is heard, so that it is not declared dead
		}
		time.Sleep(3 * time.Second)
		rg.net.HealAll()
		rg.await("another run", 20*time.Second, func() bool { r := d.replica(); return r != nil && r != run && d.ready() })
		if err := run.failure(); err == nil {
			t.Error("the run before did not fail")
		} else {
			t.Log(err)
		}
	})
}

// Messages that have no room in the replicant's memory are read from the cores,
// also while one of them is gone, and those that were just published.
func TestReplicant_BodiesOfTheCores(t *testing.T) {
	underReplicant(t, func(o *Options) {
		o.MemoryBudget = 4 << 10
		if o.Node == "eu-r" {
			o.FlushEvery = 50 * time.Millisecond // drops them before a core has written them
		}
	}, func(rg *region, d *node) {
		time.Sleep(2 * time.Second)
		d.followed().kill()
		time.Sleep(100 * time.Millisecond)
		evicted, r := 0, d.replica()
		for _, q := range r.State().Peek(subscriber, 0, 1<<20) {
			if q.Evicted {
				evicted++
				if m, err := r.Body(q.Seq); err != nil || len(m.Payload) < 8 {
					t.Fatalf("message %d: %v, %v", q.Seq, m, err)
				}
			}
		}
		if evicted < 100 {
			t.Errorf("only %d bodies were dropped: the test is none", evicted)
		}
		if _, err := r.Body(1 << 40); err == nil {
			t.Error("a message that there never was has a body")
		}
		for _, o := range rg.nodes[:3] {
			if o.replica() == nil {
				o.start()
			}
		}
	})
}

// A follower that reads too slowly loses its place when the log is cut, and nothing
// else: nobody waits for it, and nothing is kept for it.
func TestReplicant_TooSlowIsCut(t *testing.T) {
	underReplicantLoad(t, 3*time.Millisecond, small, func(rg *region, d *node) {
		core := rg.nodes[0]
		st, err := d.Dial(context.Background(), core.name, "", FollowProtocol)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		q := request{what: wantsLog, home: "eu"}
		if _, err := st.Write(q.append(nil)); err != nil {
			t.Fatal(err)
		}
		var buf []byte
		copied := false
		for !copied {
			f, err := readFrame(st, &buf)
			if err != nil {
				t.Fatal(err)
			}
			copied = f.kind == frameWhole
		}
		before := core.replica().Applied()
		time.Sleep(4 * time.Second)
		if core.replica().core().followers.held() {
			t.Error("the log is kept for one that reads nothing, though it had caught up")
		}
		if first, _ := core.replica().core().guard.FirstIndex(); first < before {
			t.Fatalf("the log begins at %d, and was at %d 4 s ago: the test is none", first, before)
		}
		_ = st.SetDeadline(time.Now().Add(10 * time.Second))
		records, last := 0, followFrame{}
		for err == nil {
			if last, err = readFrame(st, &buf); err == nil && last.kind == frameRecord {
				records++
			}
			if last.kind == frameBehind {
				t.Logf("after %d records: %s", records, last.text)
				return
			}
		}
		t.Errorf("after %d records the stream ended with %v, and the core does not say why", records, err)
	})
}

// What the replicant sends twice, late, and by way of a leader that lost its
// office takes effect once.
func TestReplicant_ResendsTakeEffectOnce(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		for range 5 {
			nudge(d.replica().again)
			l := rg.leader()
			rg.net.CutOneWay(l.name, d.name)
			time.Sleep(50 * time.Millisecond)
			nudge(d.replica().again)
			rg.net.HealAll()
			if err := l.replica().core().transfer(context.Background(), ""); err != nil {
				t.Log(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if d.replica().Stats().Resent == 0 {
			t.Error("nothing was sent again: the test is none")
		}
	})
}

// All cores are restarted one after the other; the replicant stays.
func TestReplicant_CoresRestarted(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		run := d.replica()
		for _, o := range rg.nodes[:3] {
			o.stop()
			o.start()
			rg.await("all to be ready", 30*time.Second, rg.allReady())
		}
		if d.replica() != run {
			t.Error("the replicant began anew")
		}
	})
}

// A replicant keeps no list of what the store would have to be told.
func TestReplicant_KeepsNoChanges(t *testing.T) {
	underReplicant(t, nil, func(rg *region, d *node) {
		time.Sleep(3 * time.Second)
		r := d.replica()
		keys := 0
		r.State().Flush(func(_, _ []byte) { keys++ }, func([]byte) { keys++ })
		if per := keys; per > 2000 {
			t.Errorf("after 3 s of some 1300 messages a second %d changes wait", per)
		}
	})
}
