package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"causeway/broker/packet"
)

// A publisher and a subscriber with memories of their own, whose connections break at any packet and are sometimes
// replaced without having been closed. What the subscriber's application sees is checked: QoS 2 once and in order,
// QoS 1 at least once and in order of the first time.

type flakySubscriber struct {
	l        *lab
	d        *device
	rng      *rand.Rand
	received map[uint16]bool // ids between PUBLISH and PUBREL; they outlive connections
	seen     []string
}

func (s *flakySubscriber) reconnect() {
	if s.d != nil && s.rng.IntN(3) > 0 {
		s.d.nc.Close()
	}
	s.d = s.l.dial(packet.V5)
	window := uint16(1 + s.rng.IntN(40))
	s.d.connectOK("sub", persistent, func(p *packet.Connect) { p.ReceiveMaximum = window })
}

// step handles a packet, or breaks the connection before or after.
func (s *flakySubscriber) step() {
	f, err := s.d.next(100 * time.Millisecond)
	if err != nil {
		if !isTimeout(err) {
			s.reconnect()
		}
		return
	}
	var answer packet.Type
	var id uint16
	switch f.h.Type {
	case packet.PUBLISH:
		p := s.d.asPublish(f)
		id = p.PacketID
		if answer = packet.PUBACK; p.QoS == 2 {
			answer = packet.PUBREC
		}
		if p.QoS == 2 && s.received[id] {
			break
		}
		if p.QoS == 2 {
			s.received[id] = true
		}
		s.seen = append(s.seen, string(p.Payload))
	case packet.PUBREL:
		a, _ := packet.DecodeAck(f.h, f.body, packet.V5)
		answer, id = packet.PUBCOMP, a.PacketID
		delete(s.received, id)
	case packet.DISCONNECT:
		return
	}
	if s.rng.IntN(60) == 0 {
		s.reconnect()
		return
	}
	_, _ = s.d.nc.Write(packet.AppendAck(nil, packet.V5, answer, id, packet.Success))
	if s.rng.IntN(60) == 0 {
		s.reconnect()
	}
}

type inFlight struct {
	id       uint16
	text     string
	released bool
}

type flakyPublisher struct {
	l    *lab
	d    *device
	rng  *rand.Rand
	qos  byte
	open []inFlight
	id   uint16
	next int
}

func (p *flakyPublisher) reconnect() {
	if p.d != nil && p.rng.IntN(3) > 0 {
		p.d.nc.Close()
	}
	p.d = p.l.dial(packet.V5)
	p.d.connectOK("pub", persistent)
	for _, m := range p.open {
		p.send(m, p.rng.IntN(2) == 0)
	}
}

func (p *flakyPublisher) send(m inFlight, dup bool) {
	b := packet.AppendAck(nil, packet.V5, packet.PUBREL, m.id, packet.Success)
	if !m.released {
		out := pub("a", m.text, p.qos, m.id)
		out.Dup = dup
		b = packet.AppendPublish(nil, packet.V5, out)
	}
	_, _ = p.d.nc.Write(b)
}

func (p *flakyPublisher) step(total int) {
	for len(p.open) < 20 && p.next < total {
		p.id = p.id%50 + 1
		if slices.ContainsFunc(p.open, func(m inFlight) bool { return m.id == p.id }) {
			break
		}
		m := inFlight{id: p.id, text: fmt.Sprint(p.next)}
		p.next++
		p.open = append(p.open, m)
		p.send(m, false)
	}
	if p.rng.IntN(40) == 0 {
		p.reconnect()
		return
	}
	f, err := p.d.next(100 * time.Millisecond)
	if err != nil || f.h.Type == packet.DISCONNECT {
		if err == nil || !isTimeout(err) {
			p.reconnect()
		}
		return
	}
	a, err := packet.DecodeAck(f.h, f.body, packet.V5)
	if err != nil {
		p.l.t.Errorf("%s: %v", f.h.Type, err)
		return
	}
	i := slices.IndexFunc(p.open, func(m inFlight) bool { return m.id == a.PacketID })
	switch {
	case i < 0:
	case f.h.Type == packet.PUBREC:
		p.open[i].released = true
		p.send(p.open[i], false)
	default:
		p.open = slices.Delete(p.open, i, i+1)
	}
}

func TestChaos_OnceAndInOrder(t *testing.T) {
	total := 1500
	if testing.Short() {
		total = 200
	}
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			l := newLab(t)
			l.t = t
			sub := &flakySubscriber{l: l, rng: rand.New(rand.NewPCG(seed, 1)), received: map[uint16]bool{}}
			sub.reconnect()
			sub.d.subscribe(qos, "a")
			pubr := &flakyPublisher{l: l, rng: rand.New(rand.NewPCG(seed, 2)), qos: qos}
			pubr.reconnect()
			done := make(chan struct{})
			go func() {
				defer close(done)
				for pubr.next < total || len(pubr.open) > 0 {
					pubr.step(total)
				}
			}()
			end := time.Now().Add(5 * patience)
			for last := ""; last != fmt.Sprint(total-1) && time.Now().Before(end); {
				sub.step()
				if n := len(sub.seen); n > 0 {
					last = sub.seen[n-1]
				}
			}
			<-done
			checkSeen(t, sub.seen, total, qos)
		})
	}
}

func checkSeen(t *testing.T, seen []string, total int, qos byte) {
	t.Helper()
	next, again := 0, map[string]bool{}
	for _, s := range seen {
		if s == fmt.Sprint(next) {
			next++
		} else if !again[s] {
			t.Errorf("%s came where %d was due", s, next)
			return
		} else if qos == 2 {
			t.Errorf("%s came twice", s)
		}
		again[s] = true
	}
	if next != total {
		t.Errorf("%d of %d messages came", next, total)
	}
}
