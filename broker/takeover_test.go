package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// others are the other nodes of a region, as a test wants them.
type others struct {
	noSiblings
	mu    sync.Mutex
	asked []home.Owner
	yield map[home.NodeID]chan error // what Yield waits for
}

func newOthers() *others { return &others{yield: map[home.NodeID]chan error{}} }

func (o *others) slow(n home.NodeID) chan error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.yield[n] = make(chan error, 1)
	return o.yield[n]
}

func (o *others) Yield(ctx context.Context, former home.Owner, _ home.SessionKey, _ home.SessionEpoch) error {
	o.mu.Lock()
	o.asked = append(o.asked, former)
	ch := o.yield[former.Node]
	o.mu.Unlock()
	if ch == nil {
		return nil
	}
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *others) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

func with(o *others) func(*Options) { return func(opt *Options) { opt.Homes[0].Siblings = o } }

// as applies operations of another node.
func (h *testHome) as(o home.Owner, ops ...home.Op) (out home.Outcome) {
	if h.state.ID() == "" {
		h.do(&home.Tick{}) // founded by then
	}
	_, n := h.state.Incarnation(o.Node)
	r := home.Record{Home: "eu", Time: h.Now(), Entries: []home.Entry{{Owner: o, N: n + 1, Ops: ops}}}
	decoded, err := home.DecodeRecord(r.Append(nil))
	if err == nil {
		err = h.state.Apply(&decoded, h, func(_ *home.Entry, _ int, o home.Outcome) { out = o })
	}
	if err != nil {
		h.t.Errorf("apply for %s: %v", o, err)
	}
	return out
}

var n2, n3 = home.Owner{Node: "n2", Incarnation: 1}, home.Owner{Node: "n3", Incarnation: 1}

func attachOf(id string) *home.Attach { return &home.Attach{Session: key(id), Expiry: 3600} }

// The device is answered, and sent to, when all who had the session before have said that they send no more.
func TestTakeover_AnswersWhenTheFormerOwnersAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOthers()
		l := newLab(t, piped, with(o))
		first := l.home.as(n2, attachOf("dev"))
		l.home.as(n2, &home.Subscribe{Session: key("dev"), Epoch: first.Epoch, Filters: []home.Subscription{{Filter: "a", QoS: 1}}})
		l.home.as(n3, attachOf("dev"))
		l.home.as(n3, &home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "a", Payload: []byte("x"), QoS: 1})
		was2, was3 := o.slow("n2"), o.slow("n3")
		d := l.pipe(packet.V5)
		began := time.Now()
		go func() {
			time.Sleep(100 * time.Millisecond)
			was3 <- nil
			time.Sleep(200 * time.Millisecond)
			was2 <- nil
		}()
		if ack := d.connectOK("dev", persistent); !ack.SessionPresent {
			t.Error("no session")
		}
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("answered after %v, while a former owner was sending", took)
		}
		d.acknowledge(d.wantMessage("x"))
		if n := o.count(); n != 2 {
			t.Errorf("%d asked, want both", n)
		}
		l.stop()
	})
}

// Whoever cannot be sure in time says nothing, and gives the session back.
func TestTakeover_NotSureInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOthers()
		l := newLab(t, piped, with(o))
		l.home.as(n2, attachOf("dev"))
		o.slow("n2") <- errors.New("cannot be known")
		d := l.pipe(packet.V5)
		d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "dev", ReceiveMaximum: 9, SessionExpiry: 900}))
		if f, err := d.next(10 * time.Second); err == nil {
			t.Errorf("got %s", f.h.Type)
		}
		synctest.Wait()
		if x, _ := l.home.state.Session(key("dev")); x.Owner != (home.Owner{}) {
			t.Errorf("%s has it", x.Owner)
		}
		l.stop()
	})
}

// Another connection of the session was attached while the Attach was under way. The CONNECT is the later one, so it is
// made again; but not when it was held up: by then the device is elsewhere.
func TestAttach_Overtaken(t *testing.T) {
	for _, c := range []struct {
		held time.Duration
		won  bool
	}{{10 * time.Millisecond, true}, {attachAgain, false}} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, piped)
			l.home.as(n3, attachOf("other"))
			l.home.hold()
			d := l.pipe(packet.V5)
			d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "dev", ReceiveMaximum: 9, CleanStart: true}))
			synctest.Wait()
			there := l.home.as(n2, attachOf("dev"))
			time.Sleep(c.held)
			l.home.release()
			f, err := d.next(10 * time.Second)
			if won := err == nil && f.h.Type == packet.CONNACK; won != c.won {
				t.Errorf("held up for %v: got %v, %v", c.held, f.h.Type, err)
			}
			if x, _ := l.home.state.Session(key("dev")); !c.won && (x.Owner != n2 || x.Epoch != there.Epoch) {
				t.Errorf("the session is %+v", x)
			}
			l.stop()
		})
	}
}

