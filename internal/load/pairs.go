package load

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Pairs is N publishers with a subscriber each. The addresses are taken in turn;
// a publisher and its subscriber are at different ones, if there are several.
type Pairs struct {
	Name    string // of topics and client ids; another for each run on a broker
	Addrs   []string
	To      []string // of the subscribers, if they are elsewhere
	N       int
	QoS     byte
	Window  int
	Payload int
	Rate    float64 // messages a second of all together; 0: as fast as acknowledgements come
	Clean   bool
	Body    func(pair int) func(n uint64, b []byte) []byte // see Options.Body
	Warmup  time.Duration
	For     time.Duration // measured, after the warm-up
	// Patience bounds the wait for what is under way after a run; a minute.
	Patience time.Duration
	// During is called at the beginning of what is measured, if it is set, and
	// AtEnd at its end.
	During, AtEnd func()
}

// Result is what came of a run.
type Result struct {
	Sums
	PerSecond float64   // received, of what is measured
	Acks      Histogram // from when a message was due to its acknowledgement
	Latency   Histogram // and to its arrival
	Forgotten int       // reconnects that found no session
}

const drainIn = 60 * time.Second

// Run runs the pairs. An error means that it could not be run; what was lost is
// in the result.
func (p Pairs) Run(ctx context.Context) (*Result, error) {
	f, err := p.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer f.Stop()
	return f.measure(ctx)
}

// Fleet is pairs that are connected.
type Fleet struct {
	Pairs
	Publishers, Subscribers []*Device
	Streams                 []*Stream

	pace sync.WaitGroup
	halt context.CancelFunc // of pace
}

// Start connects all devices. hooks change a pair's options before.
func (p Pairs) Start(ctx context.Context, hooks ...func(i int, pub, sub *Options)) (*Fleet, error) {
	f := &Fleet{Pairs: p, Publishers: make([]*Device, p.N), Subscribers: make([]*Device, p.N), halt: func() {}}
	for range p.N {
		f.Streams = append(f.Streams, &Stream{})
	}
	var mu sync.Mutex
	var first error
	each(p.N, func(i int) {
		if err := f.connect(ctx, i, hooks); err != nil {
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = err
			}
		}
	})
	if first != nil {
		f.Stop()
		return nil, first
	}
	return f, nil
}

// dialers is how many devices connect at the same time.
const dialers = 32

