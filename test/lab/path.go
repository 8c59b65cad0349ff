package lab

import (
	"container/heap"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Carried counts bytes of IP packets that came out of a direction.
type Carried struct{ UDP, TCP, Other int64 }

// Sum is all of them.
func (c Carried) Sum() int64 { return c.UDP + c.TCP + c.Other }

// Minus is what was carried since an earlier count.
func (c Carried) Minus(before Carried) Carried {
	return Carried{c.UDP - before.UDP, c.TCP - before.TCP, c.Other - before.Other}
}

// direction is one way of a path.
type direction struct {
	out       io.Writer
	cond      atomic.Pointer[Conditions]
	udp, tcp  atomic.Int64
	other     atomic.Int64
	dropped   [cut + 1]atomic.Int64
	began     time.Time
	arrivals  chan *packet
	scheduled schedule // owned by run

	passing sync.Mutex // held while a packet comes out, and while conditions change
}

type packet struct {
	b  [maxPacket]byte
	n  int
	at time.Duration
	no uint64 // among those of the same time
}

const (
	maxPacket  = 2048
	maxWaiting = 65536 // packets on their way in one direction
)

var packets = sync.Pool{New: func() any { return new(packet) }}

func newDirection(out io.Writer, seed uint64) *direction {
	d := &direction{out: out, began: time.Now(), arrivals: make(chan *packet, 1024),
		scheduled: schedule{rng: rand.New(rand.NewPCG(seed, 17))}}
	d.cond.Store(&Conditions{})
	return d
}

// take takes a packet over.
func (d *direction) take(p *packet) { d.arrivals <- p }

// run delivers packets when they are due, until arrivals is closed.
func (d *direction) run() {
	var waiting byArrival
	var no uint64
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(waiting) > 0 {
			timer.Reset(waiting[0].at - time.Since(d.began))
		}
		select {
		case p, ok := <-d.arrivals:
			if !ok {
				return
			}
			at, f := d.scheduled.next(d.cond.Load(), time.Since(d.began), p.n)
			if f == passes && len(waiting) >= maxWaiting {
				f = overflows
			}
			if f != passes {
				d.dropped[f].Add(1)
				packets.Put(p)
				break
			}
			no++
			p.at, p.no = at, no
			heap.Push(&waiting, p)
		case <-timer.C:
		}
		for now := time.Since(d.began); len(waiting) > 0 && waiting[0].at <= now; {
			d.deliver(heap.Pop(&waiting).(*packet))
		}
	}
}

// deliver writes a packet out. One that was on its way when the path was cut is
// lost, too.
func (d *direction) deliver(p *packet) {
	defer packets.Put(p)
	d.passing.Lock()
	defer d.passing.Unlock()
	if d.cond.Load().Down {
		d.dropped[cut].Add(1)
		return
	}
	if _, err := d.out.Write(p.b[:p.n]); err != nil {
		return // the gateway is being taken down
	}
	const tcp, udp = 6, 17
	switch p.b[9] {
	case udp:
		d.udp.Add(int64(p.n))
	case tcp:
		d.tcp.Add(int64(p.n))
	default:
		d.other.Add(int64(p.n))
	}
}

// set changes the conditions. When it returns, what comes out does so under the new
// ones, and what came out before is counted.
func (d *direction) set(c Conditions) {
	d.passing.Lock()
	defer d.passing.Unlock()
	d.cond.Store(&c)
}

func (d *direction) carried() Carried { return Carried{d.udp.Load(), d.tcp.Load(), d.other.Load()} }

// byArrival is a heap of packets.
type byArrival []*packet

func (h byArrival) Len() int { return len(h) }
func (h byArrival) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].no < h[j].no
}
func (h byArrival) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byArrival) Push(x any)   { *h = append(*h, x.(*packet)) }
func (h *byArrival) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}
