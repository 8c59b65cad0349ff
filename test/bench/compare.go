package main

import (
	"context"
	"fmt"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
)

// workload is pairs of devices with sessions to keep, QoS 1, 256 bytes.
type workload struct {
	name   string
	n      int
	window int
	rate   float64
}

var (
	full   = workload{"16 pairs, 1,024 in flight", 16, 64, 0}
	single = workload{"64 pairs, one in flight", 64, 1, 0}
	slow   = workload{"100 pairs at 2,000 a second", 100, 64, 2000}
)

// load compares throughput and latency.
func (b *bench) load(ctx context.Context) error {
	for range b.rounds {
		for _, start := range b.brokers() {
			x, err := start(ctx)
			if err != nil {
				return err
			}
			for _, w := range []workload{full, single, slow} {
				if err := b.one(ctx, x, w); err != nil {
					x.stop()
					return err
				}
			}
			x.stop()
		}
	}
	r := &b.report
	per := func(w workload) string { return w.name + ": received" }
	r.ratio("1,024 in flight: at least NATS not synced", per(full), natsLazy, 1)
	r.ratio("1,024 in flight: 5 times NATS synced", per(full), natsSynced, 5)
	r.above("1,024 in flight: 25,000 a second", per(full), 25_000)
	r.ratio("64 pairs, one in flight: 3 times NATS not synced", per(single), natsLazy, 3)
	r.below("commit p50 at 2,000 a second: under 5 ms", slow.name+": commit p50", 5)
	r.below("commit p50 at 64 in flight: under 12 ms", single.name+": commit p50", 12)
	r.below("nothing acknowledged is lost", "lost though acknowledged", 0)
	return nil
}

// one runs one workload on one broker.
func (b *bench) one(ctx context.Context, x *broker, w workload) error {
	p := load.Pairs{Name: b.name(), Addrs: x.addrs, N: w.n, QoS: 1, Window: w.window, Payload: 256, Rate: w.rate, Warmup: 2 * time.Second, For: b.length}
	var before, after probe
	var failed error
	p.During = func() { before, failed = x.probe() }
	p.AtEnd = func() {
		if failed == nil {
			after, failed = x.probe()
		}
	}
	res, err := p.Run(ctx)
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %w", x.name, w.name, err)
	}
	add := func(what, unit string, v float64) { b.report.add(w.name+": "+what, x.name, unit, v) }
	add("received", "/s", res.PerSecond)
	add("p50, publisher to subscriber", "ms", ms(res.Latency.Quantile(0.5)))
	add("p99, publisher to subscriber", "ms", ms(res.Latency.Quantile(0.99)))
	add("PUBACK p50", "ms", ms(res.Acks.Quantile(0.5)))
	if x.trial != nil {
		add("commit p50", "ms", 1000*after.commits.minus(before.commits).quantile(0.5))
	}
	cpu := (after.cpu - before.cpu).Seconds()
	add("CPU of all nodes per 100,000", "s", cpu/(res.PerSecond*b.length.Seconds())*100_000)
	b.report.add(w.name+": memory of all nodes", x.name, "MiB", float64(after.rss)/(1<<20))
	b.ledger(x, &res.Sums)
	return nil
}

// ledger notes what should be nothing.
func (b *bench) ledger(x *broker, s *load.Sums) {
	b.report.total("lost though acknowledged", x.name, s.Lost)
	b.report.total("doubled", x.name, s.Doubled)
	b.report.total("out of order", x.name, s.Reordered)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// offline compares filling and draining the queues of subscribers that are away.
func (b *bench) offline(ctx context.Context) error {
	for range b.rounds {
		for _, start := range b.brokers() {
			x, err := start(ctx)
			if err != nil {
				return err
			}
			res, err := load.Drain{Name: b.name(), Addrs: x.addrs, N: 10, Queued: 100_000, Window: 64, Payload: 256}.Run(ctx)
			x.stop()
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			b.report.add("100,000 queued offline: filled", x.name, "/s", res.Filled)
			b.report.add("100,000 queued offline: drained", x.name, "/s", res.Drained)
			b.ledger(x, &res.Sums)
		}
	}
	b.report.above("100,000 offline messages drained: 60,000 a second", "100,000 queued offline: drained", 60_000)
	return nil
}

// storm measures how fast sessions attach.
func (b *bench) storm(ctx context.Context) error {
	for range b.rounds {
		x, err := b.region(ctx, trial.Options{})
		if err != nil {
			return err
		}
		from, to := x.addrs, append(x.addrs[1:3:3], x.addrs[0])
		res, err := load.Storm{Name: b.name(), From: from, To: to, N: 6000, At: 256}.Run(ctx)
		x.stop()
		if err != nil {
			return err
		}
		b.report.add("sessions made", ours, "/s", res.First)
		b.report.add("sessions taken over by another node", ours, "/s", res.TakenOver)
		b.report.add("… p50 from dial to CONNACK", ours, "ms", ms(res.Wait.Quantile(0.5)))
		b.report.add("… p99 from dial to CONNACK", ours, "ms", ms(res.Wait.Quantile(0.99)))
		b.report.total("… forgotten", ours, uint64(res.Forgotten))
	}
	b.report.above("attach with take-over: 3,000 a second", "sessions taken over by another node", 3000)
	b.report.below("no session is forgotten", "… forgotten", 0)
	return nil
}
