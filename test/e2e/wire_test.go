package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"causeway/broker/packet"
)

// wireDevice is a subscriber of MQTT 5 at QoS 2 that writes down what the standard leaves to servers: in which order
// PUBREL and PUBLISH come, and in which form.
type wireDevice struct {
	t *testing.T

	mu       sync.Mutex
	conn     net.Conn
	stopped  bool
	pending  map[uint16]bool // PUBREC sent, PUBREL not seen
	released map[uint16]bool // PUBREL seen since the promotion
	promoted bool            // what comes is under the rule of an unplanned promotion
	bare     int             // PUBRELs for ids that were not pending
	got      map[string]int
	wrong    []string
}

// wireSweep is how many packet ids are cleared at a time.
const wireSweep = 200

func startWireDevice(t *testing.T, addr, id, filter string) *wireDevice {
	t.Helper()
	d := &wireDevice{t: t, pending: map[uint16]bool{}, released: map[uint16]bool{}, got: map[string]int{}}
	ready := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for subscribe := true; ; subscribe = false {
			d.connection(addr, id, filter, subscribe, ready)
			d.mu.Lock()
			stopped := d.stopped
			d.mu.Unlock()
			if stopped {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		d.mu.Lock()
		d.stopped = true
		if d.conn != nil {
			d.conn.Close()
		}
		d.mu.Unlock()
		<-ended
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal("the raw client was not subscribed")
	}
	return d
}

// connection is the life of one connection.
func (d *wireDevice) connection(addr, id, filter string, subscribe bool, ready chan struct{}) {
	conn, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	d.mu.Lock()
	d.conn = conn
	if d.stopped {
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	hello := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: id, SessionExpiry: 3600, ReceiveMaximum: 100})
	if _, err := conn.Write(hello); err != nil {
		return
	}
	for in := bufio.NewReader(conn); ; {
		h, body, err := readPacket(in, packet.V5)
		if err != nil {
			return
		}
		var answer []byte
		switch h.Type {
		case packet.CONNACK:
			if subscribe {
				answer = packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 65535, Filters: []packet.Subscription{{Filter: filter, QoS: 2}}})
			}
		case packet.SUBACK:
			close(ready)
		default:
			answer = d.heed(h, body)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// heed takes in a packet and returns the answer.
func (d *wireDevice) heed(h packet.Header, body []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch h.Type {
	case packet.PUBLISH:
		var p packet.Publish
		if err := packet.DecodeServerPublish(h, body, packet.V5, &p); err != nil {
			d.blame("PUBLISH: %v", err)
			return nil
		}
		if d.promoted && !p.Dup && !d.released[p.PacketID] {
			d.blame("PUBLISH %d came new, and its id was not released since the promotion", p.PacketID)
		}
		if !d.pending[p.PacketID] {
			d.pending[p.PacketID] = true
			d.got[string(p.Payload)]++
		}
		return packet.AppendAck(nil, packet.V5, packet.PUBREC, p.PacketID, packet.Success)
	case packet.PUBREL:
		a, err := packet.DecodeAck(h, body, packet.V5)
		if err != nil || len(body) != 2 {
			d.blame("PUBREL %x of %d bytes: %v; some clients fail at any but the form of two", body, len(body), err)
		}
		if d.promoted {
			d.released[a.PacketID] = true
		}
		if !d.pending[a.PacketID] {
			d.bare++
		}
		delete(d.pending, a.PacketID)
		return packet.AppendAck(nil, packet.V5, packet.PUBCOMP, a.PacketID, packet.Success)
	}
	return nil
}

// blame notes what is wrong. d.mu is held.
func (d *wireDevice) blame(format string, args ...any) {
	if len(d.wrong) < 10 {
		d.wrong = append(d.wrong, fmt.Sprintf(format, args...))
	}
}

// lost says that the device's region is gone, so that what comes from now on comes after an unplanned promotion.
func (d *wireDevice) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.promoted = true
}

// swept is how many ids were released that the device did not hold.
func (d *wireDevice) swept() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bare
}

// check reports what was wrong on the wire, and what came twice, of which so much may have come of a reconciliation.
func (d *wireDevice) check(late int) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.wrong {
		d.t.Error(w)
	}
	doubled := 0
	for _, n := range d.got {
		doubled += n - 1
	}
	d.t.Logf("the raw client got %d messages, %d twice; %d ids were released that it did not hold", len(d.got), doubled, d.bare)
	if doubled > late {
		d.t.Errorf("the raw client got %d messages twice; %d came late", doubled, late)
	}
}
