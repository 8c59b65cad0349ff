package broker

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// helloUnread connects a device that does not read its CONNACK, so that everything waits behind that write.
func (l *lab) helloUnread(p *packet.Connect) *device {
	d := l.pipe(packet.V5)
	d.send(packet.AppendConnect(nil, p))
	synctest.Wait()
	return d
}

// A topic under the policy memory: what a publisher put into the log with RETAIN comes before what it sent past the log
// afterwards, also when more waits in the queue than one round takes.
func TestDeliver_QueueBeforeMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "#", Policy: home.PolicyMemory}}})
		d := l.connectPipe("dev")
		d.subscribe(1, "a")
		d.nc.Close()
		synctest.Wait()
		d = l.helloUnread(&packet.Connect{Version: packet.V5, ClientID: "dev", SessionExpiry: 900, ReceiveMaximum: 1000})
		sender := l.pipe(packet.V5)
		sender.connectOK("sender")
		const kept = 3 * roundSize
		for i := range uint16(kept) {
			p := pub("a", fmt.Sprint(i), 1, i+1)
			p.Retain = true
			sender.exchange(p)
		}
		sender.publish1("a", "past the log", 999)
		if f := d.read(); f.h.Type != packet.CONNACK {
			t.Fatalf("got %s", f.h.Type)
		}
		for i := range kept {
			d.wantMessage(fmt.Sprint(i))
		}
		d.wantMessage("past the log")
		l.stop()
	})
}

// A reference that is skipped keeps its place in the window until the log has removed it: the home counts it among
// those that were possibly sent.
func TestDeliver_SkippedKeepsItsPlaceUntilCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d := l.connectPipe("dev")
		d.subscribe(1, "a")
		d.nc.Close()
		synctest.Wait()
		sender := l.pipe(packet.V5)
		sender.connectOK("sender")
		large := string(make([]byte, 500))
		for i, text := range []string{large, large, "small"} {
			sender.publish1("a", text, uint16(i+1))
		}
		l.home.holdFrom(home.KindSkip)
		d = l.pipe(packet.V5)
		d.connectOK("dev", persistent, func(p *packet.Connect) { p.ReceiveMaximum, p.MaximumPacketSize = 2, 100 })
		synctest.Wait()
		d.silent()
		l.home.release()
		d.acknowledge(d.wantMessage("small"))
		synctest.Wait()
		if x, _ := l.home.state.Session(key("dev")); x.Queued != 0 {
			t.Errorf("%d queued", x.Queued)
		}
		l.stop()
	})
}

// A device that is still sending when we close reads the reason, and an orderly end: closing with unread input would
// reset the connection.
func TestDisconnect_IsReadByADeviceThatSends(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev")
	d.send(append([]byte{0x20, 2, 0, 0}, make([]byte, 300<<10)...))
	if f := d.read(); f.h.Type != packet.DISCONNECT {
		t.Fatalf("got %s", f.h.Type)
	}
	if _, err := d.next(10 * time.Second); !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
}
