package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"causeway/internal/home"
	"causeway/internal/store"
)

// inLog and inState say which part of the replica's folder a path is in.
func inLog(path string) bool   { return strings.Contains(path, "/eu/log") }
func inState(path string) bool { return strings.Contains(path, "/eu/state") }

// busy are options under which flushes and snapshots happen all the time.
func busy(fs store.FS, incarnation home.Incarnation) Options {
	o := options(fs, incarnation)
	o.FlushEvery = 5 * time.Millisecond
	o.SnapshotEntries, o.TrailingEntries = 20, 5
	o.MemoryBudget = 16 << 10
	return o
}

// killUnderLoad runs a replica under load until n messages were acknowledged,
// cuts the power, and returns what had been acknowledged by then and the disk.
func killUnderLoad(t *testing.T, fs *store.CrashFS, o Options, n int) ([]message, *store.CrashFS) {
	r := start(t, o)
	r.subscribe()
	f := newFlood(r, 4, 50, 200)
	acked := f.await(n)
	disk := fs.Crash()
	r.cancel() // the survivor writes to the old disk only
	f.end()
	<-r.ended
	return acked, disk
}

func TestKill_NothingAcknowledgedIsLost(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts func(store.FS, home.Incarnation) Options
	}{{"log only", options}, {"with flushes and snapshots", busy}} {
		t.Run(tc.name, func(t *testing.T) {
			fs := store.NewCrashFS()
			acked, disk := killUnderLoad(t, fs, tc.opts(fs, 1), 5000)
			r := start(t, tc.opts(disk, 2))
			if a := compare(acked, r.queued()); a != (account{}) {
				t.Errorf("of %d acknowledged messages: %+v", len(acked), a)
			}
		})
	}
}

// The same test on a disk that lies about syncs must see the loss: otherwise it
// would not notice if the sync were removed.
func TestKill_WithoutSyncsTheTestFails(t *testing.T) {
	fs := store.NewCrashFS()
	fs.IgnoreSyncs(func(path string) bool { return inLog(path) })
	acked, disk := killUnderLoad(t, fs, options(fs, 1), 5000)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := Open(ctx, options(disk, 2))
	if err != nil {
		return // refused: noticed
	}
	defer r.Close()
	if a := compare(acked, (&run{Replica: r, t: t}).queued()); a.lost == 0 {
		t.Error("no acknowledged message was lost although nothing was synced")
	}
}

// A store that was not flushed before the snapshot is found behind it. [B2]
func TestKill_StoreBehindSnapshotIsRefused(t *testing.T) {
	fs := store.NewCrashFS()
	fs.IgnoreSyncs(inState)
	_, disk := killUnderLoad(t, fs, busy(fs, 1), 5000)
	if _, err := Open(t.Context(), busy(disk, 2)); err == nil || !strings.Contains(err.Error(), "behind") && !strings.Contains(err.Error(), "a snapshot says") {
		t.Errorf("opened a store that lost what its snapshot promised: %v", err)
	}
}

// The state found after a kill is what the log says: a pure home that applies
// the log's records has the same digest.
func TestKill_StateEqualsModel(t *testing.T) {
	fs := store.NewCrashFS()
	o := options(fs, 1)
	o.FlushEvery = 3 * time.Millisecond
	_, disk := killUnderLoad(t, fs, o, 3000)
	r := start(t, options(disk, 2))
	model := home.New()
	next := uint64(1)
	same := func() bool {
		last, err := r.core().guard.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		for ; next <= last; next++ {
			rec, err := r.core().readRecord(next)
			if err != nil {
				t.Fatal(err)
			}
			if rec == nil {
				continue
			}
			if err := model.Apply(rec, deaf{}, func(*home.Entry, int, home.Outcome) {}); err != nil {
				t.Fatal(err)
			}
		}
		before, got, after := r.State().Position(), r.State().Digest(), r.State().Position()
		if before != after || after != model.Position() {
			return false
		}
		if want := model.Digest(); got != want {
			t.Errorf("at %+v: digest after the restart %x, of the model %x", after, got, want)
		}
		return true
	}
	for end := time.Now().Add(10 * time.Second); !same(); { // the home goes on: it notes that its node is up, and the time
		if time.Now().After(end) {
			t.Fatalf("the model is at %+v, the home at %+v", model.Position(), r.State().Position())
		}
	}
}

