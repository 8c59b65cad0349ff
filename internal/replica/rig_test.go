package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/internal/home"
	"causeway/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deaf is a sink that hears nothing.
type deaf struct{}

func (deaf) Deliver(home.Delivery)                                                {}
func (deaf) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (deaf) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (deaf) Spooled(home.ID)                                                      {}
func (deaf) Wanted()                                                              {}
func (deaf) Dropped(string, home.DropReason, int)                                 {}

// options of a small replica of home "eu" on fs.
func options(fs store.FS, incarnation home.Incarnation) Options {
	return Options{
		Home: "eu", Epoch: home.Epoch{Number: 1, Host: "eu"}, Node: "eu-1", Incarnation: incarnation,
		FS: fs, Dir: "/data/homes/eu", Sink: deaf{},
		SegmentBytes: 1 << 20, Store: store.Options{MemTableBytes: 1 << 20},
	}
}

// run is a replica being run by a test.
type run struct {
	*Replica
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed
}

// core is the role of a replica that is a core.
func (r *Replica) core() *core { return r.role.(*core) }

func mustOpen(t testing.TB, o Options) *Replica {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start opens and runs a replica; the test's end stops it.
func start(t testing.TB, o Options) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{Replica: mustOpen(t, o), t: t, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = r.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// stop ends the run and returns Run's error.
func (r *run) stop() error {
	r.cancel()
	<-r.ended
	return r.err
}

// do proposes op and waits for its outcome.
func (r *run) do(op home.Op) home.Outcome {
	r.t.Helper()
	o, err := r.try(op)
	if err != nil {
		r.t.Fatalf("%T: %v", op, err)
	}
	return o
}

func (r *run) try(op home.Op) (o home.Outcome, err error) {
	done := make(chan struct{})
	perr := r.Propose(op, func(got home.Outcome, gotErr error) {
		o, err = got, gotErr
		close(done)
	})
	if perr != nil {
		return o, perr
	}
	<-done
	return o, err
}

var subscriber = home.SessionKey{ClientID: "subscriber"}

// subscribe makes a durable session, now detached, whose queue gets all of "t/#".
func (r *run) subscribe() {
	r.t.Helper()
	o := r.do(&home.Attach{Session: subscriber, Expiry: 0xFFFFFFFF})
	r.do(&home.Subscribe{Session: subscriber, Epoch: o.Epoch, Filters: []home.Subscription{{Filter: "t/#", QoS: 1}}})
	r.do(&home.Detach{Session: subscriber, Epoch: o.Epoch, DropWill: true})
}

// numbered is message n of a publisher.
func numbered(publisher, n uint32, size int) *home.Publish {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint32(b, publisher)
	binary.BigEndian.PutUint32(b[4:], n)
	return &home.Publish{Topic: fmt.Sprintf("t/%d", publisher), Payload: b, QoS: 1}
}

type message struct{ publisher, n uint32 }

// queued reads the subscriber's queue, bodies from memory or disk.
func (r *run) queued() (list []message) {
	r.t.Helper()
	for _, q := range r.State().Peek(subscriber, 0, 1<<30) {
		m := q.Message
		if q.Evicted {
			var err error
			if m, err = r.Body(q.Seq); err != nil {
				r.t.Fatal(err)
			}
		}
		list = append(list, message{binary.BigEndian.Uint32(m.Payload), binary.BigEndian.Uint32(m.Payload[4:])})
	}
	return list
}

// flood publishes from several publishers at once, each with up to window
// messages under way, and notes what was acknowledged.
type flood struct {
	r      *run
	size   int
	window int
	wg     sync.WaitGroup
	stop   chan struct{}

	mu    sync.Mutex
	acked []message
	more  *sync.Cond
}

func newFlood(r *run, publishers, window, size int) *flood {
	f := &flood{r: r, size: size, window: window, stop: make(chan struct{})}
	f.more = sync.NewCond(&f.mu)
	for p := range publishers {
		f.wg.Go(func() { f.publish(uint32(p)) })
	}
	return f
}

func (f *flood) publish(p uint32) {
	slots := make(chan struct{}, f.window)
	for n := uint32(0); ; n++ {
		select {
		case <-f.stop:
			return
		case slots <- struct{}{}:
		}
		err := f.r.Propose(numbered(p, n, f.size), func(_ home.Outcome, err error) {
			if err == nil {
				f.mu.Lock()
				f.acked = append(f.acked, message{p, n})
				f.more.Broadcast()
				f.mu.Unlock()
			}
			<-slots
		})
		switch {
		case errors.Is(err, ErrFull):
			<-slots
			n--
			if f.r.Room(context.Background()) != nil {
				return
			}
		case err != nil:
			return
		}
	}
}

// await waits until n messages are acknowledged and returns them, and all
// acknowledged meanwhile, in order.
func (f *flood) await(n int) []message {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.acked) < n {
		f.more.Wait()
	}
	return append([]message(nil), f.acked...)
}

func (f *flood) end() {
	close(f.stop)
	f.wg.Wait()
}

// account compares what was acknowledged with what a queue holds.
type account struct{ lost, doubled, reordered int }

func compare(acked, queue []message) (a account) {
	seen := map[message]bool{}
	last := map[uint32]uint32{}
	for _, m := range queue {
		if seen[m] {
			a.doubled++
		} else if n, ok := last[m.publisher]; ok && n > m.n {
			a.reordered++
		}
		seen[m] = true
		last[m.publisher] = max(last[m.publisher], m.n)
	}
	for _, m := range acked {
		if !seen[m] {
			a.lost++
		}
	}
	return a
}
