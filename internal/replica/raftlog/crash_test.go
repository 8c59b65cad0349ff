package raftlog

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"causeway/internal/store"
)

// content is what a log must hold.
type content struct {
	first, last uint64            // 0, 0 when empty
	terms       map[uint64]uint64 // by index
	sizes       map[uint64]int
	vote        uint64
}

func (c content) clone() content {
	c.terms, c.sizes = maps.Clone(c.terms), maps.Clone(c.sizes)
	return c
}

// matches compares all of l with c.
func (c content) matches(l *Log) error {
	first, err := l.FirstIndex()
	last, err2 := l.LastIndex()
	vote, err3 := l.GetUint64([]byte("vote"))
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	if first != c.first || last != c.last || vote != c.vote {
		return fmt.Errorf("holds %d to %d, vote %d; want %d to %d, vote %d", first, last, vote, c.first, c.last, c.vote)
	}
	for i := first; i > 0 && i <= last; i++ {
		var got raft.Log
		if err := l.GetLog(i, &got); err != nil {
			return err
		}
		if d := differs(&got, entry(i, c.terms[i], c.sizes[i])); d != "" {
			return fmt.Errorf("entry %d: %s", i, d)
		}
	}
	return nil
}

// ledger is what the writer of a log knows: what was acknowledged, and what it is being asked for.
type ledger struct {
	mu            sync.Mutex
	acked, asking content
}

func (g *ledger) do(next content, act func() error) error {
	g.mu.Lock()
	g.asking = next
	g.mu.Unlock()
	if err := act(); err != nil {
		return err
	}
	g.mu.Lock()
	g.acked = next
	g.mu.Unlock()
	return nil
}

func (g *ledger) both() (acked, asking content) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.acked.clone(), g.asking.clone()
}

// step does one random thing to l: mostly it appends, sometimes it votes or truncates at either end.
func (g *ledger) step(r *rand.Rand, l *Log) error {
	cur, _ := g.both()
	next := cur
	switch what := r.IntN(20); {
	case what == 0 && cur.last-cur.first > 20: // a snapshot was taken
		next.first = cur.first + 1 + r.Uint64N(cur.last-cur.first)
		return g.do(next, func() error { return l.DeleteRange(cur.first, next.first-1) })
	case what == 1 && cur.last-cur.first > 20: // the leader has other entries
		next.last = cur.last - r.Uint64N(15) - 1
		return g.do(next, func() error { return l.DeleteRange(next.last+1, cur.last) })
	case what == 2:
		next.vote++
		return g.do(next, func() error { return l.SetUint64([]byte("vote"), next.vote) })
	}
	var batch []*raft.Log
	term, n, size := r.Uint64(), 1+r.Uint64N(8), r.IntN(3000)
	for i := range n {
		e := entry(cur.last+1+i, term, size) // same size: frames of old and new batches line up
		next.terms[e.Index], next.sizes[e.Index] = term, size
		batch = append(batch, e)
	}
	next.last += n
	if next.first == 0 {
		next.first = 1
	}
	return g.do(next, func() error { return l.StoreLogs(batch) })
}

func newLedger() *ledger {
	empty := content{terms: map[uint64]uint64{}, sizes: map[uint64]int{}}
	return &ledger{acked: empty, asking: empty.clone()}
}

// crash is a disk found after a power failure, and what its writer knew.
type crash struct {
	op            store.Op
	fs            *store.CrashFS
	acked, asking content
}

// run does steps on a log, with the power failing before each operation (as a copy of the disk).
func run(t *testing.T, fs *store.CrashFS, seed uint64, g *ledger, steps, percent int) []crash {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	l := open(t, fs)
	var mu sync.Mutex
	var found []crash
	fs.BeforeOp(func(op store.Op) {
		acked, asking := g.both() // before the copy: what was acknowledged then is in it
		c := crash{op, fs.CrashKeeping(seed+uint64(op.N), percent), acked, asking}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, c)
	})
	for range steps {
		if err := g.step(r, l); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	fs.BeforeOp(nil)
	return found
}

