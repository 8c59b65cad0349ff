package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
)

// A fleet of devices with sessions to keep, and a subscription each, loses its region at once.
const (
	stormRedial  = time.Second // as most clients do, without jitter
	stormDialers = 128
	// stormAdmission is what each of three nodes lets in here: half of what all of them attach a second on two cores.
	stormAdmission = "1300/s"
	// What goes on at the surviving region meanwhile.
	calmPairs = 50
	calmRate  = 500
)

const stormName = "15,000 sessions lose their region: "

// fleet kills a region whose devices all come to its standby, where others are served already.
func (b *bench) fleet(ctx context.Context) error {
	for range b.rounds {
		if err := b.fleetRound(ctx); err != nil {
			return err
		}
	}
	r := &b.report
	r.above("15,000 sessions come back: 3,000 attaches a second", stormName+"attaches a second, from the promotion to 95 %", 3000)
	r.below("15,000 sessions come back: p99 of established devices at most twice as before", stormName+"established devices' p99, times before", 2)
	r.below("no leader of the surviving region changes", stormName+"leaderships that began in the surviving region", 0)
	r.below("no session is forgotten", stormName+"sessions forgotten", 0)
	return nil
}

func (b *bench) fleetRound(ctx context.Context) error {
	// Without load balancers: two sockets for each device are more than one process may have here.
	s, err := b.withStandby(ctx, trial.Options{Takeover: &trial.Takeover{Witnesses: []string{"w1"},
		Section: "mode: auto, down_after: 5s, admission: " + stormAdmission}}, false)
	if err != nil {
		return err
	}
	defer s.stop()
	eu, us := addressesOf(s.trial.Region("eu")), addressesOf(s.trial.Region("us"))
	devices, err := b.comeFirst(ctx, eu, us)
	defer stopAll(devices)
	if err != nil {
		return err
	}
	calm, err := load.Pairs{Name: b.name(), Addrs: us, N: calmPairs, QoS: 1, Window: 16, Payload: 256, Rate: calmRate}.Start(ctx)
	if err != nil {
		return err
	}
	defer calm.Stop()
	calm.Go()
	if !wait(ctx, 5*time.Second) {
		return ctx.Err()
	}
	calm.MeasureFrom(time.Now())
	if !wait(ctx, 5*time.Second) {
		return ctx.Err()
	}
	before := calm.Latency()
	return s.storm(ctx, devices, calm, before.Quantile(0.99))
}

func addressesOf(nodes []*trial.Node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.MQTT)
	}
	return list
}

// comeFirst makes the sessions, in eu. From then on the devices know where us is, too.
func (b *bench) comeFirst(ctx context.Context, eu, us []string) ([]*load.Device, error) {
	devices := make([]*load.Device, b.devices)
	name := b.name()
	next := make(chan int)
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for range stormDialers {
		wg.Go(func() {
			for i := range next {
				d, err := load.Start(ctx, load.Options{Addr: eu[i%3], ID: fmt.Sprintf("%s-%d", name, i), Filter: fmt.Sprintf("%s/%d", name, i), QoS: 1,
					Reconnect: true, Redial: stormRedial, Buffer: 512})
				mu.Lock()
				devices[i], failed = d, cmp.Or(failed, err)
				mu.Unlock()
			}
		})
	}
	for i := range devices {
		next <- i
	}
	close(next)
	wg.Wait()
	for i, d := range devices {
		d.Move(eu[i%3], us[i%3])
	}
	return devices, failed
}

func stopAll(devices []*load.Device) {
	var wg sync.WaitGroup
	for part := range slices.Chunk(devices, 1+len(devices)/stormDialers) {
		wg.Go(func() {
			for _, d := range part {
				if d != nil {
					d.Stop()
				}
			}
		})
	}
	wg.Wait()
}

