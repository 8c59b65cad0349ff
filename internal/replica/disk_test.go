package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
)

func incoming(path string) bool { return strings.Contains(path, "/home-eu/incoming") }

// behind lets a follower be away for so long that it has to fetch the state, and
// returns it, killed. A leader that knew it would keep the log for it.
func (rg *region) behind() *node {
	rg.t.Helper()
	was := rg.leader()
	d := rg.others(was)[0]
	d.kill()
	heir := slices.DeleteFunc(rg.others(was), func(o *node) bool { return o == d })[0]
	if err := was.replica().core().transfer(rg.t.Context(), home.NodeID(heir.name)); err != nil {
		rg.t.Fatal(err)
	}
	rg.await("another leader", 20*time.Second, func() bool { return rg.leader() == heir })
	rg.more(100)
	return d
}

// light is the load under which a disk fails: the schedules of seeds have more.
const light = 50 * time.Millisecond

// tiny is small for a light load.
func tiny(o *Options) {
	small(o)
	o.SnapshotEntries, o.TrailingEntries = 30, 5
}

// more lets the log grow by about so many entries.
func (rg *region) more(entries uint64) {
	rg.t.Helper()
	var l *node
	rg.await("a leader", 20*time.Second, func() bool { l = rg.leader(); return l != nil })
	until := l.replica().Applied() + entries
	rg.await("a longer log", time.Minute, func() bool { l := rg.leader(); return l != nil && l.replica().Applied() > until })
}

// flip damages a file of a node's disk, durably: the byte at an offset, from the
// end if it is negative.
func flip(t *testing.T, fs store.FS, path string, at int64) {
	t.Helper()
	f, err := store.OpenExisting(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		t.Fatal(err)
	} else if at < 0 {
		at += st.Size()
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// files lists the files of a folder with a suffix, oldest first.
func files(t *testing.T, fs store.FS, dir, suffix string) (paths []string) {
	t.Helper()
	names, err := store.List(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			paths = append(paths, fs.PathJoin(dir, n))
		}
	}
	return paths
}

func (d *node) disk() string { return d.peer().Disk }

// why is what the node says while it does not serve.
func (d *node) why() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprint(d.opening, "; ", d.err)
}

// A node that fetches and installs a copy loses power before each operation on
// its disk. What it finds is the old copy or the new one, and its promises.
func TestFetch_KilledAtEveryStep(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		d := rg.behind()
		old := lookAt(t, d.fs.Crash())
		type image struct {
			op   store.Op
			disk *store.CrashFS
		}
		var mu sync.Mutex
		var images []image
		d.fs.BeforeOp(func(op store.Op) {
			if !strings.Contains(op.Path, "/home-eu") || inState(op.Path) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			images = append(images, image{op, d.fs.Crash()})
		})
		d.start()
		rg.await("the node that was away", time.Minute, rg.allReady(d))
		d.fs.BeforeOp(nil)
		mu.Lock()
		defer mu.Unlock()
		fetched, renewed := 0, 0
		for i, im := range images {
			if incoming(im.op.Path) {
				fetched++
			}
			got := lookAt(t, im.disk.Crash())
			same := got.applied == old.applied && got.digest == old.digest
			if got.lost != nil || got.torn != nil || got.last < old.last || got.vote.term < old.vote.term || got.applied.Index < old.applied.Index ||
				got.applied == old.applied && !same {
				t.Fatalf("power cut before operation %d, %s %s: found %+v, before %+v", im.op.N, im.op.Kind, im.op.Path, got, old)
			}
			if !same {
				renewed++
			}
			if i%(len(images)/4+1) == 0 { // and come up with it
				d.kill()
				d.fs = im.disk
				d.start()
				rg.await("the node after a loss of power", time.Minute, rg.allReady(d))
			}
		}
		if fetched < 20 || renewed == 0 {
			t.Errorf("%d operations of a fetch, of which %d found another copy: the test is none", fetched, renewed)
		}
	})
}

// Trouble with the disk of a node that fetches: it says so, and goes on when the
// trouble is over.
func TestFetch_DiskFails(t *testing.T) {
	for name, plant := range map[string]func(*store.CrashFS){
		"full":        func(fs *store.CrashFS) { fs.FillUp(25) },
		"short write": func(fs *store.CrashFS) { fs.ShortWriteAfter(20, syscall.EIO) },
		"fsync": func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpSync && incoming(op.Path) }, 3, syscall.EIO)
		},
		"full, install": func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return strings.Contains(op.Path, "/home-eu/snapshots") }, 0, syscall.ENOSPC)
		},
		"directories": func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpDirSync && incoming(op.Path) }, 1, syscall.EIO)
		},
	} {
		t.Run(name, func(t *testing.T) {
			underLoad(t, light, tiny, func(rg *region) {
				d := rg.behind()
				plant(d.fs)
				d.start()
				time.Sleep(3 * time.Second)
				if d.ready() {
					t.Error("the node serves over a broken disk")
				}
				if why := d.why(); !strings.Contains(why, "disk full at /data") && !strings.Contains(why, syscall.EIO.Error()) {
					t.Errorf("it does not say why: %s", why)
				}
				d.fs.Heal()
			})
		})
	}
}

