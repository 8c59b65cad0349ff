package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small keeps tests quick: several memtables' worth fits in a few thousand keys.
var small = Options{MemTableBytes: minMemTableBytes, CacheBytes: 1 << 20}

func open(t testing.TB, fs FS, dir string) *Store {
	t.Helper()
	s, err := Open(fs, dir, small)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// set commits pairs "k=v" ("k" deletes) as entry index of term 1.
func set(t testing.TB, s *Store, index uint64, pairs ...string) {
	t.Helper()
	if err := trySet(s, index, pairs...); err != nil {
		t.Fatal(err)
	}
}

func trySet(s *Store, index uint64, pairs ...string) error {
	b := s.NewBatch()
	for _, p := range pairs {
		if k, v, ok := strings.Cut(p, "="); ok {
			b.Set([]byte(k), []byte(v))
		} else {
			b.Delete([]byte(p))
		}
	}
	return b.Commit(index, 1)
}

func dump(t testing.TB, s *Store) string {
	t.Helper()
	var out []string
	if err := s.Scan(nil, func(k, v []byte) error {
		out = append(out, fmt.Sprintf("%s=%s", k, v))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestStore_ReadsWhatItCommitted(t *testing.T) {
	s := open(t, NewCrashFS(), "/s")
	defer closeStore(t, s)
	if got := s.Applied(); got != (Position{}) {
		t.Fatalf("new store applied %+v", got)
	}
	set(t, s, 7, "a=1", "b=2", "ba=3", "c=4")
	set(t, s, 9, "b=two", "c")
	if got := s.Applied(); got != (Position{9, 1}) {
		t.Fatalf("applied %+v", got)
	}
	if got := dump(t, s); got != "a=1 b=two ba=3" {
		t.Fatal(got)
	}
	v, err := s.Get([]byte("b"))
	if err != nil || string(v) != "two" {
		t.Fatalf("%q %v", v, err)
	}
	if _, err := s.Get([]byte("c")); !errors.Is(err, ErrNotFound) {
		t.Fatalf("deleted key: %v", err)
	}
	if v, err = s.Get([]byte("ba")); err != nil || string(v) != "3" {
		t.Fatalf("%q %v", v, err)
	}
	b := s.NewBatch()
	b.DeleteRange([]byte("a"), []byte("ba"))
	if b.Len() != 1 || b.Bytes() == 0 {
		t.Fatalf("len %d bytes %d", b.Len(), b.Bytes())
	}
	if err := b.Commit(10, 2); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s); got != "ba=3" {
		t.Fatal(got)
	}
}

func TestStore_EmptyValueIsAValue(t *testing.T) {
	s := open(t, NewCrashFS(), "/s")
	defer closeStore(t, s)
	set(t, s, 1, "k=")
	if v, err := s.Get([]byte("k")); err != nil || v == nil || len(v) != 0 {
		t.Fatalf("%#v %v", v, err)
	}
}

func TestScan(t *testing.T) {
	s := open(t, NewCrashFS(), "/s")
	defer closeStore(t, s)
	b := s.NewBatch()
	for _, k := range []string{"a", "p", "p\x00", "p\xff", "p\xff\xff", "q", "\xff", "\xff\xff"} {
		b.Set([]byte(k), []byte{1})
	}
	if err := b.Commit(1, 1); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		prefix string
		want   []string
	}{
		{"p", []string{"p", "p\x00", "p\xff", "p\xff\xff"}},
		{"p\xff", []string{"p\xff", "p\xff\xff"}},
		{"\xff", []string{"\xff", "\xff\xff"}},
		{"\x00", nil},
		{"zz", nil},
		{"", []string{"a", "p", "p\x00", "p\xff", "p\xff\xff", "q", "\xff", "\xff\xff"}},
	} {
		var got []string
		if err := s.Scan([]byte(tc.prefix), func(k, _ []byte) error { got = append(got, string(k)); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("prefix %q: %q, want %q", tc.prefix, got, tc.want)
		}
	}
	n := 0
	stop := func([]byte, []byte) error { n++; return ErrStop }
	if err := s.Scan(nil, stop); err != nil || n != 1 {
		t.Fatalf("stopped scan: %d calls, %v", n, err)
	}
	boom := errors.New("boom")
	if err := s.ScanRange([]byte("p"), []byte("q"), func(k, _ []byte) error {
		if _, err := s.Get(k); err != nil { // a scan may get
			return err
		}
		return boom
	}); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if s.Err() != nil {
		t.Fatal("an error of the caller's function stopped the store")
	}
}

func TestStore_RefusesMisuse(t *testing.T) {
	s := open(t, NewCrashFS(), "/s")
	set(t, s, 5, "k=v")
	for name, do := range map[string]func() error{
		"reserved key":   func() error { return trySet(s, 6, "\x00applied=x") },
		"empty key":      func() error { return trySet(s, 6, "=x") },
		"reserved range": func() error { b := s.NewBatch(); b.DeleteRange([]byte{0}, []byte{9}); return b.Commit(6, 1) },
		"older index":    func() error { return trySet(s, 4, "k=old") },
		"older term":     func() error { b := s.NewBatch(); b.Set([]byte("k"), []byte("old")); return b.Commit(6, 0) },
		"spent batch":    func() error { b := s.NewBatch(); b.Discard(); b.Set([]byte("k"), nil); return b.Commit(6, 1) },
		"bad options":    func() error { _, err := Open(NewCrashFS(), "/x", Options{MemTableBytes: 1}); return err },
	} {
		if err := do(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := dump(t, s); got != "k=v" || s.Applied().Index != 5 || s.Err() != nil {
		t.Fatalf("misuse changed the store: %s, %+v, %v", got, s.Applied(), s.Err())
	}
	set(t, s, 5, "k=same index") // a state written in parts
	unfinished := s.NewBatch()
	closeStore(t, s)
	for name, err := range map[string]error{
		"get": second(s.Get([]byte("k"))), "flush": second(s.Flush()), "close": s.Close(),
		"scan": s.Scan(nil, nil), "batch": s.NewBatch().Commit(9, 9), "commit": unfinished.Commit(9, 9),
		"checkpoint": second(s.Checkpoint("/c")),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
	if m := s.Metrics(); m != (Metrics{}) {
		t.Errorf("metrics after close: %+v", m)
	}
}

func second[T any](_ T, err error) error { return err }

func TestStore_UnflushedIsLostFlushedIsNot(t *testing.T) {
	fs := NewCrashFS()
	s := open(t, fs, "/srv/s")
	defer closeStore(t, s)
	set(t, s, 1, "a=1")
	if got, err := s.Flush(); err != nil || got != 1 || s.DurableApplied() != 1 {
		t.Fatalf("flush: %d %v, durable %d", got, err, s.DurableApplied())
	}
	set(t, s, 2, "b=2")
	if s.DurableApplied() != 1 {
		t.Fatalf("durable %d before the flush", s.DurableApplied())
	}
	after := open(t, fs.Crash(), "/srv/s")
	defer closeStore(t, after)
	if got := dump(t, after); got != "a=1" || after.Applied().Index != 1 || after.DurableApplied() != 1 {
		t.Fatalf("after the crash: %q at %+v", got, after.Applied())
	}
}

func TestStore_FlushNeedsItsSyncs(t *testing.T) {
	for _, what := range []string{".sst", "MANIFEST", "/srv/s"} {
		t.Run(what, func(t *testing.T) {
			fs := NewCrashFS()
			s := open(t, fs, "/srv/s")
			defer closeStore(t, s)
			fs.IgnoreSyncs(func(p string) bool { return strings.HasSuffix(p, what) || strings.Contains(p, "/"+what) })
			set(t, s, 1, "a=1")
			if _, err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			after, err := Open(fs.Crash(), "/srv/s", small)
			if err != nil {
				return // lost, and noticed at the start
			}
			defer closeStore(t, after)
			if after.Applied().Index == 1 && dump(t, after) == "a=1" {
				t.Fatal("flushed data survived without the sync: this test could not notice a missing one")
			}
		})
	}
}

func TestStore_CloseFlushes(t *testing.T) {
	fs := NewCrashFS()
	s := open(t, fs, "/s")
	set(t, s, 3, "a=1")
	closeStore(t, s)
	again := open(t, fs.Crash(), "/s")
	defer closeStore(t, again)
	if again.Applied() != (Position{3, 1}) || dump(t, again) != "a=1" {
		t.Fatalf("%+v %s", again.Applied(), dump(t, again))
	}
}

// history is what a store must hold at each index: the model the crash tests compare with.
type history struct {
	mu      sync.Mutex
	states  []map[string]string // by index
	durable uint64              // highest index a flush or checkpoint promised
}

func newHistory() *history { return &history{states: []map[string]string{{}}} }

// step commits entry i: it writes, overwrites, deletes and range-deletes by a fixed rule, so that
// states of neighbouring indexes differ in many keys.
func (h *history) step(t testing.TB, s *Store, i uint64) {
	t.Helper()
	next := maps.Clone(h.states[i-1])
	b := s.NewBatch()
	for j := range uint64(20) {
		k := fmt.Sprintf("k%03d", (i*7+j*13)%200)
		v := fmt.Sprintf("%d.%d.%s", i, j, strings.Repeat("x", 100))
		next[k] = v
		b.Set([]byte(k), []byte(v))
	}
	gone := fmt.Sprintf("k%03d", i%200)
	delete(next, gone)
	b.Delete([]byte(gone))
	if i%10 == 0 {
		from, to := fmt.Sprintf("k%03d", i%150), fmt.Sprintf("k%03d", i%150+20)
		maps.DeleteFunc(next, func(k, _ string) bool { return from <= k && k < to })
		b.DeleteRange([]byte(from), []byte(to))
	}
	h.mu.Lock()
	h.states = append(h.states, next)
	h.mu.Unlock()
	if err := b.Commit(i, 1); err != nil {
		t.Fatal(err)
	}
}

func (h *history) promise(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.durable = max(h.durable, index)
}

func (h *history) promised() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.durable
}

// check opens dir and compares all of it with the state of the index it claims, which must be at
// least atLeast.
func (h *history) check(t *testing.T, fs FS, dir string, atLeast uint64) {
	t.Helper()
	s := open(t, fs, dir)
	defer closeStore(t, s)
	at := s.Applied().Index
	h.mu.Lock()
	if at < atLeast || at >= uint64(len(h.states)) {
		h.mu.Unlock()
		t.Fatalf("%s is at %d; promised %d, committed %d", dir, at, atLeast, len(h.states)-1)
	}
	want := h.states[at]
	h.mu.Unlock()
	got := map[string]string{}
	if err := s.Scan(nil, func(k, v []byte) error { got[string(k)] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("%s at %d holds %d keys that are not the %d of that index", dir, at, len(got), len(want))
	}
}

func TestStore_CrashAnywhereLeavesOneIndexWhole(t *testing.T) {
	// given commits that outgrow several memtables, with flushes and checkpoints between, when the
	// power fails before any one operation, then the store opens at an index not below the promised
	// one, with exactly the state of that index; so does every finished checkpoint
	type found struct {
		fs      *CrashFS
		durable uint64
		checks  map[string]uint64
	}
	for _, percent := range []int{0, 50} {
		fs, h := NewCrashFS(), newHistory()
		var mu sync.Mutex
		var crashes []found
		checkpoints := map[string]uint64{}
		fs.BeforeOp(func(op Op) {
			if op.N%3 != 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			promised, points := h.promised(), maps.Clone(checkpoints) // before the crash, so promised is not too much
			crashes = append(crashes, found{fs.CrashKeeping(uint64(op.N), percent), promised, points})
		})
		s := open(t, fs, "/srv/s")
		for i := uint64(1); i <= 120; i++ {
			h.step(t, s, i)
			if i%15 == 0 {
				at, err := s.Flush()
				if err != nil || at != i {
					t.Fatalf("flush at %d: %d, %v", i, at, err)
				}
				h.promise(at)
			}
			if i%50 == 0 {
				dir := fmt.Sprintf("/srv/checkpoint-%d", i)
				pos, err := s.Checkpoint(dir)
				if err != nil || pos.Index != i {
					t.Fatalf("checkpoint at %d: %+v, %v", i, pos, err)
				}
				mu.Lock()
				checkpoints[dir] = pos.Index
				mu.Unlock()
				h.promise(pos.Index)
			}
		}
		closeStore(t, s)
		if len(crashes) < 50 {
			t.Fatalf("only %d crash points", len(crashes))
		}
		for _, c := range crashes {
			h.check(t, c.fs, "/srv/s", c.durable)
			for dir, at := range c.checks {
				h.check(t, c.fs, dir, at)
			}
		}
	}
}

func TestCheckpoint_RunsBesideCommits(t *testing.T) {
	fs, h := NewCrashFS(), newHistory()
	s := open(t, fs, "/s")
	done := make(chan error, 1)
	for i := uint64(1); i <= 200; i++ {
		h.step(t, s, i)
		if i == 100 {
			go func() {
				pos, err := s.Checkpoint("/c")
				if err == nil && pos.Index < 100 {
					err = fmt.Errorf("checkpoint at %d misses what was committed before it began", pos.Index)
				}
				if err == nil && s.DurableApplied() < 100 {
					err = errors.New("the checkpoint's flush did not count")
				}
				done <- err
			}()
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	pos, err := ReadApplied(fs, "/c")
	if err != nil || pos.Index < 100 || pos.Index > 200 {
		t.Fatalf("%+v %v", pos, err)
	}
	if _, err := s.Checkpoint("/c"); err == nil {
		t.Fatal("checkpoint over an existing one")
	}
	if s.Err() != nil {
		t.Fatal("a refused checkpoint stopped the store")
	}
	closeStore(t, s)
	h.check(t, fs.Crash(), "/c", 100)
}

func TestReadApplied_NeedsAStore(t *testing.T) {
	fs := NewCrashFS()
	mustMkdir(t, fs, "/empty")
	if p, err := ReadApplied(fs, "/empty"); err == nil {
		t.Fatalf("an empty directory is at %+v", p)
	}
}

func TestStore_Metrics(t *testing.T) {
	fs, h := NewCrashFS(), newHistory()
	s := open(t, fs, "/s")
	defer closeStore(t, s)
	for i := uint64(1); i <= 60; i++ {
		h.step(t, s, i)
	}
	if _, err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	m := s.Metrics()
	if m.Applied != 60 || m.DurableApplied != 60 || m.Flushes != 1 || m.PebbleFlushes < 1 ||
		m.DiskBytes == 0 || m.Tables == 0 || m.FlushTotal != m.FlushLast || m.FlushMax != m.FlushLast {
		t.Fatalf("%+v", m)
	}
	before := s.Metrics().PebbleFlushes
	if _, err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if s.Metrics().PebbleFlushes != before || s.Metrics().Flushes != 1 {
		t.Fatal("flushed with nothing to flush")
	}
}

func TestPosition_Encoding(t *testing.T) {
	p := Position{Index: 1<<63 + 5, Term: 9}
	got, err := decodePosition(p.encode())
	if err != nil || got != p {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := decodePosition(bytes.Repeat([]byte{1}, 15)); err == nil {
		t.Fatal("short position accepted")
	}
}
