package replica

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// nobody is a cluster in which no other node is known.
type nobody struct{}

func (nobody) Dial(context.Context, string, string, string) (*cluster.Stream, error) {
	return nil, &cluster.Refused{Reason: "nobody is here"}
}
func (nobody) Handle(string, func(context.Context, *cluster.Stream)) {}
func (nobody) Members() []cluster.Member                             { return nil }
func (nobody) Watch() (<-chan struct{}, func())                      { return make(chan struct{}), func() {} }

// member are options of a copy that is one of several.
func member(fs store.FS) Options {
	o := busy(fs, 9)
	o.Cluster, o.Disk, o.Voters = nobody{}, "disk-1", 3
	o.RaiseIncarnation = func(i home.Incarnation) (home.Incarnation, error) { return i, nil }
	return o
}

func copyFile(t *testing.T, from store.FS, src string, to store.FS, dst string) {
	t.Helper()
	in, err := from.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	f, err := store.Create(to, dst)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// vote is what raft has promised.
type vote struct {
	term, votedIn uint64
	candidate     string
}

var promised = vote{7, 7, "eu-2@disk-2"}

func setVote(t *testing.T, fs store.FS, dir string, v vote) {
	t.Helper()
	l, err := raftlog.Open(fs, dir, raftlog.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for k, x := range map[string]uint64{"CurrentTerm": v.term, "LastVoteTerm": v.votedIn} {
		if err := l.SetUint64([]byte(k), x); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Set([]byte("LastVoteCand"), []byte(v.candidate)); err != nil {
		t.Fatal(err)
	}
}

func (r *core) vote(t *testing.T) (v vote) {
	t.Helper()
	var err error
	if v.term, err = r.guard.GetUint64([]byte("CurrentTerm")); err != nil {
		t.Fatal(err)
	}
	if v.votedIn, err = r.guard.GetUint64([]byte("LastVoteTerm")); err != nil {
		t.Fatal(err)
	}
	b, err := r.guard.Get([]byte("LastVoteCand"))
	if err != nil {
		t.Fatal(err)
	}
	v.candidate = string(b)
	return v
}

// found is what a start finds in a copy's folder.
type found struct {
	tail
	vote    vote
	applied store.Position
	digest  [2]uint64
}

// lookAt opens a copy as a start does, up to where it would ask the others.
func lookAt(t *testing.T, fs *store.CrashFS) (f found) {
	t.Helper()
	o := member(fs)
	if there, _ := store.Exists(fs, "/data/home-eu"); there {
		o.Dir = "/data/home-eu"
	}
	r := newCore(o.withDefaults())
	if err := r.recoverCopy(); err != nil {
		t.Errorf("finish the installation: %v", err)
		return f
	}
	_, tl, err := r.openFiles()
	if err != nil {
		t.Errorf("open the copy: %v", err)
		return f
	}
	f = found{tail: tl, vote: r.vote(t), applied: r.flushed, digest: r.state.Digest()}
	if err := r.closeCopy(); err != nil {
		t.Fatal(err)
	}
	return f
}

// behindAndAhead is a disk whose copy is behind, with a vote given, and beside it
// a complete parcel of a later time.
func behindAndAhead(t *testing.T) (disk *store.CrashFS, p *parcel) {
	fs := store.NewCrashFS()
	o := busy(fs, 1)
	r := start(t, o)
	r.subscribe()
	for n := uint32(0); ; n++ { // until a part of it is in the store for good
		r.do(numbered(1, n, 300))
		disk = fs.Crash()
		if at, err := store.ReadApplied(disk, r.core().path(stateDir)); n >= 60 && err == nil && at.Index > 0 {
			break
		}
	}
	for n := range uint32(200) {
		r.do(numbered(2, n, 300))
	}
	p, err := r.core().borrowCheckpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	at := member(disk).Dir
	setVote(t, disk, at+"/log", promised)
	if err := store.MkdirAll(disk, at+"/incoming/state"); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Files {
		copyFile(t, fs, o.Dir+"/checkpoint/"+f.Name, disk, at+"/incoming/state/"+f.Name)
	}
	if err := store.SyncDir(disk, at+"/incoming/state"); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.WriteFileAtomic(disk, at+"/incoming", completeFile, b); err != nil {
		t.Fatal(err)
	}
	return disk, p
}

// eachLoss calls fn with the disk as it would be found after a loss of power before
// each operation of do, and after the last: with nothing kept that was not synced,
// and with some of it.
func eachLoss(fs *store.CrashFS, do func(), fn func(op store.Op, disk *store.CrashFS)) {
	type image struct {
		op   store.Op
		disk *store.CrashFS
	}
	var mu sync.Mutex // a store works on its files in the background, too
	var images []image
	take := func(op store.Op) {
		mu.Lock()
		defer mu.Unlock()
		images = append(images, image{op, fs.Crash()})
		if !inState(op.Path) { // Pebble counts on a new manifest's name being kept when the name behind it is
			images = append(images, image{op, fs.CrashKeeping(uint64(op.N), 50)})
		}
	}
	fs.BeforeOp(take)
	do()
	fs.BeforeOp(nil)
	take(store.Op{N: fs.Ops() + 1, Kind: "the end"})
	for _, im := range images {
		fn(im.op, im.disk)
	}
}

// A node that installs a fetched copy loses power before each operation, and in
// the repair again. It finds the new copy, whole; the vote it gave stays given.
func TestInstall_KilledAtEveryStep(t *testing.T) {
	disk, p := behindAndAhead(t)
	want := lookAt(t, disk.Crash())
	if want.torn != nil || want.lost != nil || want.vote != promised || want.applied != p.Applied || want.last != p.Index {
		t.Fatalf("without a crash: %+v, of parcel %d, %+v", want, p.Index, p.Applied)
	}
	check := func(op store.Op, disk *store.CrashFS) {
		t.Helper()
		if got := lookAt(t, disk); got != want {
			t.Fatalf("power cut before operation %d, %s %s: found %+v, want %+v", op.N, op.Kind, op.Path, got, want)
		}
	}
	steps := 0
	eachLoss(disk, func() { lookAt(t, disk) }, func(op store.Op, disk *store.CrashFS) {
		steps++
		if steps%3 == 0 { // and once more, somewhere in the repair
			var second atomic.Pointer[store.CrashFS]
			at := disk.Ops() + 1 + steps*7%40
			disk.BeforeOp(func(op store.Op) {
				if op.N == at {
					second.Store(disk.Crash())
				}
			})
			check(op, disk)
			disk.BeforeOp(nil)
			if d := second.Load(); d != nil {
				check(op, d)
			}
			return
		}
		check(op, disk)
	})
	if steps < 60 {
		t.Errorf("only %d moments: the test is none", steps)
	}
}

// The new state is in its place before what the old one needs of the log goes.
func TestInstall_StateComesBeforeTheLogGoes(t *testing.T) {
	disk, p := behindAndAhead(t)
	r := newCore(member(disk).withDefaults())
	if err := r.installState(p); err != nil {
		t.Fatal(err)
	}
	if at, err := store.ReadApplied(disk.Crash(), r.path(stateDir)); err != nil || at != p.Applied {
		t.Errorf("the state found is at %+v, %v; the parcel's is at %+v", at, err, p.Applied)
	}
}

// What the log takes after an installation stays: the parcel that was installed
// does not come back with a loss of power, and empty it again.
func TestInstall_IsDoneOnce(t *testing.T) {
	disk, p := behindAndAhead(t)
	r := newCore(member(disk).withDefaults())
	if err := r.recoverCopy(); err != nil {
		t.Fatal(err)
	}
	if again, err := store.Exists(disk.Crash(), r.path(incomingDir, completeFile)); again || err != nil {
		t.Errorf("the parcel comes back: %v, %v", again, err)
	}
	l, err := raftlog.Open(disk, r.path(logDir), raftlog.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.StoreLog(&raft.Log{Index: p.Index + 1, Term: promised.term, Type: raft.LogNoop}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lookAt(t, disk.Crash()); got.last != p.Index+1 || got.torn != nil || got.lost != nil {
		t.Errorf("the log ends at %d, %v, %v; it took %d", got.last, got.torn, got.lost, p.Index+1)
	}
}

// A store that was set aside is not installed over: it is kept beside the new one,
// and the mark of it goes.
func TestInstall_KeepsWhatWasSetAside(t *testing.T) {
	disk, p := behindAndAhead(t)
	r := newCore(member(disk).withDefaults())
	if err := r.setAside(errDiverged); err != nil {
		t.Fatal(err)
	}
	if got := lookAt(t, disk.Crash()); got.applied != p.Applied || got.torn != nil {
		t.Errorf("found %+v, %v", got.applied, got.torn)
	}
	lookAt(t, disk)
	end := disk.Crash()
	if got := lookAt(t, end); got.torn != nil {
		t.Errorf("the new state counts as set aside: %v", got.torn)
	}
	if at, err := store.ReadApplied(end, r.path(asideDir)); err != nil || at.Index == 0 || at.Index >= p.Applied.Index {
		t.Errorf("beside it lies a state at %+v, %v", at, err)
	}
}
