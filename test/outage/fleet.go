package outage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"causeway/internal/load"
)

// Options of a fleet.
type Options struct {
	Name  string   // of topics and client ids
	Addrs []string // of the regions, in the order in which a device tries them
	Pairs int      // a publisher and its subscriber each, half of them at QoS 1 and half at QoS 2
	Rate  float64  // messages a second of all together
	// Window is how many messages of a publisher are under way; 16.
	Window  int
	Payload int // bytes
	// Patience bounds the wait for what is under way at the end; a minute.
	Patience time.Duration
	// Redial is what a device waits before it comes back; 100 ms.
	Redial time.Duration
}

// Fleet is the devices.
type Fleet struct {
	*load.Fleet
	wills *load.Device // gets all wills

	lost  time.Time // since Loss
	marks []uint64  // of each pair, how much was sent by then
	conns []uint64  // of each publisher, the number of its connection then
}

// Start connects all devices and lets them publish.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{}
	if err := f.watchWills(ctx, &o); err != nil {
		return nil, err
	}
	p := load.Pairs{Name: o.Name, Addrs: o.Addrs[:1], N: o.Pairs, Window: cmp.Or(o.Window, 16), Payload: o.Payload, Rate: o.Rate, Patience: o.Patience}
	var err error
	f.Fleet, err = p.Start(ctx, func(i int, pub, sub *load.Options) {
		for _, d := range []*load.Options{pub, sub} {
			d.QoS, d.Reconnect, d.Redial = qos(i), true, o.redial()
		}
		pub.Will = fmt.Sprintf("%s-wills/%d", o.Name, i)
	})
	if err != nil {
		f.wills.Stop()
		return nil, err
	}
	f.Point(o.Addrs...) // not before: a session that is new is made wherever the device comes
	f.Go()
	return f, nil
}

func (o *Options) redial() time.Duration { return cmp.Or(o.Redial, 100*time.Millisecond) }

// qos is that of a pair.
func qos(pair int) byte { return byte(1 + pair%2) }

func (f *Fleet) watchWills(ctx context.Context, o *Options) (err error) {
	w := load.Options{Addr: o.Addrs[0], ID: o.Name + "-wills", Filter: o.Name + "-wills/#", QoS: 1,
		Reconnect: true, Redial: o.redial(), Streams: map[uint32]*load.Stream{}}
	for i := range o.Pairs {
		w.Streams[load.WillOf(uint32(i))] = &load.Stream{}
	}
	f.wills, err = load.Start(ctx, w)
	return err
}

// Point has all devices try other addresses from their next connection on, as when DNS is changed.
func (f *Fleet) Point(addrs ...string) {
	for _, d := range append(f.Devices(), f.wills) {
		d.Move(addrs[0], addrs[1:]...)
	}
}

// FalseWills is how many publishers' wills came of the connections that ended by the loss. A later connection may end
// by other doing, a load balancer's say, and its will is none.
func (f *Fleet) FalseWills() (n uint64) {
	for i, c := range f.conns {
		if f.wills.Got(load.WillOf(uint32(i)), c) {
			n++
		}
	}
	return n
}

// Loss says that the region is lost now, or the switchover begins: what is reported counts from here.
func (f *Fleet) Loss() {
	f.marks, f.conns = f.marks[:0], f.conns[:0]
	for i, s := range f.Streams {
		connects, _, _ := f.Publishers[i].History()
		f.marks, f.conns = append(f.marks, s.Sent.Load()), append(f.conns, uint64(connects-1))
	}
	for _, d := range f.Devices() {
		d.Watch()
	}
	f.lost = time.Now()
}

// Acked is how many messages were acknowledged so far.
func (f *Fleet) Acked() (n uint64) {
	for _, s := range f.Streams {
		n += s.Acked.Load()
	}
	return n
}

// Served says when those of the devices were served again that lost their connection since the loss.
func (f *Fleet) Served() *load.Served { return load.ServedSince(f.lost, f.Devices()...) }

// AwaitServed waits until all devices have lost their connection since the loss and are served again.
func (f *Fleet) AwaitServed(ctx context.Context) error {
	for {
		s := f.Served()
		if s.Away == 0 && len(s.After) == len(f.Devices()) {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%d of %d devices were served again, %d are away, one of them: %v: %w", len(s.After), len(f.Devices()), s.Away, f.stray(), err)
		}
	}
}

// stray is a device that was not served since the loss, in words.
func (f *Fleet) stray() string {
	for _, d := range f.Devices() {
		if s := load.ServedSince(f.lost, d); len(s.After) == 0 {
			return d.String()
		}
	}
	return ""
}

// AwaitPassed waits until each subscriber has got something that was sent after the loss: what was sent before, and is
// not there by then, is not on its way in order. It says how much of it was acknowledged.
func (f *Fleet) AwaitPassed(ctx context.Context) (missing uint64, err error) {
	for {
		n, passed := f.Missing(f.marks)
		if passed {
			return n, nil
		}
		if err := pause(ctx); err != nil {
			return n, fmt.Errorf("subscribers wait for what was sent after the loss: %w", err)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(10 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Gaps are the longest times that each device was without an acknowledgement or an arrival since the loss, sorted.
func (f *Fleet) Gaps() (list []time.Duration) {
	for _, d := range f.Devices() {
		list = append(list, d.Gap())
	}
	slices.Sort(list)
	return list
}

// Stop disconnects all devices.
func (f *Fleet) Stop() {
	f.Fleet.Stop()
	f.wills.Stop()
}