// Power fails at many moments of a run with flushes, snapshots and truncation.
func TestKill_AtManySteps(t *testing.T) {
	const enough = 24
	fs := store.NewCrashFS()
	r := start(t, busy(fs, 1))
	r.subscribe()
	type image struct {
		op    store.Op
		acked []message
		disk  *store.CrashFS
	}
	var mu sync.Mutex
	var images []image
	f := newFlood(r, 4, 50, 200)
	fs.BeforeOp(func(op store.Op) {
		if op.N%11 != 0 {
			return
		}
		acked := f.await(0)
		disk := fs.Crash()
		mu.Lock()
		defer mu.Unlock()
		if len(images) < enough {
			images = append(images, image{op, acked, disk})
		}
	})
	taken := func() int { mu.Lock(); defer mu.Unlock(); return len(images) }
	for n := 1000; taken() < enough || n <= 5000; n += 1000 {
		f.await(n)
	}
	fs.BeforeOp(nil)
	r.cancel()
	f.end()
	<-r.ended
	if r.Stats().Snapshots == 0 {
		t.Error("no snapshot was taken")
	}
	for _, im := range images {
		r := mustOpen(t, busy(im.disk, 2))
		if a := compare(im.acked, (&run{Replica: r, t: t}).queued()); a != (account{}) {
			t.Errorf("power cut before %s %s: of %d acknowledged messages: %+v", im.op.Kind, im.op.Path, len(im.acked), a)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A first start may be cut short anywhere.
func TestKill_DuringTheFirstStart(t *testing.T) {
	fs := store.NewCrashFS()
	var mu sync.Mutex
	var disks []*store.CrashFS
	fs.BeforeOp(func(store.Op) {
		disk := fs.Crash()
		mu.Lock()
		defer mu.Unlock()
		disks = append(disks, disk)
	})
	r := mustOpen(t, options(fs, 1))
	fs.BeforeOp(nil)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for i, disk := range disks {
		r, err := Open(t.Context(), options(disk, 2))
		if err != nil {
			t.Fatalf("after a cut before operation %d: %v", i+1, err)
		}
		if r.State().ID() != "eu" {
			t.Errorf("after a cut before operation %d: home %q", i+1, r.State().ID())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Kills and clean restarts in any order: the queue is what a list would be.
func TestKill_Property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := store.NewCrashFS()
		incarnation := home.Incarnation(1)
		o := busy(fs, incarnation)
		o.SnapshotEntries = 3
		r := start(t, o)
		r.subscribe()
		var want []message
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"publish", "publish", "kill", "torn", "restart", "flush"}).Draw(rt, "step") {
			case "publish":
				for range rapid.IntRange(1, 20).Draw(rt, "messages") {
					m := message{1, uint32(len(want))}
					r.do(numbered(m.publisher, m.n, rapid.IntRange(8, 3000).Draw(rt, "size")))
					want = append(want, m)
				}
				continue
			case "flush":
				if err := r.core().flush(); err != nil {
					rt.Fatal(err)
				}
				continue
			case "kill":
				disk := fs.Crash()
				_ = r.stop()
				fs = disk
			case "torn":
				disk := fs.CrashKeeping(rapid.Uint64().Draw(rt, "seed"), 50)
				_ = r.stop()
				fs = disk
			case "restart":
				if err := r.stop(); err != nil {
					rt.Fatal(err)
				}
			}
			incarnation++
			o.FS, o.Incarnation = fs, incarnation
			r = start(t, o)
			if got := r.queued(); fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("the queue holds %d messages, want %d:\n%v\n%v", len(got), len(want), got, want)
			}
		}
		_ = r.stop()
	})
}

