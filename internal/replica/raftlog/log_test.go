package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"causeway/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const logDir = "/srv/home/log"

// small segments make a test cross many of them.
var small = Options{SegmentBytes: minSegmentBytes}

func open(t testing.TB, fs store.FS) *Log {
	t.Helper()
	l, err := Open(fs, logDir, small)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// entry is a raft entry whose content follows from its index and term.
func entry(index, term uint64, size int) *raft.Log {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], index)
	binary.BigEndian.PutUint64(seed[8:], term)
	data := make([]byte, size)
	rand.NewChaCha8(seed).Read(data)
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data, Extensions: []byte{byte(index)}}
}

func entries(from, n, term uint64, size int) []*raft.Log {
	var out []*raft.Log
	for i := range n {
		out = append(out, entry(from+i, term, size))
	}
	return out
}

func add(t testing.TB, l *Log, batch []*raft.Log) {
	t.Helper()
	if err := l.StoreLogs(batch); err != nil {
		t.Fatal(err)
	}
}

func bounds(t testing.TB, l *Log) (first, last uint64) {
	t.Helper()
	first, err := l.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	if last, err = l.LastIndex(); err != nil {
		t.Fatal(err)
	}
	return first, last
}

func wantEntry(t testing.TB, l *Log, want *raft.Log) {
	t.Helper()
	var got raft.Log
	if err := l.GetLog(want.Index, &got); err != nil {
		t.Fatal(err)
	}
	if diff := differs(&got, want); diff != "" {
		t.Fatalf("entry %d: %s", want.Index, diff)
	}
}

func differs(got, want *raft.Log) string {
	if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type ||
		!bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) {
		return fmt.Sprintf("got index %d term %d with %d bytes, want term %d with %d bytes, or other content",
			got.Index, got.Term, len(got.Data), want.Term, len(want.Data))
	}
	return ""
}

func TestLog_KeepsEntriesAndValues(t *testing.T) {
	for name, fs := range map[string]store.FS{"memory": store.NewCrashFS(), "disk": store.DiskFS()} {
		t.Run(name, func(t *testing.T) {
			dir := logDir
			if name == "disk" {
				dir = t.TempDir() + "/a/log"
			}
			l, err := Open(fs, dir, small)
			if err != nil {
				t.Fatal(err)
			}
			if f, n := bounds(t, l); f != 0 || n != 0 {
				t.Fatalf("new log has %d to %d", f, n)
			}
			if v, err := l.GetUint64([]byte("CurrentTerm")); v != 0 || err != nil {
				t.Fatalf("unknown value: %d %v", v, err)
			}
			for i := range uint64(40) { // some 6 segments
				add(t, l, entries(1+i*10, 10, 3, 1000))
			}
			if err := errors.Join(l.SetUint64([]byte("CurrentTerm"), 3), l.Set([]byte("LastVoteCand"), []byte("n1")),
				l.SetUint64([]byte("CurrentTerm"), 4), l.DeleteRange(1, 105), l.DeleteRange(391, 400)); err != nil {
				t.Fatal(err)
			}
			add(t, l, entries(391, 2, 4, 200_000)) // larger than a segment
			if got, err := l.DiskBytes(); err != nil || got < 250*1000 {
				t.Fatalf("%d bytes on disk, %v", got, err)
			}
			for range 2 {
				if f, n := bounds(t, l); f != 106 || n != 392 {
					t.Fatalf("holds %d to %d", f, n)
				}
				for i := uint64(106); i <= 390; i++ {
					wantEntry(t, l, entry(i, 3, 1000))
				}
				wantEntry(t, l, entry(392, 4, 200_000))
				for _, gone := range []uint64{0, 1, 105, 393} {
					if err := l.GetLog(gone, &raft.Log{}); err != raft.ErrLogNotFound {
						t.Fatalf("entry %d: %v", gone, err)
					}
				}
				if v, err := l.GetUint64([]byte("CurrentTerm")); v != 4 || err != nil {
					t.Fatalf("term %d %v", v, err)
				}
				if v, err := l.Get([]byte("LastVoteCand")); string(v) != "n1" || err != nil {
					t.Fatalf("vote %q %v", v, err)
				}
				closeLog(t, l)
				if l, err = Open(fs, dir, Options{SegmentBytes: minSegmentBytes, VerifySealed: true}); err != nil {
					t.Fatal(err)
				}
			}
			add(t, l, entries(393, 1, 5, 10))
			wantEntry(t, l, entry(393, 5, 10))
			s := l.Stats()
			if s.Appends != 1 || s.Entries != 1 || s.Bytes < 10 || s.Reads < 1 {
				t.Fatalf("%+v", s)
			}
			closeLog(t, l)
		})
	}
}

func TestLog_StartsAnywhereAndClearsWhole(t *testing.T) {
	// Raft does both after it installed a snapshot.
	l := open(t, store.NewCrashFS())
	defer closeLog(t, l)
	add(t, l, entries(1000, 5, 1, 10))
	if err := l.DeleteRange(1000, 1004); err != nil {
		t.Fatal(err)
	}
	if f, n := bounds(t, l); f != 0 || n != 0 {
		t.Fatalf("cleared log has %d to %d", f, n)
	}
	add(t, l, entries(5000, 5, 2, 10))
	if f, n := bounds(t, l); f != 5000 || n != 5004 {
		t.Fatalf("%d to %d", f, n)
	}
}