// Yield is answered when the connection is silent: at once if it was, and when its DISCONNECT was written.
func TestYield_TakesNoLongerThanItMust(t *testing.T) {
	for v, want := range map[packet.Version]packet.Code{packet.V311: 0, packet.V5: packet.SessionTakenOver} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, piped)
			d := l.pipe(v)
			d.connectOK("dev", persistent)
			d.silent()
			code := make(chan packet.Code, 1)
			go func() { code <- d.closed() }()
			began := time.Now()
			l.house.Yield(key("dev"), l.home.state.SessionEpoch()+1)
			if took := time.Since(began); took >= yieldIn {
				t.Errorf("version %d: it took %v", v, took)
			}
			if code := <-code; code != want {
				t.Errorf("version %d: closed with %s", v, code)
			}
			l.stop()
		})
	}
}

// A device that does not read holds up the write that was begun; it must not hold up the one that took the session.
func TestYield_EndsAWriteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			l := newLab(t, piped)
			d, sender := l.pipe(v), l.pipe(packet.V5)
			d.connectOK("dev")
			d.subscribe(0, "a")
			sender.connectOK("sender")
			sender.publish(pub("a", strings.Repeat("x", apart), 0, 0))
			synctest.Wait() // the drain goroutine is in Write
			began := time.Now()
			l.house.Yield(key("dev"), l.home.state.SessionEpoch()+1)
			if took := time.Since(began); took > yieldIn {
				t.Errorf("it took %v", took)
			}
			if f, err := d.next(time.Second); err == nil {
				t.Errorf("got %s after it", f.h.Type)
			}
			l.stop()
		}
	})
}

// A session that is taken by another connection of the same node is sent for by one of them at a time, too.
func TestTakeover_OnTheSameNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		was, sender := l.pipe(packet.V5), l.pipe(packet.V5)
		was.connectOK("dev", persistent)
		was.subscribe(0, "a")
		sender.connectOK("sender")
		sender.publish(pub("a", strings.Repeat("x", apart), 0, 0))
		synctest.Wait() // the drain goroutine is in Write
		d := l.pipe(packet.V5)
		d.connectOK("dev", persistent)
		if f, err := was.next(time.Second); err == nil {
			t.Errorf("the former connection got %s when the new one was answered", f.h.Type)
		}
		l.stop()
	})
}

// A connection whose node cannot speak for its sessions is closed, whatever its goroutines wait for: the one that reads
// waits for freshness when the device publishes what is in no log, or for room in the log.
func TestCloseAll_ReadersThatWait(t *testing.T) {
	for name, wait := range map[string]func(l *lab, d *device){
		"for freshness": func(l *lab, d *device) { d.publish(pub("a", "x", 0, 0)) },
		"for room":      func(l *lab, d *device) { l.home.setRoom(0); d.publish(pub("a", "x", 1, 1)) },
		"for nothing":   func(*lab, *device) {},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			d := l.connect(packet.V5, "dev", persistent)
			l.home.hold()
			l.home.stale.Store(true)
			wait(l, d)
			c := l.house.sessions.get(key("dev"))
			eventually(t, "it was read", func() bool {
				return c.l.stats.Received[0].Load()+c.l.stats.Received[1].Load() > 0 || name == "for nothing"
			})
			if n := l.house.CloseAll(); n != 1 {
				t.Errorf("%d closed", n)
			}
			if code := d.closed(); code != 0 {
				t.Errorf("closed with %s", code)
			}
			l.home.setRoom(1 << 20)
			l.home.release()
			// It does not wait for the freshness, which may never come.
			eventually(t, "its goroutines end", func() bool { return l.house.sessions.get(key("dev")) == nil })
			l.home.stale.Store(false)
		})
	}
}

// What was gathered for a device while the node was fresh is not written when it is not, and never once the session is
// elsewhere. [C1]
func TestFreshness_NothingIsSentWithoutIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d, sender := l.pipe(packet.V5), l.pipe(packet.V5)
		d.connectOK("dev", persistent)
		d.subscribe(1, "a")
		sender.connectOK("sender")
		l.home.stale.Store(true)
		sender.publish1("a", "x", 1)
		if f, err := d.next(time.Second); err == nil {
			t.Fatalf("got %s from a node that may not speak", f.h.Type)
		}
		l.home.as(n2, attachOf("dev"))
		l.home.stale.Store(false)
		for {
			f, err := d.next(5 * time.Second)
			if err != nil {
				break
			}
			if f.h.Type == packet.PUBLISH {
				t.Errorf("sent to a device whose session is elsewhere")
			}
		}
		l.stop()
	})
}

// The session was given up before this node has heard that it had it.
func TestYield_BeforeTheOutcomeOfAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.home.do(&home.Tick{})
		l.home.hold()
		d := l.pipe(packet.V5)
		d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "dev", ReceiveMaximum: 9}))
		synctest.Wait()
		l.house.Yield(key("dev"), l.home.state.SessionEpoch()+2)
		l.home.release()
		if f, err := d.next(10 * time.Second); err == nil {
			t.Errorf("got %s for a session that was given up", f.h.Type)
		}
		l.stop()
	})
}
