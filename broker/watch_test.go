package broker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
)

// ears hear what a Watcher hears, and keep out whom a test wants out.
type ears struct {
	mu        sync.Mutex
	said      []string
	address   string
	device    string
	temporary bool
}

func (e *ears) say(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said = append(e.said, fmt.Sprintf(format, args...))
}
func (e *ears) heard() []string { e.mu.Lock(); defer e.mu.Unlock(); return slices.Clone(e.said) }

func (e *ears) Connected(c Client, present, tookOver bool) {
	e.say("%s connected present=%v tookOver=%v in=%v", c.Session.ClientID, present, tookOver, c.BytesIn > 0)
}
func (e *ears) Ended(c Client, why EndReason) {
	e.say("%s ended %s out=%v", c.Session.ClientID, why, c.BytesOut > 0)
}
func (e *ears) Refused(r Refused) {
	e.say("%s %q refused %s: %s", r.ClientID, r.Username, r.Result, r.Reason)
}
func (e *ears) Address(string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}
func (e *ears) Device(who *Identity) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if who.ClientID == e.device {
		return "it is banned", e.temporary
	}
	return "", false
}

func listening(e *ears) func(*Options) { return func(o *Options) { o.Watcher, o.Gate = e, e } }

func TestWatcher_HearsWhatBecomesOfConnections(t *testing.T) {
	e := &ears{device: "mad"}
	l := newLab(t, listening(e))
	first := l.connect(packet.V5, "dev", persistent)
	l.connect(packet.V5, "dev", persistent)
	first.closed()
	if ack := l.dial(packet.V5).hello("mad"); ack.Code != packet.Banned {
		t.Errorf("a banned device got %s", ack.Code)
	}
	l.dial(packet.V5).hello("loser", func(p *packet.Connect) { p.HasUsername, p.Username, p.AuthMethod = true, "eve", "x" })
	want := []string{"dev connected present=false tookOver=false in=true", "dev connected present=true tookOver=true in=true", "dev ended taken_over out=true",
		`mad "" refused banned: it is banned`, `loser "eve" refused unsupported: enhanced authentication is not supported`}
	slices.Sort(want)
	eventually(t, "all is heard", func() bool { return len(e.heard()) == len(want) })
	if got := e.heard(); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("heard %q", got)
	}
}

func TestGate_AddressIsClosedWithoutAWord(t *testing.T) {
	e := &ears{address: "10.0.0.0/8 is banned"}
	l := newLab(t, listening(e))
	if code := l.dial(packet.V5).closed(); code != 0 {
		t.Errorf("closed with %s", code)
	}
	if n := l.s.Stats().Listeners["tcp"].Connects[ConnectBanned].Load(); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// A device in jail is held for as long as clients wait, then closed without an answer: an error would end some for good.
func TestGate_JailParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ears{device: "mad", temporary: true}
		l := newLab(t, piped, listening(e))
		d := l.pipe(packet.V5)
		began := time.Now()
		d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "mad", CleanStart: true}))
		if f, err := d.next(patience); err == nil {
			t.Errorf("it got %s", f.h.Type)
		}
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("held for %s", took)
		}
	})
}