// copies lets a test spoil the streams on which a node fetches.
type copies struct {
	mu    sync.Mutex
	spoil func(n int, st *cluster.Stream) *cluster.Stream // n counts streams from 1
	n     int
}

func (c *copies) dialled(st *cluster.Stream) *cluster.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if c.spoil == nil {
		return st
	}
	return c.spoil(c.n, st)
}

// spoiltConn breaks, or changes every 256th byte, after so many bytes were read.
type spoiltConn struct {
	*cluster.Stream
	after int64
	flip  bool
	read  atomic.Int64
}

func (c *spoiltConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	at := c.read.Add(int64(n)) - int64(n)
	if !c.flip && at+int64(n) > c.after {
		return 0, errors.Join(errors.New("the stream broke"), c.Close())
	}
	for i := range int64(n) {
		if c.flip && at+i > c.after && (at+i)%256 == 0 {
			b[i] ^= 0x40
		}
	}
	return n, err
}

func spoilt(st *cluster.Stream, after int64, flip bool) *cluster.Stream {
	return &cluster.Stream{Conn: &spoiltConn{Stream: st, after: after, flip: flip}, Peer: st.Peer}
}

// A stream that breaks again and again costs the file that was on its way.
func TestFetch_StreamBreaks(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		d := rg.behind()
		d.copies.spoil = func(n int, st *cluster.Stream) *cluster.Stream {
			if n > 5 {
				return st
			}
			return spoilt(st, 5<<10, false)
		}
		created := map[string]int{}
		d.fs.BeforeOp(func(op store.Op) {
			if op.Kind == store.OpRename && strings.Contains(op.Path, "/incoming/state/") {
				created[op.Path]++
			}
		})
		d.start()
		rg.await("the node that was away", time.Minute, rg.allReady(d))
		d.fs.BeforeOp(nil)
		if d.copies.n < 3 {
			t.Errorf("%d streams: the test is none", d.copies.n)
		}
		for path, n := range created {
			if n > 1 {
				t.Errorf("%s was fetched whole %d times", path, n)
			}
		}
	})
}

// What the wire changes is noticed before it is installed.
func TestFetch_DamagedOnTheWay(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		d := rg.behind()
		d.copies.spoil = func(n int, st *cluster.Stream) *cluster.Stream {
			if n > 1 {
				return st
			}
			return spoilt(st, 3<<10, true)
		}
		d.start()
		rg.await("the node that was away", time.Minute, rg.allReady(d))
		if d.copies.n < 2 {
			t.Error("the damage was not noticed")
		}
	})
}

// A leader whose state is damaged serves a damaged copy: who fetches notices, and
// the leader sets its own aside and fetches another.
func TestFetch_LeadersDiskIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 4)
		rg.opts = tiny
		three, spare := rg.nodes[:3], rg.nodes[3]
		for _, d := range three {
			d.start()
		}
		rg.await("three ready nodes", 20*time.Second, rg.allReady(three...))
		rg.subscribe()
		for n := range uint32(100) {
			if _, err := rg.leader().propose(numbered(1, n, 100)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) // the log is cut
		was := rg.leader()
		if err := was.replica().core().flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := was.replica().core().store.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, path := range files(t, was.fs, "/data/home-eu/state", ".sst") {
			flip(t, was.fs, path, 40)
		}
		spare.start()
		rg.await("another leader", 20*time.Second, func() bool { l := rg.leader(); return l != nil && l != was })
		rg.await("four ready nodes", time.Minute, rg.allReady())
		if _, err := was.fs.Stat("/data/home-eu/state.aside"); err != nil {
			t.Errorf("the damaged state was not kept: %v", err)
		}
		rg.await("equal copies", 20*time.Second, func() bool { return rg.same() })
	})
}