func TestSnapshot_TruncatesTheLog(t *testing.T) {
	fs := store.NewCrashFS()
	o := busy(fs, 1)
	r := start(t, o)
	r.subscribe()
	for n := range uint32(300) {
		r.do(numbered(1, n, 500))
	}
	for end := time.Now().Add(30 * time.Second); r.Stats().LogFirst < 200 && time.Now().Before(end); { // snapshots follow behind
		time.Sleep(time.Millisecond)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, busy(fs, 2))
	s := r.Stats()
	if s.LogFirst < 200 || s.LogLast < 300 {
		t.Errorf("the log holds %d to %d after 300 entries with a snapshot every 20", s.LogFirst, s.LogLast)
	}
	if got := len(r.queued()); got != 300 {
		t.Errorf("%d messages in the queue, want 300", got)
	}
}

func TestTrailing_IsBoundedByBytes(t *testing.T) {
	o := Options{TrailingEntries: 1000, TrailingBytes: 1 << 20}.withDefaults()
	for _, tc := range []struct {
		entries uint64
		bytes   int64
		want    uint64
	}{{0, 0, 1000}, {100, 100, 1000}, {100, 100 << 10, 1000}, {100, 100 << 20, 1}, {100, 10 << 20, 10}} {
		if got := trailing(o.TrailingEntries, o.TrailingBytes, tc.entries, tc.bytes); got != tc.want {
			t.Errorf("after %d entries of %d bytes: keeps %d, want %d", tc.entries, tc.bytes, got, tc.want)
		}
	}
}

// failing runs a replica under load on a disk that begins to fail, and returns
// what was acknowledged, and the error that Run ended with.
func failing(t *testing.T, plant func(*store.CrashFS)) ([]message, *store.CrashFS, error) {
	fs := store.NewCrashFS()
	o := busy(fs, 1)
	fatal := make(chan error, 2)
	o.OnFatal = func(err error) { fatal <- err }
	r := start(t, o)
	r.subscribe()
	f := newFlood(r, 4, 50, 200)
	f.await(1000)
	plant(fs)
	f.wg.Wait() // the publishers end with the home
	<-r.ended
	acked := f.await(0)
	if err := <-fatal; !errors.Is(r.err, err) {
		t.Errorf("OnFatal heard %v, Run returned %v", err, r.err)
	}
	if len(fatal) > 0 {
		t.Error("OnFatal was called twice")
	}
	if ok, reason := r.Ready(); ok || reason != r.err.Error() {
		t.Errorf("after %v: ready %v, reason %q", r.err, ok, reason)
	}
	if err := r.Propose(&home.Tick{}, nil); !errors.Is(err, ErrStopped) || !errors.Is(err, r.err) {
		t.Errorf("Propose after a failure: %v", err)
	}
	return acked, fs.Crash(), r.err
}

func TestDiskFails_NothingAcknowledgedAfterwards(t *testing.T) {
	broken := errors.New("input/output error")
	for _, tc := range []struct {
		name  string
		plant func(*store.CrashFS)
		want  func(error) bool
	}{
		{"disk full", func(fs *store.CrashFS) { fs.FillUp(20) },
			func(err error) bool { var full *store.DiskFullError; return errors.As(err, &full) }},
		{"fsync of the log", func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpSync && inLog(op.Path) }, 3, broken)
		}, func(err error) bool { return errors.Is(err, broken) || strings.Contains(err.Error(), broken.Error()) }},
		{"one fsync of the log", func(fs *store.CrashFS) {
			var once sync.Once
			fs.FailMatching(func(op store.Op) bool {
				if op.Kind != store.OpSync || !inLog(op.Path) {
					return false
				}
				hit := false
				once.Do(func() { hit = true })
				return hit
			}, 0, broken)
		}, func(err error) bool { return strings.Contains(err.Error(), broken.Error()) }},
		{"everything in the store", func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return inState(op.Path) }, 0, broken)
		}, func(err error) bool { return strings.Contains(err.Error(), broken.Error()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			acked, disk, err := failing(t, tc.plant)
			if !tc.want(err) {
				t.Errorf("the home stopped with: %v", err)
			}
			r := start(t, busy(disk, 2))
			if a := compare(acked, r.queued()); a != (account{}) {
				t.Errorf("of %d acknowledged messages: %+v", len(acked), a)
			}
		})
	}
}

