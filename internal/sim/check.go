package sim

import (
	"fmt"
	"slices"

	"causeway/internal/home"
)

// check holds what every subscriber saw against what every publisher was told.
func (w *World) check() error {
	for _, p := range w.devices {
		if p.publishes() && len(p.acked) != p.messages() {
			return w.failf("%s: %d of %d messages acknowledged after a long calm (%d pending)", p.id, len(p.acked), p.messages(), len(p.pending))
		}
		if p.role != publisher {
			continue
		}
		for _, s := range w.devices {
			if err := w.checkPair(p, s); err != nil {
				return err
			}
		}
		for _, n := range w.nodes {
			if err := w.checkGroup(p, n); err != nil {
				return err
			}
		}
	}
	return w.checkRetained()
}

func (w *World) checkPair(p, s *device) error {
	switch s.role {
	case subscriber:
		if err := w.checkWills(p, s); err != nil {
			return err
		}
		return w.checkSeen(p, s, p.acked)
	case hopper:
		return w.checkSeen(p, s, surely(p, s))
	}
	return nil
}

// checkSeen wants all of must at s, once at QoS 2, first copies in order.
func (w *World) checkSeen(p, s *device, must []int) error {
	seen := s.seen["t/"+p.id]
	last, first := 0, map[int]bool{}
	for _, num := range seen {
		if first[num] {
			if p.qos == 2 && s.qos == 2 {
				return w.failf("%s got message %d of %s twice at QoS 2: %v", s.id, num, p.id, seen)
			}
			continue
		}
		first[num] = true
		if num < last && (p.qos == 2 || s.role != hopper) { // a hopper may get the copy of one it was not there for
			return w.failf("%s got message %d of %s after %d", s.id, num, p.id, last)
		}
		last = num
	}
	for _, num := range must {
		if !first[num] {
			slices.Sort(seen)
			return w.failf("%s never got message %d of %s, though it was acknowledged (%d of %d seen)", s.id, num, p.id, len(first), w.opt.Messages)
		}
	}
	return nil
}

// surely lists the messages of a publisher in the same region that were sent and
// acknowledged while s was subscribed.
func surely(p, s *device) (list []int) {
	for _, num := range p.acked {
		if p.n == s.n && slices.ContainsFunc(s.spans, func(h hop) bool { return h.from <= p.sentAt[num] && p.ackedAt[num] <= h.to }) {
			list = append(list, num)
		}
	}
	return list
}

// checkGroup wants each message at one member of each region's group; at QoS 2
// once, whatever became of the members meanwhile.
func (w *World) checkGroup(p *device, n *node) error {
	count := map[int]int{}
	for _, m := range w.devices {
		if m.role == member && m.n == n {
			for _, num := range m.seen["t/"+p.id] {
				count[num]++
			}
		}
	}
	for _, num := range p.acked {
		switch {
		case count[num] == 0:
			return w.failf("no member in %s got message %d of %s, though it was acknowledged", n.id, num, p.id)
		case count[num] > 1 && p.qos == 2:
			return w.failf("members in %s got message %d of %s %d times at QoS 2", n.id, num, p.id, count[num])
		}
	}
	return nil
}

// checkWills wants the will of each connection that was open and ended, once at
// QoS 2. One that the device never saw open may have left a will, too.
func (w *World) checkWills(p, s *device) error {
	seen := s.seen[p.willTopic()]
	for life := 1; life <= p.life; life++ {
		n := 0
		for _, num := range seen {
			if num == life {
				n++
			}
		}
		switch {
		case n == 0 && slices.Contains(p.lived, life):
			return w.failf("%s never got the will of connection %d of %s: %v", s.id, life, p.id, seen)
		case n > 1 && s.qos == 2:
			return w.failf("%s got the will of connection %d of %s %d times", s.id, life, p.id, n)
		case n > 0 && life == p.life && p.on:
			return w.failf("%s got the will of connection %d of %s, which is open", s.id, life, p.id)
		}
	}
	return nil
}

// checkRetained wants every region to retain the same, and of a topic that one
// device writes what it wrote last.
func (w *World) checkRetained() error {
	want := map[string]string{}
	topics := []string{commonTopic}
	for _, d := range w.devices {
		for _, i := range []int{0, 1} {
			topic := fmt.Sprintf("r/%s/%d", d.id, i)
			if payload, written := d.kept[topic]; written {
				topics, want[topic] = append(topics, topic), payload
			}
		}
	}
	for _, topic := range topics {
		first, _ := w.nodes[0].state.RetainedMessage("", topic)
		for _, n := range w.nodes {
			got, _ := n.state.RetainedMessage("", topic)
			if string(got.Payload) != string(first.Payload) {
				return w.failf("%s retains %s for %s, %s retains %s", n.id, said(got), topic, w.nodes[0].id, said(first))
			}
			if topic != commonTopic && string(got.Payload) != want[topic] {
				return w.failf("%s retains %s for %s, last written was %q", n.id, said(got), topic, want[topic])
			}
		}
	}
	return nil
}

func said(r home.RetainedInfo) string {
	return fmt.Sprintf("%q (version %d of %s)", r.Payload, r.Version, r.Home)
}
