package replica

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
)

// The whole replica on a virtual clock: raft, its log and the store run in the
// bubble.
func TestBubble_TimersFireWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, options(store.NewCrashFS(), 1))
		o := r.do(&home.Attach{Session: subscriber, Expiry: 5})
		r.do(&home.Detach{Session: subscriber, Epoch: o.Epoch, DropWill: true})
		began, entries := r.State().Now(), r.Stats().LogLast
		time.Sleep(4 * time.Second)
		if _, ok := r.State().Session(subscriber); !ok {
			t.Error("the session expired too early")
		}
		time.Sleep(3 * time.Second)
		if _, ok := r.State().Session(subscriber); ok {
			t.Error("the session did not expire: nobody carried home time on")
		}
		time.Sleep(time.Minute)
		if passed := r.State().Now().Sub(began); passed < 50*time.Second || passed > 68*time.Second {
			t.Errorf("home time moved on by %s in 67 s", passed)
		}
		if wrote := r.Stats().LogLast - entries; wrote > 8 {
			t.Errorf("an idle home wrote %d entries in 67 s", wrote)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestBubble_IdleLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, options(store.NewCrashFS(), 1))
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		r.do(numbered(1, 1, 100))
		if took := time.Since(began); took != 0 {
			t.Errorf("an operation on an idle home lingered for %s", took)
		}
	})
}

// An entry that is sent again because the disk is slow is in the log twice and
// applied once.
func TestBubble_SentTwiceAppliedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := store.NewCrashFS()
		r := start(t, options(fs, 1))
		r.subscribe()
		var once atomic.Bool
		fs.BeforeOp(func(op store.Op) {
			if op.Kind == store.OpSync && inLog(op.Path) && once.CompareAndSwap(false, true) {
				time.Sleep(5 * time.Second)
			}
		})
		r.do(numbered(1, 1, 100))
		time.Sleep(time.Second)
		if s := r.Stats(); s.Resent == 0 {
			t.Error("nothing was sent again in five seconds")
		}
		r.do(numbered(1, 2, 100))
		if got := r.queued(); len(got) != 2 {
			t.Errorf("the queue holds %v, want two messages", got)
		}
	})
}

func TestBubble_HungDiskDoesNotHangTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := store.NewCrashFS()
		r := start(t, options(fs, 1))
		release := make(chan struct{})
		fs.BeforeOp(func(op store.Op) {
			if op.Kind == store.OpSync && inLog(op.Path) {
				<-release
			}
		})
		var got error
		if err := r.Propose(&home.Tick{}, func(_ home.Outcome, err error) { got = err }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if ok, reason := r.Ready(); !ok {
			t.Errorf("a second's pause makes the home unready: %s", reason)
		}
		time.Sleep(5 * time.Second)
		if ok, reason := r.Ready(); ok || !strings.Contains(reason, "/data/homes/eu has not answered") {
			t.Errorf("after six seconds: ready %v, %q", ok, reason)
		}
		began := time.Now()
		err := r.stop()
		if err == nil || !strings.Contains(err.Error(), "disk") {
			t.Errorf("Run: %v, want that the disk hangs", err)
		}
		if took := time.Since(began); took != 12*time.Second {
			t.Errorf("the stop took %s, want DrainTimeout and the 10 s given to raft", took)
		}
		if got == nil {
			t.Error("the proposal was not handed back")
		}
		close(release)
		synctest.Wait()
		_, _ = r.core().logs.Close(), r.core().store.Close()
	})
}

// Raft elects itself again after a failed append, and would panic when it cannot
// write its term. Nobody shuts it down here, so it comes that far.
func TestBubble_RaftEndsWithoutAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := store.NewCrashFS()
		r := mustOpen(t, options(fs, 1))
		fs.FailMatching(func(op store.Op) bool { return op.Kind == store.OpSync && inLog(op.Path) }, 0, syscall.EIO)
		rec := home.Record{Home: "eu", Time: r.Now(), Entries: []home.Entry{{Owner: r.Owner(), N: 2, Ops: []home.Op{&home.Tick{}}}}}
		r.core().raft.ApplyLog(raft.Log{Data: rec.Append(nil)}, 0)
		time.Sleep(10 * time.Second)
		if ok, reason := r.Ready(); ok || !strings.Contains(reason, syscall.EIO.Error()) {
			t.Errorf("ready %v, %q", ok, reason)
		}
		if err := r.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Close: %v, want why the home failed", err)
		}
	})
}
