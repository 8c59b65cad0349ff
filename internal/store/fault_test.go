package store

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// openWatched opens a store whose first fatal error arrives on the channel.
func openWatched(t *testing.T, fs FS) (*Store, chan error) {
	t.Helper()
	fatal := make(chan error, 2)
	o := small
	o.OnFatal = func(err error) { fatal <- err }
	s, err := Open(fs, "/srv/s", o)
	if err != nil {
		t.Fatal(err)
	}
	return s, fatal
}

func TestStore_FailedWriteStopsItForGood(t *testing.T) {
	boom := errors.New("input/output error")
	onSync := func(op Op) bool { return op.Kind == OpSync }
	for name, plant := range map[string]func(*CrashFS){
		"sync":       func(fs *CrashFS) { fs.FailMatching(onSync, 0, boom) },
		"later sync": func(fs *CrashFS) { fs.FailMatching(onSync, 1, boom) },
		"write":      func(fs *CrashFS) { fs.FailMatching(func(op Op) bool { return op.Kind == OpWrite }, 0, boom) },
		"create":     func(fs *CrashFS) { fs.FailMatching(func(op Op) bool { return op.Kind == OpCreate }, 0, boom) },
		"manifest": func(fs *CrashFS) {
			fs.FailMatching(func(op Op) bool { return strings.Contains(op.Path, "MANIFEST") }, 0, boom)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := NewCrashFS()
			s, fatal := openWatched(t, fs)
			set(t, s, 1, "a=1")
			if _, err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			set(t, s, 2, "b=2")
			plant(fs)
			at, err := s.Flush()
			if !errors.Is(err, boom) || at != 1 {
				t.Fatalf("flush: %d, %v", at, err)
			}
			if told := <-fatal; !errors.Is(told, boom) || !strings.Contains(told.Error(), "/srv/s") {
				t.Fatalf("told %v", told)
			}
			fs.Heal() // the next fsync would report success over lost pages: it must not be asked
			for what, err := range map[string]error{
				"commit": trySet(s, 3, "c=3"), "get": second(s.Get([]byte("a"))), "flush": second(s.Flush()),
				"checkpoint": second(s.Checkpoint("/srv/c")), "scan": s.Scan(nil, nil), "err": s.Err(), "close": s.Close(),
			} {
				if !errors.Is(err, boom) {
					t.Errorf("%s after the failure: %v", what, err)
				}
			}
			if s.DurableApplied() != 1 {
				t.Errorf("durable %d", s.DurableApplied())
			}
			if len(fatal) != 0 {
				t.Error("told twice")
			}
			// What was promised is there.
			again := open(t, fs.Crash(), "/srv/s")
			defer closeStore(t, again)
			if again.Applied().Index < 1 {
				t.Fatalf("lost the flushed index: %+v", again.Applied())
			}
		})
	}
}

func TestStore_DiskFullNamesTheDirectory(t *testing.T) {
	fs := NewCrashFS()
	s, fatal := openWatched(t, fs)
	set(t, s, 1, "a=1")
	fs.FillUp(0)
	_, err := s.Flush()
	var full *DiskFullError
	if !errors.As(err, &full) || full.Dir != "/srv/s" || !errors.Is(<-fatal, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if err := s.Close(); !errors.As(err, &full) {
		t.Fatalf("close: %v", err)
	}
}

func TestOpen_FailsAtEachStep(t *testing.T) {
	// given a store with data, when the disk fails at any step of opening, then Open says so, tells
	// nobody else, and a healthy disk opens with everything
	fs := NewCrashFS()
	s := open(t, fs, "/srv/s")
	set(t, s, 1, "a=1")
	closeStore(t, s)
	boom := errors.New("boom")
	for n := 0; ; n++ {
		disk := fs.Crash()
		disk.FailAfter(n, boom)
		s, err := Open(disk, "/srv/s", Options{MemTableBytes: minMemTableBytes, OnFatal: func(err error) { t.Errorf("told %v", err) }})
		if err == nil {
			disk.Heal()
			closeStore(t, s)
			if n == 0 {
				t.Fatal("opening writes nothing")
			}
			break
		}
		if !errors.Is(err, boom) {
			t.Fatalf("step %d: %v", n, err)
		}
		again := open(t, disk.Crash(), "/srv/s")
		if again.Applied().Index != 1 {
			t.Fatalf("step %d: lost data", n)
		}
		closeStore(t, again)
	}
}

func TestStore_DamagedTableStopsIt(t *testing.T) {
	fs := NewCrashFS()
	s := open(t, fs, "/srv/s")
	set(t, s, 1, "a="+strings.Repeat("v", 100))
	closeStore(t, s)
	names, err := List(fs, "/srv/s")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			flipByte(t, fs, "/srv/s/"+n, 20)
		}
	}
	fatal := make(chan error, 1)
	o := small
	o.OnFatal = func(err error) { fatal <- err }
	s, err = Open(fs, "/srv/s", o)
	if err != nil {
		return // noticed when the applied index was read
	}
	if _, err := s.Get([]byte("a")); err == nil {
		t.Fatal("read a damaged table")
	}
	<-fatal
	if err := s.Close(); err == nil {
		t.Fatal("closed a damaged store without a word")
	}
}

func flipByte(t *testing.T, fs FS, path string, at int64) {
	t.Helper()
	f, err := OpenExisting(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
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

func TestStore_RunsInABubble(t *testing.T) {
	// given a virtual clock, when a store commits once a virtual second for an hour with a flush a
	// minute, compactions included, then the hour takes no real time and everything ends with Close
	synctest.Test(t, func(t *testing.T) {
		fs, h := NewCrashFS(), newHistory()
		s := open(t, fs, "/srv/s")
		start := time.Now()
		for i := uint64(1); i <= 600; i++ {
			h.step(t, s, i)
			time.Sleep(6 * time.Second)
			if i%10 == 0 {
				if _, err := s.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if took := time.Since(start); took != time.Hour {
			t.Fatalf("virtual time: %v", took)
		}
		synctest.Wait()
		m := s.Metrics()
		if m.Compactions == 0 || m.Flushes != 60 {
			t.Fatalf("nothing went on in the background: %+v", m)
		}
		if _, err := s.Checkpoint("/srv/c"); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		h.check(t, fs.Crash(), "/srv/s", 600)
		h.check(t, fs.Crash(), "/srv/c", 600)
	})
}
