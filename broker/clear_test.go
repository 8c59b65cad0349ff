package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// promote begins an epoch in the home without the old host's knowledge, as a standby does.
func (h *testHome) promote() {
	h.do(&home.Raise{Level: home.MaxLevel})
	next := home.Epoch{Number: h.state.Epoch().Number + 1, Host: "us"}
	r := home.Record{Home: "eu", Time: h.Now(), Entries: []home.Entry{{Ops: []home.Op{&home.Promote{Epoch: next}}}}}
	decoded, err := home.DecodeRecord(r.Append(nil))
	if err == nil {
		err = h.state.Apply(&decoded, h, func(*home.Entry, int, home.Outcome) {})
	}
	if err != nil {
		h.t.Fatalf("promote: %v", err)
	}
	h.setOwner(home.Owner{Node: "us-1", Incarnation: 1})
	h.do(&home.NodeUp{})
}

// away gives a device a session with a subscription and takes the device away.
func (l *lab) away(id, filter string) {
	d := l.pipe(packet.V5)
	d.connectOK(id, persistent)
	d.subscribe(2, filter)
	_ = d.nc.Close()
	eventually(l.t, "it is away", func() bool { return l.house.sessions.get(key(id)) == nil })
	synctest.Wait()
}

// An id that the lost host may have used is let go of by the device before a new message comes under it, by a PUBREL of
// two bytes; the answers are in the log before the message is sent, so that no second PUBREL ever comes behind it. [E5]
func TestInheritedIDs_AreClearedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.away("dev", "a")
		l.home.promote()
		sender := l.pipe(packet.V5)
		sender.connectOK("sender")
		const messages = clearIDs + 50
		for i := range messages {
			sender.exchange(pub("a", fmt.Sprint(i), 2, uint16(i+1)))
		}
		d := l.pipe(packet.V5)
		if ack := d.connectOK("dev", persistent); !ack.SessionPresent {
			t.Error("the session was not there")
		}
		first := d.wantPubrel()
		cleared, open := map[uint16]bool{first: true}, map[uint16]bool{}
		for range clearIDs - 1 {
			id := d.wantPubrel()
			d.sendAck(packet.PUBCOMP, id)
			cleared[id] = true
		}
		d.silent() // nothing is sent while an answer is missing
		d.sendAck(packet.PUBCOMP, first)
		for got := 0; got < messages || len(open) > 0; {
			f := d.read()
			if f.h.Type == packet.PUBREL {
				a, _ := packet.DecodeAck(f.h, f.body, d.v)
				if !open[a.PacketID] {
					cleared[a.PacketID] = true
				}
				delete(open, a.PacketID)
				d.sendAck(packet.PUBCOMP, a.PacketID)
				continue
			}
			p := d.asPublish(f)
			if string(p.Payload) != fmt.Sprint(got) || p.Dup || !cleared[p.PacketID] {
				t.Fatalf("message %d came as %q, id %d, dup %v, its id cleared: %v", got, p.Payload, p.PacketID, p.Dup, cleared[p.PacketID])
			}
			open[p.PacketID] = true
			d.sendAck(packet.PUBREC, p.PacketID)
			got++
		}
		if len(cleared) != 2*clearIDs {
			t.Errorf("%d ids were cleared", len(cleared))
		}
		_ = d.nc.Close()
		l.stop()
	})
}

// What was sent under a cleared id is sent again as it was after a reconnect, without another PUBREL before it.
func TestInheritedIDs_NoSecondRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.away("dev", "a")
		l.home.promote()
		sender := l.pipe(packet.V5)
		sender.connectOK("sender")
		sender.exchange(pub("a", "x", 2, 1))
		d := l.pipe(packet.V5)
		d.connectOK("dev", persistent)
		for range clearIDs {
			d.sendAck(packet.PUBCOMP, d.wantPubrel())
		}
		id := d.wantMessage("x").PacketID
		d.sendAck(packet.PUBREC, id)
		_ = d.nc.Close() // before the PUBREL
		again := l.pipe(packet.V5)
		again.connectOK("dev", persistent)
		switch f := again.read(); f.h.Type {
		case packet.PUBREL: // the PUBREC came into the log
		case packet.PUBLISH:
			if p := again.asPublish(f); p.PacketID != id || !p.Dup {
				t.Errorf("sent again as %d, dup %v", p.PacketID, p.Dup)
			}
		default:
			t.Errorf("got %s", f.h.Type)
		}
		l.stop()
	})
}

// wantPubrel reads a PUBREL of two bytes.
func (d *device) wantPubrel() (id uint16) {
	d.t.Helper()
	f := d.read()
	if f.h.Type != packet.PUBREL || f.h.Remaining != 2 {
		d.t.Fatalf("got %s of %d bytes, want PUBREL of 2", f.h.Type, f.h.Remaining)
	}
	a, err := packet.DecodeAck(f.h, f.body, d.v)
	if err != nil {
		d.t.Fatal(err)
	}
	return a.PacketID
}

// A device that never answers for ids it does not know gets its messages all the same, and late answers do no harm.
func TestInheritedIDs_ADeviceThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.away("dev", "a")
		l.home.promote()
		sender := l.pipe(packet.V5)
		sender.connectOK("sender")
		sender.exchange(pub("a", "x", 2, 1))
		d := l.pipe(packet.V5)
		d.connectOK("dev", persistent)
		began := time.Now()
		var ids []uint16
		for range clearIDs {
			ids = append(ids, d.wantPubrel())
		}
		p := d.wantMessage("x")
		if took := time.Since(began); took != clearWait {
			t.Errorf("it came after %v", took)
		}
		for _, id := range ids {
			d.sendAck(packet.PUBCOMP, id)
		}
		d.acknowledge(p)
		d.silent()
		l.stop()
	})
}