// The leader that serves a copy dies, or hands its office over, in the middle.
func TestFetch_LeaderGoes(t *testing.T) {
	for name, leave := range map[string]func(*node){"killed": (*node).kill, "hands over": func(d *node) { d.replica().HandOver() }} {
		t.Run(name, func(t *testing.T) {
			underLoad(t, light, tiny, func(rg *region) {
				d := rg.behind()
				was := rg.leader()
				var n atomic.Int32
				half := make(chan struct{})
				d.fs.BeforeOp(func(op store.Op) {
					if op.Kind == store.OpCreate && strings.HasSuffix(op.Path, "/incoming/PART") && n.Add(1) == 3 {
						close(half)
					}
				})
				d.start()
				<-half
				leave(was)
				time.Sleep(time.Second)
				if name == "killed" {
					was.start()
				}
			})
		})
	}
}

// Two nodes that fetch at the same time share a checkpoint.
func TestFetch_TwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 5)
		rg.opts = tiny
		three, spares := rg.nodes[:3], rg.nodes[3:]
		for _, d := range three {
			d.start()
		}
		rg.await("three ready nodes", 20*time.Second, rg.allReady(three...))
		rg.subscribe()
		for n := range uint32(100) {
			if _, err := rg.leader().propose(numbered(1, n, 100)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) // the log is cut
		var made atomic.Int32
		rg.leader().fs.BeforeOp(func(op store.Op) {
			if op.Kind == store.OpMkdir && strings.HasSuffix(op.Path, "/home-eu/checkpoint") {
				made.Add(1)
			}
		})
		for _, d := range spares {
			d.start()
		}
		rg.await("five ready nodes", time.Minute, rg.allReady())
		rg.await("equal copies", 20*time.Second, func() bool { return rg.same() })
		if made.Load() != 1 {
			t.Errorf("%d checkpoints were made", made.Load())
		}
	})
}

// A node fetches no more than fits, and counts what it has already.
func TestFetch_NeedsRoom(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		d := rg.behind()
		d.fs.SetFree(2 << 10)
		d.copies.spoil = func(n int, st *cluster.Stream) *cluster.Stream {
			if n > 3 {
				return st
			}
			return spoilt(st, 5<<10, false) // some of it comes
		}
		d.start()
		time.Sleep(3 * time.Second)
		if why := d.why(); d.ready() || !strings.Contains(why, "make room") {
			t.Errorf("ready %v; %s", d.ready(), why)
		}
		d.fs.SetFree(1 << 30)
	})
}

// The log that is kept for others takes at most half of what is free.
func TestMayHold(t *testing.T) {
	fs := store.NewCrashFS()
	r := newCore(member(fs).withDefaults())
	if got := r.mayHold(); got != maxHeldLog {
		t.Errorf("where nothing is known of the disk: %d", got)
	}
	fs.SetFree(1000)
	if got := r.mayHold(); got != 500 {
		t.Errorf("of 1000 bytes: %d", got)
	}
}

// A checkpoint that nobody fetches any more goes, and what a crash left of one.
func TestCheckpoint_IsNotLeftBehind(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		d := rg.behind()
		was := rg.leader()
		d.start()
		rg.await("the node that was away", time.Minute, rg.allReady(d))
		there := func() bool { ok, err := store.Exists(was.fs, "/data/home-eu/checkpoint"); return ok && err == nil }
		if !there() {
			t.Fatal("there is no checkpoint: the test is none")
		}
		was.kill()
		was.start()
		rg.await("the former leader", time.Minute, rg.allReady(was))
		if there() {
			t.Error("the checkpoint of a former run lies about")
		}
	})
}

// A copy that is behind, and followed a moment ago, goes on by the log, which the
// leader keeps for it beyond its trailing part, instead of fetching the state.
func TestRegion_LogIsKeptForWhoFollows(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		l := rg.leader()
		d := rg.others(l)[0]
		run := d.peer().Incarnation
		snapshots := l.replica().Stats().Snapshots
		for _, o := range rg.others(d) {
			rg.net.Cut(d.name, o.name)
		}
		time.Sleep(2 * time.Second)
		rg.net.HealAll()
		rg.await("it to have caught up", 20*time.Second, rg.allReady(d))
		if d.peer().Incarnation != run {
			t.Errorf("the copy was closed: %s", d.why())
		}
		if l.replica() != nil && l.replica().Stats().Snapshots == snapshots {
			t.Error("no snapshot was taken: the test is none")
		}
	})
}

