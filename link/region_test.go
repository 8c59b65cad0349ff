package link

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// region is several nodes with one log. Each has a copy of the state and a
// Manager; those that run are gateways.
type region struct {
	t    *testing.T
	w    *world
	name string
	log  *sharedLog
	all  []*member
}

// member is a node of a region.
type member struct {
	*copyOf
	r    *region
	m    *Manager
	addr *net.UDPAddr
	sure atomic.Bool // that it is the gateway
	stop func()      // ends Run; nil while it does not run
}

// sharedLog is what the nodes of a region agreed on.
type sharedLog struct {
	id      home.ID
	started time.Time
	ended   context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	n       uint64
	pending []ask
	records []agreed
	copies  []*copyOf
	arrived chan struct{}
}

type ask struct {
	proposal
	by *copyOf
}

type agreed struct {
	b    []byte
	asks []ask
}

// copyOf is one node's copy of a log: the Home of its Manager.
type copyOf struct {
	log     *sharedLog
	st      *home.State
	applied int
	grown   chan struct{}
	sink    home.Sink

	mu   sync.Mutex
	held bool // applies nothing
}

// commitAfter is what agreement takes.
const commitAfter = 2 * time.Millisecond

func newSharedLog(id home.ID) *sharedLog {
	l := &sharedLog{id: id, started: time.Now(), arrived: make(chan struct{}, 1)}
	l.ended, l.end = context.WithCancel(context.Background())
	l.running.Go(l.run)
	return l
}

func (l *sharedLog) run() {
	for group.Pause(l.ended, commitAfter) == nil {
		select {
		case <-l.arrived:
			l.commit()
		case <-l.ended.Done():
		}
	}
}

func (l *sharedLog) commit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	rec := home.Record{Home: l.id, Time: home.Time(time.Hour).Add(time.Since(l.started)),
		Entries: []home.Entry{{Owner: home.Owner{Node: "n", Incarnation: 1}, N: l.n}}}
	for _, a := range l.pending {
		rec.Entries[0].Ops = append(rec.Entries[0].Ops, a.op)
	}
	l.records = append(l.records, agreed{rec.Append(nil), l.pending})
	l.pending = nil
	for _, c := range l.copies {
		group.Wake(c.grown)
	}
}

func (l *sharedLog) record(i int) (agreed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i >= len(l.records) {
		return agreed{}, false
	}
	return l.records[i], true
}

// copy adds a node's copy, which applies on its own.
func (l *sharedLog) copy(sink home.Sink) *copyOf {
	c := &copyOf{log: l, st: home.New(), grown: make(chan struct{}, 1), sink: sink}
	l.mu.Lock()
	l.copies = append(l.copies, c)
	l.mu.Unlock()
	l.running.Go(c.run)
	return c
}

func (c *copyOf) run() {
	for {
		select {
		case <-c.grown:
			c.apply()
		case <-c.log.ended.Done():
			return
		}
	}
}

func (c *copyOf) apply() {
	for !c.isHeld() {
		a, ok := c.log.record(c.applied)
		if !ok {
			return
		}
		rec, err := home.DecodeRecord(a.b)
		if err != nil {
			panic(err)
		}
		outcomes := make([]home.Outcome, len(a.asks))
		if err := c.st.Apply(&rec, c.sink, func(_ *home.Entry, i int, o home.Outcome) { outcomes[i] = o }); err != nil {
			panic(err)
		}
		c.applied++
		for i, k := range a.asks {
			if k.by == c {
				k.done(outcomes[i], nil)
			}
		}
	}
}

func (c *copyOf) isHeld() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// hold makes the copy fall behind, or catch up.
func (c *copyOf) hold(on bool) {
	c.mu.Lock()
	c.held = on
	c.mu.Unlock()
	group.Wake(c.grown)
}

func (c *copyOf) Propose(op home.Op, done func(home.Outcome, error)) error {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Err() != nil {
		return errStopped
	}
	if len(l.pending) >= maxPending {
		return errFull
	}
	l.pending = append(l.pending, ask{proposal{op, done}, c})
	group.Wake(l.arrived)
	return nil
}

func (c *copyOf) Room(ctx context.Context) error { return group.Pause(ctx, time.Millisecond) }
func (c *copyOf) State() *home.State             { return c.st }
func (c *copyOf) Body(seq home.Seq) (home.Message, error) {
	return home.Message{}, fmt.Errorf("message %d is in memory only", seq)
}
func (c *copyOf) SpoolRun(key []byte) ([]home.Spooled, error) {
	return nil, fmt.Errorf("run %x is in memory only", key)
}

func (c *copyOf) do(op home.Op) home.Outcome {
	out := make(chan home.Outcome, 1)
	for c.Propose(op, func(o home.Outcome, _ error) { out <- o }) != nil {
		_ = c.Room(c.log.ended)
	}
	return <-out
}

// memberSink tells a node's Manager, gateway or not, as a replica does.
type memberSink struct {
	nothing
	n *member
}

func (s memberSink) Spooled(p home.ID) {
	if s.n.m != nil {
		s.n.m.Spooled(p)
	}
}