// recovered opens the log after c and returns it with the content it turned out to have.
func (c crash) recovered(t *testing.T) (*Log, *ledger) {
	t.Helper()
	l, err := Open(c.fs, logDir, Options{SegmentBytes: minSegmentBytes, VerifySealed: true})
	if err != nil {
		t.Fatalf("before %+v: %v", c.op, err)
	}
	for _, may := range []content{c.acked, c.asking} {
		if err = may.matches(l); err == nil {
			return l, &ledger{acked: may.clone(), asking: may.clone()}
		}
	}
	t.Fatalf("before %+v: neither what was acknowledged (%d to %d, vote %d) nor with what was asked for: %v",
		c.op, c.acked.first, c.acked.last, c.acked.vote, err)
	return nil, nil
}

func TestLog_CrashAnywhere(t *testing.T) {
	// given appends over several segments, votes and truncations, when the power fails before any one
	// operation of the disk, then the log holds what was acknowledged, with or without the one thing
	// in progress; and the same again when it fails a second time, at any operation after that
	for seed, percent := range []int{0, 30, 80} {
		t.Run(fmt.Sprintf("seed-%d-keeping-%d", seed, percent), func(t *testing.T) {
			seed := uint64(seed * 1000)
			found := run(t, store.NewCrashFS(), seed, newLedger(), 60, percent)
			if len(found) < 100 {
				t.Fatalf("only %d operations", len(found))
			}
			for i, c := range found {
				l, g := c.recovered(t)
				closeLog(t, l)
				if i%10 != 0 {
					continue
				}
				for _, again := range run(t, c.fs, seed+uint64(i), g, 4, percent) {
					l, _ := again.recovered(t)
					closeLog(t, l)
				}
			}
		})
	}
}

func TestLog_NeedsItsSyncs(t *testing.T) {
	// given a disk that ignores one kind of sync, when the power fails, then something acknowledged
	// is lost: the crash test notices each missing sync
	for name, ignore := range map[string]func(string) bool{
		"segments":  func(p string) bool { return strings.HasSuffix(p, segmentSuffix) },
		"directory": func(p string) bool { return p == logDir },
		"meta":      func(p string) bool { return strings.Contains(p, "/"+metaName) },
		"parents":   func(p string) bool { return p == "/srv/home" },
	} {
		t.Run(name, func(t *testing.T) {
			fs, g := store.NewCrashFS(), newLedger()
			fs.IgnoreSyncs(ignore)
			l := open(t, fs)
			r := rand.New(rand.NewPCG(5, 5))
			for range 80 {
				if err := g.step(r, l); err != nil {
					t.Fatal(err)
				}
			}
			closeLog(t, l)
			acked, _ := g.both()
			after, err := Open(fs.Crash(), logDir, small)
			if err != nil {
				return // lost, and noticed
			}
			defer closeLog(t, after)
			if err := acked.matches(after); err == nil {
				t.Fatal("everything survived without the sync: the crash test could not notice a missing one")
			}
		})
	}
}

// tailPath is the segment being appended to.
func tailPath(t *testing.T, fs store.FS) string {
	t.Helper()
	names, err := walFS{fs: fs}.ListDir(logDir)
	if err != nil || len(names) == 0 {
		t.Fatalf("segments: %v %v", names, err)
	}
	return logDir + "/" + names[len(names)-1]
}

