package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/link/wire"
)

// echo answers with who asked what.
func echo(_ context.Context, region string, kind byte, request []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%s asked %d: %s", region, kind, request), nil
}

func answers(a Answerer) func(*tuning) { return func(o *tuning) { o.Answer = a } }

// Either end of a tunnel calls the other one, whoever dialled it, over each network.
func TestCall_BothWaysOverEachNetwork(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(string) Peer
		udp  bool
	}{{"udp", peerTo, true}, {"tcp", peerToBoth, false}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				w.wan.blockUDP(!c.udp)
				us := w.tuned("us", answers(echo), peerFrom("eu"))
				eu := w.tuned("eu", answers(echo), c.peer("us"))
				up(t, eu, "us")
				up(t, us, "eu")
				for from, to := range map[*node]*node{eu: us, us: eu} {
					got, err := from.m.Call(context.Background(), to.name, 7, []byte("what"))
					if want := from.name + " asked 7: what"; err != nil || string(got) != want {
						t.Errorf("%q, %v; want %q", got, err, want)
					}
				}
				large := bytes.Repeat([]byte{'x'}, MaxCall-100)
				if got, err := eu.m.Call(context.Background(), "us", 1, large); err != nil || len(got) < len(large) {
					t.Errorf("%d bytes back, %v", len(got), err)
				}
			})
		})
	}
}

// Two regions that have their tunnel through a third call each other, too.
func TestCall_ThroughARelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, n := apart(t, relays, peerVia("us"), peerFrom("eu"))
		defer w.close()
		eu, us := n[0], n[1]
		if eu.name != "eu" {
			eu, us = us, eu
		}
		for _, x := range n {
			x.m.o.Answer = echo
		}
		up(t, eu, "us")
		if got, err := eu.m.Call(context.Background(), "us", 1, []byte("what")); err != nil || string(got) != "eu asked 1: what" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// What a call fails with says what is wrong.
func TestCall_Fails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		silent := func(ctx context.Context, _ string, kind byte, _ []byte) ([]byte, error) {
			switch kind {
			case 0:
				<-ctx.Done()
			case 1:
				return nil, errors.New("no majority")
			case 2:
				panic("a bug")
			case 3:
				return make([]byte, MaxCall+1), nil
			}
			return nil, ctx.Err()
		}
		w.tuned("us", answers(silent), peerFrom("eu"))
		w.region("ap", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"), peerTo("ap"))
		up(t, eu, "us")
		up(t, eu, "ap")
		for _, c := range []struct {
			region string
			kind   byte
			size   int
			want   string
		}{
			{"us", 0, 1, "no answer within 5s"},
			{"us", 1, 1, `region "us": no majority`},
			{"us", 2, 1, "a bug"},
			{"us", 3, 1, "at most"},
			{"us", 4, MaxCall + 1, "at most"},
			{"ap", 1, 1, "nobody answers calls there"},
			{"sa", 1, 1, ErrNoTunnel.Error()},
		} {
			began := time.Now()
			_, err := eu.m.Call(context.Background(), c.region, c.kind, make([]byte, c.size))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %d: %v, want %q", c.region, c.kind, err, c.want)
			}
			if took := time.Since(began); took > callTime+100*time.Millisecond {
				t.Errorf("%s %d: took %v", c.region, c.kind, took)
			}
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("asked to stop"))
		if _, err := eu.m.Call(ctx, "us", 0, nil); err == nil || !strings.Contains(err.Error(), "asked to stop") {
			t.Errorf("cancelled: %v", err)
		}
		if s := eu.status("us"); s.State != Up || s.Counters.Tunnels != 1 {
			t.Errorf("a failed call cost the tunnel: %+v", s)
		}
	})
}

// A flood of calls is answered a few at a time, and hurts nothing else.
func TestCall_Flood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		var now, most atomic.Int32
		us := w.tuned("us", answers(func(ctx context.Context, region string, kind byte, request []byte) ([]byte, error) {
			defer now.Add(-1)
			for n := now.Add(1); ; {
				if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			return echo(ctx, region, kind, request)
		}), peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		var all sync.WaitGroup
		var answered, failed atomic.Int32
		for range 500 {
			all.Go(func() {
				if _, err := eu.m.Call(context.Background(), "us", 1, make([]byte, 64<<10)); err != nil {
					failed.Add(1)
					return
				}
				answered.Add(1)
			})
		}
		eu.home.publish(t, "events/a", 0, 200)
		all.Wait()
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 200))
		if n := answered.Load(); n != 500 {
			t.Errorf("%d calls were answered, %d failed", n, failed.Load())
		}
		if n := most.Load(); n > maxCalls {
			t.Errorf("%d at a time, at most %d may be", n, maxCalls)
		}
	})
}

