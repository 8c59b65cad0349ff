package replica

import (
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

func TestNextFlush(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		every, last, stall, want time.Duration
	}{
		{time.Second, time.Second, 0, time.Second},
		{time.Second, time.Second, 19 * ms, time.Second},
		{time.Second, time.Second, 200 * ms, 100 * ms},
		{time.Second, 100 * ms, 40 * ms, 50 * ms},
		{time.Second, 100 * ms, 15 * ms, 100 * ms},
		{time.Second, 100 * ms, 5 * ms, 200 * ms},
		{time.Second, 800 * ms, 5 * ms, time.Second},
		{time.Second, 30 * ms, time.Second, 20 * ms},
		{5 * ms, 5 * ms, time.Second, 5 * ms},
	} {
		if got := nextFlush(tc.every, tc.last, tc.stall); got != tc.want {
			t.Errorf("every %s, last after %s, stalled %s: next after %s, want %s", tc.every, tc.last, tc.stall, got, tc.want)
		}
	}
}

// A home that takes long to be founded, since a node is missing, carries no time on before its first entry.
func TestTickDue_NotBeforeGenesis(t *testing.T) {
	r := newReplica(options(store.NewCrashFS(), 1).withDefaults())
	if r.state = home.New(); r.tickDue(time.Hour) {
		t.Error("a tick is due before Genesis")
	}
}

// Bodies beyond the budget leave memory and are read from the store.
func TestMemoryBudget_BodiesComeFromTheStore(t *testing.T) {
	o := options(store.NewCrashFS(), 1)
	o.MemoryBudget = 4 << 10
	r := start(t, o)
	r.subscribe()
	const n = 100
	for i := range uint32(n) {
		r.do(numbered(1, i, 1000))
	}
	if _, err := r.flush(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	if s.ResidentBytes == 0 || s.ResidentBytes > 4<<10 || s.FlushedBytes < n*1000 {
		t.Errorf("%d bytes in memory, %d written; the budget is 4 KiB", s.ResidentBytes, s.FlushedBytes)
	}
	evicted := 0
	for _, q := range r.State().Peek(subscriber, 0, n) {
		if q.Evicted {
			evicted++
		}
	}
	if evicted < n-10 {
		t.Errorf("%d of %d bodies left memory", evicted, n)
	}
	got := r.queued() // reads each body, from wherever it is
	for i, m := range got {
		if m != (message{1, uint32(i)}) {
			t.Fatalf("message %d is %+v", i, m)
		}
	}
	if len(got) != n {
		t.Errorf("%d messages, want %d", len(got), n)
	}
	if _, err := r.Body(home.Seq(1 << 40)); err == nil {
		t.Error("found the body of a message that never was")
	}
}
