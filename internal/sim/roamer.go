package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
)

// roamer is a device that connects to whatever site serves it. It keeps what MQTT asks
// a client to keep.
type roamer struct {
	Outbox
	w    *copies
	id   string
	key  home.SessionKey
	qos  byte
	near *site // it tries first
	line *line
	been bool

	subscribes bool
	subscribed bool
	held       map[uint16]bool // QoS 2 ids that were not released
	seen       map[string][]sight

	working bool
	next    int
	sent    map[int]sight // first
	sends   map[int]int   // how often
}

// sight is a message that was seen, or sent, somewhere.
type sight struct {
	num int
	at  time.Duration
	of  *site
}

// line is a connection.
type line struct {
	s     *site
	d     *roamer
	epoch home.SessionEpoch
	over  bool
	sent  uint64 // references up to this were sent
	busy  uint64 // PUBREL was sent for the ids up to it
	dirty bool
	ready bool          // what was under way is sent again
	last  time.Duration // when what was sent last arrives, either way
}

func (w *copies) people() {
	for i, spec := range []struct {
		id   string
		qos  byte
		subs bool
	}{{"pub1", 1, false}, {"pub2", 2, false}, {"sub1", 1, true}, {"sub2", 2, true}, {"near2", 2, true}} {
		d := &roamer{w: w, id: spec.id, key: home.SessionKey{ClientID: spec.id}, qos: spec.qos, near: w.sites[i%2], subscribes: spec.subs,
			held: map[uint16]bool{}, seen: map[string][]sight{}, sent: map[int]sight{}, sends: map[int]int{}}
		w.devices = append(w.devices, d)
		d.redial()
	}
}

func (d *roamer) done() bool { return d.subscribes || d.next >= d.w.opt.Messages && len(d.Flight) == 0 }

// redial connects soon, and again whenever the connection is gone.
func (d *roamer) redial() {
	d.w.after(time.Millisecond+d.w.upTo(30*time.Millisecond), func() {
		if d.line == nil {
			d.connect()
		}
		if d.line == nil {
			d.redial()
		}
	})
}

func (d *roamer) connect() {
	sites := slices.Clone(d.w.sites)
	if d.w.rnd.IntN(4) == 0 {
		d.w.rnd.Shuffle(len(sites), func(i, j int) { sites[i], sites[j] = sites[j], sites[i] })
	} else if i := slices.Index(sites, d.near); i > 0 {
		sites[0], sites[i] = sites[i], sites[0]
	}
	i := slices.IndexFunc(sites, (*site).serves)
	if i < 0 {
		return
	}
	s := sites[i]
	o := s.do(&home.Attach{Session: d.key, CleanStart: !d.been, Expiry: 3600, Window: 8})
	if o.Code != home.CodeOK {
		return
	}
	d.been = true
	c := &line{s: s, d: d, epoch: o.Epoch}
	if old := s.conns[d.key]; old != nil {
		old.snap()
	}
	s.conns[d.key], d.line = c, c
	d.w.after(d.w.upTo(3*time.Millisecond), func() {
		if c.over {
			return
		}
		if d.subscribes && (!o.SessionPresent || !d.subscribed) {
			if d.subscribed {
				d.w.say("%s finds no session at %s", d.id, s.name)
				clear(d.held)
			}
			s.do(&home.Subscribe{Session: d.key, Epoch: c.epoch, Filters: []home.Subscription{{Filter: "t/#", QoS: d.qos}}})
			d.subscribed = true
		}
		d.resend(c)
		c.ready = true
		c.drain()
	})
}

// wire sends from the site to the device, or back; what is under way when the
// connection breaks may be lost.
func (c *line) wire(do func()) {
	w := c.d.w
	c.last = max(c.last, w.now+w.upTo(2*time.Millisecond))
	w.after(c.last-w.now, func() {
		if !c.over {
			do()
		}
	})
}

// break_ ends the connection.
func (c *line) snap() {
	if c.over {
		return
	}
	c.over = true
	if c.s.conns[c.d.key] == c {
		delete(c.s.conns, c.d.key)
	}
	if c.d.line == c {
		c.d.line = nil
		c.d.redial()
	}
}

