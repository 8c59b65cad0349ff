package sibling

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		a.Deliver("b", text("one"))
		a.DeliverTo("b", home.Delivery{Session: car, Epoch: 3, Message: text("two"), SubIDs: []uint32{9}})
		a.Forward("b", "us", text("three"), home.Claim{Live: true})
		time.Sleep(10 * time.Millisecond)
		if got := b.has(); got != "one, two for car at 3, forward us three" {
			t.Errorf("b got %q", got)
		}
		if st := a.status(); !st.Connected || st.Sent != 3 || st.Dropped != 0 || st.Queued != 0 || st.Streams != 1 {
			t.Errorf("a sees %+v", st)
		}
		if st := b.status(); st.Received != 3 {
			t.Errorf("b sees %+v", st)
		}
	})
}

// What is said in one go arrives whole and in order, whatever its size.
func TestMessages_KeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		var want []string
		for i := range 1000 {
			s := fmt.Sprint(i, strings.Repeat("x", i*i%(3*chunkBytes)/97))
			if i%250 == 0 {
				s += strings.Repeat("y", 2*chunkBytes)
			}
			want = append(want, s)
			l.nodes["a"].Deliver("b", text(s))
		}
		time.Sleep(time.Second)
		if got := l.nodes["b"].has(); got != strings.Join(want, ", ") {
			t.Errorf("b got %d bytes, want %d", len(got), len(strings.Join(want, ", ")))
		}
	})
}

// A sibling that reads nothing costs the queue, and what does not fit is counted:
// nothing is lost that is not.
func TestMessages_BeyondTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		gate := make(chan struct{})
		b.hold["first"] = gate
		a.Deliver("b", text("first"))
		const n = 3000
		for range n {
			a.Deliver("b", &home.Message{Topic: "t", Payload: make([]byte, 4<<10)})
		}
		time.Sleep(time.Second)
		st := a.status()
		if st.Dropped == 0 || st.Queued > a.o.QueueBytes {
			t.Errorf("12 MB at once: %+v", st)
		}
		close(gate)
		time.Sleep(time.Second)
		if st = a.status(); st.Sent+st.Dropped != n+1 || st.Queued != 0 || b.status().Received != st.Sent {
			t.Errorf("a sees %+v, and b got %d", st, b.status().Received)
		}
	})
}

// What waited for a stream that ends is lost, and counted.
func TestMessages_StreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		gate := make(chan struct{})
		b.hold["first"] = gate
		a.Deliver("b", text("first"))
		for range 100 {
			a.Deliver("b", text(string(make([]byte, chunkBytes))))
		}
		synctest.Wait()
		close(gate)
		b.stop()
		synctest.Wait()
		if st := a.status(); st.Connected || st.Queued != 0 || st.Dropped < 50 || st.Sent+st.Dropped != 101 {
			t.Errorf("a sees %+v", st)
		}
	})
}

func TestMessages_TooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a := l.nodes["a"]
		a.Deliver("b", &home.Message{Topic: "t", Payload: make([]byte, a.o.frameMax())})
		a.Deliver("b", text("short"))
		time.Sleep(time.Second)
		if st := a.status(); st.Dropped != 1 || st.Sent != 1 || st.Streams != 1 {
			t.Errorf("a sees %+v", st)
		}
		// One that is larger than the queue goes when nothing else waits.
		a.Deliver("b", &home.Message{Topic: "t", Payload: make([]byte, a.o.QueueBytes+1)})
		time.Sleep(time.Second)
		if st := l.nodes["b"].status(); st.Received != 2 {
			t.Errorf("b sees %+v", st)
		}
	})
}

func TestMessages_WithoutAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		a.Deliver("a", text("for itself"))
		b.stop()
		time.Sleep(time.Second)
		a.Deliver("b", text("lost"))
		if st := a.status(); st.Connected || st.Dropped != 1 {
			t.Errorf("b is away: %+v", st)
		}
		b.start(2)
		time.Sleep(5 * time.Second)
		a.Deliver("b", text("found"))
		time.Sleep(10 * time.Millisecond)
		if got, st := b.has(), a.status(); got != "found" || !st.Connected || st.Streams != 2 {
			t.Errorf("b is back: it got %q, and a sees %+v", got, st)
		}
	})
}

