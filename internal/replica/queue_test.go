package replica

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"causeway/internal/home"
)

// publish makes an operation whose size is about n bytes.
func publish(n int) *home.Publish {
	return &home.Publish{Topic: "t", Payload: make([]byte, max(0, n-65))}
}

func testQueue(limit int64, maxOp int) *queue {
	q := newQueue(Options{QueueBytes: limit, MaxOpBytes: maxOp}.withDefaults())
	q.resume(home.Owner{Node: "n", Incarnation: 1})
	return q
}

func TestQueue_RefusesAboveTheBound(t *testing.T) {
	q := testQueue(4096, 1024)
	if err := q.push(publish(1025), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("operation above MaxOpBytes: %v, want ErrTooLarge", err)
	}
	taken := 0
	for {
		err := q.push(publish(768), nil)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
	if taken != 4 { // 4 x (768 + 256)
		t.Errorf("took %d operations of 1024 bytes with overhead into 4096, want 4", taken)
	}
	if _, bytes := q.held(); bytes != 4096 {
		t.Errorf("holds %d bytes, want 4096", bytes)
	}
}

func TestQueue_RoomWhenAnyOperationFits(t *testing.T) {
	q := testQueue(4096, 1024)
	for range 4 {
		if err := q.push(publish(768), nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.waitRoom(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("waitRoom of a full queue: %v, want the context's error", err)
	}
	q.take()
	got := make(chan error)
	go func() { got <- q.waitRoom(t.Context()) }()
	if _, err := q.land(1); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := q.push(publish(1024), nil); err != nil {
		t.Errorf("push after waitRoom: %v", err)
	}
	q.close(ErrStopped)
	if err := q.waitRoom(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("waitRoom after close: %v, want ErrStopped", err)
	}
}

func TestQueue_RoomEndsWhenClosed(t *testing.T) {
	q := testQueue(4096, 2048)
	for range 4 {
		if err := q.push(publish(768), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error)
	go func() { got <- q.waitRoom(t.Context()) }()
	q.close(ErrStopped)
	if err := <-got; !errors.Is(err, ErrStopped) {
		t.Errorf("waitRoom of a queue that closes: %v, want ErrStopped", err)
	}
}

func TestQueue_LargeOperationGoesAlone(t *testing.T) {
	q := testQueue(64<<20, 8<<20)
	for _, n := range []int{100, 1 << 20, 100, 100} {
		if err := q.push(publish(n), nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for f := q.take(); f != nil; f = q.take() {
		got = append(got, len(f.proposals))
	}
	if fmt.Sprint(got) != "[1 1 2]" {
		t.Errorf("entries of %v operations, want [1 1 2]: the large one alone", got)
	}
}

func TestQueue_LandsInOrderOnly(t *testing.T) {
	q := testQueue(1<<20, 1<<10)
	for range 2 {
		if err := q.push(publish(100), nil); err != nil {
			t.Fatal(err)
		}
		q.take()
	}
	if _, err := q.land(2); err == nil {
		t.Error("entry 2 landed before entry 1")
	}
	for n := uint64(1); n <= 2; n++ {
		if ps, err := q.land(n); err != nil || len(ps) != 1 {
			t.Errorf("land(%d) = %d proposals, %v", n, len(ps), err)
		}
	}
}

// A queue keeps order and loses nothing, whatever happens to it.
func TestQueue_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := testQueue(32<<10, 4<<10)
		q.batching.MaxOps, q.batching.MaxBytes = 8, 2<<10
		var pushed, answered []home.Op
		var flights []*flight
		var bytes int64
		land := func() {
			ps, err := q.land(flights[0].n)
			if err != nil {
				t.Fatal(err)
			}
			flights = flights[1:]
			for _, p := range ps {
				answered = append(answered, p.op)
				bytes -= p.cost()
			}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"push", "push", "push", "take", "land"}).Draw(t, "step") {
			case "push":
				op := publish(rapid.IntRange(65, 4096).Draw(t, "size"))
				cost := int64(home.OpSize(op)) + opOverhead
				err := q.push(op, nil)
				if full := bytes+cost > 32<<10; full != errors.Is(err, ErrFull) {
					t.Fatalf("push of %d with %d held: %v", cost, bytes, err)
				}
				if err == nil {
					pushed, bytes = append(pushed, op), bytes+cost
				}
			case "take":
				if f := q.take(); f != nil {
					if len(f.proposals) > 8 || f.bytes > 2<<10 && len(f.proposals) > 1 {
						t.Fatalf("entry of %d operations, %d bytes", len(f.proposals), f.bytes)
					}
					flights = append(flights, f)
				}
			case "land":
				if len(flights) > 0 {
					land()
				}
			}
			if _, held := q.held(); held != bytes {
				t.Fatalf("holds %d bytes, the model %d", held, bytes)
			}
		}
		for _, p := range q.fail(ErrStopped) {
			answered = append(answered, p.op)
		}
		if len(answered) != len(pushed) {
			t.Fatalf("%d answers for %d operations", len(answered), len(pushed))
		}
		for i := range pushed {
			if pushed[i] != answered[i] {
				t.Fatalf("answer %d is of another operation", i)
			}
		}
		if err := q.push(publish(65), nil); !errors.Is(err, ErrStopped) {
			t.Fatalf("push after fail: %v", err)
		}
		select {
		case <-q.empty:
		default:
			t.Fatal("the queue does not say that it is empty")
		}
	})
}

// What nobody waits for does not make the batcher look; the first that somebody
// does, does.
func TestQueue_TellsUrgentFromLazy(t *testing.T) {
	q := testQueue(1<<20, 1<<10)
	push := func(op home.Op) (woke bool) {
		t.Helper()
		if err := q.push(op, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-q.wake:
			return true
		default:
			return false
		}
	}
	for i, c := range []struct {
		op           home.Op
		woke         bool
		ops, waiting int
	}{
		{&home.Ack{Done: []home.Range{{From: 1, To: 1}}}, true, 1, 0}, // the first of all
		{&home.Trim{}, false, 2, 0},
		{&home.Ack{Received: []home.Range{{From: 2, To: 2}}}, true, 3, 1}, // PUBREL waits
		{&home.Tick{}, false, 4, 2},
	} {
		if woke := push(c.op); woke != c.woke {
			t.Errorf("%d: woke: %v", i, woke)
		}
		if l := q.load(); l.ops != c.ops || l.urgent != c.waiting {
			t.Errorf("%d: %+v", i, l)
		}
	}
	q.take()
	if l := q.load(); l.ops != 0 || l.urgent != 0 {
		t.Errorf("left: %+v", l)
	}
}