// edit changes the bytes of a file.
func edit(t *testing.T, fs store.FS, path string, change func(b []byte)) {
	t.Helper()
	f, err := store.OpenExisting(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	change(b)
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// stock opens the folder with raft-wal alone, without our repairs, and says whether it takes appends.
func stock(t *testing.T, fs store.FS, next uint64) error {
	t.Helper()
	brk := &breaker{fs: fs, dir: logDir}
	meta := &metaStore{fs: fs, dir: logDir, brk: brk}
	if _, err := meta.load(); err != nil {
		t.Fatal(err)
	}
	w, err := wal.Open(logDir, wal.WithSegmentFiler(segment.NewFiler(logDir, walFS{fs: fs, brk: brk})),
		wal.WithMetaStore(meta), wal.WithSegmentSize(minSegmentBytes), wal.WithLogger(HCLog(nil, "wal")))
	if err != nil {
		return err
	}
	defer w.Close()
	return w.StoreLogs(entries(next, 1, 1, 10))
}

func TestOpen_FinishesARotation(t *testing.T) {
	// given a crash after the append that sealed a segment and before the rotation was recorded, when
	// the log is opened, then it takes appends (raft-wal alone refuses them for good)
	fs := store.NewCrashFS()
	l := open(t, fs)
	var found *store.CrashFS
	var last uint64
	var once sync.Once
	fs.BeforeOp(func(op store.Op) {
		if op.Path == logDir+"/"+metaName+".tmp" {
			once.Do(func() { found = fs.Crash() })
		}
	})
	for last < 200 {
		add(t, l, entries(last+1, 10, 1, 1000))
		last += 10
	}
	closeLog(t, l)
	if found == nil {
		t.Fatal("no rotation")
	}
	alone := found.Crash()
	l = open(t, found)
	defer closeLog(t, l)
	_, have := bounds(t, l)
	if have < 60 {
		t.Fatalf("only %d entries", have)
	}
	if err := stock(t, alone, have+1); !errors.Is(err, wal.ErrSealed) {
		t.Fatalf("raft-wal alone: %v; is this repair still needed?", err)
	}
	add(t, l, entries(have+1, 100, 1, 1000))
	for i := uint64(1); i <= have+100; i++ {
		wantEntry(t, l, entry(i, 1, 1000))
	}
}

func TestOpen_TornSealIsNoSeal(t *testing.T) {
	// given the batch that would have sealed the segment, torn in the middle, when the log is opened,
	// then the batch is dropped and appends go on (raft-wal alone keeps the seal)
	fs := store.NewCrashFS()
	l := open(t, fs)
	add(t, l, entries(1, 10, 1, 1000))
	end := dataEnd(t, fs)
	found := diskAt(fs, store.OpSync, func() { add(t, l, entries(11, 60, 1, 1000)) })
	closeLog(t, l)
	edit(t, found, tailPath(t, found), func(b []byte) { b[end+5000] ^= 1 })
	if err := stock(t, found.Crash(), 11); !errors.Is(err, wal.ErrSealed) {
		t.Fatalf("raft-wal alone: %v; is this repair still needed?", err)
	}
	l = open(t, found)
	defer closeLog(t, l)
	if _, last := bounds(t, l); last != 10 {
		t.Fatalf("holds entries up to %d", last)
	}
	add(t, l, entries(11, 100, 1, 1000))
	wantEntry(t, l, entry(10, 1, 1000))
	wantEntry(t, l, entry(110, 1, 1000))
}

// diskAt is the disk as it was, with everything written, before the first operation of that kind on a
// segment in act.
func diskAt(fs *store.CrashFS, kind store.OpKind, act func()) (found *store.CrashFS) {
	var once sync.Once
	fs.BeforeOp(func(op store.Op) {
		if op.Kind == kind && strings.HasSuffix(op.Path, segmentSuffix) {
			once.Do(func() { found = fs.CrashKeeping(1, 100) })
		}
	})
	act()
	fs.BeforeOp(nil)
	return found
}

// dataEnd is the offset behind the last frame of the tail segment.
func dataEnd(t *testing.T, fs store.FS) (end int) {
	t.Helper()
	edit(t, fs, tailPath(t, fs), func(b []byte) { end = framesEnd(b) })
	return end
}

// framesEnd is the offset behind the last frame in b: frames are aligned to 8 bytes, zeros follow.
func framesEnd(b []byte) int { return (len(strings.TrimRight(string(b), "\x00")) + 7) &^ 7 }

func TestOpen_TornBatchLeavesNothingBehind(t *testing.T) {
	// given a torn batch, when the log is opened, then what follows the last whole batch is zeros, on
	// the disk, before anything is appended: later batches must not be judged by its remains
	fs := store.NewCrashFS()
	l := open(t, fs)
	add(t, l, entries(1, 3, 1, 1000))
	end := dataEnd(t, fs)
	found := diskAt(fs, store.OpSync, func() { add(t, l, entries(4, 8, 1, 1000)) })
	closeLog(t, l)
	edit(t, found, tailPath(t, found), func(b []byte) { clear(b[end+10 : end+20]) })
	closeLog(t, open(t, found))
	found = found.Crash()
	if now := dataEnd(t, found); now != end {
		t.Fatalf("data ends at %d, the last whole batch at %d", now, end)
	}
	l = open(t, found)
	defer closeLog(t, l)
	if _, last := bounds(t, l); last != 3 {
		t.Fatalf("holds entries up to %d", last)
	}
}

func TestOpen_SecondTornBatchIsNotTakenForWhole(t *testing.T) {
	// given a long torn batch, then a crash that tears a short one over it, with entries of the first
	// still behind, when raft-wal opens it, it takes the second for acknowledged and hands out
	// garbage; Open must not
	fs := store.NewCrashFS()
	l := open(t, fs)
	add(t, l, entries(1, 3, 1, 1000))
	end := dataEnd(t, fs)
	found := diskAt(fs, store.OpSync, func() { add(t, l, entries(4, 8, 1, 1000)) })
	closeLog(t, l)
	long := found.CrashKeeping(1, 100)
	edit(t, long, tailPath(t, long), func(b []byte) {
		b[end+10] ^= 1            // torn in its first entry,
		clear(b[framesEnd(b)-8:]) // and without its commit frame
	})
	tearSecond := func(fs *store.CrashFS) *store.CrashFS {
		probe, out := fs.CrashKeeping(1, 100), fs.CrashKeeping(1, 100)
		l := open(t, probe)
		// 8 bytes less, for its commit frame: the remains behind it line up.
		torn := diskAt(probe, store.OpSync, func() { add(t, l, entries(4, 1, 2, 992)) })
		closeLog(t, l)
		var second []byte
		edit(t, torn, tailPath(t, torn), func(b []byte) { second = append(second, b[end:framesEnd(b)]...) })
		edit(t, out, tailPath(t, out), func(b []byte) {
			copy(b[end:], second)
			b[end+500] ^= 1
		})
		return out
	}
	// Without the clearing in between, the remains of the first batch follow the second.
	if err := stock(t, tearSecond(long), 4); err == nil || !strings.Contains(err.Error(), "index 4 after 4") {
		t.Fatalf("raft-wal alone dropped it: %v; is this repair still needed?", err)
	}
	closeLog(t, open(t, long)) // the restart between the two crashes
	after := tearSecond(long)
	l = open(t, after)
	defer closeLog(t, l)
	if _, last := bounds(t, l); last != 3 {
		t.Fatalf("holds entries up to %d", last)
	}
	add(t, l, entries(4, 1, 3, 10))
}

func TestOpen_MakesDurableWhatAKilledProcessWrote(t *testing.T) {
	kill := errors.New("killed here")
	t.Run("entries", func(t *testing.T) {
		fs := store.NewCrashFS()
		l := open(t, fs)
		add(t, l, entries(1, 5, 1, 100))
		fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpSync }, 0, kill)
		if err := l.StoreLogs(entries(6, 5, 1, 100)); !errors.Is(err, kill) {
			t.Fatal(err)
		}
		closeLog(t, l)
		fs.Heal()
		l = open(t, fs) // a new process on the same page cache
		_, last := bounds(t, l)
		closeLog(t, l)
		l = open(t, fs.Crash())
		defer closeLog(t, l)
		if _, now := bounds(t, l); now != last || last != 10 {
			t.Fatalf("the log answered for %d entries and held %d after the power failure", last, now)
		}
	})
	t.Run("entries whose sync failed", func(t *testing.T) {
		// The kernel counts pages whose sync failed as written: it syncs them only once they are
		// written again.
		fs := store.NewCrashFS()
		l := open(t, fs)
		add(t, l, entries(1, 5, 1, 100))
		fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpSync }, 0, kill)
		if err := l.StoreLogs(entries(6, 5, 1, 100)); !errors.Is(err, kill) {
			t.Fatal(err)
		}
		closeLog(t, l)
		fs.Heal()
		clean := true
		fs.BeforeOp(func(op store.Op) { clean = clean && op.Kind != store.OpWrite })
		fs.IgnoreSyncs(func(string) bool { return clean })
		l = open(t, fs)
		_, last := bounds(t, l)
		closeLog(t, l)
		l = open(t, fs.Crash())
		defer closeLog(t, l)
		if _, now := bounds(t, l); now != last {
			t.Fatalf("the log answered for %d entries and held %d after the power failure", last, now)
		}
	})
	t.Run("name of a segment", func(t *testing.T) {
		fs := store.NewCrashFS()
		l := open(t, fs)
		fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpDirSync }, 0, kill)
		if err := l.StoreLogs(entries(1, 5, 1, 100)); !errors.Is(err, kill) {
			t.Fatal(err)
		}
		closeLog(t, l)
		fs.Heal()
		l = open(t, fs)
		_, last := bounds(t, l)
		closeLog(t, l)
		l = open(t, fs.Crash())
		defer closeLog(t, l)
		if _, now := bounds(t, l); now != last || last != 5 {
			t.Fatalf("the log answered for %d entries and held %d after the power failure", last, now)
		}
	})
	t.Run("new segment", func(t *testing.T) {
		// raft-wal's own file system loses the name of a segment it did not create itself.
		fs := store.NewCrashFS()
		fs.IgnoreSyncs(func(p string) bool { return p == logDir })
		l := open(t, fs)
		closeLog(t, l) // killed before the first append
		l = open(t, fs)
		fs.IgnoreSyncs(nil)
		add(t, l, entries(1, 5, 1, 100))
		closeLog(t, l)
		l = open(t, fs.Crash())
		defer closeLog(t, l)
		if _, last := bounds(t, l); last != 5 {
			t.Fatalf("%d entries of 5", last)
		}
	})
	t.Run("vote", func(t *testing.T) {
		fs := store.NewCrashFS()
		l := open(t, fs)
		fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpDirSync }, 0, kill)
		if err := l.SetUint64([]byte("vote"), 7); !errors.Is(err, kill) {
			t.Fatal(err)
		}
		closeLog(t, l)
		fs.Heal()
		for _, disk := range []*store.CrashFS{fs, fs} {
			l = open(t, disk)
			vote, err := l.GetUint64([]byte("vote"))
			closeLog(t, l)
			l = open(t, disk.Crash())
			if now, err2 := l.GetUint64([]byte("vote")); err != nil || err2 != nil || now != vote {
				t.Fatalf("the log answered for vote %d and held %d after the power failure (%v, %v)", vote, now, err, err2)
			}
			closeLog(t, l)
		}
	})
}