// Gossip that tells something new of a node is a reason to look, however long the
// back-off still is.
func TestDial_AfterNewsOfAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		b.stop()
		time.Sleep(time.Minute)
		for !a.pausing(t) {
			time.Sleep(10 * time.Millisecond)
		}
		b.start(2)
		a.changed <- struct{}{}
		time.Sleep(hurryWait + 10*time.Millisecond)
		if st := a.status(); !st.Connected {
			t.Errorf("a sees %+v", st)
		}
	})
}

// pausing says that f will not dial by itself for a while: it has just done so.
func (f *fake) pausing(t *testing.T) bool {
	t.Helper()
	before := f.count(&f.dials)
	time.Sleep(10 * time.Millisecond)
	return f.count(&f.dials) > before
}

// raw opens a stream as a node that is not otherwise there, to say what no node
// would.
func (l *lab) raw(to string) *cluster.Stream {
	l.t.Helper()
	x := &fake{lab: l, name: "x", port: l.net.Node("x")}
	st, err := x.Dial(context.Background(), to, "", Protocol)
	if err != nil {
		l.t.Fatal(err)
	}
	return st
}

func encoded(f frame) []byte { return f.append(nil) }

// Each of these ends the stream it came by. The others go on.
func TestStream_HostileFrames(t *testing.T) {
	long := binary.BigEndian.AppendUint32(nil, 1<<30)
	for name, hostile := range map[string][]byte{
		"of no bytes":            {0, 0, 0, 0},
		"too long":               long,
		"of an unknown kind":     {0, 0, 0, 1, 77},
		"an answer not asked":    encoded(frame{kind: kindAnswer, number: 1}),
		"cut off inside":         {0, 0, 0, 2, byte(kindYield), 1},
		"with a length too much": {0, 0, 0, 4, byte(kindDeliver), 200, 1, 1},
		"with more subscription ids than bytes": {0, 0, 0, 11, byte(kindDirect), 0, 1, 'c', 1, 0, 0,
			0xff, 0xff, 0x7f, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "a", "b")
				a, b := l.nodes["a"], l.nodes["b"]
				st := l.raw("b")
				defer st.Close()
				if _, err := st.Write(append(encoded(frame{kind: kindDeliver, message: text("before")}), hostile...)); err != nil {
					t.Fatal(err)
				}
				_ = st.SetReadDeadline(time.Now().Add(time.Second))
				if n, err := st.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
					t.Errorf("the stream goes on: %d, %v", n, err)
				}
				a.Deliver("b", text("after"))
				time.Sleep(10 * time.Millisecond)
				if got := b.has(); got != "before, after" {
					t.Errorf("b got %q", got)
				}
				if st := b.Status(); st[0].Malformed != 0 || st[1].Malformed != 1 {
					t.Errorf("b sees %+v", st)
				}
			})
		})
	}
}

// A stream that breaks in the middle of a frame loses that frame, and nothing is
// made of the half.
func TestStream_BreaksMidFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		b := l.nodes["b"]
		st := l.raw("b")
		whole := encoded(frame{kind: kindDeliver, message: text("whole")})
		if _, err := st.Write(append(slices.Clone(whole), whole[:len(whole)-1]...)); err != nil {
			t.Fatal(err)
		}
		_ = st.Close()
		time.Sleep(10 * time.Millisecond)
		if got := b.has(); got != "whole" {
			t.Errorf("b got %q", got)
		}
		if st := b.Status()[1]; st.Malformed != 0 || st.Received != 1 {
			t.Errorf("a break is nobody's fault: %+v", st)
		}
	})
}

// A node that dials again is heard on the new stream only when nothing more comes
// of the one before: its messages keep their order.
func TestStream_SucceedsTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "b")
		b := l.nodes["b"]
		gate := make(chan struct{})
		b.hold["1"] = gate
		var streams []*cluster.Stream
		for _, s := range [][]string{{"1", "2"}, {"3", "4"}} {
			st := l.raw("b")
			defer st.Close()
			for _, p := range s {
				if _, err := st.Write(encoded(frame{kind: kindDeliver, message: text(p)})); err != nil {
					t.Fatal(err)
				}
			}
			streams = append(streams, st)
			time.Sleep(10 * time.Millisecond)
		}
		if got := b.has(); got != "" {
			t.Errorf("b got %q before what was said first", got)
		}
		close(gate)
		time.Sleep(10 * time.Millisecond)
		if got := b.has(); got != "1, 3, 4" {
			t.Errorf("b got %q", got)
		}
		if _, err := streams[0].Read(make([]byte, 1)); err == nil {
			t.Error("the former stream goes on")
		}
	})
}