// Trouble with the disk of a node that serves: its home stops, says why, and comes
// back by itself; the others go on.
func TestRegion_DiskFails(t *testing.T) {
	for name, plant := range map[string]func(*store.CrashFS){
		"full": func(fs *store.CrashFS) { fs.FillUp(10) },
		"fsync": func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpSync }, 2, syscall.EIO)
		},
		"all state": func(fs *store.CrashFS) {
			fs.FailMatching(func(op store.Op) bool { return strings.Contains(op.Path, "/home-eu/state") }, 0, syscall.EIO)
		},
	} {
		for _, leads := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", leader ", leads), func(t *testing.T) {
				underLoad(t, light, tiny, func(rg *region) {
					d := rg.leader()
					if !leads {
						d = rg.others(d)[0]
					}
					plant(d.fs)
					rg.await("it to stop", 20*time.Second, func() bool { return !d.ready() })
					time.Sleep(time.Second)
					if why := d.why(); !strings.Contains(why, "disk full at /data") && !strings.Contains(why, syscall.EIO.Error()) {
						t.Errorf("it does not say why: %s", why)
					}
					rg.await("the others", 20*time.Second, rg.allReady(rg.others(d)...))
					d.fs.Heal()
				})
			})
		}
	}
}

// A node whose state is damaged says which file, and brings another copy. Its log
// is good, and so is its vote.
func TestRegion_StateDamaged(t *testing.T) {
	for name, damage := range map[string]func(*testing.T, *store.CrashFS){
		"table": func(t *testing.T, fs *store.CrashFS) { flip(t, fs, files(t, fs, "/data/home-eu/state", ".sst")[0], 40) },
		"gone": func(t *testing.T, fs *store.CrashFS) {
			removeAll(t, fs, files(t, fs, "/data/home-eu/state", ".sst")[0])
		},
		"all gone": func(t *testing.T, fs *store.CrashFS) { removeAll(t, fs, "/data/home-eu/state") },
		"snapshots gone": func(t *testing.T, fs *store.CrashFS) {
			removeAll(t, fs, "/data/home-eu/snapshots")
		},
	} {
		t.Run(name, func(t *testing.T) {
			underLoad(t, light, tiny, func(rg *region) {
				rg.more(100)
				d := rg.others(rg.leader())[0]
				disk := d.disk()
				d.kill()
				damage(t, d.fs)
				d.start()
				rg.await("the node", time.Minute, rg.allReady(d))
				if d.disk() != disk {
					t.Error("its disk counts as wiped, though its log is good")
				}
			})
		})
	}
}

func removeAll(t *testing.T, fs store.FS, path string) {
	t.Helper()
	if err := fs.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := store.SyncDir(fs, fs.PathDir(path)); err != nil {
		t.Fatal(err)
	}
}

// A node whose log is damaged counts as one with a new disk: the copy is kept
// aside, and it has no vote before it was let in again. [B1]
func TestRegion_LogDamaged(t *testing.T) {
	const log = "/data/home-eu/log"
	for name, damage := range map[string]func(*testing.T, *store.CrashFS){
		"segment":       func(t *testing.T, fs *store.CrashFS) { flip(t, fs, files(t, fs, log, ".wal")[0], 5000) },
		"segment gone":  func(t *testing.T, fs *store.CrashFS) { removeAll(t, fs, files(t, fs, log, ".wal")[0]) },
		"meta":          func(t *testing.T, fs *store.CrashFS) { flip(t, fs, log+"/meta", -3) },
		"meta gone":     func(t *testing.T, fs *store.CrashFS) { removeAll(t, fs, log+"/meta") },
		"log gone":      func(t *testing.T, fs *store.CrashFS) { removeAll(t, fs, log) },
		"tail cut away": cutTail,
	} {
		t.Run(name, func(t *testing.T) {
			underLoad(t, light, tiny, func(rg *region) {
				rg.more(100)
				d := rg.others(rg.leader())[0]
				disk := d.disk()
				d.kill()
				damage(t, d.fs)
				d.start()
				rg.await("another disk's vote", time.Minute, func() bool {
					l := rg.leader()
					return d.disk() != disk && l != nil && votes(l.replica().core().servers(), serverID(home.NodeID(d.name), d.disk()))
				})
				rg.await("the group to be whole", time.Minute, rg.whole)
				if _, err := d.fs.Stat("/data/home-eu.aside/WHY"); err != nil {
					t.Errorf("the damaged copy was not kept: %v", err)
				}
			})
		})
	}
}

