package load

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Drain is a number of subscribers that are away while messages are queued for
// them, and then come back.
type Drain struct {
	Name    string
	Addrs   []string
	N       int    // of subscribers, with a publisher each
	Queued  uint64 // messages, of all together
	Window  int
	Payload int
	// Between is called once all is queued, if it is set.
	Between func(context.Context) error
}

// Drained is what came of it.
type Drained struct {
	Sums
	Filled, Drained float64 // messages a second
	Timeout         bool    // not all came
}

// quiet is after how long without a message no more is expected.
const quiet = 20 * time.Second

// Run fills the queues and empties them.
func (d Drain) Run(ctx context.Context) (*Drained, error) {
	f, err := Pairs{Name: d.Name, Addrs: d.Addrs, N: d.N, QoS: 1, Window: d.Window, Payload: d.Payload}.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer f.Stop()
	each(d.N, func(i int) { f.Subscribers[i].Stop() })
	out := &Drained{}
	if out.Filled, err = d.fill(ctx, f); err != nil {
		return nil, err
	}
	each(d.N, func(i int) { f.Publishers[i].Stop() })
	if d.Between != nil {
		if err := d.Between(ctx); err != nil {
			return nil, err
		}
	}
	if err := d.empty(ctx, f, out); err != nil {
		return nil, err
	}
	out.Sums = f.Result().Sums
	return out, nil
}

func (d Drain) fill(ctx context.Context, f *Fleet) (perSecond float64, err error) {
	each64 := d.Queued / uint64(d.N)
	start := time.Now()
	for _, p := range f.Publishers {
		p.Allow(each64)
	}
	var acked, last uint64
	for since := time.Now(); acked < each64*uint64(d.N); last = acked {
		if !pause(ctx, 2*time.Millisecond) {
			return 0, ctx.Err()
		}
		acked = 0
		for _, s := range f.Streams {
			acked += s.Acked.Load()
		}
		if acked != last {
			since = time.Now()
		} else if time.Since(since) > quiet {
			return 0, fmt.Errorf("only %d of %d messages were acknowledged", acked, d.Queued)
		}
	}
	return float64(acked) / time.Since(start).Seconds(), nil
}

func (d Drain) empty(ctx context.Context, f *Fleet, out *Drained) error {
	var newest atomic.Int64
	start := time.Now()
	for i := range f.Subscribers {
		o := f.Subscribers[i].Options
		o.OnMessage = func(_ uint32, at time.Time) { newest.Store(int64(at.Sub(start))) }
		s, err := Start(ctx, o)
		if err != nil {
			return err
		}
		f.Subscribers[i] = s
	}
	want := d.Queued / uint64(d.N) * uint64(d.N)
	for f.received() < want {
		if time.Since(start)-time.Duration(newest.Load()) > quiet {
			out.Timeout = true
			break
		}
		if !pause(ctx, 2*time.Millisecond) {
			return ctx.Err()
		}
	}
	took := time.Duration(newest.Load()).Seconds()
	out.Drained = float64(f.received()) / math.Max(took, 1e-3)
	return nil
}