func TestLog_Refuses(t *testing.T) {
	l := open(t, store.NewCrashFS())
	add(t, l, entries(1, 5, 1, 10))
	for name, err := range map[string]error{
		"gap":           l.StoreLogs(entries(7, 1, 1, 10)),
		"repetition":    l.StoreLogs(entries(5, 1, 1, 10)),
		"huge entry":    l.StoreLog(&raft.Log{Index: 6, Data: make([]byte, 64<<20)}),
		"hole":          l.DeleteRange(2, 3),
		"long value":    l.Set([]byte("k"), make([]byte, maxStableValue+1)),
		"segment bytes": second(Open(store.NewCrashFS(), "/x", Options{SegmentBytes: 1})),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if l.Err() != nil {
		t.Fatalf("misuse stopped the log: %v", l.Err())
	}
	add(t, l, entries(6, 1, 1, 10))
	closeLog(t, l)
	closeLog(t, l)
	for name, err := range map[string]error{
		"append": l.StoreLogs(entries(7, 1, 1, 10)), "truncate": l.DeleteRange(1, 2), "first": second(l.FirstIndex()),
		"last": second(l.LastIndex()), "get": l.GetLog(1, &raft.Log{}), "set": l.Set([]byte("k"), nil),
		"value": second(l.Get([]byte("k"))), "number": second(l.GetUint64([]byte("k"))),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestLog_ReadersBesideWriterAndTruncation(t *testing.T) {
	fs := store.NewCrashFS()
	l := open(t, fs)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, err := l.FirstIndex()
				last, err2 := l.LastIndex()
				if err != nil || err2 != nil || first == 0 {
					continue // closed, or not begun
				}
				for _, i := range []uint64{first, (first + last) / 2, last} {
					var got raft.Log
					err := l.GetLog(i, &got)
					if err == raft.ErrLogNotFound || errors.Is(err, ErrClosed) {
						continue // truncated meanwhile
					}
					if err != nil {
						t.Error(err)
						return
					}
					if d := differs(&got, entry(i, 1, 500)); d != "" {
						t.Error(d)
						return
					}
				}
			}
		})
	}
	for i := range uint64(150) {
		add(t, l, entries(1+i*10, 10, 1, 500))
		if i%7 == 6 {
			if err := l.DeleteRange(0, i*10-40); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeLog(t, l) // under the readers
	close(stop)
	wg.Wait()
}

func TestLog_FailsAtEachStep(t *testing.T) {
	// given appends, votes and truncations, when the disk fails at any step, shortly, then the error
	// says so and stays, and what was acknowledged before is in the log when it is opened again
	boom := errors.New("input/output error")
	work := func(l *Log, acked func(last, term uint64)) error {
		for i := range uint64(12) {
			last := (i + 1) * 10
			if err := l.StoreLogs(entries(i*10+1, 10, 1, 1500)); err != nil {
				return err
			}
			acked(last, i)
			if err := l.SetUint64([]byte("CurrentTerm"), i+1); err != nil {
				return err
			}
			acked(last, i+1)
			if i%5 == 4 {
				if err := l.DeleteRange(1, last-30); err != nil {
					return err
				}
			}
		}
		return nil
	}
	count := store.NewCrashFS()
	l := open(t, count)
	before := count.Ops()
	if err := work(l, func(uint64, uint64) {}); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	for n := range count.Ops() - before {
		fs := store.NewCrashFS()
		l := open(t, fs)
		fs.FailAfter(n, boom)
		var last, term uint64
		err := work(l, func(l, t uint64) { last, term = l, t })
		if err == nil {
			// Steps are not the same each time: the last may belong to a rotation that Close overtook.
			closeLog(t, l)
			continue
		}
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), logDir) {
			t.Fatalf("step %d: %v", n, err)
		}
		fs.Heal()
		for what, again := range map[string]error{
			"append": l.StoreLogs(entries(last+1, 1, 1, 10)), "value": l.SetUint64([]byte("k"), 1), "truncate": l.DeleteRange(1, 2),
		} {
			if !errors.Is(again, boom) {
				t.Fatalf("step %d: %s after the failure: %v", n, what, again)
			}
		}
		closeLog(t, l)
		l = open(t, fs.Crash())
		if _, have := bounds(t, l); have < last {
			t.Fatalf("step %d: %d entries acknowledged, %d there", n, last, have)
		}
		if v, err := l.GetUint64([]byte("CurrentTerm")); err != nil || v < term {
			t.Fatalf("step %d: term %d acknowledged, %d there, %v", n, term, v, err)
		}
		closeLog(t, l)
	}
}

func TestLog_DiskFullNamesTheDirectory(t *testing.T) {
	fs := store.NewCrashFS()
	l := open(t, fs)
	add(t, l, entries(1, 5, 1, 100))
	fs.FillUp(0)
	err := l.StoreLogs(entries(6, 5, 1, 100)) // a short write
	var full *store.DiskFullError
	if !errors.As(err, &full) || full.Dir != logDir || !errors.As(l.Err(), &full) {
		t.Fatalf("got %v", err)
	}
	closeLog(t, l)
	if _, err := Open(fs, "/srv/other", small); !errors.As(err, &full) || full.Dir != "/srv/other" {
		t.Fatalf("open on a full disk: %v", err)
	}
	fs.Heal()
	l = open(t, fs)
	defer closeLog(t, l)
	if _, last := bounds(t, l); last != 5 {
		t.Fatalf("the short write counts: %d", last)
	}
	add(t, l, entries(6, 5, 1, 100))
}

func TestLog_RunsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, store.NewCrashFS())
		start := time.Now()
		for i := range uint64(100) {
			add(t, l, entries(1+i*10, 10, 1, 500))
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took != 100*time.Second {
			t.Fatalf("virtual time %v", took)
		}
		if l.Stats().Rotations == 0 {
			t.Fatal("no segment was finished")
		}
		closeLog(t, l)
	})
}
