package simlab

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/home"
)

// Settle waits until every device's subscriptions are granted and the other
// regions know of them. From then on the checker expects every message.
func (l *Lab) Settle(within time.Duration) error {
	devices := l.all()
	for _, d := range devices {
		if err := l.Await("the subscriptions of "+d.ID, within, d.Granted); err != nil {
			return err
		}
	}
	for _, r := range l.regions {
		if err := l.Await("the other regions to know what "+r.Name+" wants", within, func() bool { return l.told(r) }); err != nil {
			return err
		}
	}
	now := time.Now()
	for _, d := range devices {
		d.settle(now)
	}
	return nil
}

// told says whether every other region's home has what a region wants.
func (l *Lab) told(r *Region) bool {
	here := r.State()
	if here == nil {
		return false
	}
	version, _ := here.Wanted()
	for _, other := range l.regions {
		if other == r {
			continue
		}
		there := other.State()
		if there == nil {
			return false
		}
		if p, ok := there.Peer(home.ID(r.Name)); !ok || p.Version != version {
			return false
		}
	}
	return true
}

func (l *Lab) all() []*Device {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.devices)
}

func (d *Device) settle(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.wishes {
		if w.settled.IsZero() {
			w.settled = now
		}
	}
}

// Idle says whether every device has been told of everything it sent.
func (l *Lab) Idle() bool {
	return !slices.ContainsFunc(l.all(), func(d *Device) bool { return !d.Idle() })
}

// Check holds what every subscriber saw against what every publisher was told,
// and returns everything that is wrong. Call it after a calm.
func (l *Lab) Check() error {
	var errs []error
	devices := l.all()
	for _, d := range devices {
		for _, b := range d.rules() {
			errs = append(errs, errors.New(b))
		}
	}
	for _, s := range devices {
		for _, p := range devices {
			errs = append(errs, checkPair(p, s))
		}
		if s.opt.Wills != "" {
			errs = append(errs, checkWills(s, devices, l.willGrace()))
		}
	}
	for _, members := range groups(devices) {
		for _, p := range devices {
			errs = append(errs, checkGroup(p, members))
		}
	}
	return errors.Join(errs...)
}

// willGrace is for how long a will may wait for who lost its connection by a region's doing.
func (l *Lab) willGrace() time.Duration {
	if t := l.opt.Takeover; t != nil {
		return max(l.opt.Grace, t.WillGrace)
	}
	return l.opt.Grace
}

func (d *Device) rules() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	broken := slices.Clone(d.broken)
	for _, c := range d.conns {
		if c.behind && !c.over() && !c.dead.IsZero() && time.Since(c.dead) > closedIn {
			broken = append(broken, fmt.Sprintf("%s: connection %d is still open %s after the session went to another", d.ID, c.num, time.Since(c.dead)))
		}
	}
	return broken
}

// closedIn is how long a connection may stay open whose session is elsewhere.
const closedIn = 30 * time.Second

// ledger copies what a device sent.
func (d *Device) ledger() []Sent {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Sent, len(d.sent))
	for i, s := range d.sent {
		list[i] = *s
	}
	return list
}

// expects is the QoS at which a message must come, and whether it must. A
// message that was sent before the subscription settled may come.
func (d *Device) expects(m *Sent) (qos byte, may, must bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.wishes {
		if matches(w.filter, m.Topic) {
			qos, may = max(qos, min(w.qos, m.QoS)), true
			must = must || w.group == "" && w.since(m.At)
		}
	}
	return qos, may, must && qos > 0 && !m.Acked.IsZero()
}

// since says that the subscription had settled by then.
func (w *wish) since(at time.Time) bool { return !w.settled.IsZero() && !at.Before(w.settled) }

// ordered says that messages of a topic come in order: what a member of a group
// left unacknowledged comes late to another.
func (d *Device) ordered(topic string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(d.wishes, func(w *wish) bool { return w.group != "" && matches(w.filter, topic) })
}

// checkPair checks what s saw of p.
func checkPair(p, s *Device) error {
	sent := p.ledger()
	copies := make([]int, len(sent)+1)
	last := [2]int{} // of those at QoS 0, which may overtake the others [MQTT-4.6.0-6], and of the others
	for _, m := range s.Seen() {
		if m.From != p.ID || m.Retain { // a retained message that a new subscription is given is old
			continue
		}
		if m.Num < 1 || m.Num > len(sent) || sent[m.Num-1].Topic != m.Topic {
			return fmt.Errorf("%s got message %d of %s on %s, which was never sent", s.ID, m.Num, p.ID, m.Topic)
		}
		copies[m.Num]++
		if copies[m.Num] > 1 {
			continue
		}
		lane := min(m.QoS, 1)
		if !s.ordered(m.Topic) || sent[m.Num-1].Doubt {
			continue
		}
		if m.Num < last[lane] {
			return fmt.Errorf("%s got message %d of %s after %d", s.ID, m.Num, p.ID, last[lane])
		}
		last[lane] = m.Num
	}
	for i := range sent {
		qos, may, must := s.expects(&sent[i])
		n := copies[i+1]
		switch {
		case n > 0 && !may:
			return fmt.Errorf("%s got message %d of %s on %s, to which it did not subscribe", s.ID, i+1, p.ID, sent[i].Topic)
		case n > 1 && qos == 2 && !sent[i].Doubt:
			return fmt.Errorf("%s got message %d of %s %d times at QoS 2", s.ID, i+1, p.ID, n)
		case n == 0 && must && !sent[i].Empty:
			return fmt.Errorf("%s never got message %d of %s, though it was acknowledged after %s (%d of %d seen)", s.ID, i+1, p.ID,
				sent[i].Acked.Sub(sent[i].At), count(copies), len(sent))
		}
	}
	return nil
}

func count(copies []int) (n int) {
	for _, c := range copies {
		if c > 0 {
			n++
		}
	}
	return n
}
