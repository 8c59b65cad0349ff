package trace

import (
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Trace is one of a Book's.
type Trace struct {
	spec    Spec
	prefix  netip.Prefix // of an address
	stopped atomic.Bool

	mu      sync.Mutex
	lines   []Line // the newest, oldest first
	n       uint64 // of the newest
	bytes   int
	dropped uint64
	acks    map[delivery]string // of a topic: deliveries that wait for their acknowledgement, with the topic
}

// delivery is what an acknowledgement names.
type delivery struct {
	client string
	id     uint16
}

func (t *Trace) runs(now time.Time) bool { return !t.stopped.Load() && !now.After(t.spec.Until) }

func (t *Trace) status(now time.Time) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Spec: t.spec, State: Running, Kept: len(t.lines), Dropped: t.dropped}
	switch {
	case t.stopped.Load():
		s.State = Stopped
	case !t.runs(now):
		s.State = Over
	}
	return s
}

// note adds a line, if it belongs here, and lets the oldest go that have no room any more.
func (t *Trace) note(l Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.about(&l) {
		return
	}
	if !t.spec.Payload {
		l.Payload = nil
	} else if len(l.Payload) > payloadMost {
		l.Payload = l.Payload[:payloadMost]
	}
	l.Payload = append([]byte(nil), l.Payload...)
	t.await(&l)
	t.n++
	l.N = t.n
	t.bytes += l.size()
	t.lines = append(t.lines, l)
	gone := 0
	for len(t.lines)-gone > t.spec.Lines || t.bytes > maxBytes {
		t.bytes -= t.lines[gone].size()
		t.lines[gone] = Line{}
		gone++
	}
	t.lines = t.lines[gone:]
	t.dropped += uint64(gone)
}

// await remembers a delivery whose acknowledgement will not say the topic.
func (t *Trace) await(l *Line) {
	if t.spec.Kind != Topic || l.Event != Delivered || l.PacketID == 0 {
		return
	}
	if t.acks == nil || len(t.acks) >= acksMost {
		t.acks = map[delivery]string{}
	}
	t.acks[delivery{l.ClientID, l.PacketID}] = l.Topic
}

// awaited says whether an acknowledgement is for a delivery of the trace; it gets its topic.
func (t *Trace) awaited(l *Line) bool {
	topic, ok := t.acks[delivery{l.ClientID, l.PacketID}]
	l.Topic = topic
	return ok
}

func (t *Trace) after(n uint64, most int) []Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := sort.Search(len(t.lines), func(i int) bool { return t.lines[i].N > n })
	return append([]Line(nil), t.lines[from:min(from+most, len(t.lines))]...)
}

// forget drops the lines of a client, and the topics that its acknowledgements are waited for; with keep it only counts.
func (t *Trace) forget(namespace, client string, keep bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := func(l Line) bool { return l.ClientID == client && l.Namespace == namespace }
	n := 0
	for i := range t.lines {
		if of(t.lines[i]) {
			n++
			if !keep {
				t.bytes -= t.lines[i].size()
			}
		}
	}
	if keep || n == 0 {
		return n
	}
	t.lines = slices.DeleteFunc(t.lines, of)
	for d := range t.acks {
		if d.client == client {
			delete(t.acks, d)
		}
	}
	return n
}