// cutTail overwrites the second half of the newest segment with zeros: it looks
// like a write that was never finished.
func cutTail(t *testing.T, fs *store.CrashFS) {
	list := files(t, fs, "/data/home-eu/log", ".wal")
	f, err := store.OpenExisting(fs, list[len(list)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, st.Size()-st.Size()/64), st.Size()/64); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// While the others have no leader a damaged log is neither used nor set aside:
// the disk may be all there is.
func TestRegion_LogDamagedAndNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.opts = small
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		rg.subscribe()
		for n := range uint32(50) {
			if _, err := rg.nodes[0].propose(numbered(1, n, 100)); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range rg.nodes {
			d.kill()
		}
		a, b := rg.nodes[0], rg.nodes[1]
		flip(t, a.fs, "/data/home-eu/log/meta", -3)
		disk := a.disk()
		a.start()
		b.start()
		for range 20 {
			time.Sleep(time.Second)
			if l := rg.leader(); l != nil {
				t.Fatalf("%s leads with the vote of a damaged disk", l.name)
			}
		}
		if why := a.why(); a.disk() != disk || !strings.Contains(why, "meta file fails its checksum") {
			t.Errorf("disk %s, was %s; %s", a.disk(), disk, why)
		}
		rg.nodes[2].start()
		rg.await("three ready nodes", time.Minute, rg.allReady())
		if a.disk() == disk {
			t.Error("the damaged disk still counts")
		}
	})
}

// A data directory is taken back to an earlier time. The home knows a later run of
// the node, or the leader an entry that it acknowledged: it counts as wiped.
func TestRegion_DirectoryRestored(t *testing.T) {
	for name, runs := range map[string]int{"by its runs": 2, "by its log": 0} {
		t.Run(name, func(t *testing.T) {
			underLoad(t, light, tiny, func(rg *region) {
				d := rg.others(rg.leader())[0]
				backup, disk := d.fs.Crash(), d.disk()
				for range runs {
					d.kill()
					d.start()
					rg.await("the node", time.Minute, rg.allReady(d))
				}
				rg.more(5)
				d.kill()
				d.fs = backup
				d.start()
				rg.await("the group to be whole", time.Minute, func() bool { return d.disk() != disk && rg.whole() })
			})
		})
	}
}

// Execution [B1] with a restored disk instead of an empty one: A and B commit, C
// is cut off; A dies, and B is taken back to before it acknowledged, and before
// two of its starts. C must not get its vote.
func TestRegion_RestoredVoterDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		rg.subscribe()
		a := rg.leader()
		b, c := rg.others(a)[0], rg.others(a)[1]
		backup := b.fs.Crash()
		for range 2 {
			b.kill()
			b.start()
			rg.await("three ready nodes", 20*time.Second, rg.allReady())
		}
		rg.net.Cut(a.name, c.name)
		rg.net.Cut(b.name, c.name)
		if _, err := a.propose(numbered(1, 1, 100)); err != nil {
			t.Fatal(err)
		}
		a.kill()
		b.kill()
		b.fs = backup
		b.start()
		rg.net.HealAll()
		for range 40 {
			time.Sleep(500 * time.Millisecond)
			if l := rg.leader(); l != nil {
				t.Fatalf("%s leads with the vote of a restored disk", l.name)
			}
		}
		a.start()
		rg.await("three ready nodes", time.Minute, rg.allReady())
		if q := rg.leader().replica().State().Peek(subscriber, 0, 10); len(q) != 1 {
			t.Errorf("the acknowledged message is lost: %v", q)
		}
	})
}

// A new disk at the same address while the leader is cut off from everybody: the
// other two cannot lead without its vote, which it does not have.
func TestRegion_NewDiskWhileTheLeaderIsCut(t *testing.T) {
	underLoad(t, 10*time.Millisecond, nil, func(rg *region) {
		a := rg.leader()
		b, c := rg.others(a)[0], rg.others(a)[1]
		for _, o := range rg.others(a) {
			rg.net.Cut(a.name, o.name)
		}
		b.kill()
		b.wipe()
		b.start()
		for range 10 {
			time.Sleep(500 * time.Millisecond)
			if r := c.replica(); r != nil && r.Leads() {
				t.Fatal("the third leads with the vote of an empty disk")
			}
		}
	})
}

// Disks are replaced one after the other, the next as soon as the node before it
// says that it is ready: never is there less than a majority.
func TestRegion_DisksReplacedByReadiness(t *testing.T) {
	underLoad(t, light, tiny, func(rg *region) {
		for _, d := range slices.Clone(rg.nodes) {
			d.kill()
			d.wipe()
			d.start()
			rg.await("the replaced node", time.Minute, func() bool {
				if r := d.replica(); r != nil && !d.ready() {
					if _, why := r.Ready(); !strings.Contains(why, "catching up") && !strings.Contains(why, "starting") && !strings.Contains(why, "no leader") {
						t.Errorf("it is not ready: %s", why)
					}
				}
				return d.ready()
			})
			l := rg.leader()
			if l == nil || !rg.whole() {
				t.Errorf("%s is ready, and its vote is not in the place of the former one", d.name)
			}
		}
	})
}
