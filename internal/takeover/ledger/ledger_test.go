package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"causeway/internal/home"
	"causeway/internal/store"
	"causeway/internal/takeover/agent"
)

func promised(n uint64) agent.Kept {
	e := home.Epoch{Number: n, Host: "us"}
	return agent.Kept{Promised: e, InForce: home.Epoch{Number: n - 1, Host: "eu"}, Short: agent.Short{Epoch: e, Record: n, On: n%2 == 0}}
}

func begin(t *testing.T, fs store.FS) {
	t.Helper()
	if err := Init(fs, "w", "w1"); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fs store.FS) *Ledger {
	t.Helper()
	l, err := Open(fs, "w", "w1")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Whatever the disk forgets that was not synced, and at whichever step the power goes:
// what Keep returned nil for is there, and nothing older.
func TestKeep_SurvivesPowerLossAtEachStep(t *testing.T) {
	lost := crashes(t, func(*store.CrashFS) {})
	if len(lost) > 0 {
		t.Error(lost)
	}
}

// A search that finds nothing proves nothing: a disk that lies about syncs is found.
func TestKeep_PlantedMistake(t *testing.T) {
	lost := crashes(t, func(fs *store.CrashFS) {
		fs.IgnoreSyncs(func(path string) bool { return strings.Contains(path, "promise") })
	})
	if len(lost) == 0 {
		t.Error("a disk that does not sync loses nothing")
	}
}

// crashes keeps promises, lets an operation fail or the power go at each step, and
// returns what was lost.
func crashes(t *testing.T, plant func(*store.CrashFS)) (lost []string) {
	t.Helper()
	for step := 0; ; step++ {
		fs := store.NewCrashFS()
		begin(t, fs)
		l := open(t, fs)
		plant(fs)
		fs.FailAfter(step, errors.New("power"))
		kept := map[home.ID]uint64{}
		failed := false
		for n := uint64(1); n <= 3 && !failed; n++ {
			for _, id := range []home.ID{"eu", "us"} {
				if failed = l.Keep(t.Context(), id, promised(n)) != nil; failed {
					break
				}
				kept[id] = n
			}
		}
		again, err := Open(fs.Crash(), "w", "w1")
		if err != nil {
			return append(lost, fmt.Sprintf("step %d: %v", step, err))
		}
		for id, n := range kept {
			if k := again.kept[id]; k != promised(n) && k != promised(n+1) { // the one that failed may be there
				lost = append(lost, fmt.Sprintf("step %d: %s is %+v, kept was %d", step, id, k, n))
			}
		}
		_ = again.Close()
		if !failed {
			return lost
		}
	}
}

func TestOpen_RefusesWhatIsNotItsOwn(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(fs store.FS) error
		want string
	}{
		"a promise is removed":          {func(fs store.FS) error { return fs.Remove("w/promises/eu.promise") }, "what was promised about eu is gone"},
		"all promises are removed":      {func(fs store.FS) error { return fs.RemoveAll("w/promises") }, "its votes went with it"},
		"the list is removed":           {func(fs store.FS) error { return fs.Remove("w/promises/KNOWN") }, "KNOWN"},
		"everything is removed":         {func(fs store.FS) error { return fs.RemoveAll("w") }, "causeway witness init"},
		"a bit is flipped":              {func(fs store.FS) error { return flip(fs, "w/promises/eu.promise") }, "fails its checksum"},
		"another home's is put there":   {func(fs store.FS) error { return swap(fs) }, "fails its checksum"},
		"FORMAT is lost and files stay": {func(fs store.FS) error { return fs.Remove("w/FORMAT") }, "causeway witness init"},
	} {
		fs := store.NewCrashFS()
		begin(t, fs)
		l := open(t, fs)
		for _, id := range []home.ID{"eu", "us"} {
			if err := l.Keep(t.Context(), id, promised(7)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(l.Close(), c.harm(fs)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(fs, "w", "w1"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	fs := store.NewCrashFS()
	begin(t, fs)
	if _, err := Open(fs, "w", "w2"); !errors.Is(err, store.ErrForeignDir) {
		t.Errorf("another witness's: %v", err)
	}
	if err := Init(fs, "w", "w1"); err == nil || !strings.Contains(err.Error(), "belongs to a witness") {
		t.Errorf("begun twice: %v", err)
	}
	l := open(t, fs)
	if _, err := Open(fs, "w", "w1"); !errors.Is(err, store.ErrDirInUse) {
		t.Errorf("opened twice: %v", err)
	}
	for _, id := range []home.ID{"", "../eu", "EU", "a/b", home.ID(strings.Repeat("a", 64))} {
		if err := l.Keep(t.Context(), id, promised(1)); err == nil {
			t.Errorf("%q was kept", id)
		}
	}
}

func flip(fs store.FS, path string) error {
	b, err := store.ReadFile(fs, path, maxFile)
	if err != nil {
		return err
	}
	b[12] ^= 1
	return store.WriteFileAtomic(fs, "w/promises", "eu.promise", b)
}

func swap(fs store.FS) error {
	b, err := store.ReadFile(fs, "w/promises/us.promise", maxFile)
	if err != nil {
		return err
	}
	return store.WriteFileAtomic(fs, "w/promises", "eu.promise", b)
}