// storm kills eu and measures until all devices are back.
func (s *standby) storm(ctx context.Context, devices []*load.Device, calm *load.Fleet, p99 time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	if err := s.follows(ctx, "us", "eu"); err != nil {
		return err
	}
	var pids []int
	for _, n := range s.trial.Region("us") {
		pids = append(pids, n.PID())
	}
	used, err := usage(pids)
	if err != nil {
		return err
	}
	offices, err := s.offices("us")
	if err != nil {
		return err
	}
	lost := time.Now()
	calm.MeasureFrom(lost)
	s.trial.Kill("eu")
	watched := make(chan trial.Watched, 1)
	failed := make(chan error, 1)
	go func() {
		w, err := s.trial.Watch(ctx, "us", "eu")
		failed <- err
		watched <- w
	}()
	queue := s.watchQueues(ctx)
	if err := <-failed; err != nil {
		return err
	}
	w := <-watched
	var back []time.Duration
	for len(back) < len(devices) {
		if !wait(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%d of %d devices are back: %w", len(back), len(devices), ctx.Err())
		}
		back = backSince(lost, devices)
	}
	most := queue()
	during := calm.Latency()
	after, err := usage(pids)
	if err != nil {
		return err
	}
	now, err := s.offices("us")
	if err != nil {
		return err
	}
	slices.Sort(back)
	at := func(q float64) time.Duration { return back[int(q*float64(len(back)-1)+0.5)] }
	promoted := w.Promoted.Sub(lost)
	add := func(what, unit string, v float64) { s.add(stormName+what, unit, v) }
	add("promoted", "s", promoted.Seconds())
	add("50 % of devices back", "s", at(0.5).Seconds())
	add("95 % of devices back", "s", at(0.95).Seconds())
	add("99.9 % of devices back", "s", at(0.999).Seconds())
	add("attaches a second, from the promotion to 95 %", "/s", 0.95*float64(len(back))/(at(0.95)-promoted).Seconds())
	add("established devices' p99 before", "ms", ms(p99))
	add("established devices' p99 until all are back", "ms", ms(during.Quantile(0.99)))
	add("established devices' p99, times before", "", float64(during.Quantile(0.99))/float64(p99))
	add("most in a node's queue before TLS", "", float64(most.Waiting))
	add("most parked at a node", "", float64(most.Parked))
	add("CPU of the surviving region", "s", (after.CPU - used.CPU).Seconds())
	add("memory of the surviving region", "MiB", float64(after.RSS)/(1<<20))
	add("leaderships that began in the surviving region", "", float64(now-offices))
	forgotten := 0
	for _, d := range devices {
		_, n, _ := d.History()
		forgotten += n
	}
	s.report.total(stormName+"sessions forgotten", ours, uint64(forgotten))
	fmt.Fprintf(os.Stderr, "promoted after %s, devices back 50%% %s, 95%% %s, 99.9%% %s\n", promoted.Round(time.Millisecond), at(0.5).Round(time.Millisecond),
		at(0.95).Round(time.Millisecond), at(0.999).Round(time.Millisecond))
	return nil
}

// offices is how many leaderships began in a region, as its nodes say: of its homes, and of its votes.
func (s *standby) offices(region string) (n int, err error) {
	for _, node := range s.trial.Region(region) {
		log, err := os.ReadFile(node.LogFile())
		if err != nil {
			return 0, err
		}
		n += bytes.Count(log, []byte("this node leads the home"))
	}
	return n, nil
}

func usage(pids []int) (sum load.Usage, err error) {
	list, err := load.UsageOf(pids...)
	for _, u := range list {
		sum.CPU += u.CPU
		sum.RSS += u.RSS
	}
	return sum, err
}

// backSince is after how long devices were answered that lost their connection since a moment.
func backSince(lost time.Time, devices []*load.Device) (list []time.Duration) {
	for _, d := range devices {
		_, _, losses := d.History()
		for _, l := range losses {
			if !l.At.Before(lost) && !l.Back.IsZero() {
				list = append(list, l.Back.Sub(lost))
				break
			}
		}
	}
	return list
}

// queues is who waited at a node.
type queues struct{ Waiting, Parked int }

// watchQueues looks at the nodes of us until the function is called, which says the most that waited at one.
func (s *standby) watchQueues(ctx context.Context) func() queues {
	ctx, cancel := context.WithCancel(ctx)
	var most queues
	var looking sync.WaitGroup
	looking.Go(func() {
		for wait(ctx, 100*time.Millisecond) {
			for _, n := range s.trial.Region("us") {
				var st struct{ Admission queues }
				if n.Get(ctx, "/v1/status", &st) == nil {
					most.Waiting, most.Parked = max(most.Waiting, st.Admission.Waiting), max(most.Parked, st.Admission.Parked)
				}
			}
		}
	})
	return func() queues {
		cancel()
		looking.Wait()
		return most
	}
}