func (s memberSink) Wanted() {
	if s.n.m != nil {
		s.n.m.Wanted()
	}
}

const nodesOfRegion = 3

// memberIP is the address of a node, by region and number.
func memberIP(name string, i int) string {
	return fmt.Sprintf("%s%d", map[string]string{"eu": "10.1.0.", "us": "10.2.0.", "ap": "10.3.0."}[name], i+1)
}

// allOf are the addresses at which a region is dialled.
func allOf(name string) (list []string) {
	for i := range nodesOfRegion {
		list = append(list, fmt.Sprintf("udp://%s:7444", memberIP(name, i)))
	}
	return list
}

// members adds a region of several nodes; none is a gateway yet.
func (w *world) members(name string, peers ...Peer) *region {
	return w.tunedMembers(name, func(*tuning) {}, peers...)
}

func (w *world) tunedMembers(name string, tune func(*tuning), peers ...Peer) *region {
	r := &region{t: w.t, w: w, name: name, log: newSharedLog(home.ID(name))}
	id := w.ca.issue(w.t, name)
	for i := range nodesOfRegion {
		n := &member{r: r, addr: &net.UDPAddr{IP: net.ParseIP(memberIP(name, i)).To4(), Port: 7444}}
		n.copyOf = r.log.copy(memberSink{n: n})
		var err error
		o := tuning{EndpointOptions{Region: name, Software: "test", Identity: id, ResetKey: [32]byte{name[0], byte(i)},
			Listen: func() (net.PacketConn, error) { return w.wan.listen(n.addr), nil }},
			Options{Home: n.copyOf, Full: errFull, Local: n, Peers: peers, Gateway: n.sure.Load, Logger: logger(w.t, fmt.Sprint(name, "-", i+1))}}
		tune(&o)
		if n.m, err = o.open(); err != nil {
			w.t.Fatal(err)
		}
		r.all = append(r.all, n)
	}
	r.do(&home.Genesis{Home: home.ID(name), Epoch: home.Epoch{Number: 1, Host: name}})
	for _, p := range peers {
		r.do(&home.SetPeer{Peer: p.ID, Retained: true})
	}
	return r
}

func (n *member) DeliverFromPeer(*home.Message, home.Claim) {}

// do asks the region as a node of it that is always well.
func (r *region) do(op home.Op) home.Outcome { return r.all[0].do(op) }

func (r *region) subscribe(id string, filters ...string) {
	o := r.do(&home.Attach{Session: key(id), Expiry: 1 << 31})
	op := &home.Subscribe{Session: key(id), Epoch: o.Epoch}
	for _, f := range filters {
		op.Filters = append(op.Filters, home.Subscription{Filter: f, QoS: 2})
	}
	r.do(op)
}

func (r *region) publish(topic string, from, to int) {
	for i := from; i < to; i++ {
		r.do(&home.Publish{Topic: topic, Payload: fmt.Appendf(nil, "%s %s %d", r.name, topic, i), QoS: 1})
	}
}

// queue is what waits for a session, in order.
func (r *region) queue(id string) (out []string) {
	e := r.do(&home.Attach{Session: key(id), Expiry: 1 << 31}).Epoch
	for _, q := range r.all[0].st.Queue(key(id), e, 0, 1<<20, nil) {
		out = append(out, string(q.Message.Payload))
	}
	return out
}

// queued counts what waits for all sessions.
func (r *region) queued() int { return r.all[0].st.Status().Queued }

// begin makes a node a gateway.
func (n *member) begin() {
	n.sure.Store(true)
	n.listen()
}

// listen runs a node's links, whether it is the gateway or not.
func (n *member) listen() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := n.m.RunWithEndpoint(ctx); err != nil {
			n.r.t.Errorf("%s: Run: %v", n.addr, err)
		}
	}()
	n.stop = func() { cancel(); <-ended; n.stop = nil }
}

// kill ends a gateway without a word to anyone.
func (n *member) kill(others *region) {
	n.cutFrom(others, true)
	n.stop()
	time.Sleep(n.r.w.wan.delay + time.Millisecond)
	n.cutFrom(others, false)
}

func (n *member) cutFrom(others *region, cut bool) {
	for _, o := range others.all {
		n.r.w.wan.setCut(ipOf(n.addr), ipOf(o.addr), cut)
	}
}

func (n *member) link() Status { return n.m.Status()[0] }

func (r *region) close() {
	for _, n := range r.all {
		if n.stop != nil {
			n.stop()
		}
	}
	r.log.end()
	r.log.running.Wait()
}

// knows says whether a region has what another one wants.
func (r *region) knows(other *region) bool {
	v, d := other.all[0].st.Wanted()
	info, ok := r.all[0].st.Peer(home.ID(other.name))
	if !ok || info.Version != v {
		return false
	}
	_, got, _ := r.all[0].st.PeerDigest(home.ID(other.name))
	return got == d
}

func dialAll(name string) Peer {
	return Peer{ID: home.ID(name), Dial: allOf(name), Compress: wire.CodecZstd}
}
