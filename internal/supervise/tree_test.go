package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/group"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start runs the tree in the background and returns how to end it.
func start(t *testing.T, tree *Tree) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func add(t *testing.T, tree *Tree, name string, f Func) {
	t.Helper()
	if err := tree.Add(name, f); err != nil {
		t.Fatal(err)
	}
}

func idle(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func of(t *testing.T, tree *Tree, name string) Status {
	t.Helper()
	for _, s := range tree.Status() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no service %s", name)
	return Status{}
}

// A service that fails at once is started after 100ms, 200ms, 400ms … up to the maximum, at
// exactly those times, and a neighbour never notices.
func TestCrashLoop_BacksOffAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet(), Backoff: Backoff{Min: 100 * time.Millisecond, Max: time.Second}})
		begin, starts := time.Now(), []time.Duration{}
		add(t, tree, "loop", func(context.Context) error {
			starts = append(starts, time.Since(begin))
			return fmt.Errorf("port taken")
		})
		neighbour := 0
		add(t, tree, "neighbour", func(ctx context.Context) error { neighbour++; return idle(ctx) })
		stop := start(t, tree)

		time.Sleep(3600 * time.Millisecond)
		synctest.Wait()
		want := []time.Duration{0, 100, 300, 700, 1500, 2500, 3500}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if !slices.Equal(starts, want) {
			t.Errorf("starts at %v, want %v", starts, want)
		}
		s := of(t, tree, "loop")
		if s.State != StateIsolated || s.Restarts != 6 || s.LastError != "port taken" ||
			!s.LastErrorAt.Equal(begin.Add(3500*time.Millisecond)) || !s.NextStart.Equal(begin.Add(4500*time.Millisecond)) {
			t.Errorf("status %+v", s)
		}
		if n := of(t, tree, "neighbour"); neighbour != 1 || n.State != StateRunning || n.Restarts != 0 {
			t.Errorf("neighbour started %d times, %+v", neighbour, n)
		}
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := of(t, tree, "loop"); s.State != StateStopped {
			t.Errorf("after the end: %+v", s)
		}
	})
}

func TestHealthyRun_ResetsTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet(), Backoff: Backoff{Min: time.Second, Max: time.Hour, Healthy: time.Minute}})
		var starts []time.Time
		lives := []time.Duration{0, 0, time.Minute, 0, time.Hour}
		add(t, tree, "s", func(ctx context.Context) error {
			starts = append(starts, time.Now())
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(lives[len(starts)-1]):
				return errors.New("gone")
			}
		})
		stop := start(t, tree)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		var gaps []time.Duration
		for i := 1; i < len(starts); i++ {
			gaps = append(gaps, starts[i].Sub(starts[i-1])-lives[i-1])
		}
		if want := []time.Duration{time.Second, 2 * time.Second, time.Second, 2 * time.Second}; !slices.Equal(gaps, want) {
			t.Errorf("waits %v, want %v", gaps, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestFatal_EndsTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("fsync: input/output error")
		tree := New(Options{Logger: quiet()})
		stopped := false
		add(t, tree, "log", func(context.Context) error {
			return fmt.Errorf("append: %w", &Fatal{Err: disk})
		})
		add(t, tree, "edge", func(ctx context.Context) error { defer func() { stopped = true }(); return idle(ctx) })
		err := tree.Run(t.Context())
		if !errors.Is(err, disk) || !isFatal(err) || !strings.Contains(err.Error(), "service log: append: fsync") {
			t.Errorf("Run returned %v", err)
		}
		if !stopped {
			t.Error("the other service still runs")
		}
		if s := of(t, tree, "log"); s.State != StateFailed || s.Restarts != 0 || s.LastError == "" {
			t.Errorf("status %+v", s)
		}
	})
}

