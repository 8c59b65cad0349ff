package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
)

// idle measures what a region costs that has nothing to do.
func (b *bench) idle(ctx context.Context) error {
	x, err := b.region(ctx, trial.Options{})
	if err != nil {
		return err
	}
	defer x.stop()
	if !wait(ctx, 5*time.Second) { // what a start leaves to be done
		return ctx.Err()
	}
	lead, err := leader(ctx, x.trial)
	if err != nil {
		return err
	}
	for range b.rounds {
		before, err := load.UsageOf(x.pids...)
		if err != nil {
			return err
		}
		start := time.Now()
		if !wait(ctx, 15*time.Second) {
			return ctx.Err()
		}
		after, err := load.UsageOf(x.pids...)
		if err != nil {
			return err
		}
		took := time.Since(start)
		followers := 0.0
		for i, n := range x.trial.Nodes {
			share := 100 * float64(after[i].CPU-before[i].CPU) / float64(took)
			if n == lead {
				b.report.add("idle: the leader", ours, "% of a core", share)
			} else {
				followers = max(followers, share)
			}
		}
		b.report.add("idle: the busier follower", ours, "% of a core", followers)
	}
	b.report.below("idle leader: under 3 % of a core", "idle: the leader", 3)
	b.report.below("idle follower: under 3 % of a core", "idle: the busier follower", 3)
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// leader finds the node that leads a region.
func leader(ctx context.Context, t *trial.Trial) (*trial.Node, error) {
	for {
		for _, n := range t.Nodes {
			var c struct{ Leader string }
			if !n.Running() || n.Get(ctx, "/v1/cluster", &c) != nil {
				continue
			}
			for _, l := range t.Nodes {
				if l.Name == c.Leader && l.Running() {
					return l, nil
				}
			}
		}
		if !wait(ctx, 10*time.Millisecond) {
			return nil, errors.New("the region has no leader")
		}
	}
}

// clock is how long nothing happened, at the longest, since it was started.
type clock struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (c *clock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.longest = time.Now(), 0
}

func (c *clock) tick(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() && at.After(c.last) {
		c.longest = max(c.longest, at.Sub(c.last))
		c.last = at
	}
}

func (c *clock) stop() time.Duration {
	c.tick(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.longest
}

// failover kills the leader under load from devices at the other nodes and
// measures for how long nothing is committed.
func (b *bench) failover(ctx context.Context) error {
	x, err := b.region(ctx, trial.Options{})
	if err != nil {
		return err
	}
	defer x.stop()
	for range max(b.rounds, 5) {
		if err := b.killLeader(ctx, x); err != nil {
			return err
		}
	}
	b.report.below("kill of the leader to the first commit: under 1 s", "kill of the leader: longest time without a commit", 1)
	return nil
}

func (b *bench) killLeader(ctx context.Context, x *broker) error {
	lead, err := leader(ctx, x.trial)
	if err != nil {
		return err
	}
	var others []string
	for _, n := range x.trial.Nodes {
		if n != lead {
			others = append(others, n.MQTT)
		}
	}
	var c clock
	f, err := load.Pairs{Name: b.name(), Addrs: others, N: 16, QoS: 1, Window: 1, Payload: 256}.Start(ctx,
		func(_ int, pub, _ *load.Options) { pub.OnAck = c.tick })
	if err != nil {
		return err
	}
	defer f.Stop()
	f.Go()
	if !wait(ctx, time.Second) {
		return ctx.Err()
	}
	c.start()
	lead.Kill()
	if !wait(ctx, 3*time.Second) {
		return ctx.Err()
	}
	b.report.add("kill of the leader: longest time without a commit", ours, "s", c.stop().Seconds())
	f.Settle(ctx)
	b.ledger(x, &f.Result().Sums)
	return b.restart1(ctx, lead)
}

// restart1 starts a node and waits until it is ready.
func (b *bench) restart1(ctx context.Context, n *trial.Node) error {
	if err := n.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	return n.WaitReady(ctx, 0)
}

// restart measures how long a node takes to be ready with a million messages in
// its state, after it was stopped and after it was killed.
func (b *bench) restart(ctx context.Context) error {
	x, err := b.region(ctx, trial.Options{Extra: func(string) string {
		return "limits: { queue_messages: 2000000, queue_bytes: 4GiB }\n"
	}})
	if err != nil {
		return err
	}
	defer x.stop()
	d := load.Drain{Name: b.name(), Addrs: x.addrs, N: 10, Queued: 1_000_000, Window: 512, Payload: 256}
	d.Between = func(ctx context.Context) error {
		node := x.trial.Nodes[2]
		for range b.rounds {
			for _, how := range []string{"killed", "stopped"} {
				if how == "killed" {
					node.Kill()
				} else if err := b.stop(ctx, node); err != nil {
					return err
				}
				start := time.Now()
				if err := b.restart1(ctx, node); err != nil {
					return err
				}
				b.report.add("1,000,000 queued: a node that was "+how+" is ready after", ours, "s", time.Since(start).Seconds())
			}
		}
		return nil
	}
	res, err := d.Run(ctx)
	if err != nil {
		return err
	}
	b.report.add("1,000,000 queued offline: filled", ours, "/s", res.Filled)
	b.report.add("1,000,000 queued offline: drained", ours, "/s", res.Drained)
	b.ledger(x, &res.Sums)
	for _, how := range []string{"killed", "stopped"} {
		b.report.below("restart with 1,000,000 queued, "+how+": under 10 s", "1,000,000 queued: a node that was "+how+" is ready after", 10)
	}
	return nil
}

func (b *bench) stop(ctx context.Context, n *trial.Node) error {
	ctx, cancel := context.WithTimeout(ctx, stopIn)
	defer cancel()
	return n.Stop(ctx)
}

// behind starts 200 devices with sessions to keep, at QoS 1 and 2, behind the
// load balancer of a region of three nodes, with spare ones that are not started.
func (b *bench) behind(ctx context.Context, spares int) (*broker, *load.Fleet, error) {
	if !trial.Balancer() {
		return nil, nil, errors.New("haproxy is missing: run make deps")
	}
	x, err := b.region(ctx, trial.Options{Spares: spares, Balance: true})
	if err != nil {
		return nil, nil, err
	}
	if err := b.untilUp(ctx, x, 3); err != nil {
		x.stop()
		return nil, nil, err
	}
	p := load.Pairs{Name: b.name(), Addrs: []string{x.trial.Front("eu").MQTT}, N: 100, Window: 8, Payload: 256, Rate: 1000}
	f, err := p.Start(ctx, func(i int, pub, sub *load.Options) {
		pub.QoS, sub.QoS = byte(1+i%2), byte(1+i%2)
		pub.Reconnect, sub.Reconnect = true, true
	})
	if err != nil {
		x.stop()
		return nil, nil, err
	}
	f.Go()
	return x, f, nil
}

// untilUp waits until the load balancer sends devices to n nodes.
func (b *bench) untilUp(ctx context.Context, x *broker, n int) error {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	for x.trial.Front("eu").Up() != n {
		if !wait(ctx, 10*time.Millisecond) {
			return fmt.Errorf("the load balancer does not see %d nodes", n)
		}
	}
	return nil
}

// untilServes waits until the load balancer sends devices to a node.
func (b *bench) untilServes(ctx context.Context, x *broker, n *trial.Node) error {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	for {
		if up, check := x.trial.Front("eu").Server(n.Name); up {
			return nil
		} else if !wait(ctx, 10*time.Millisecond) {
			return fmt.Errorf("the load balancer does not see %s: %s", n.Name, check)
		}
	}
}

// kills kills each node in turn, the last one also loses its disk.
func (b *bench) kills(ctx context.Context) error {
	x, f, err := b.behind(ctx, 0)
	if err != nil {
		return err
	}
	defer x.stop()
	defer f.Stop()
	var resumes load.Histogram
	for i, n := range x.trial.Nodes {
		if !wait(ctx, 7*time.Second) {
			return ctx.Err()
		}
		killed := time.Now()
		n.Kill()
		if i == 2 {
			if err := n.Wipe(); err != nil {
				return err
			}
		}
		if !wait(ctx, 7*time.Second) {
			return ctx.Err()
		}
		resumed(f, killed, &resumes)
		if err := b.restart1(ctx, n); err != nil {
			return err
		}
		if err := b.untilUp(ctx, x, 3); err != nil {
			return err
		}
	}
	if !wait(ctx, 7*time.Second) {
		return ctx.Err()
	}
	f.Settle(ctx)
	res := f.Result()
	b.ledger(x, &res.Sums)
	b.fleetLedger("each node killed", res)
	b.report.add("each node killed: devices that resumed", ours, "", float64(resumes.Count()))
	b.report.add("each node killed: p50 from the kill to the next message", ours, "s", resumes.Quantile(0.5).Seconds())
	b.report.add("each node killed: p99 from the kill to the next message", ours, "s", resumes.Quantile(0.99).Seconds())
	b.report.add("each node killed: longest", ours, "s", resumes.Max().Seconds())
	b.report.below("each node killed: resumed in under 1 s (p99)", "each node killed: p99 from the kill to the next message", 1)
	return nil
}

// fleetLedger holds a fleet to its promises; doubled counts only at QoS 2, and is
// never more than what came twice at QoS 1.
func (b *bench) fleetLedger(what string, res *load.Result) {
	b.report.add(what+": sessions forgotten", ours, "", float64(res.Forgotten))
	b.report.below(what+": nothing lost", "lost though acknowledged", 0)
	b.report.below(what+": nothing out of order", "out of order", 0)
	b.report.below(what+": no session forgotten", what+": sessions forgotten", 0)
}

// resumed adds how long after a moment the subscribers that lost their connection
// since then got a message again.
func resumed(f *load.Fleet, since time.Time, h *load.Histogram) {
	for _, s := range f.Subscribers {
		_, _, losses := s.History()
		for _, l := range losses {
			if l.At.Before(since) {
				continue
			}
			if l.Message.IsZero() {
				l.Message = time.Now() // still waiting: at least that
			}
			h.Add(l.Message.Sub(since))
		}
	}
}

// rolling restarts all nodes in turn, as for an upgrade.
func (b *bench) rolling(ctx context.Context) error {
	for _, surge := range []bool{false, true} {
		if err := b.rollOnce(ctx, surge); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) rollOnce(ctx context.Context, surge bool) error {
	what, spares, most := "rolling restart", 0, 2.0
	if surge {
		what, spares, most = "rolling restart with a fourth node", 1, 1
	}
	x, f, err := b.behind(ctx, spares)
	if err != nil {
		return err
	}
	defer x.stop()
	defer f.Stop()
	if surge {
		if err := b.restart1(ctx, x.trial.Spares[0]); err != nil {
			return err
		}
		if err := b.untilUp(ctx, x, 3+spares); err != nil {
			return err
		}
	}
	front := x.trial.Front("eu")
	if surge { // nobody goes where it would have to leave again
		for _, n := range x.trial.Nodes {
			if err := front.Drain(n.Name, true); err != nil {
				return err
			}
		}
	}
	for _, n := range x.trial.Nodes {
		if !wait(ctx, 3*time.Second) {
			return ctx.Err()
		}
		if err := b.stop(ctx, n); err != nil {
			return err
		}
		if surge {
			if err := front.Drain(n.Name, false); err != nil {
				return err
			}
		}
		if err := b.restart1(ctx, n); err != nil {
			return err
		}
		if err := b.untilServes(ctx, x, n); err != nil {
			return err
		}
	}
	if !wait(ctx, 3*time.Second) {
		return ctx.Err()
	}
	f.Settle(ctx)
	res := f.Result()
	var resumes load.Histogram
	reconnects := 0
	for _, d := range slices.Concat(f.Publishers, f.Subscribers) {
		connects, _, losses := d.History()
		reconnects = max(reconnects, connects-1)
		for _, l := range losses {
			if !l.Message.IsZero() {
				resumes.Add(l.Message.Sub(l.At))
			}
		}
	}
	b.ledger(x, &res.Sums)
	b.fleetLedger(what, res)
	b.report.add(what+": most reconnects of a device", ours, "", float64(reconnects))
	b.report.add(what+": p99 from the loss of a connection to the next message", ours, "s", resumes.Quantile(0.99).Seconds())
	b.report.add(what+": longest", ours, "s", resumes.Max().Seconds())
	b.report.below(fmt.Sprintf("%s: no device reconnects more than %.0f times", what, most), what+": most reconnects of a device", most)
	b.report.below(what+": each under 1 s", what+": longest", 1)
	return nil
}
