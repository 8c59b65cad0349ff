package raftlog

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/store"
)

// slow is a log whose writes take as long as told.
type slow struct {
	*raft.InmemStore
	takes time.Duration
}

func (s *slow) StoreLogs(l []*raft.Log) error {
	time.Sleep(s.takes)
	return s.InmemStore.StoreLogs(l)
}

func (s *slow) SetUint64(k []byte, v uint64) error {
	time.Sleep(s.takes)
	return s.InmemStore.SetUint64(k, v)
}

func TestWatchdog_SaysWhenAWriteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []time.Duration
		log := &slow{raft.NewInmemStore(), time.Second}
		w := NewWatchdog(log, WatchdogOptions{Observe: func(d time.Duration) { seen = append(seen, d) }})
		if w.Running() != 0 || w.Stalled(0) {
			t.Fatal("running before anything was written")
		}
		done := make(chan error, 2)
		go func() { done <- w.StoreLog(entry(1, 1, 10)) }()
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if w.Stalled(300 * time.Millisecond) {
			t.Fatal("stalled at exactly 300 ms")
		}
		time.Sleep(time.Millisecond)
		if !w.Stalled(300*time.Millisecond) || w.Running() != 301*time.Millisecond {
			t.Fatalf("not stalled after %v", w.Running())
		}
		if err := <-done; err != nil || w.Running() != 0 || w.Stalled(0) {
			t.Fatalf("%v, running %v after the end", err, w.Running())
		}
		if len(seen) != 1 || seen[0] != time.Second {
			t.Fatalf("observed %v", seen)
		}
		go func() { done <- w.SetUint64([]byte("CurrentTerm"), 2) }() // raft's main loop waits for this too
		time.Sleep(400 * time.Millisecond)
		if !w.Stalled(300 * time.Millisecond) {
			t.Fatal("a hanging vote is not noticed")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestWatchdog_TellsTheFirstFailureOnce(t *testing.T) {
	boom := errors.New("boom")
	for name, write := range map[string]func(w *Watchdog) error{
		"append":   func(w *Watchdog) error { return w.StoreLogs(entries(6, 1, 1, 10)) },
		"one":      func(w *Watchdog) error { return w.StoreLog(entry(6, 1, 10)) },
		"truncate": func(w *Watchdog) error { return w.DeleteRange(1, 2) },
		"term":     func(w *Watchdog) error { return w.SetUint64([]byte("CurrentTerm"), 2) },
		"vote":     func(w *Watchdog) error { return w.Set([]byte("LastVoteCand"), []byte("n2")) },
	} {
		t.Run(name, func(t *testing.T) {
			fs := store.NewCrashFS()
			l := open(t, fs)
			var told []error
			observed := 0
			w := NewWatchdog(l, WatchdogOptions{
				OnFatal: func(err error) { told = append(told, err) },
				Observe: func(time.Duration) { observed++ },
			})
			if !w.IsMonotonic() {
				t.Fatal("the log is monotonic, the watchdog hides it")
			}
			if err := w.StoreLogs(entries(1, 5, 1, 10)); err != nil || len(told) != 0 {
				t.Fatalf("%v, told %v", err, told)
			}
			fs.FailAfter(0, boom)
			if err := write(w); !errors.Is(err, boom) {
				t.Fatalf("got %v", err)
			}
			if err := write(w); !errors.Is(err, boom) {
				t.Fatalf("second time: %v", err)
			}
			if len(told) != 1 || !errors.Is(told[0], boom) || !strings.Contains(told[0].Error(), logDir) {
				t.Fatalf("told %v", told)
			}
			closeLog(t, l)
			if observed == 0 {
				t.Fatal("observed nothing")
			}
		})
	}
}

func TestWatchdog_FullDiskAndClosedLog(t *testing.T) {
	fs := store.NewCrashFS()
	l := open(t, fs)
	var told []error
	w := NewWatchdog(l, WatchdogOptions{OnFatal: func(err error) { told = append(told, err) }})
	fs.FillUp(0)
	_ = w.StoreLogs(entries(1, 5, 1, 10))
	var full *store.DiskFullError
	if len(told) != 1 || !errors.As(told[0], &full) || full.Dir != logDir || !strings.Contains(told[0].Error(), "free or add space") {
		t.Fatalf("told %v", told)
	}
	closeLog(t, l)

	l = open(t, store.NewCrashFS())
	w = NewWatchdog(l, WatchdogOptions{OnFatal: func(err error) { t.Errorf("told %v about a stop", err) }})
	closeLog(t, l)
	if err := w.StoreLogs(entries(1, 1, 1, 1)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