// A peer that does not keep to the bounds is answered that it is busy, and one that never
// sends its request holds a slot no longer than a call may take.
func TestCall_RudeCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.tuned("eu", answers(echo), peerFrom("us"))
		s := w.stranger(t, "us", "eu")
		defer s.close()
		_, answer := s.open(wire.Hello{Min: 1, Max: 1, Features: wire.Features, Region: "us", Home: "us", Epoch: wire.Epoch{Number: 1, Host: "us"}, Instance: 9, MaxMessage: 1 << 20, To: "eu"})
		if _, ok := answer.(*wire.Welcome); !ok {
			t.Fatalf("answer %+v", answer)
		}
		up(t, eu, "us")
		head := wire.StreamHead{Kind: wire.StreamCall, Call: 1}
		ask := func(after []byte) duplex {
			d, err := s.c.open(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Write(append(head.Append(nil), after...)); err != nil {
				t.Fatal(err)
			}
			return d
		}
		var held []duplex
		for range maxCalls {
			held = append(held, ask(nil)) // and no request
		}
		time.Sleep(time.Second)
		d := ask(wire.AppendRequest(nil, []byte("what")))
		if code, text, err := wire.ReadReply(d); err != nil || code != wire.CallBusy {
			t.Errorf("beyond the bound: code %d, %q, %v", code, text, err)
		}
		d.reset()
		time.Sleep(callTime)
		d = ask(wire.AppendRequest(nil, []byte("what")))
		if code, text, err := wire.ReadReply(d); err != nil || code != wire.CallAnswered {
			t.Errorf("once they were given up: code %d, %q, %v", code, text, err)
		}
		huge := ask([]byte{0xff, 0xff, 0xff, 0xff})
		if code, text, err := wire.ReadReply(huge); err != nil || code != wire.CallFailed {
			t.Errorf("a request of 4 GiB: code %d, %q, %v", code, text, err)
		}
		for _, d := range held {
			d.reset()
		}
		if eu.status("us").State != Up {
			t.Error("rude calls cost the tunnel")
		}
	})
}

// witness adds one; it has no home.
func (w *world) witness(name string, peers ...Peer) (m *Witness, stop func()) {
	at := &net.UDPAddr{IP: net.ParseIP(ip(name)).To4(), Port: 7444}
	m, err := NewWitness(WitnessOptions{
		EndpointOptions: EndpointOptions{Region: name, Software: "test", Identity: w.ca.issue(w.t, name),
			Listen: func() (net.PacketConn, error) { return w.wan.listen(at), nil }, Logger: logger(w.t, name)},
		Peers: peers, Answer: echo,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := m.Run(ctx); err != nil {
			w.t.Errorf("%s: Run: %v", name, err)
		}
	}()
	return m, func() { cancel(); <-ended }
}

func callsTo(name string) Peer   { return Peer{Region: name, Calls: true, Dial: []string{addrOf(name)}} }
func callsFrom(name string) Peer { return Peer{Region: name, Calls: true} }

// A witness is called, and calls, whoever dials; it takes nothing else.
func TestWitness_AnswersAndCalls(t *testing.T) {
	for _, c := range []struct {
		name             string
		witness, regions Peer
	}{{"is dialled", callsFrom("eu"), callsTo("sa")}, {"dials", callsTo("eu"), callsFrom("sa")}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				m, stop := w.witness("sa", c.witness)
				defer stop()
				eu := w.tuned("eu", answers(echo))
				if err := eu.m.Reconfigure([]Peer{c.regions}); err != nil {
					t.Fatal(err)
				}
				eventually(t, 10*time.Second, "up", func() bool { return m.Status()[0].State == Up && eu.m.Callers()[0].State == Up })
				if got, err := eu.m.Call(context.Background(), "sa", 2, []byte("vote")); err != nil || string(got) != "eu asked 2: vote" {
					t.Errorf("%q, %v", got, err)
				}
				if got, err := m.Call(context.Background(), "eu", 3, []byte("who")); err != nil || string(got) != "sa asked 3: who" {
					t.Errorf("%q, %v", got, err)
				}
				if len(eu.m.Status()) != 0 {
					t.Errorf("a witness is listed as a link: %+v", eu.m.Status())
				}
			})
		})
	}
}

// Who is not configured, or wants a link, is refused by a witness.
func TestWitness_Refuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		_, stop := w.witness("sa", callsFrom("eu"))
		defer stop()
		eu := w.region("eu", peerTo("sa"))
		us := w.region("us")
		if err := us.m.Reconfigure([]Peer{callsTo("sa")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if s := eu.status("sa"); s.State == Up || !strings.Contains(s.Reason, "has not opened its home") {
			t.Errorf("a link to a witness: %s, %q", s.State, s.Reason)
		}
		if s := us.m.Callers()[0]; s.State == Up || !strings.Contains(s.Reason, "no link to region") {
			t.Errorf("a stranger: %s, %q", s.State, s.Reason)
		}
	})
}

func TestWitness_Options(t *testing.T) {
	good := WitnessOptions{EndpointOptions: EndpointOptions{Region: "w1", Identity: &identity{}, Listen: func() (net.PacketConn, error) { return nil, net.ErrClosed }}, Answer: echo}
	for _, c := range []struct {
		edit func(*WitnessOptions)
		want string
	}{
		{func(*WitnessOptions) {}, ""},
		{func(o *WitnessOptions) { o.Answer = nil }, "Answer must be set"},
		{func(o *WitnessOptions) { o.Region = "" }, "Region is empty"},
		{func(o *WitnessOptions) { o.Peers = []Peer{peerTo("eu")} }, "calls alone"},
		{func(o *WitnessOptions) { o.Peers = []Peer{callsTo("w1")} }, "this region itself"},
		{func(o *WitnessOptions) { o.Peers = []Peer{callsTo("eu"), callsFrom("eu")} }, "configured twice"},
	} {
		o := good
		c.edit(&o)
		_, err := NewWitness(o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