// The only copy says which file is damaged, and what to do.
func TestOnlyCopy_DamagedIsRefused(t *testing.T) {
	fs := store.NewCrashFS()
	r := start(t, busy(fs, 1))
	r.subscribe()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for path, at := range map[string]int64{"/log/meta": -3, strings.TrimPrefix(files(t, fs, "/data/homes/eu/state", ".sst")[0], "/data/homes/eu"): 40} {
		disk := fs.Crash()
		flip(t, disk, "/data/homes/eu"+path, at)
		_, err := Open(t.Context(), busy(disk, 2))
		if err == nil || !strings.Contains(err.Error(), "restore the whole data directory") || !strings.Contains(err.Error(), "/data/homes/eu") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := newCore(busy(fs, 2).withDefaults()).setAside(errDiverged); err != nil { // while it was one of several
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), busy(fs, 2)); err == nil || !strings.Contains(err.Error(), errDiverged.Error()) {
		t.Errorf("a state that was set aside: %v", err)
	}
}

func TestUnknownRecord_StopsTheHome(t *testing.T) {
	fs := store.NewCrashFS()
	o := options(fs, 1)
	var fatal error
	o.OnFatal = func(err error) { fatal = err }
	r := start(t, o)
	r.do(&home.Tick{})
	at := r.Stats().Applied + 1
	rec := home.Record{Home: "eu", Time: r.Now(), Entries: []home.Entry{{Owner: r.Owner(), N: 3, Ops: []home.Op{&home.Tick{}}}}}
	bad := rec.Append(nil)
	bad[0] = 200 // a version of the future
	r.core().raft.ApplyLog(raft.Log{Data: bad}, 0)
	<-r.ended
	if !errors.Is(fatal, home.ErrUnknown) || !strings.Contains(fatal.Error(), fmt.Sprintf("index %d", at)) {
		t.Errorf("the home stopped with %v, want the unknown version at index %d", fatal, at)
	}
	if got := r.fsm.index.Load(); got != at-1 {
		t.Errorf("applied up to %d, want %d: the record must not be skipped", got, at-1)
	}
	if _, err := Open(t.Context(), options(fs, 2)); !errors.Is(err, home.ErrUnknown) {
		t.Errorf("opened over a record of the future: %v", err)
	}
}

func TestBelong(t *testing.T) {
	for _, tc := range []struct {
		applied, snap, first, last, fetched uint64
		lost, torn                          string // part of the error; "" means fine
	}{
		{0, 0, 0, 0, 0, "", ""},
		{5, 0, 1, 9, 0, "", ""},
		{9, 9, 0, 9, 0, "", ""},
		{12, 9, 5, 20, 0, "", ""},
		{8, 9, 5, 20, 0, "", "a snapshot says 9"},
		{21, 9, 5, 20, 0, "the log ends at 20", ""},
		{5, 0, 3, 20, 0, "", "begins at index 3"},
		{12, 9, 11, 20, 0, "", "begins at index 11"},
		{12, 9, 10, 20, 0, "", ""},
		{21, 9, 0, 9, 21, "", ""}, // fetched, and the log has not caught up
		{21, 9, 0, 9, 20, "the log ends at 9", ""},
	} {
		h := holdings{applied: store.Position{Index: tc.applied, Term: 3}, snap: store.Position{Index: tc.snap, Term: 2},
			first: tc.first, last: tc.last, term: 3, fetched: tc.fetched}
		lost, torn := belong(h)
		for _, x := range []struct {
			err  error
			want string
		}{{lost, tc.lost}, {torn, tc.torn}} {
			if (x.err == nil) != (x.want == "") || x.err != nil && !strings.Contains(x.err.Error(), x.want) {
				t.Errorf("store %d, snapshot %d, log %d-%d: %v, want %q", tc.applied, tc.snap, tc.first, tc.last, x.err, x.want)
			}
		}
		h.term = 2 // raft's own is forgotten: the store has applied what is of term 3
		if lost, _ := belong(h); lost == nil || !strings.Contains(lost.Error(), "votes are lost") {
			t.Errorf("a log that has forgotten its term: %v", lost)
		}
	}
}
