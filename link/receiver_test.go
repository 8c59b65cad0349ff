package link

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/link/wire"
)

func frameOf(t *testing.T, src wire.Source, from, to uint64, seqs ...uint64) []byte {
	t.Helper()
	e, err := wire.NewEncoder(wire.CodecNone)
	if err != nil {
		t.Fatal(err)
	}
	e.Begin(from)
	for _, q := range seqs {
		e.Add(&wire.Message{Seq: q, Topic: "events/a", Payload: []byte{'m', byte('0' + q%10)}, QoS: 1, Live: true})
	}
	b, err := e.Finish(wire.Header{Source: src, From: from, To: to})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A frame that comes twice is taken once; one that overlaps is taken from where
// the home stands; one that leaves a gap is refused, and the sender is told where
// to begin.
func TestReceiver_DuplicatesOverlapsAndGaps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerFrom("us"))
		eu.home.subscribe(t, "dev", "events/#")
		s := w.stranger(t, "us", "eu")
		defer s.close()
		s.open(helloOf("us"))
		src := wire.Source{Home: "us", Epoch: wire.Epoch{Number: 1, Host: "us"}}
		stream := func() sendStream {
			out, err := s.c.send(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			head := wire.StreamHead{Kind: wire.StreamSpool, Source: src}
			if _, err := out.Write(head.Append(nil)); err != nil {
				t.Fatal(err)
			}
			return out
		}
		send := func(out sendStream, b []byte) {
			if _, err := out.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		first := stream()
		if c := read[*wire.Cursor](s); c.Known {
			t.Fatalf("a cursor before anything was sent: %+v", c)
		}
		send(first, frameOf(t, src, 0, 3, 1, 2, 3))
		send(first, frameOf(t, src, 0, 3, 1, 2, 3)) // twice
		send(first, frameOf(t, src, 2, 5, 3, 5))    // overlapping
		for read[*wire.Ack](s).Committed < 5 {
		}
		send(first, frameOf(t, src, 7, 9, 8, 9)) // 6 and 7 are missing
		<-first.done()
		stream()
		if c := read[*wire.Cursor](s); !c.Known || c.Seq != 5 {
			t.Fatalf("after the gap: %+v, want 5", c)
		}
		same(t, eu.home.queue(t, "dev"), []string{"m1", "m2", "m3", "m5"})
		if n := eu.status("us").Counters.Resyncs; n != 1 {
			t.Errorf("%d resyncs counted, want 1", n)
		}
	})
}

// What breaks the protocol costs the tunnel, and the reason is told.
func TestReceiver_ProtocolErrors(t *testing.T) {
	src := wire.Source{Home: "us", Epoch: wire.Epoch{Number: 1, Host: "us"}}
	other := wire.Source{Home: "ap", Epoch: wire.Epoch{Number: 1, Host: "ap"}}
	spool := func(s wire.Source) []byte {
		h := wire.StreamHead{Kind: wire.StreamSpool, Source: s}
		return h.Append(nil)
	}
	for _, c := range []struct {
		name, want string
		bytes      func(t *testing.T) []byte
	}{
		{"relayed spool", `a spool of home "ap" from home "us"`, func(*testing.T) []byte { return spool(other) }},
		{"relayed frame", `a frame of home "ap"`, func(t *testing.T) []byte { return append(spool(src), frameOf(t, other, 0, 1, 1)...) }},
		{"flipped bit", "checksum", func(t *testing.T) []byte {
			b := append(spool(src), frameOf(t, src, 0, 1, 1)...)
			b[len(b)-1] ^= 4
			return b
		}},
		{"relayed message in no log", `a frame of home "us" in the stream of home`, func(t *testing.T) []byte {
			h := wire.StreamHead{Kind: wire.StreamLive}
			return append(h.Append(nil), frameOf(t, src, 0, 1, 1)...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 5*time.Millisecond)
				defer w.close()
				eu := w.region("eu", peerFrom("us"))
				s := w.stranger(t, "us", "eu")
				defer s.close()
				s.open(helloOf("us"))
				out, err := s.c.send(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := out.Write(c.bytes(t)); err != nil {
					t.Fatal(err)
				}
				<-s.c.done()
				eventually(t, time.Second, "down", func() bool { return eu.status("us").State != Up })
				if r := eu.status("us").Reason; !strings.Contains(r, c.want) {
					t.Errorf("reason %q does not say %q", r, c.want)
				}
			})
		})
	}
}

// A stream of a kind of a later version is refused alone.
func TestReceiver_UnknownStreamKind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerFrom("us"))
		s := w.stranger(t, "us", "eu")
		defer s.close()
		s.open(helloOf("us"))
		out, err := s.c.send(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		h := wire.StreamHead{Kind: 50}
		if _, err := out.Write(h.Append(nil)); err != nil {
			t.Fatal(err)
		}
		<-out.done()
		synctest.Wait()
		if eu.status("us").State != Up {
			t.Error("the tunnel went down with the stream")
		}
	})
}
