package replica

import (
	"errors"
	"slices"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// backUp takes a copy of a running home while it goes on.
func backUp(t *testing.T, r *Replica, meanwhile func()) (at home.CopyPosition, fill func(put func(k, v []byte) error) error) {
	t.Helper()
	c, err := r.Backup(t.Context(), "eu")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	meanwhile()
	var chunks [][]byte
	for after := []byte(nil); ; {
		chunk, last, err := c.Next(after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if last == nil {
			break
		}
		chunks, after = append(chunks, chunk), last
	}
	return c.Position(), func(put func(k, v []byte) error) error {
		for _, chunk := range chunks {
			if err := eachPair(chunk, put); err != nil {
				return err
			}
		}
		return nil
	}
}

func founding(fs store.FS) Founding {
	return Founding{FS: fs, Dir: "/data/homes/eu", Node: "eu-1", Disk: "disk", Home: "eu", Epoch: home.Epoch{Number: 2, Host: "eu"}, Grace: 30,
		Now: home.Time(time.Now().UnixNano())}
}

// A home is founded from a backup on new disks: what was in it is there at a higher epoch, what came after it
// is not, and it goes on.
func TestFoundFrom_GoesOn(t *testing.T) {
	old := start(t, options(store.NewCrashFS(), 1))
	old.subscribe()
	for i := range 5 {
		old.do(numbered(1, uint32(i), 100))
	}
	want := old.queued()
	at, fill := backUp(t, old.Replica, func() { old.do(numbered(1, 99, 100)) })
	if err := old.stop(); err != nil {
		t.Fatal(err)
	}

	fs := store.NewCrashFS()
	got, err := FoundFrom(founding(fs), fill)
	if err != nil {
		t.Fatal(err)
	}
	if got.Epoch != (home.Epoch{Number: 2, Host: "eu"}) || got.Records < at.Records+1 {
		t.Errorf("founded at %+v of a backup at %+v", got, at)
	}
	r := start(t, options(fs, 1))
	if now := r.State().Epoch(); now != got.Epoch {
		t.Errorf("epoch %s", now)
	}
	if have := r.queued(); !slices.Equal(have, want) {
		t.Errorf("%d messages wait, %d were in the backup", len(have), len(want))
	}
	r.do(numbered(1, 100, 100))
	if n := len(r.queued()); n != len(want)+1 {
		t.Errorf("%d messages wait after another one", n)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, options(fs, 2))
	if n := len(again.queued()); n != len(want)+1 || again.State().Epoch() != got.Epoch {
		t.Errorf("after another start: %d messages, epoch %s", n, again.State().Epoch())
	}
}

// Power that fails while a home is founded leaves one that is whole, or a folder that Open refuses and the next
// try fills: never an empty home.
func TestFoundFrom_CutShort(t *testing.T) {
	old := start(t, options(store.NewCrashFS(), 1))
	old.subscribe()
	for i := range 5 {
		old.do(numbered(1, uint32(i), 100))
	}
	want := old.queued()
	_, fill := backUp(t, old.Replica, func() {})
	if err := old.stop(); err != nil {
		t.Fatal(err)
	}
	refused, broken := 0, errors.New("no power")
	for n := 0; ; n += 1 + n/8 {
		fs := store.NewCrashFS()
		fs.FailAfter(n, broken)
		_, ferr := FoundFrom(founding(fs), fill)
		for _, keep := range []int{0, 50} {
			after := fs.CrashKeeping(uint64(n), keep)
			begun, _ := store.Exists(after, "/data/homes/eu/"+restoringFile)
			filled, _ := store.Exists(after, "/data/homes/eu/"+incomingDir)
			if !begun && !filled {
				continue // as if nobody had tried
			}
			o := options(after, 1)
			r, err := Open(t.Context(), o)
			if err != nil {
				refused++
				if ferr == nil {
					t.Fatalf("it was founded, and after a crash it is refused: %v", err)
				}
				after = after.Crash()
				if _, err := FoundFrom(founding(after), fill); err != nil {
					t.Fatalf("after %d operations: tried again: %v", n, err)
				}
				o = options(after, 1)
				if r, err = Open(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			x := run{Replica: r, t: t}
			if have := x.queued(); !slices.Equal(have, want) {
				t.Fatalf("after %d operations, %d%% kept: %d messages wait, %d were in the backup", n, keep, len(have), len(want))
			}
			_ = r.core().abandon()
		}
		if ferr == nil {
			break
		}
	}
	if refused < 5 {
		t.Errorf("a folder was refused %d times only", refused)
	}
}

func TestFoundFrom_Refuses(t *testing.T) {
	old := start(t, options(store.NewCrashFS(), 1))
	old.subscribe()
	_, fill := backUp(t, old.Replica, func() {})
	bad := errors.New("it breaks off")
	for name, change := range map[string]func(*Founding) func(put func(k, v []byte) error) error{
		"epoch not above": func(f *Founding) func(put func(k, v []byte) error) error { f.Epoch.Number = 1; return fill },
		"another home":    func(f *Founding) func(put func(k, v []byte) error) error { f.Home = "us"; return fill },
		"folder in use": func(f *Founding) func(put func(k, v []byte) error) error {
			_ = store.MkdirAll(f.FS, f.FS.PathJoin(f.Dir, "state"))
			return fill
		},
		"breaks off": func(*Founding) func(put func(k, v []byte) error) error {
			return func(put func(k, v []byte) error) error {
				_ = put([]byte{1}, []byte{1})
				return bad
			}
		},
		"nothing": func(*Founding) func(put func(k, v []byte) error) error {
			return func(func(k, v []byte) error) error { return nil }
		},
	} {
		g := founding(store.NewCrashFS())
		from := change(&g)
		if _, err := FoundFrom(g, from); err == nil {
			t.Errorf("%s: founded", name)
		} else if there, _ := store.Exists(g.FS, g.FS.PathJoin(g.Dir, incomingDir, completeFile)); there {
			t.Errorf("%s: refused with %v, and in place all the same", name, err)
		}
	}
}
