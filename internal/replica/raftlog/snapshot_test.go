package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"causeway/internal/store"
)

const snapDir = "/srv/home/snapshots"

var servers = raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "uuid-1"}, {ID: "n2", Address: "uuid-2", Suffrage: raft.Nonvoter}}}

func openSnapshots(t testing.TB, fs store.FS) *SnapshotStore {
	t.Helper()
	s, err := OpenSnapshots(fs, snapDir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func take(s *SnapshotStore, index, term uint64, body []byte) error {
	k, err := s.Create(1, index, term, servers, index-1, nil)
	if err != nil {
		return err
	}
	for chunk := range bytes.Lines(body) {
		if _, err := k.Write(chunk); err != nil {
			return errors.Join(err, k.Cancel())
		}
	}
	return k.Close()
}

func mustTake(t testing.TB, s *SnapshotStore, index, term uint64, body []byte) {
	t.Helper()
	if err := take(s, index, term, body); err != nil {
		t.Fatal(err)
	}
}

func bodyOf(index uint64) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("state at %d\n", index)), int(index))
}

func list(t testing.TB, s *SnapshotStore) []*raft.SnapshotMeta {
	t.Helper()
	l, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func indexes(l []*raft.SnapshotMeta) string {
	var out []string
	for _, m := range l {
		out = append(out, fmt.Sprint(m.Index))
	}
	return strings.Join(out, " ")
}

func read(s *SnapshotStore, id string) (*raft.SnapshotMeta, []byte, error) {
	m, r, err := s.Open(id)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return m, b, err
}

func TestSnapshots_NewestFirstTwoKept(t *testing.T) {
	for name, fs := range map[string]store.FS{"memory": store.NewCrashFS(), "disk": store.DiskFS()} {
		t.Run(name, func(t *testing.T) {
			dir := snapDir
			if name == "disk" {
				dir = t.TempDir() + "/snapshots"
			}
			s, err := OpenSnapshots(fs, dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := list(t, s); len(got) != 0 {
				t.Fatalf("a new store has %v", indexes(got))
			}
			for _, at := range []struct{ index, term uint64 }{{9, 1}, {100, 1}, {50, 2}, {2000, 2}} {
				mustTake(t, s, at.index, at.term, bodyOf(at.index))
			}
			for range 2 {
				got := list(t, s)
				if indexes(got) != "2000 50" { // term before index
					t.Fatal(indexes(got))
				}
				m, body, err := read(s, got[0].ID)
				if err != nil || !bytes.Equal(body, bodyOf(2000)) || m.Size != int64(len(body)) {
					t.Fatalf("%+v, %d bytes, %v", m, len(body), err)
				}
				if m.Index != 2000 || m.Term != 2 || m.ConfigurationIndex != 1999 || m.Version != 1 ||
					fmt.Sprint(m.Configuration) != fmt.Sprint(servers) {
					t.Fatalf("%+v", m)
				}
				names, err := store.List(fs, dir)
				if err != nil || len(names) != 2 {
					t.Fatalf("on disk: %v %v", names, err)
				}
				if s, err = OpenSnapshots(fs, dir, nil); err != nil {
					t.Fatal(err)
				}
			}
			mustTake(t, s, 2000, 2, []byte("again")) // same place: a further id
			if got := list(t, s); indexes(got) != "2000 2000" || got[0].ID == got[1].ID {
				t.Fatal(indexes(got))
			}
			if _, body, err := read(s, list(t, s)[0].ID); string(body) != "again" || err != nil {
				t.Fatalf("%q %v", body, err)
			}
		})
	}
}

func TestSnapshots_CancelLeavesNothing(t *testing.T) {
	fs := store.NewCrashFS()
	s := openSnapshots(t, fs)
	k, err := s.Create(1, 5, 1, servers, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if len(list(t, s)) != 0 {
		t.Fatal("an unfinished snapshot is listed")
	}
	if err := errors.Join(k.Cancel(), k.Cancel(), k.Close()); err != nil {
		t.Fatal(err)
	}
	if names, _ := store.List(fs, snapDir); len(names) != 0 {
		t.Fatalf("left %v", names)
	}
	if _, err := s.Create(0, 5, 1, servers, 4, nil); err == nil {
		t.Fatal("version 0 accepted")
	}
}

func TestSnapshots_CrashAnywhere(t *testing.T) {
	// given snapshots taken one after the other, when the power fails before any operation, then the
	// newest listed is no older than the last that Close reported, and every listed one reads whole
	for _, percent := range []int{0, 50, 100} {
		fs := store.NewCrashFS()
		type found struct {
			fs   *store.CrashFS
			done uint64
		}
		var mu sync.Mutex
		var done uint64
		var crashes []found
		fs.BeforeOp(func(op store.Op) {
			mu.Lock()
			defer mu.Unlock()
			crashes = append(crashes, found{fs.CrashKeeping(uint64(op.N), percent), done})
		})
		s := openSnapshots(t, fs)
		for i := uint64(1); i <= 5; i++ {
			mustTake(t, s, i*100, 1, bodyOf(i*100))
			mu.Lock()
			done = i * 100
			mu.Unlock()
		}
		for n, c := range crashes {
			s := openSnapshots(t, c.fs)
			all := list(t, s)
			if newest := append(all, &raft.SnapshotMeta{})[0].Index; newest < c.done {
				t.Fatalf("before operation %d: snapshot %d of %d", n, newest, c.done)
			}
			if len(all) == 0 {
				continue
			}
			if _, body, err := read(s, all[0].ID); err != nil || !bytes.Equal(body, bodyOf(all[0].Index)) {
				t.Fatalf("before operation %d: snapshot %d: %d bytes, %v", n, all[0].Index, len(body), err)
			}
			mustTake(t, s, 900, 1, bodyOf(900))
			if all := list(t, openSnapshots(t, c.fs.Crash())); all[0].Index != 900 {
				t.Fatalf("after the repair: %s", indexes(all))
			}
		}
	}
}

func TestSnapshots_NeedTheirSyncs(t *testing.T) {
	for name, ignore := range map[string]func(string) bool{
		"state":  func(p string) bool { return strings.HasSuffix(p, snapshotStateName) },
		"meta":   func(p string) bool { return strings.HasSuffix(p, snapshotMetaName+".tmp") },
		"folder": func(p string) bool { return strings.HasSuffix(p, snapshotTmpSuffix) },
		"parent": func(p string) bool { return p == snapDir },
	} {
		t.Run(name, func(t *testing.T) {
			fs := store.NewCrashFS()
			fs.IgnoreSyncs(ignore)
			mustTake(t, openSnapshots(t, fs), 100, 1, bodyOf(100))
			s := openSnapshots(t, fs.Crash())
			all := list(t, s)
			if len(all) == 0 {
				return
			}
			if _, body, err := read(s, all[0].ID); err == nil && bytes.Equal(body, bodyOf(100)) {
				t.Fatal("survived without the sync: this test could not notice a missing one")
			}
		})
	}
}

func TestSnapshots_KilledBeforeTheLastSync(t *testing.T) {
	fs := store.NewCrashFS()
	s := openSnapshots(t, fs)
	kill := errors.New("killed here")
	fs.FailMatching(func(op store.Op) bool { return op.Path == snapDir }, 0, kill)
	if err := take(s, 100, 1, bodyOf(100)); !errors.Is(err, kill) {
		t.Fatal(err)
	}
	fs.Heal()
	before := list(t, openSnapshots(t, fs)) // the next process
	after := list(t, openSnapshots(t, fs.Crash()))
	if indexes(before) != indexes(after) {
		t.Fatalf("answered for %q, held %q after the power failure", indexes(before), indexes(after))
	}
}

func TestSnapshots_FailAtEachStep(t *testing.T) {
	boom := errors.New("boom")
	for n := 0; ; n++ {
		fs := store.NewCrashFS()
		s := openSnapshots(t, fs)
		mustTake(t, s, 100, 1, bodyOf(100))
		fs.FailAfter(n, boom)
		err := take(s, 200, 1, bodyOf(200))
		fs.Heal()
		if err == nil {
			if n == 0 {
				t.Fatal("a snapshot writes nothing")
			}
			return
		}
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), snapDir) {
			t.Fatalf("step %d: %v", n, err)
		}
		s = openSnapshots(t, fs.Crash())
		all := list(t, s)
		if len(all) == 0 || all[len(all)-1].Index != 100 {
			t.Fatalf("step %d: %q left", n, indexes(all))
		}
		if names, _ := store.List(fs, snapDir); len(names) > 2 {
			t.Fatalf("step %d: %v", n, names)
		}
		mustTake(t, s, 300, 1, bodyOf(300))
	}
}

func TestSnapshots_DiskFull(t *testing.T) {
	fs := store.NewCrashFS()
	s := openSnapshots(t, fs)
	fs.FillUp(2)
	var full *store.DiskFullError
	if err := take(s, 100, 1, bodyOf(10000)); !errors.As(err, &full) || full.Dir != snapDir {
		t.Fatalf("got %v", err)
	}
}

func TestSnapshots_DamageIsNoticed(t *testing.T) {
	for _, file := range []string{snapshotStateName, snapshotMetaName} {
		fs := store.NewCrashFS()
		s := openSnapshots(t, fs)
		mustTake(t, s, 100, 1, bodyOf(100))
		mustTake(t, s, 200, 1, bodyOf(200))
		id := list(t, s)[0].ID
		edit(t, fs, snapDir+"/"+id+"/"+file, func(b []byte) { b[bytes.IndexByte(b, '2')] = '3' })
		if _, _, err := s.Open(id); err == nil {
			t.Errorf("%s: opened", file)
		} else if file == snapshotStateName && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", file, err)
		}
		if _, body, err := read(s, list(t, s)[len(list(t, s))-1].ID); err != nil || !bytes.Equal(body, bodyOf(100)) {
			t.Errorf("%s: the one before: %v", file, err)
		}
		if file == snapshotMetaName && indexes(list(t, s)) != "100" {
			t.Errorf("listed %q", indexes(list(t, s)))
		}
	}
}

func TestSnapshots_StreamLarge(t *testing.T) {
	s := openSnapshots(t, store.NewCrashFS())
	k, err := s.Create(1, 7, 1, servers, 6, nil)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 100_000/16)
	for range 100 {
		if _, err := k.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	m, body, err := read(s, k.ID())
	if err != nil || m.Size != int64(100*len(chunk)) || len(body) != 100*len(chunk) {
		t.Fatalf("%d bytes of %d, %v", len(body), m.Size, err)
	}
}

func FuzzDecodeSnapshotMeta(f *testing.F) {
	good, err := snapshotMeta{SnapshotMeta: raft.SnapshotMeta{Version: 1, ID: "1-2-3", Index: 2, Term: 1, Configuration: servers}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"Version":1}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeSnapshotMeta(data)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := decodeSnapshotMeta(again); err != nil || n.ID != m.ID || n.Index != m.Index || n.StateCRC32C != m.StateCRC32C {
			t.Fatalf("%+v became %+v, %v", m, n, err)
		}
	})
}
