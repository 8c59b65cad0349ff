package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// A home's log as what it ships. A copy of it is the log itself, by record number.
type testSource struct {
	h      *testHome
	oldest atomic.Uint64 // the log begins behind this record
	mu     sync.Mutex
	fault  func(list []home.Shipment) []home.Shipment // guarded by mu
	copies atomic.Int64
	open   atomic.Int64 // copies that were not closed
}

func (s *testSource) record(n uint64) (home.Shipment, bool) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if n == 0 {
		return home.Shipment{}, true
	}
	if n > uint64(len(s.h.chains)) {
		return home.Shipment{}, false
	}
	return home.Shipment{N: n, Chain: s.h.chains[n-1], Data: s.h.log[n-1]}, true
}

func (s *testSource) Tail(ctx context.Context, _ string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error) {
	if after.Records < s.oldest.Load() {
		return nil, fmt.Errorf("after record %d: %w", after.Records, ErrTooOld)
	}
	anchor, ok := s.record(after.Records)
	if ok && anchor.Chain != after.Chain {
		return nil, fmt.Errorf("at record %d: %w", after.Records, ErrOtherChain)
	}
	anchor.Data = nil
	list := []home.Shipment{anchor}
	for size := 0; size < maxBytes; {
		r, ok := s.record(after.Records + uint64(len(list)))
		if ok {
			list = append(list, r)
			size += len(r.Data)
			continue
		}
		if len(list) > 1 {
			break
		}
		if err := group.Pause(ctx, time.Millisecond); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		list = s.fault(list)
	}
	return list, nil
}

func (s *testSource) Copy(context.Context, string) (Copier, error) {
	s.copies.Add(1)
	s.open.Add(1)
	return &testCopier{s: s, at: s.h.st.Position()}, nil
}

type testCopier struct {
	s      *testSource
	at     home.CopyPosition
	closed bool
}

func (c *testCopier) Position() home.CopyPosition { return c.at }

func (c *testCopier) Next(after []byte, maxBytes int) (chunk, last []byte, err error) {
	var n uint64
	if after != nil {
		n = binary.BigEndian.Uint64(after)
	}
	for ; n < c.at.Records && len(chunk) < min(maxBytes, 4<<10); n++ {
		r, _ := c.s.record(n + 1)
		chunk = binary.BigEndian.AppendUint64(chunk, r.N)
		chunk = binary.BigEndian.AppendUint32(chunk, uint32(len(r.Data)))
		chunk = append(chunk, r.Data...)
	}
	if chunk == nil {
		return nil, nil, nil
	}
	return chunk, binary.BigEndian.AppendUint64(nil, n), nil
}

func (c *testCopier) Close() {
	if !c.closed {
		c.closed = true
		c.s.open.Add(-1)
	}
}

// standby is a copy of a home that stands by.
type standby struct {
	id    home.ID
	delay time.Duration // until what was taken is applied

	mu      sync.Mutex
	st      *home.State
	log     [][]byte
	taken   []home.Shipment // not applied yet
	grown   chan struct{}
	refuses error
	retired bool
	reopens time.Duration // for how long it is closed once a copy came in whole
	closed  time.Time     // until then it is
	boast   uint64        // records that it says to have and has not: a mistake
	blind   bool          // it does not compare chains: another one
	idle    bool          // nothing is applied
	slow    time.Duration // what a part of a copy takes
	asked   int           // times that Append was called
	doubled int           // records that came again
	partial *testSink
	sinks   int
	resumed int
	stop    context.CancelFunc
	done    chan struct{}
}

const maxTaken = 256

func newStandby(id string) *standby {
	s := &standby{id: home.ID(id), st: home.New(), grown: make(chan struct{}), delay: time.Millisecond, done: make(chan struct{})}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go s.run(ctx)
	return s
}

func (s *standby) run(ctx context.Context) {
	defer close(s.done)
	for group.Pause(ctx, s.delay) == nil {
		s.mu.Lock()
		if s.idle {
			s.mu.Unlock()
			continue
		}
		for _, r := range s.taken {
			if err := s.apply(r); err != nil {
				panic(err)
			}
		}
		s.taken = nil
		s.signal()
		s.mu.Unlock()
	}
}

// signal tells everybody who waits; called with mu held.
func (s *standby) signal() {
	close(s.grown)
	s.grown = make(chan struct{})
}

func (s *standby) apply(r home.Shipment) error {
	rec, err := home.DecodeRecord(r.Data)
	if err != nil {
		return err
	}
	if err := s.st.Apply(&rec, nothing{}, func(*home.Entry, int, home.Outcome) {}); err != nil {
		return err
	}
	s.log = append(s.log, r.Data)
	if n, chain := s.st.Chain(); n != r.N || r.Chain != 0 && chain != r.Chain && !s.blind {
		return fmt.Errorf("record %d applied as %d, chain %x instead of %x", r.N, n, chain, r.Chain)
	}
	return nil
}

func (s *standby) Position() (home.CopyPosition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.closed) {
		return home.CopyPosition{}, ErrOpening
	}
	if s.retired {
		return s.st.Position(), fmt.Errorf("set aside: %w", ErrNeedsCopy)
	}
	at := s.st.Position()
	at.Records += s.boast
	return at, nil
}