// each calls do for each number below n, some at the same time.
func each(n int, do func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, dialers) {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func (f *Fleet) connect(ctx context.Context, i int, hooks []func(int, *Options, *Options)) (err error) {
	topic := fmt.Sprintf("%s/%d", f.Name, i)
	common := Options{Clean: f.Clean, QoS: f.QoS}
	pub, sub := common, common
	sub.Addr, sub.ID, sub.Filter = f.Addrs[i%len(f.Addrs)], fmt.Sprintf("%s-sub-%d", f.Name, i), topic
	sub.Streams = map[uint32]*Stream{uint32(i): f.Streams[i]}
	pub.Addr, pub.ID, pub.Topic = f.Addrs[(i+1)%len(f.Addrs)], fmt.Sprintf("%s-pub-%d", f.Name, i), topic
	if len(f.To) > 0 {
		pub.Addr, sub.Addr = f.Addrs[i%len(f.Addrs)], f.To[i%len(f.To)]
	}
	if f.Body != nil {
		pub.Body = f.Body(i)
	}
	pub.Number, pub.Out, pub.Window, pub.Payload = uint32(i), f.Streams[i], f.Window, f.Payload
	for _, h := range hooks {
		h(i, &pub, &sub)
	}
	if pub.QoS == 0 && sub.OnMessage == nil {
		sub.OnMessage = f.arrival(i)
	}
	if f.Subscribers[i], err = Start(ctx, sub); err != nil {
		return err
	}
	f.Publishers[i], err = Start(ctx, pub)
	return err
}

// arrival moves a publisher's window, a quarter at a time.
func (f *Fleet) arrival(i int) func(uint32, time.Time) {
	step := uint64(max(f.Window/4, 1))
	return func(uint32, time.Time) {
		if f.Streams[i].Received.Load()%step == 0 {
			f.Publishers[i].Arrived()
		}
	}
}

// hearIn bounds how long it may take until publishers in one region know of the
// subscribers in another, and hearEvery is how often they try.
const (
	hearIn    = time.Minute
	hearEvery = 250 * time.Millisecond
)

// hear has each publisher send one message after another until one arrives: SUBACK
// does not wait until the other region has heard of a subscription. Whatever is
// acknowledged behind that one must arrive.
func (f *Fleet) hear(ctx context.Context) error {
	for end := time.Now().Add(hearIn); pause(ctx, hearEvery); {
		deaf := 0
		for i, s := range f.Streams {
			if s.Received.Load() > 0 {
				continue
			}
			if deaf++; s.Acked.Load() == s.Sent.Load() {
				f.Publishers[i].Allow(s.Sent.Load() + 1)
			}
		}
		switch {
		case deaf == 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("of %d of %d subscriptions nothing was heard over there within %v", deaf, f.N, hearIn)
		}
	}
	return ctx.Err()
}

func (f *Fleet) measure(ctx context.Context) (*Result, error) {
	if len(f.To) > 0 {
		if err := f.hear(ctx); err != nil {
			return nil, err
		}
	}
	f.Go()
	if !pause(ctx, f.Warmup) {
		return nil, ctx.Err()
	}
	start := time.Now()
	for _, d := range f.devices() {
		d.measureFrom(start)
	}
	if f.During != nil {
		f.During()
	}
	before := f.received()
	if !pause(ctx, f.For) {
		return nil, ctx.Err()
	}
	rate := float64(f.received()-before) / time.Since(start).Seconds()
	if f.AtEnd != nil {
		f.AtEnd()
	}
	f.Settle(ctx)
	r := f.Result()
	r.PerSecond = rate
	return r, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *Fleet) devices() (list []*Device) {
	for _, d := range append(f.Publishers[:len(f.Publishers):len(f.Publishers)], f.Subscribers...) {
		if d != nil {
			list = append(list, d)
		}
	}
	return list
}

func (f *Fleet) received() (n uint64) {
	for _, s := range f.Streams {
		n += s.Received.Load()
	}
	return n
}

// Go lets the publishers send: at the rate, or as fast as they can.
func (f *Fleet) Go() {
	if f.Rate == 0 {
		for _, p := range f.Publishers {
			p.Allow(math.MaxUint64)
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.halt = cancel
	start := time.Now()
	step := time.Duration(float64(time.Second) / f.Rate)
	sent := make([]uint64, f.N) // by hear
	for i, p := range f.Publishers {
		sent[i] = f.Streams[i].Sent.Load()
		p.paced(func(n uint64) time.Time { return start.Add(time.Duration((n-sent[i])*uint64(f.N)+uint64(i)) * step) })
	}
	f.pace.Go(func() {
		for k := uint64(0); ; k++ {
			if d := time.Until(start.Add(time.Duration(k) * step)); d > 0 && !pause(ctx, d) || ctx.Err() != nil {
				return
			}
			i := k % uint64(f.N)
			f.Publishers[i].Allow(sent[i] + k/uint64(f.N) + 1)
		}
	})
}

func (d *Device) paced(due func(uint64) time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = due
}

// Settle stops the publishers and waits until all that is acknowledged has
// arrived, or does not any more.
func (f *Fleet) Settle(ctx context.Context) {
	f.halt()
	f.pace.Wait()
	for _, p := range f.Publishers {
		p.Halt()
	}
	for end := time.Now().Add(cmp.Or(f.Patience, drainIn)); time.Now().Before(end) && !f.settled(); {
		if !pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}

func (f *Fleet) settled() bool {
	for _, s := range f.Streams {
		if sent := s.Sent.Load(); s.Acked.Load() < sent || s.Received.Load() < sent {
			return false
		}
	}
	return true
}

// MeasureFrom drops the latencies so far, and those of what was due before.
func (f *Fleet) MeasureFrom(t time.Time) {
	for _, d := range f.devices() {
		d.measureFrom(t)
	}
}

// Latency is from when messages were due to their arrival, as of now.
func (f *Fleet) Latency() (h Histogram) {
	for _, d := range f.devices() {
		d.mu.Lock()
		h.Merge(&d.lat)
		d.mu.Unlock()
	}
	return h
}

// Result stops the devices and adds up what they know.
func (f *Fleet) Result() *Result {
	f.Stop()
	r := &Result{}
	for _, s := range f.Streams {
		r.Add(s)
	}
	for _, d := range f.devices() {
		d.mu.Lock()
		r.Acks.Merge(&d.acks)
		r.Latency.Merge(&d.lat)
		r.Forgotten += d.lostState
		d.mu.Unlock()
	}
	return r
}

// Stop disconnects all devices.
func (f *Fleet) Stop() {
	f.halt()
	f.pace.Wait()
	list := f.devices()
	each(len(list), func(i int) { list[i].Stop() })
}