// A tree inside a tree passes a Fatal on and keeps everything else to itself.
func TestFatal_LeavesAnInnerTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, outer := New(Options{Logger: quiet()}), New(Options{Logger: quiet()})
		n := 0
		add(t, inner, "s", func(context.Context) error {
			if n++; n < 3 {
				return errors.New("again")
			}
			return &Fatal{Err: io.ErrUnexpectedEOF}
		})
		if err := outer.Add("inner", inner); err != nil {
			t.Fatal(err)
		}
		if err := outer.Run(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Run returned %v", err)
		}
		if s := of(t, outer, "inner"); s.Restarts != 0 {
			t.Errorf("the inner tree was restarted: %+v", s)
		}
	})
}

func TestFatal_WhileStoppingIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet()})
		add(t, tree, "store", func(ctx context.Context) error {
			<-ctx.Done()
			return &Fatal{Err: errors.New("flush: disk full")}
		})
		stop := start(t, tree)
		synctest.Wait()
		if err := stop(); err == nil || !strings.Contains(err.Error(), "flush: disk full") {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestPanic_IsAnErrorWithItsStackLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		tree := New(Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
		n := 0
		add(t, tree, "decoder", func(ctx context.Context) error {
			if n++; n == 1 {
				explode()
			}
			return idle(ctx)
		})
		stop := start(t, tree)
		time.Sleep(time.Second)
		synctest.Wait()
		if s := of(t, tree, "decoder"); s.State != StateRunning || s.Restarts != 1 || s.LastError != "panic: index 7" {
			t.Errorf("status %+v", s)
		}
		if got := strings.Count(log.String(), "supervise.explode("); got != 1 {
			t.Errorf("the stack is in the log %d times:\n%s", got, log.String())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func explode() { panic("index 7") }

func TestStop_InReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet()})
		var order []string
		for _, name := range []string{"store", "replica", "edge"} {
			add(t, tree, name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // a later one would overtake if they stopped together
				order = append(order, name)
				return nil
			})
		}
		stop := start(t, tree)
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if want := []string{"edge", "replica", "store"}; !slices.Equal(order, want) {
			t.Errorf("stopped %v, want %v", order, want)
		}
	})
}

func TestStop_LeavesTheStuckBehindAndNamesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet(), StopTimeout: 5 * time.Second})
		release := make(chan struct{})
		add(t, tree, "good", idle)
		add(t, tree, "deaf", func(context.Context) error { <-release; return nil })
		stop := start(t, tree)
		synctest.Wait()
		begin := time.Now()
		err := stop()
		if err == nil || !strings.Contains(err.Error(), "left behind after 5s: deaf") {
			t.Errorf("Run returned %v", err)
		}
		if d := time.Since(begin); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("stopping took %s", d)
		}
		if s := of(t, tree, "deaf"); s.State != StateStuck {
			t.Errorf("status %+v", s)
		}
		close(release)
	})
}

