package replica

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

func TestOpen_CreatesTheHome(t *testing.T) {
	r := start(t, options(store.NewCrashFS(), 1))
	if id, e := r.State().ID(), r.State().Epoch(); id != "eu" || e.String() != "1@eu" {
		t.Errorf("home %q at epoch %s, want eu at 1@eu", id, e)
	}
	if inc, n := r.State().Incarnation("eu-1"); inc != 1 || n != 1 {
		t.Errorf("the home knows incarnation %d with %d entries, want 1 with 1", inc, n)
	}
	r.do(&home.Tick{})
	for ok := false; !ok; ok, _ = r.Ready() { // once it has asked itself whether it leads
		r.do(&home.Tick{})
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if ok, reason := r.Ready(); ok || reason != "stopping" {
		t.Errorf("after the stop: ready %v, %q", ok, reason)
	}
}

func TestPropose_DoneInOrderOverTheNode(t *testing.T) {
	r := start(t, options(store.NewCrashFS(), 1))
	r.subscribe()
	const publishers, each = 8, 500
	var order sync.Mutex // makes Propose and noting it one step
	var proposed, done []message
	var wg sync.WaitGroup
	finished := make(chan struct{}, publishers*each)
	for p := range uint32(publishers) {
		wg.Go(func() {
			for n := range uint32(each) {
				order.Lock()
				err := r.Propose(numbered(p, n, 64), func(o home.Outcome, err error) {
					if err != nil || o.Count != 1 {
						t.Errorf("message %d of %d: outcome %+v, %v", n, p, o, err)
					}
					done = append(done, message{p, n}) // one done at a time
					finished <- struct{}{}
				})
				if err != nil {
					t.Error(err)
				}
				proposed = append(proposed, message{p, n})
				order.Unlock()
			}
		})
	}
	wg.Wait()
	for range publishers * each {
		<-finished
	}
	if !slices.Equal(proposed, done) {
		t.Error("done was not called in the order of Propose")
	}
	if got := r.queued(); !slices.Equal(got, proposed) {
		t.Errorf("the queue holds %d messages in another order than the %d proposed", len(got), len(proposed))
	}
	s := r.Stats()
	if s.Ops < publishers*each || s.Commit.Count != s.Ops || s.Fsync.Count == 0 || s.Fsync.Count > s.Ops/4 || s.QueueBytes != 0 {
		t.Errorf("stats do not add up: %d ops, %d commits, %d fsyncs, %d bytes waiting", s.Ops, s.Commit.Count, s.Fsync.Count, s.QueueBytes)
	}
}

func TestPropose_FromDone(t *testing.T) {
	o := options(store.NewCrashFS(), 1)
	o.MaxOpBytes, o.QueueBytes = 1024, 2048 // done's Propose finds the queue nearly full
	r := start(t, o)
	ended := make(chan struct{})
	left := 200
	var next func(home.Outcome, error)
	next = func(_ home.Outcome, err error) {
		if err != nil {
			t.Error(err)
		}
		if left--; left == 0 {
			close(ended)
			return
		}
		if err := r.Propose(publish(1024), next); err != nil {
			t.Error(err)
			close(ended)
		}
	}
	if err := r.Propose(publish(1024), next); err != nil {
		t.Fatal(err)
	}
	<-ended
}

func TestReopen_KeepsStateAndEndsSessions(t *testing.T) {
	fs := store.NewCrashFS()
	r := start(t, options(fs, 1))
	r.subscribe()
	o := r.do(&home.Attach{Session: subscriber, Expiry: 0xFFFFFFFF})
	for n := range uint32(100) {
		r.do(numbered(1, n, 100))
	}
	before := r.Now()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	r = start(t, options(fs, 2))
	if got := len(r.queued()); got != 100 {
		t.Errorf("%d messages in the queue after a clean restart, want 100", got)
	}
	if r.Now() < before {
		t.Error("home time went back")
	}
	if s, ok := r.State().Session(subscriber); !ok || s.Owner != (home.Owner{}) {
		t.Errorf("the session's owner is %s: its incarnation is over", s.Owner)
	}
	if got := r.do(&home.Attach{Session: subscriber, Expiry: 0xFFFFFFFF}); !got.SessionPresent || got.Epoch <= o.Epoch {
		t.Errorf("attach after a restart: %+v, want a present session at an epoch above %d", got, o.Epoch)
	}
}

func TestOpen_RefusesAnotherHome(t *testing.T) {
	for _, tc := range []struct {
		name  string
		flush bool // whether the store knows the home, or the log only
	}{{"in the store", true}, {"in the log only", false}} {
		t.Run(tc.name, func(t *testing.T) {
			fs := store.NewCrashFS()
			r := start(t, options(fs, 1))
			if tc.flush {
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
			} else {
				fs = fs.Crash()
			}
			o := options(fs, 2)
			o.Home = "us"
			_, err := Open(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), `of home "eu"`) && !strings.Contains(err.Error(), `holds home "eu"`) {
				t.Fatalf("opened eu's folder as us: %v", err)
			}
			start(t, options(fs, 2)) // the refused start did no harm
		})
	}
}

func TestOpen_RefusesARenamedNode(t *testing.T) {
	fs := store.NewCrashFS()
	if err := mustOpen(t, options(fs, 1)).Close(); err != nil {
		t.Fatal(err)
	}
	o := options(fs, 2)
	o.Node = "eu-9"
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "renamed") {
		t.Errorf("opened eu-1's folder as eu-9: %v", err)
	}
}

