package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
)

// A fleet of devices with sessions to keep, and a subscription each, loses its region at once.
const (
	stormRedial  = time.Second // as most clients do, without jitter
	stormDialers = 128
)

const stormName = "15,000 sessions lose their region: "

// fleet kills a region whose devices all come to its standby, where others are served already: once for each pace.
func (b *bench) fleet(ctx context.Context) error {
	for i, pace := range strings.Split(b.pace, ",") {
		column := ours
		if i > 0 {
			column = pace + "/s a node"
		}
		for range b.rounds {
			if err := b.fleetRound(ctx, column, pace+"/s"); err != nil {
				return err
			}
		}
	}
	r := &b.report
	r.above("15,000 sessions come back: 3,000 attaches a second", stormName+"attaches a second, from the promotion to 95 %", 3000)
	r.below("15,000 sessions come back: p99 of established devices at most twice as before", stormName+"established devices' p99, times before", 2)
	r.below("no leader of the surviving region changes", stormName+"leaderships that began in the surviving region", 0)
	r.below("no session is forgotten", stormName+"sessions forgotten", 0)
	return nil
}

func (b *bench) fleetRound(ctx context.Context, column, pace string) error {
	// Without load balancers: two sockets for each device are more than one process may have here.
	s, err := b.withStandby(ctx, trial.Options{Takeover: &trial.Takeover{Witnesses: []string{"w1"},
		Section: "mode: auto, down_after: 5s, admission: " + pace}}, false)
	if err != nil {
		return err
	}
	defer s.stop()
	eu, us := addressesOf(s.trial.Region("eu")), addressesOf(s.trial.Region("us"))
	var came atomic.Int64
	devices, err := b.comeFirst(ctx, eu, us, func(seen load.Seen) {
		if seen.What == load.Connected {
			came.Add(1)
		}
	})
	defer stopAll(devices)
	if err != nil {
		return err
	}
	calm, err := establish(ctx, b.name(), us)
	if err != nil {
		return err
	}
	defer calm.stop()
	if !wait(ctx, 5*time.Second) {
		return ctx.Err()
	}
	if _, err := calm.since(); err != nil {
		return err
	}
	if !wait(ctx, 5*time.Second) {
		return ctx.Err()
	}
	before, err := calm.since()
	if err != nil {
		return err
	}
	return s.storm(ctx, column, devices, came.Load, calm, before)
}

func addressesOf(nodes []*trial.Node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.MQTT)
	}
	return list
}

// comeFirst makes the sessions, in eu. From then on the devices know where us is, too.
func (b *bench) comeFirst(ctx context.Context, eu, us []string, trace func(load.Seen)) ([]*load.Device, error) {
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
					Reconnect: true, Redial: stormRedial, Buffer: 512, Trace: trace})
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
func (s *standby) storm(ctx context.Context, column string, devices []*load.Device, came func() int64, calm *established, before waited) error {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	if err := s.follows(ctx, "us", "eu"); err != nil {
		return err
	}
	offices, err := s.offices("us")
	if err != nil {
		return err
	}
	lost, first := time.Now(), came()
	s.trial.Kill("eu")
	if _, err := calm.since(); err != nil {
		return err
	}
	failed := make(chan error, 1)
	var w trial.Watched
	go func() {
		var err error
		w, err = s.trial.Watch(ctx, "us", "eu")
		failed <- err
	}()
	queue := s.watchQueues(ctx)
	if err := <-failed; err != nil {
		return err
	}
	parked, err := calm.since()
	if err != nil {
		return err
	}
	began := time.Now()
	used, err := s.spent(calm)
	if err != nil {
		return err
	}
	var back []time.Duration
	for len(back) < len(devices) {
		if !wait(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d of %d devices are back: %w", len(back), len(devices), ctx.Err())
		}
		if came()-first >= int64(len(devices)) { // asking all of them takes a while
			back = backSince(lost, devices)
		}
	}
	during, err := calm.since()
	if err != nil {
		return err
	}
	now, err := s.spent(calm)
	if err != nil {
		return err
	}
	took := time.Since(began)
	most := queue()
	leaders, err := s.offices("us")
	if err != nil {
		return err
	}
	slices.Sort(back)
	at := func(q float64) time.Duration { return back[int(q*float64(len(back)-1)+0.5)] }
	promoted := w.Promoted.Sub(lost)
	add := func(what, unit string, v float64) { s.report.add(stormName+what, column, unit, v) }
	add("promoted", "s", promoted.Seconds())
	add("50 % of devices back", "s", at(0.5).Seconds())
	add("95 % of devices back", "s", at(0.95).Seconds())
	add("99.9 % of devices back", "s", at(0.999).Seconds())
	add("attaches a second, from the promotion to 95 %", "/s", 0.95*float64(len(back))/(at(0.95)-promoted).Seconds())
	for _, v := range []struct {
		when string
		waited
	}{{"before", before}, {"until the promotion", parked}, {"from the promotion until all are back", during}} {
		add("established devices' p50 "+v.when, "ms", ms(v.P50))
		add("established devices' p99 "+v.when, "ms", ms(v.P99))
		add("p99 of how late a process that sleeps is woken "+v.when, "ms", ms(v.Late99))
	}
	add("established devices' p99, times before", "", float64(during.P99)/float64(before.P99))
	add("most in a node's queue before TLS", "", float64(most.Waiting))
	add("most parked at a node", "", float64(most.Parked))
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / took.Seconds() / float64(runtime.NumCPU()) }
	add("of the CPUs used by the surviving region, from the promotion on", "%", share(now.region-used.region))
	add("of the CPUs used by who comes", "%", share(now.fleet-used.fleet))
	add("of the CPUs used by the established devices", "%", share(now.calm-used.calm))
	add("of the CPUs used by all", "%", share(now.all-used.all))
	add("CPU of the surviving region an attach", "ms", ms(now.region-used.region)/float64(len(devices)))
	add("leaderships that began in the surviving region", "", float64(leaders-offices))
	forgotten := 0
	for _, d := range devices {
		_, n, _ := d.History()
		forgotten += n
	}
	s.report.total(stormName+"sessions forgotten", column, uint64(forgotten))
	fmt.Fprintf(os.Stderr, "%s: promoted after %s, devices back 50%% %s, 95%% %s, 99.9%% %s\n", column, promoted.Round(time.Millisecond), at(0.5).Round(time.Millisecond),
		at(0.95).Round(time.Millisecond), at(0.999).Round(time.Millisecond))
	return nil
}

// spending is the CPU time of all that takes part.
type spending struct{ region, fleet, calm, all time.Duration }

func (s *standby) spent(calm *established) (spending, error) {
	pids := []int{os.Getpid(), calm.cmd.Process.Pid}
	for _, n := range s.trial.Region("us") {
		pids = append(pids, n.PID())
	}
	list, err := load.UsageOf(pids...)
	if err != nil {
		return spending{}, err
	}
	all, err := busy()
	if err != nil {
		return spending{}, err
	}
	out := spending{fleet: list[0].CPU, calm: list[1].CPU, all: all}
	for _, u := range list[2:] {
		out.region += u.CPU
	}
	return out, nil
}

// busy is the CPU time that the machine has used: what is more than of those who take part is somebody else's.
func busy() (sum time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 && i < 8 { // idle, waiting for a disk; guests count as others do
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum, nil
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
		for wait(ctx, 500*time.Millisecond) {
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