func TestAddAndRemove_WhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet()})
		stop := start(t, tree)
		synctest.Wait()
		ended := false
		add(t, tree, "link/us", func(ctx context.Context) error { defer func() { ended = true }(); return idle(ctx) })
		synctest.Wait()
		if err := tree.Add("link/us", Func(idle)); err == nil || !strings.Contains(err.Error(), "already there") {
			t.Errorf("a second service of the name: %v", err)
		}
		if s := of(t, tree, "link/us"); s.State != StateRunning {
			t.Errorf("status %+v", s)
		}
		if err := tree.Remove("link/us"); err != nil || !ended {
			t.Errorf("Remove: %v, ended %v", err, ended)
		}
		if err := tree.Remove("link/us"); err != nil || len(tree.Status()) != 0 {
			t.Errorf("second Remove: %v, %v", err, tree.Status())
		}
		add(t, tree, "link/us", idle)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestEndings(t *testing.T) {
	tests := []struct {
		name  string
		run   Func
		state State
		err   string
	}{
		{"done", func(context.Context) error { return fmt.Errorf("import: %w", ErrDone) }, StateDone, ""},
		{"nil", func(context.Context) error { return nil }, StateBackoff, "it returned although nobody stopped it"},
		{"other context", func(context.Context) error { return context.DeadlineExceeded }, StateBackoff, "context deadline exceeded"},
		{"running", idle, StateRunning, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tree := New(Options{Logger: quiet()})
				add(t, tree, "s", tt.run)
				stop := start(t, tree)
				synctest.Wait()
				if s := of(t, tree, "s"); s.State != tt.state || s.LastError != tt.err {
					t.Errorf("status %+v", s)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A tree that was stopped can run again, as a restarted inner tree does.
func TestRun_Again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet()})
		n := 0
		add(t, tree, "s", func(ctx context.Context) error { n++; return idle(ctx) })
		for range 2 {
			stop := start(t, tree)
			synctest.Wait()
			if err := tree.Run(t.Context()); err == nil {
				t.Error("two Runs at a time")
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
		if n != 2 {
			t.Errorf("started %d times", n)
		}
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A part of a service fails over and over: it is isolated, the service and another part never notice, and an operator who
// removed the cause need not wait. Its record goes on when it is kept again; one that never failed leaves none.
func TestKeep_IsolatesThePart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New(Options{Logger: quiet(), Backoff: Backoff{Min: time.Second, Max: time.Hour}})
		bad, other := true, 0
		parts := func(ctx context.Context) {
			var all sync.WaitGroup
			all.Go(func() {
				tree.Keep(ctx, "link us", func(ctx context.Context) error {
					if bad {
						explode()
					}
					return idle(ctx)
				})
			})
			all.Go(func() { tree.Keep(ctx, "link ap", func(ctx context.Context) error { other++; return idle(ctx) }) })
			all.Wait()
		}
		again := make(chan struct{})
		add(t, tree, "links", func(ctx context.Context) error {
			for ctx.Err() == nil {
				one, stop := context.WithCancel(ctx)
				go func() {
					select {
					case <-again:
					case <-ctx.Done():
					}
					stop()
				}()
				parts(one)
			}
			return nil
		})
		stop := start(t, tree)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s := of(t, tree, "link us")
		if s.State != StateIsolated || s.Restarts != 12 || s.Panics != 13 || s.LastError != "panic: index 7" {
			t.Errorf("status %+v", s)
		}
		if l := of(t, tree, "links"); l.State != StateRunning || l.Restarts != 0 || other != 1 {
			t.Errorf("the service %+v, the other part was started %d times", l, other)
		}
		if err := tree.Restart("link ap"); !errors.Is(err, ErrNotWaiting) {
			t.Errorf("restart of what runs: %v", err)
		}
		if err := tree.Restart("link eu"); !errors.Is(err, ErrUnknown) {
			t.Errorf("restart of what is not there: %v", err)
		}
		bad = false
		if err := tree.Restart("link us"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := of(t, tree, "link us"); s.State != StateRunning || s.Restarts != 13 {
			t.Errorf("status %+v", s)
		}
		again <- struct{}{}
		synctest.Wait()
		if s := of(t, tree, "link us"); s.State != StateRunning || s.Restarts != 13 || s.Panics != 13 {
			t.Errorf("kept again: %+v", s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, s := range tree.Status() {
			if s.Name == "link ap" {
				t.Errorf("a part that never failed left %+v", s)
			}
		}
	})
}

// What is not started again is counted, and a flood of it does not fill the log.
func TestCrashed_IsCountedAndLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		tree := New(Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
		for range 100 {
			tree.Crashed("connections", &group.Panic{Value: "index 7", Stack: []byte("here")})
		}
		if s := of(t, tree, "connections"); s.Panics != 100 || s.State != StateContained || s.Restarts != 0 {
			t.Errorf("status %+v", s)
		}
		if n := strings.Count(log.String(), "index 7"); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}