func (s *site) lines() (list []*line) {
	for _, c := range s.conns {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *line) int { return strings.Compare(a.d.id, b.d.id) })
	return list
}

// drain sends what waits for the device. Before an id is used that the device may hold
// for a message of a lost host, it is released. [E5]
func (c *line) drain() {
	if c.over || !c.ready || !c.s.up {
		return
	}
	for _, q := range c.s.state.Queue(c.d.key, c.epoch, c.sent, 8, nil) {
		id := home.PacketID(q.Ref)
		if q.ReleaseFirst && c.d.w.opt.Plant != NoPubrel {
			if c.busy < q.Ref {
				c.busy = q.Ref
				ref := q.Ref
				c.wire(func() { c.d.pubrel(c, id, ref) })
			}
			return
		}
		c.sent = q.Ref
		if q.Received {
			c.wire(func() { c.d.pubrel(c, id, 0) })
			continue
		}
		m := q.Message
		if q.Evicted {
			m, _ = home.DecodeBody(q.Seq, c.s.store[string(home.BodyKey(q.Seq))])
		}
		if m.Withheld {
			c.owe(q.Ref)
			continue
		}
		c.wire(func() { c.d.publish(c, m, id, q.QoS, q.Ref) })
	}
}

// publish is a PUBLISH to the device.
func (d *roamer) publish(c *line, m home.Message, id uint16, qos byte, ref uint64) {
	if qos == 1 {
		d.note(c, m)
		c.wire(func() {
			c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Done: []home.Range{{From: ref, To: ref}}})
			c.drain()
		})
		return
	}
	if !d.held[id] {
		d.held[id] = true
		d.note(c, m)
	}
	c.wire(func() {
		c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Received: []home.Range{{From: ref, To: ref}}})
		c.wire(func() { d.pubrel(c, id, 0) })
	})
}

// pubrel is a PUBREL to the device. One that only releases an id ends with the number
// of the reference that is to get it.
func (d *roamer) pubrel(c *line, id uint16, clears uint64) {
	delete(d.held, id)
	c.wire(func() {
		if clears != 0 {
			c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Cleared: clears})
			c.drain()
			return
		}
		c.s.doneWith(c, id)
		c.drain()
	})
}

// doneWith acknowledges the reference that has an id.
func (s *site) doneWith(c *line, id uint16) {
	for _, q := range s.state.Queue(c.d.key, c.epoch, 0, 100, nil) {
		if home.PacketID(q.Ref) == id && q.Received {
			s.do(&home.Ack{Session: c.d.key, Epoch: c.epoch, Done: []home.Range{{From: q.Ref, To: q.Ref}}})
			return
		}
	}
}

func (d *roamer) note(c *line, m home.Message) {
	var num int
	_, _ = fmt.Sscan(string(m.Payload), &num)
	d.seen[m.Topic] = append(d.seen[m.Topic], sight{num, d.w.now, c.s})
	if d.w.opt.Scenario {
		d.w.say("%s gets %s of %s from %s", d.id, m.Payload, m.Topic, c.s.name)
	}
}

// step publishes the next message now and then.
func (d *roamer) step() {
	if d.subscribes || d.next >= d.w.opt.Messages {
		return
	}
	d.w.after(d.w.upTo(80*time.Millisecond), d.step)
	if d.line == nil || !d.line.ready || len(d.Flight) > 2 {
		return
	}
	if d.line.s.refuses(d) {
		if !d.line.s.serves() { // which others find out by what they send
			d.line.snap()
		}
		return
	}
	d.next++
	f := d.Put(d.next)
	d.send(d.line, f.Num, f.ID)
}

func (d *roamer) resend(c *line) {
	for _, f := range d.Flight {
		if f.Acked && d.qos == 2 {
			d.release(c, f.ID)
		} else {
			d.send(c, f.Num, f.ID)
		}
	}
}