func TestOpen_DamageIsNotATornBatch(t *testing.T) {
	build := func(t *testing.T) (*store.CrashFS, []int) {
		fs := store.NewCrashFS()
		l := open(t, fs)
		ends := []int{0}
		for i := range uint64(4) {
			add(t, l, entries(1+i*3, 3, 1, 500))
			ends = append(ends, dataEnd(t, fs))
		}
		closeLog(t, l)
		return fs, ends
	}
	flip := func(at int) func([]byte) { return func(b []byte) { b[at] ^= 0x40 } }
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, fs *store.CrashFS, ends []int)
		says string
	}{
		{"payload in the middle", func(t *testing.T, fs *store.CrashFS, ends []int) {
			edit(t, fs, tailPath(t, fs), flip(ends[1]+100))
		}, "disk lost acknowledged entries"},
		{"payload of the first batch", func(t *testing.T, fs *store.CrashFS, ends []int) {
			edit(t, fs, tailPath(t, fs), flip(100))
		}, "disk lost acknowledged entries"},
		{"frame type in the middle", func(t *testing.T, fs *store.CrashFS, ends []int) {
			edit(t, fs, tailPath(t, fs), flip(ends[1]))
		}, "disk lost acknowledged entries"},
		{"length in the middle", func(t *testing.T, fs *store.CrashFS, ends []int) {
			edit(t, fs, tailPath(t, fs), flip(ends[1]+7))
		}, "disk lost acknowledged entries"},
		{"other segment's header", func(t *testing.T, fs *store.CrashFS, ends []int) {
			// A header is part of the first batch, so it also fails as that.
			edit(t, fs, tailPath(t, fs), flip(9))
		}, ""},
		{"meta flipped", func(t *testing.T, fs *store.CrashFS, _ []int) {
			edit(t, fs, logDir+"/"+metaName, flip(40))
		}, "meta file fails its checksum"},
		{"meta cut", func(t *testing.T, fs *store.CrashFS, _ []int) {
			if err := store.WriteFileAtomic(fs, logDir, metaName, []byte(metaMagic)); err != nil {
				t.Fatal(err)
			}
		}, "no header"},
		{"meta lost", func(t *testing.T, fs *store.CrashFS, _ []int) {
			if err := errors.Join(fs.Remove(logDir+"/"+metaName), store.SyncDir(fs, logDir)); err != nil {
				t.Fatal(err)
			}
		}, "segments but no meta file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs, ends := build(t)
			tc.do(t, fs, ends)
			_, err := Open(fs, logDir, small)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), logDir) {
				t.Fatalf("got %v", err)
			}
			if _, again := Open(fs.Crash(), logDir, small); !errors.Is(again, ErrDamaged) {
				t.Fatalf("opened at the second try: %v", again)
			}
		})
	}
}