func TestOptions_Validate(t *testing.T) {
	for _, tc := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Home = "" }, "Home"},
		{func(o *Options) { o.Node = "" }, "Node"},
		{func(o *Options) { o.Epoch.Number = 0 }, "Epoch"},
		{func(o *Options) { o.Incarnation = 0 }, "Incarnation"},
		{func(o *Options) { o.Sink = nil }, "Sink"},
		{func(o *Options) { o.MaxOpBytes = 1 << 30 }, "MaxOpBytes"},
		{func(o *Options) { o.QueueBytes = 1 << 20 }, "half of QueueBytes"},
		{func(o *Options) { o.Batching.MaxBytes = 1 << 30 }, "Batching"},
		{func(o *Options) { o.FlushEvery = -1 }, "FlushEvery"},
		{func(*Options) {}, ""},
	} {
		o := options(store.NewCrashFS(), 1)
		tc.change(&o)
		err := o.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Validate: %v, want an error naming %q", err, tc.want)
		}
	}
}

// clumsy is a sink with a bug.
type clumsy struct{ deaf }

func (clumsy) Queued(home.SessionKey, home.SessionEpoch, home.Owner) { panic("clumsy") }

func TestPanicInApply_StopsTheHomeOnly(t *testing.T) {
	o := options(store.NewCrashFS(), 1)
	o.Sink = clumsy{}
	r := start(t, o)
	a := r.do(&home.Attach{Session: subscriber, Expiry: 0xFFFFFFFF})
	r.do(&home.Subscribe{Session: subscriber, Epoch: a.Epoch, Filters: []home.Subscription{{Filter: "t/#", QoS: 1}}})
	if _, err := r.try(numbered(1, 1, 100)); !errors.Is(err, ErrStopped) {
		t.Errorf("a publish whose apply panicked: %v", err)
	}
	<-r.ended
	if r.err == nil || !strings.Contains(r.err.Error(), "clumsy") {
		t.Errorf("Run: %v", r.err)
	}
	// The record is committed: a build without the bug applies it.
	o.Sink, o.Incarnation = deaf{}, 2
	if got := start(t, o).queued(); len(got) != 1 {
		t.Errorf("after the repair the queue holds %v, want the message", got)
	}
}

func TestOpen_RefusesAnUsedIncarnation(t *testing.T) {
	for _, clean := range []bool{true, false} {
		fs := store.NewCrashFS()
		r := start(t, options(fs, 7))
		r.do(&home.Tick{})
		if clean {
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		} else {
			fs = fs.Crash() // only the log knows the incarnation
		}
		if _, err := Open(t.Context(), options(fs, 7)); err == nil || !strings.Contains(err.Error(), "incarnation") {
			t.Errorf("clean stop %v: opened twice with one incarnation: %v", clean, err)
		}
	}
}

func TestStop_HandsBackWhatIsNotDone(t *testing.T) {
	fs := store.NewCrashFS()
	o := options(fs, 1)
	o.DrainTimeout = 50 * time.Millisecond
	r := start(t, o)
	r.subscribe()
	// A disk that takes longer than the stop is willing to wait.
	release := make(chan struct{})
	fs.BeforeOp(func(op store.Op) {
		if op.Kind == store.OpSync && strings.Contains(op.Path, "/log") {
			<-release
		}
	})
	const n = 3000
	var answered []error
	all := make(chan struct{})
	for i := range uint32(n) {
		err := r.Propose(numbered(1, i, 64), func(_ home.Outcome, err error) {
			if answered = append(answered, err); len(answered) == n {
				close(all)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r.cancel()
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	<-all
	<-r.ended
	if r.err != nil {
		t.Errorf("Run: %v", r.err)
	}
	acked := slices.IndexFunc(answered, func(err error) bool { return err != nil })
	if acked < 0 {
		t.Fatal("every proposal succeeded: the disk was not slow")
	}
	for i, err := range answered[acked:] {
		if !errors.Is(err, ErrStopped) {
			t.Fatalf("proposal %d: %v after one that was handed back", acked+i, err)
		}
	}
	if err := r.Propose(&home.Tick{}, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Propose after the stop: %v", err)
	}
}

func TestStop_LetsProposalsFinish(t *testing.T) {
	r := start(t, options(store.NewCrashFS(), 1))
	var failed error
	for i := range uint32(2000) {
		if err := r.Propose(numbered(1, i, 64), func(_ home.Outcome, err error) { failed = errors.Join(failed, err) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Errorf("a graceful stop failed proposals: %v", failed)
	}
}

func TestFull_RoomComesBack(t *testing.T) {
	o := options(store.NewCrashFS(), 1)
	o.MaxOpBytes, o.QueueBytes = 4<<10, 64<<10
	r := start(t, o)
	r.subscribe()
	f := newFlood(r, 4, 1000, 1024)
	f.await(2000)
	f.end()
	if s := r.Stats(); s.Refused == 0 || s.QueueLimit != 64<<10 {
		t.Errorf("refused %d proposals at a limit of %d: the bound was never met", s.Refused, s.QueueLimit)
	}
}

func TestClose_WithoutRun(t *testing.T) {
	fs := store.NewCrashFS()
	r := mustOpen(t, options(fs, 1))
	answers := make(chan error, 2)
	if err := r.Propose(&home.Tick{}, func(_ home.Outcome, err error) { answers <- err }); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// It may have been committed before the end; it is answered, once.
	if err := <-answers; err != nil && !errors.Is(err, ErrStopped) || len(answers) > 0 {
		t.Errorf("a proposal of a replica that never ran: %v, and %d more answers", err, len(answers))
	}
	if err := r.Propose(&home.Tick{}, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("a proposal after Close: %v", err)
	}
	if err := r.Run(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Run after Close: %v", err)
	}
	start(t, options(fs, 2))
}