func (d *roamer) send(c *line, num int, id uint16) {
	c.wire(func() {
		if c.s.refuses(d) { // and it would go on where it may
			return
		}
		d.sends[num]++
		if _, again := d.sent[num]; !again {
			d.sent[num] = sight{num, d.w.now, c.s}
		}
		o := c.s.do(&home.Publish{Session: d.key, Epoch: c.epoch, PacketID: id, Topic: "t/" + d.id, Payload: fmt.Append(nil, num), QoS: d.qos})
		if o.Code == home.CodeVoid {
			c.snap()
			return
		}
		c.wire(func() {
			if d.Answered(num, id, d.qos) {
				d.release(c, id)
			}
		})
	})
}

func (d *roamer) release(c *line, id uint16) {
	c.wire(func() {
		if o := c.s.do(&home.Release{Session: d.key, Epoch: c.epoch, PacketID: id}); o.Code == home.CodeVoid {
			c.snap()
			return
		}
		c.wire(func() { d.Released(id) })
	})
}

// lines is what the home tells a site's connections.
type lines struct{ s *site }

// Deliver is not needed: all sessions are durable.
func (l lines) Deliver(home.Delivery) {}

// Queued notes whom to serve.
func (l lines) Queued(k home.SessionKey, e home.SessionEpoch, _ home.Owner) {
	if l.s == nil {
		return
	}
	if c := l.s.conns[k]; c != nil && c.epoch == e && !c.dirty {
		c.dirty = true
		l.s.touched = append(l.s.touched, c)
	}
}

// Ended is found out by the next word of the connection.
func (l lines) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}

// Spooled is not needed: the home has no peers.
func (l lines) Spooled(home.ID) {}

// Wanted is not needed.
func (l lines) Wanted() {}

// Dropped is not needed.
func (l lines) Dropped(string, home.DropReason, int) {}

// serve sends to those for whom something came.
func (s *site) serve() {
	list := s.touched
	s.touched = nil
	slices.SortFunc(list, func(a, b *line) int { return strings.Compare(a.d.id, b.d.id) })
	for _, c := range list {
		c.dirty = false
		c.drain()
	}
}

// check holds what subscribers saw against what publishers were told.
func (w *copies) check() error {
	for _, p := range w.devices {
		if p.subscribes {
			continue
		}
		if len(p.Acked) != w.opt.Messages {
			return w.failf("%s: %d of %d messages acknowledged after a long calm", p.id, len(p.Acked), w.opt.Messages)
		}
		for _, s := range w.devices {
			if s.subscribes {
				if err := w.checkPair(p, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *copies) checkPair(p, s *roamer) error {
	first := map[int]sight{}
	last := 0
	for _, x := range s.seen["t/"+p.id] {
		if f, again := first[x.num]; again {
			if p.qos == 2 && s.qos == 2 && !w.unheard(f) && !w.unheard(p.sent[x.num]) && !(w.opt.Resident && p.sends[x.num] > 1) {
				return w.failf("%s got message %d of %s twice at QoS 2, at %v from %s and at %v from %s", s.id, x.num, p.id, f.at, f.of.name, x.at, x.of.name)
			}
			continue
		}
		first[x.num] = x
		if x.num < last && !w.unheard(p.sent[x.num]) && !w.isConfined(p) {
			return w.failf("%s got message %d of %s after %d", s.id, x.num, p.id, last)
		}
		last = max(last, x.num)
	}
	for _, num := range p.Acked {
		if _, ok := first[num]; !ok && !w.ruined(p.sent[num]) {
			return w.failf("%s never got message %d of %s, which was acknowledged at %s (first sent at %v)", s.id, num, p.id, p.sent[num].of.name, p.sent[num].at)
		}
	}
	return nil
}

// unheard says that something happened at a site that was lost, later than the site
// that took over had heard.
func (w *copies) unheard(x sight) bool {
	return slices.ContainsFunc(w.losses, func(l loss) bool {
		return l.of == x.of && x.at >= l.since-slackOfCopies && (l.until < 0 || x.at <= l.until)
	})
}

func (w *copies) ruined(x sight) bool {
	return slices.ContainsFunc(w.losses, func(l loss) bool { return l.gone && l.of == x.of && x.at >= l.since-slackOfCopies })
}

// slackOfCopies is how long the exchange about a message may take.
const slackOfCopies = 60 * time.Millisecond
