package load

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Storm is devices with sessions to keep that all come at once: for the first
// time, and then again at another node while their first connections stand.
type Storm struct {
	Name     string
	From, To []string // addresses, taken in turn
	N        int
	At       int // connecting at the same time
}

// Stormed is what came of it.
type Stormed struct {
	First, TakenOver float64 // a second
	Wait             Histogram
	Forgotten        int // taken over without a session
}

// Run lets the storm loose.
func (s Storm) Run(ctx context.Context) (*Stormed, error) {
	out := &Stormed{}
	first, err := s.wave(ctx, s.From, nil)
	defer first.stop()
	if err != nil {
		return nil, err
	}
	out.First = first.perSecond
	second, err := s.wave(ctx, s.To, &out.Wait)
	defer second.stop()
	if err != nil {
		return nil, err
	}
	out.TakenOver = second.perSecond
	for _, d := range second.devices {
		if !d.present() {
			out.Forgotten++
		}
	}
	return out, nil
}

type wave struct {
	devices   []*Device
	perSecond float64
}

func (w *wave) stop() {
	for _, d := range w.devices {
		if d != nil {
			d.Stop()
		}
	}
}

func (s Storm) wave(ctx context.Context, addrs []string, wait *Histogram) (*wave, error) {
	w := &wave{devices: make([]*Device, s.N)}
	next := make(chan int, s.N)
	for i := range s.N {
		next <- i
	}
	close(next)
	var mu sync.Mutex
	var failed error // one of possibly thousands
	var wg sync.WaitGroup
	start := time.Now()
	for range s.At {
		wg.Go(func() {
			for i := range next {
				began := time.Now()
				d, err := Start(ctx, Options{Addr: addrs[i%len(addrs)], ID: fmt.Sprintf("%s-%d", s.Name, i)})
				mu.Lock()
				w.devices[i] = d
				failed = cmp.Or(err, failed)
				if wait != nil {
					wait.Add(time.Since(began))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	w.perSecond = float64(s.N) / time.Since(start).Seconds()
	return w, failed
}
