package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func mustMkdir(t testing.TB, fs FS, dir string) {
	t.Helper()
	if err := MkdirAll(fs, dir); err != nil {
		t.Fatal(err)
	}
}

// crashPoints runs work once to count its operations, then once for each of them, and hands check
// the disk as it was just before that operation, with what fraction of unsynced data survived.
func crashPoints(t *testing.T, work func(fs *CrashFS, done func(string)), check func(t *testing.T, fs *CrashFS, done []string)) {
	t.Helper()
	count := NewCrashFS()
	work(count, func(string) {})
	if count.Ops() == 0 {
		t.Fatal("the work does not touch the disk")
	}
	for n := 1; n <= count.Ops()+1; n++ {
		for _, percent := range []int{0, 50, 100} {
			t.Run(fmt.Sprintf("before-op-%d-keeping-%d", n, percent), func(t *testing.T) {
				fs, found := NewCrashFS(), (*CrashFS)(nil)
				var done, seen []string
				grab := func() { found, seen = fs.CrashKeeping(uint64(n), percent), append([]string(nil), done...) }
				fs.BeforeOp(func(op Op) {
					if op.N == n {
						grab()
					}
				})
				work(fs, func(what string) { done = append(done, what) })
				if n > count.Ops() {
					grab()
				}
				if found == nil {
					t.Skip("this run had fewer operations")
				}
				check(t, found, seen)
			})
		}
	}
}

func TestWriteFileAtomic_CrashLeavesOldOrNew(t *testing.T) {
	// given a file replaced twice, when the power fails before any of the operations, then the file
	// is whole, and no older than the last replacement that returned
	work := func(fs *CrashFS, done func(string)) {
		mustMkdir(t, fs, "/d")
		for _, v := range []string{"one", "two-longer"} {
			if err := WriteFileAtomic(fs, "/d", "f", []byte(v)); err != nil {
				t.Fatal(err)
			}
			done(v)
		}
	}
	crashPoints(t, work, func(t *testing.T, fs *CrashFS, done []string) {
		got, err := ReadFile(fs, "/d/f", 100)
		switch {
		case len(done) == 0 && IsNotExist(err):
			return
		case err != nil:
			t.Fatalf("after %v: %v", done, err)
		}
		allowed := []string{"one", "two-longer"}[max(len(done)-1, 0):]
		for _, a := range allowed {
			if string(got) == a {
				return
			}
		}
		t.Fatalf("after %v the file holds %q", done, got)
	})
}

func TestWriteFileAtomic_NeedsItsSyncs(t *testing.T) {
	for name, match := range map[string]func(string) bool{
		"content":   func(p string) bool { return strings.HasSuffix(p, tmpSuffix) },
		"directory": func(p string) bool { return p == "/d" },
	} {
		t.Run(name, func(t *testing.T) {
			fs := NewCrashFS()
			mustMkdir(t, fs, "/d")
			fs.IgnoreSyncs(match)
			if err := WriteFileAtomic(fs, "/d", "f", []byte("value")); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(fs.Crash(), "/d/f", 100)
			if err == nil && string(got) == "value" {
				t.Fatal("the file survived without its sync: this test could not notice a missing one")
			}
		})
	}
}

func TestMkdirAll_SurvivesCrash(t *testing.T) {
	fs := NewCrashFS()
	mustMkdir(t, fs, "/a/b/c")
	if err := WriteFileAtomic(fs, "/a/b/c", "f", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(fs.Crash(), "/a/b/c/f", 10); err != nil {
		t.Fatal(err)
	}
	// An earlier start died between mkdir and the parent's sync: the next one must sync again.
	fs = NewCrashFS()
	if err := fs.MkdirAll("/a", 0o750); err != nil {
		t.Fatal(err)
	}
	mustMkdir(t, fs, "/a")
	if ok, err := Exists(fs.Crash(), "/a"); err != nil || !ok {
		t.Fatalf("directory lost: %v %v", ok, err)
	}
}

func TestReadFile_RefusesTooLarge(t *testing.T) {
	fs := NewCrashFS()
	if err := WriteFileAtomic(fs, "/", "f", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(fs, "/f", 5); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(fs, "/f", 4); err == nil {
		t.Fatal("read a file larger than the bound")
	}
}

func TestCrashFS_Faults(t *testing.T) {
	write := func(fs *CrashFS) (int, error) {
		f, err := Create(fs, "/f")
		if err != nil {
			return 0, err
		}
		defer f.Close()
		if n, err := f.Write([]byte("abcdefgh")); err != nil {
			return n, err
		}
		return 8, f.Sync()
	}
	boom := errors.New("boom")
	for _, tc := range []struct {
		name  string
		plant func(*CrashFS)
		n     int
		err   error
	}{
		{"create fails", func(f *CrashFS) { f.FailAfter(0, boom) }, 0, boom},
		{"write fails", func(f *CrashFS) { f.FailAfter(1, boom) }, 0, boom},
		{"sync fails", func(f *CrashFS) { f.FailAfter(2, boom) }, 8, boom},
		{"short write", func(f *CrashFS) { f.ShortWriteAfter(0, boom) }, 4, boom},
		{"disk full", func(f *CrashFS) { f.FillUp(1) }, 4, syscall.ENOSPC},
		{"healed", func(f *CrashFS) { f.FailAfter(0, boom); f.Heal() }, 8, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := NewCrashFS()
			tc.plant(fs)
			n, err := write(fs)
			if n != tc.n || !errors.Is(err, tc.err) {
				t.Fatalf("wrote %d, %v; want %d, %v", n, err, tc.n, tc.err)
			}
		})
	}
}

func TestExplainDiskError(t *testing.T) {
	err := ExplainDiskError(DiskFS(), t.TempDir(), fmt.Errorf("write x: %w", syscall.ENOSPC))
	var full *DiskFullError
	if !errors.As(err, &full) || full.FreeBytes < 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"disk full at", full.Dir, "free or add space", "delete nothing inside"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if again := ExplainDiskError(DiskFS(), "/elsewhere", err); again != err {
		t.Errorf("explained twice: %v", again)
	}
	if other := errors.New("other"); ExplainDiskError(DiskFS(), "/", other) != other {
		t.Error("changed an unrelated error")
	}
}
