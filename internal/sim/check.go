package sim

import (
	"fmt"
	"slices"

	"causeway/internal/home"
)

// check holds what every subscriber saw against what every publisher was told.
func (w *World) check() error {
	if err := w.checkCopies(); err != nil {
		return err
	}
	for _, p := range w.devices {
		if p.publishes() && len(p.acked) != p.messages() {
			return w.failf("%s: %d of %d messages acknowledged after a long calm (%d pending)", p.id, len(p.acked), p.messages(), len(p.pending))
		}
		for _, s := range w.devices {
			if err := w.checkPair(p, s); err != nil {
				return err
			}
		}
		for _, r := range w.regions {
			if err := w.checkGroup(p, r); err != nil {
				return err
			}
		}
		if err := w.checkWorkers(p); err != nil {
			return err
		}
	}
	return w.checkRetained()
}

// settled says that nothing is under way any more, as far as one can see.
func (w *World) settled() bool {
	for _, d := range w.devices {
		if len(d.pending) > 0 || d.publishes() && d.next < d.messages() || d.role.listens() && d.role != mortal && (!d.on || !d.subscribed) {
			return false
		}
	}
	for _, r := range w.regions {
		l := r.leader()
		if l == nil || w.checkCopies() != nil {
			return false
		}
		for _, p := range l.state.Peers() {
			if p.Spooled > 0 {
				return false
			}
		}
		for _, d := range w.devices {
			x, _ := l.state.Session(d.key)
			if d.r == r && (d.role != mortal && x.Queued > 0 || d.role == mortal && x.Owner != home.Owner{}) {
				return false
			}
		}
	}
	return true
}

// checkCopies wants every node back, with a copy that has done what the others
// have.
func (w *World) checkCopies() error {
	if w.opt.Outside {
		return nil
	}
	for _, r := range w.regions {
		l := r.leader()
		if l == nil {
			return w.failf("%s has no leader after a long calm", r.id)
		}
		records, sum := l.state.Chain()
		g := l.disk.log.group()
		if g.voters() != r.voters {
			return w.failf("%s has %d voters after a long calm, not %d", r.id, g.voters(), r.voters)
		}
		for _, n := range r.nodes {
			if _, here := g.find(n.server()); !n.up || !here {
				return w.failf("%s is no member of %s after a long calm", n.name, r.id)
			}
			if had, did := n.state.Chain(); had == records && did != sum {
				return w.failf("%s differs from %s after %d records", n.name, l.name, records)
			} else if had < records && n.applied+caughtUp < l.applied {
				return w.failf("%s has applied %d records after a long calm, %s %d", n.name, had, l.name, records)
			}
		}
	}
	return nil
}

func (w *World) checkPair(p, s *device) error {
	if p.resident() && p.r != s.r {
		return w.checkConfined(p, s)
	}
	if s.role == subscriber || s.role == twin {
		if err := w.checkWills(p, s); err != nil || p.role != publisher {
			return err
		}
		return w.checkSeen(p, s, p.acked)
	}
	if s.role == hopper && p.role == publisher {
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
		if p.r == s.r && slices.ContainsFunc(s.spans, func(h hop) bool { return h.from <= p.sentAt[num] && p.ackedAt[num] <= h.to }) {
			list = append(list, num)
		}
	}
	return list
}

// checkGroup wants each message at one member of each shared subscription of a
// region; at QoS 2 once, whatever became of the members meanwhile.
func (w *World) checkGroup(p *device, r *region) error {
	if p.role != publisher || p.resident() && p.r != r {
		return nil // of what must not come no member got anything: checkPair
	}
	count, other := map[int]int{}, map[int]int{}
	for _, m := range w.devices {
		if m.r != r {
			continue
		}
		for _, num := range m.seen["t/"+p.id] {
			switch m.role {
			case member:
				count[num]++
			case steady, mortal:
				other[num]++
			}
		}
	}
	for _, num := range p.acked {
		switch {
		case count[num] == 0, other[num] == 0 && len(r.nodes) > 1:
			return w.failf("no member in %s got message %d of %s, though it was acknowledged", r.id, num, p.id)
		case count[num] > 1 && p.qos == 2:
			return w.failf("members in %s got message %d of %s %d times at QoS 2", r.id, num, p.id, count[num])
		}
	}
	return nil
}

// checkWorkers wants each message at one worker over all regions; at QoS 2 once.
func (w *World) checkWorkers(p *device) error {
	if p.role != publisher {
		return nil
	}
	count := map[int]int{}
	for _, m := range w.devices {
		if m.role == worker {
			for _, num := range m.seen["t/"+p.id] {
				count[num]++
			}
		}
	}
	for _, num := range p.acked {
		switch {
		case count[num] == 0:
			return w.failf("no worker anywhere got message %d of %s, though it was acknowledged", num, p.id)
		case count[num] > 1 && p.qos == 2:
			return w.failf("workers got message %d of %s %d times at QoS 2", num, p.id, count[num])
		}
	}
	return nil
}

// checkWills wants the will of each connection that was open and ended, once at
// QoS 2. One that the device never saw open may have left a will, too. With a grace
// a device that came back may have taken its will along; one that did not, not.
func (w *World) checkWills(p, s *device) error {
	if !p.wills() {
		return nil
	}
	seen := s.seen[p.willTopic()]
	for life := 1; life <= p.life; life++ {
		n := 0
		for _, num := range seen {
			if num == life {
				n++
			}
		}
		switch {
		case n == 0 && slices.Contains(p.lived, life) && (!w.opt.Grace || life == p.life && !p.on):
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
		at := w.regions[0].leader()
		if at == nil {
			return w.failf("%s has no leader after a long calm", w.regions[0].id)
		}
		first, _ := at.state.RetainedMessage("", topic)
		for _, r := range w.regions {
			n := r.leader()
			if n == nil {
				return w.failf("%s has no leader after a long calm", r.id)
			}
			got, _ := n.state.RetainedMessage("", topic)
			if string(got.Payload) != string(first.Payload) {
				return w.failf("%s retains %s for %s, %s retains %s", n.name, said(got), topic, at.name, said(first))
			}
			if topic != commonTopic && string(got.Payload) != want[topic] {
				return w.failf("%s retains %s for %s, last written was %q", n.name, said(got), topic, want[topic])
			}
		}
	}
	return nil
}

func said(r home.RetainedInfo) string {
	return fmt.Sprintf("%q (version %d of %s)", r.Payload, r.Version, r.Home)
}
