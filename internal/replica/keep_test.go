package replica

import (
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// Records are applied while the state is written: what lies on the disk is the state at one position all the same, from
// which the log goes on.
func TestFlush_WhileRecordsAreApplied(t *testing.T) {
	fs := store.NewCrashFS()
	o := busy(fs, 1)
	o.FlushEvery = time.Hour
	r := start(t, o)
	r.subscribe()
	f := newFlood(r, 8, 64, 100)
	type crash struct {
		acked []message
		disk  *store.CrashFS
	}
	var crashes []crash
	const most = 50_000 // well below what a queue takes
	for i := 0; i < 5 && len(f.await(0)) < most; i++ {
		f.await(500 * (i + 1))
		r.core().takeSnapshot() // flushes, and makes that durable
		crashes = append(crashes, crash{f.await(0), fs.Crash()})
	}
	f.end()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for i, c := range crashes {
		again := start(t, options(c.disk, 2))
		if got := compare(c.acked, again.queued()); got != (account{}) {
			t.Errorf("after crash %d: %+v of %d", i+1, got, len(c.acked))
		}
		if err := again.stop(); err != nil {
			t.Error(err)
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
	if err := r.core().flush(); err != nil {
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