func TestOpen_DamagedSealedSegment(t *testing.T) {
	build := func(t *testing.T) (fs *store.CrashFS, first string) {
		fs = store.NewCrashFS()
		l := open(t, fs)
		for i := range uint64(30) {
			add(t, l, entries(1+i*10, 10, 1, 1000))
		}
		closeLog(t, l)
		names, err := walFS{fs: fs}.ListDir(logDir)
		if err != nil || len(names) < 3 {
			t.Fatalf("%v %v", names, err)
		}
		return fs, logDir + "/" + names[0]
	}
	t.Run("flipped", func(t *testing.T) {
		fs, first := build(t)
		edit(t, fs, first, func(b []byte) { b[5000] ^= 1 })
		if _, err := Open(fs, logDir, Options{SegmentBytes: minSegmentBytes, VerifySealed: true}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("lost", func(t *testing.T) {
		fs, first := build(t)
		if err := fs.Remove(first); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(fs, logDir, small); !errors.Is(err, ErrDamaged) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("index points nowhere", func(t *testing.T) {
		// Entries that no longer decode are errors, not panics.
		fs, first := build(t)
		edit(t, fs, first, func(b []byte) {
			for i := segmentHeaderLen + frameHeaderLen; i < 20000; i++ {
				b[i] = 0xff
			}
		})
		l := open(t, fs)
		defer closeLog(t, l)
		bad := 0
		for i := uint64(1); i <= 20; i++ {
			var got raft.Log
			if err := l.GetLog(i, &got); err != nil {
				bad++
			}
		}
		if bad == 0 {
			t.Fatal("read entries out of nothing")
		}
	})
}