func (s *standby) WaitPosition(ctx context.Context, after uint64) (home.CopyPosition, error) {
	for {
		s.mu.Lock()
		at, grown := s.st.Position(), s.grown
		s.mu.Unlock()
		if at.Records > after {
			return at, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return at, ctx.Err()
		}
	}
}

var errTestGap = errors.New("a gap")

func (s *standby) Append(ctx context.Context, list []home.Shipment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.refuses != nil {
		return s.refuses
	}
	for len(s.taken) > maxTaken {
		s.mu.Unlock()
		err := group.Pause(ctx, time.Millisecond)
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	have := uint64(len(s.log) + len(s.taken))
	if list[0].Data != nil || list[0].N > have {
		return fmt.Errorf("%w: anchor %d, %d are here", errTestGap, list[0].N, have)
	}
	for _, r := range list[1:] {
		if r.N <= have {
			s.doubled++
			continue
		}
		s.taken = append(s.taken, r)
		have++
	}
	return nil
}

// testSink keeps a copy that came in part.
type testSink struct {
	s     *standby
	at    home.CopyPosition
	log   [][]byte
	after []byte
}

func (s *standby) Incoming(_ context.Context, at home.CopyPosition, resume bool) (CopySink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks++
	if s.partial != nil && s.partial.at == at && resume {
		s.resumed++
		return s.partial, nil
	}
	s.partial = &testSink{s: s, at: at}
	return s.partial, nil
}

func (k *testSink) After() []byte { return k.after }

func (k *testSink) Put(ctx context.Context, chunk []byte) error {
	if k.s.slow > 0 {
		if err := group.Pause(ctx, k.s.slow); err != nil {
			return err
		}
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	for len(chunk) > 0 {
		n, size := binary.BigEndian.Uint64(chunk), binary.BigEndian.Uint32(chunk[8:])
		if n != uint64(len(k.log))+1 {
			return fmt.Errorf("record %d after %d", n, len(k.log))
		}
		k.log = append(k.log, chunk[12:12+size])
		chunk = chunk[12+size:]
	}
	k.after = binary.BigEndian.AppendUint64(nil, uint64(len(k.log)))
	return nil
}

func (k *testSink) Finish(context.Context) error {
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st, s.log, s.taken, s.retired, s.partial = home.New(), nil, nil, false, nil
	s.closed = time.Now().Add(s.reopens)
	for i, b := range k.log {
		if err := s.apply(home.Shipment{N: uint64(i + 1), Data: b}); err != nil {
			return err
		}
	}
	s.signal()
	if s.st.Position() != k.at {
		return fmt.Errorf("the copy is at %+v, was said to be of %+v", s.st.Position(), k.at)
	}
	return nil
}

// standbyHome is the Home of a copy that stands by: nothing is proposed.
type standbyHome struct{ *standby }

func (h standbyHome) Propose(home.Op, func(home.Outcome, error)) error { return errStopped }
func (h standbyHome) Room(ctx context.Context) error                   { return group.Pause(ctx, time.Second) }
func (h standbyHome) State() *home.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.st
}
func (h standbyHome) Body(home.Seq) (home.Message, error)     { return home.Message{}, errStopped }
func (h standbyHome) SpoolRun([]byte) ([]home.Spooled, error) { return nil, errStopped }

// site is a Manager for another home copy at a node.
type site struct {
	m    *Manager
	role atomic.Int32
	stop func()
}

func (s *site) set(r Role) { s.role.Store(int32(r)) }

// also adds a Manager to the node's Endpoint.
func (n *node) also(id string, role Role, o Options) *site {
	s := &site{}
	s.set(role)
	o.ID, o.Full, o.Local, o.Role = home.ID(id), errFull, n, func() Role { return Role(s.role.Load()) }
	o.Logger = logger(n.t, n.name+"/"+id)
	var err error
	if s.m, err = New(n.m.ep, o); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.m.Run(ctx); err != nil {
			n.t.Errorf("%s at %s: Run: %v", id, n.name, err)
		}
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		s.m.Close()
	})
	n.sites = append(n.sites, s)
	return s
}

// standsBy makes regions the standbys of a home.
func standsBy(id string, regions ...string) func(*tuning) {
	return func(o *tuning) {
		o.Hosts = func(of home.ID) []string {
			if of == home.ID(id) {
				return regions
			}
			return nil
		}
		if o.Region == id {
			o.Standbys = func() []string { return regions }
		}
	}
}

// shipsTo makes a region whose home is shipped to others.
func (w *world) shipsTo(name string, to []string, peers ...Peer) (*node, *testSource) {
	src := &testSource{}
	n := w.tuned(name, func(o *tuning) {
		standsBy(name, to...)(o)
		src.h = o.Home.(*testHome)
		o.Source = src
	}, peers...)
	return n, src
}

// follows waits until a standby has all that its host has.
func follows(t *testing.T, eu *node, s *standby, within time.Duration) time.Duration {
	t.Helper()
	return eventually(t, within, "the standby has it all", func() bool {
		at, _ := s.Position()
		return at == eu.home.st.Position()
	})
}
