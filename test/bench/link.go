package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"causeway/internal/load"
)

// crossing is a load from devices of one region to devices of another.
type crossing struct {
	name   string
	qos    byte
	rate   float64 // of all pairs; 0: what there is room for
	json   bool    // telemetry of vehicles in place of 256 bytes
	window int
}

var (
	linkQoS1 = crossing{name: "QoS 1, 20 pairs, 1,280 in flight", qos: 1, window: 64}
	linkQoS0 = crossing{name: "QoS 0, 20 pairs, 1,280 under way", qos: 0, window: 64}
	linkSlow = crossing{name: "QoS 1 at 1,000 a second", qos: 1, rate: 1000, window: 64}
	linkJSON = crossing{name: "JSON telemetry at 1,000 a second", qos: 1, rate: 1000, window: 64, json: true}
	linkIdle = "idle link: CPU of both sides"
)

// link compares two linked regions with a mosquitto bridge and NATS leaf nodes.
func (b *bench) link(ctx context.Context) error {
	for range b.rounds {
		for _, p := range b.pairs() {
			fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), p.name)
			x, err := p.start(ctx)
			if err != nil {
				return err
			}
			err = b.linkRound(ctx, x)
			x.stop()
			if err != nil {
				return err
			}
		}
	}
	b.linkGoals()
	return nil
}

func (b *bench) linkRound(ctx context.Context, x *broker) error {
	if b.loads.MatchString(linkIdle) {
		if err := b.linkRest(ctx, x); err != nil {
			return err
		}
	}
	for _, c := range []crossing{linkQoS1, linkQoS0, linkSlow, linkJSON} {
		if !b.loads.MatchString(c.name) {
			continue
		}
		if err := b.cross(ctx, x, c); err != nil {
			return fmt.Errorf("%s, %s: %w", x.name, c.name, err)
		}
	}
	return nil
}

// linkRest measures what a link costs that nothing crosses.
func (b *bench) linkRest(ctx context.Context, x *broker) error {
	if !wait(ctx, 2*time.Second) { // what a start leaves to be done
		return ctx.Err()
	}
	before, err := x.probe()
	if err != nil {
		return err
	}
	start := time.Now()
	if !wait(ctx, b.length) {
		return ctx.Err()
	}
	after, err := x.probe()
	if err != nil {
		return err
	}
	b.report.add(linkIdle, x.name, "% of a core", 100*float64(after.cpu-before.cpu)/float64(time.Since(start)))
	return nil
}

// cross runs one load over one pair.
func (b *bench) cross(ctx context.Context, x *broker, c crossing) error {
	p := load.Pairs{Name: "link/" + b.name(), Addrs: x.addrs, To: x.to, N: 20, QoS: c.qos, Window: c.window, Payload: 256, Rate: c.rate,
		Warmup: 1500 * time.Millisecond, For: b.length}
	if c.json {
		p.Body = func(pair int) func(uint64, []byte) []byte { return load.Telemetry{Vehicle: pair}.Append }
	}
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
		return err
	}
	received := res.PerSecond * b.length.Seconds()
	add := func(what, unit string, v float64) { b.report.add(c.name+": "+what, x.name, unit, v) }
	if c.rate == 0 {
		add("received", "/s", res.PerSecond)
	} else {
		add("p50", "ms", ms(res.Latency.Quantile(0.5)))
		add("p99", "ms", ms(res.Latency.Quantile(0.99)))
	}
	if x.trial != nil && c.rate > 0 {
		add("commit p50, of both homes", "ms", 1000*after.commits.minus(before.commits).quantile(0.5))
	}
	add("CPU of both sides per 100,000", "s", (after.cpu-before.cpu).Seconds()/received*100_000)
	if c.json && x.trial != nil {
		raw := after.bytes["raw"] - before.bytes["raw"]
		add("a message, topic and all", "B", raw/received)
		add("frames", "% of it", 100*(after.bytes["wire"]-before.bytes["wire"])/raw)
		add("all that the transport sent", "% of it", 100*(after.bytes["transport"]-before.bytes["transport"])/raw)
	}
	// SUBACK does not wait for the other region, and a busy machine may take longer
	// than the load waits.
	b.report.total("sent before a subscription was heard of over there", x.name, res.Unheard)
	if res.Lost -= res.Unheard; res.Lost > 0 {
		x.whereTheyAre()
	}
	b.ledger(x, &res.Sums)
	return nil
}

// linkGoals holds the medians to the goals: one node a region, unless it says so.
func (b *bench) linkGoals() {
	r := &b.report
	of := func(c crossing, what string) string { return c.name + ": " + what }
	r.ratio("QoS 1 over the link: 1.5 times a mosquitto bridge, which keeps it in memory", of(linkQoS1, "received"), mosquittoBridge, 1.5)
	r.ratio("QoS 0 over the link: at least a NATS leaf node", of(linkQoS0, "received"), natsLeaf, 1)
	r.below("p50 at 1,000 a second: below 2 ms", of(linkSlow, "p50"), 2)
	r.belowOf(oursThree, "p50 at 1,000 a second, three nodes a region: below 8 ms", of(linkSlow, "p50"), 8)
	r.atMost("CPU per 100,000 messages at 1,000 a second: at most a NATS leaf node's", of(linkSlow, "CPU of both sides per 100,000"), natsLeaf)
	r.atMost("CPU per 100,000 messages under load: at most a NATS leaf node's", of(linkQoS1, "CPU of both sides per 100,000"), natsLeaf)
	r.below("JSON telemetry: frames at most 25 % of its bytes", of(linkJSON, "frames"), 25)
	r.below("JSON telemetry: all that the transport sent at most 25 %", of(linkJSON, "all that the transport sent"), 25)
	r.below("nothing acknowledged is lost", "lost though acknowledged", 0)
}
