package simlab

import (
	"errors"
	"fmt"
	"time"
)

// groups are the members of each shared subscription: those of one region.
func groups(devices []*Device) map[[2]string][]*Device {
	all := map[[2]string][]*Device{}
	for _, d := range devices {
		for _, w := range d.subscriptions() {
			if w.group != "" {
				k := [2]string{d.region.Name, w.group}
				all[k] = append(all[k], d)
			}
		}
	}
	return all
}

// subscriptions copies a device's subscriptions.
func (d *Device) subscriptions() []wish {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]wish, len(d.wishes))
	for i, w := range d.wishes {
		list[i] = *w
	}
	return list
}

// checkGroup checks what the members of one shared subscription saw of p: all of
// it among them, and what is QoS 2 once.
func checkGroup(p *Device, members []*Device) error {
	sent := p.ledger()
	copies := make([]int, len(sent)+1)
	for _, d := range members {
		for _, m := range d.Seen() {
			if m.From == p.ID && m.Num >= 1 && m.Num <= len(sent) {
				copies[m.Num]++
			}
		}
	}
	for i := range sent {
		m, n := &sent[i], copies[i+1]
		qos, must := byte(2), true
		for _, d := range members {
			for _, w := range d.subscriptions() {
				if w.group != "" {
					must = must && matches(w.filter, m.Topic) && w.since(m.At)
					qos = min(qos, w.qos, m.QoS)
				}
			}
		}
		switch {
		case n == 0 && must && qos > 0 && !m.Acked.IsZero():
			return fmt.Errorf("no member of %s's group got message %d of %s, though it was acknowledged", members[0].region.Name, i+1, p.ID)
		case n > 1 && qos == 2 && !m.Doubt:
			return fmt.Errorf("%s's group got message %d of %s %d times at QoS 2", members[0].region.Name, i+1, p.ID, n)
		}
	}
	return nil
}

// clock is how times are told.
const clock = "15:04:05.000"

// willSlack is by how much a will may come after its time: the death of a node is
// declared after a few seconds of silence, and only a leader does it.
const willSlack = 45 * time.Second

// checkWills checks the wills of d, which leaves another one with each connection:
// once, if the connection broke, and not at all if the session was resumed within
// the delay. Within the grace it may be either: a device cannot see whose doing it was.
func checkWills(d *Device, devices []*Device, grace time.Duration) error {
	d.mu.Lock()
	conns := make([]connection, len(d.conns))
	for i, c := range d.conns {
		conns[i] = connection{open: c.open, opened: c.opened, ended: c.ended, doubt: c.doubt}
	}
	d.mu.Unlock()
	delay := time.Duration(d.opt.WillDelay) * time.Second
	for _, s := range devices {
		wants, since := false, time.Time{}
		for _, w := range s.subscriptions() {
			if w.group == "" && w.qos == 2 && matches(w.filter, d.opt.Wills) {
				wants, since = true, w.settled
			}
		}
		if !wants || since.IsZero() {
			continue
		}
		copies, at := make([]int, len(conns)+1), make([]time.Time, len(conns)+1)
		for _, m := range s.Seen() {
			if m.From == testator(d.ID) && m.Num <= len(conns) {
				copies[m.Num]++
				at[m.Num] = m.At
			}
		}
		for i, c := range conns {
			if c.doubt { // the other side may not have heard that it broke, or was resumed
				continue
			}
			var back time.Time // when the session was resumed
			for _, next := range conns[i+1:] {
				if next.open {
					back = next.opened
					break
				}
			}
			broke := c.open && !c.ended.IsZero()
			soon := delay > 0 && broke && !back.IsZero() && back.Sub(c.ended) < delay
			wait := max(delay, grace)
			late := broke && (wait == 0 || back.IsZero() && time.Since(c.ended) > wait+willSlack || back.Sub(c.ended) > wait+willSlack)
			switch n := copies[i+1]; {
			case n > 1:
				return fmt.Errorf("%s got the will of connection %d of %s %d times", s.ID, i+1, d.ID, n)
			case n > 0 && soon:
				return fmt.Errorf("%s got the will of connection %d of %s at %s, which was broken at %s and resumed after %s", s.ID, i+1, d.ID,
					at[i+1].Format(clock), c.ended.Format(clock), back.Sub(c.ended))
			case n == 0 && late && c.opened.After(since):
				return fmt.Errorf("%s never got the will of connection %d of %s, which broke", s.ID, i+1, d.ID)
			}
		}
	}
	return nil
}

// checkRetained has a new subscriber at every node see what is retained: the
// newest of each publisher's.
func (l *Lab) checkRetained() error {
	var errs []error
	for _, n := range l.Nodes() {
		if l.opt.Takeover != nil && !n.region.Serves(n.region.Name) {
			continue // it lets nobody in
		}
		d := l.Device(DeviceOptions{Region: n.region.Name, ID: "late-" + n.Name, Node: n.Name})
		d.Subscribe(1, "r/#")
		if err := l.Await("the subscription of "+d.ID, calmIn, d.Granted); err != nil {
			errs = append(errs, err)
			continue
		}
		err := l.Await("retained messages", 20*time.Second, func() bool { return l.retainedAt(d) == nil })
		if err != nil {
			errs = append(errs, l.retainedAt(d))
		}
	}
	return errors.Join(errs...)
}

// retainedAt checks what one new subscriber was given.
func (l *Lab) retainedAt(late *Device) error {
	got := map[string]int{}
	for _, s := range late.Seen() {
		if s.Retain {
			got[s.From] = s.Num
		}
	}
	for _, p := range l.all() {
		want := 0
		for _, s := range p.ledger() {
			if s.Retain && s.Topic == "r/"+p.ID && !s.Empty {
				want = s.Num
			}
		}
		if got[p.ID] != want {
			return fmt.Errorf("%s was given message %d of %s as the retained one, want %d", late.ID, got[p.ID], p.ID, want)
		}
	}
	return nil
}

// checkCopies waits until the copies of each home are equal.
func (l *Lab) checkCopies() error {
	var errs []error
	for _, r := range l.regions {
		var never error
		err := l.Await("equal copies of "+r.Name, calmIn, func() (ok bool) {
			ok, never = r.same()
			return ok || never != nil
		})
		errs = append(errs, never, err)
	}
	return errors.Join(errs...)
}
