package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
	"causeway/test/outage"
)

// standby is two regions of three nodes, each a standby of the other's home, a witness, a load balancer for each
// region, and a fleet of devices that has its sessions in eu and knows the addresses of both.
type standby struct {
	*bench
	trial *trial.Trial
	fleet *outage.Fleet
}

const (
	outagePairs = 250 // 500 devices, half of them at QoS 1 and half at QoS 2
	outageRate  = 2000
	outageIn    = 2 * time.Minute // bounds each wait
)

// withStandby lays out and starts the regions. More than three nodes a region are none: a standby is as large.
func (b *bench) withStandby(ctx context.Context, o trial.Options, balance bool) (*standby, error) {
	if balance && !trial.Balancer() {
		return nil, errors.New("haproxy is missing: run make deps")
	}
	o.Dir, o.Binary, o.Regions, o.Nodes, o.Balance = filepath.Join(b.dir, b.name()), b.binary, []string{"eu", "us"}, 3, balance
	o.Ports, o.Front = fixedPorts, func(region int) int { return fixedPorts(region, frontPort).MQTT }
	if o.Takeover == nil {
		o.Takeover = &trial.Takeover{Witnesses: []string{"w1"}, Section: "mode: auto, down_after: 5s"}
	}
	o.Takeover.StandbyOf = map[string][]string{"eu": {"us"}, "us": {"eu"}}
	t, err := trial.New(o)
	if err != nil {
		return nil, err
	}
	s := &standby{bench: b, trial: t}
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	if err := s.start(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// fixedPorts are below those that connections of this machine are given.
func fixedPorts(region, node int) trial.Ports {
	at := 21000 + 200*region + 10*node
	return trial.Ports{MQTT: at, WebSocket: at + 1, Link: at + 2, Metrics: at + 3, Gossip: at + 4, Streams: at + 5, Balanced: at + 6}
}

const frontPort = 19 // as if it were a node

// start waits until a failover could succeed.
func (s *standby) start(ctx context.Context) error {
	if err := s.trial.Start(); err != nil {
		return err
	}
	if err := s.trial.WaitReady(ctx); err != nil {
		return err
	}
	// A home is served without a lease until its standbys are in its log; then it waits for the first one.
	err := s.await(ctx, "eu", "serve with a lease", func(h *trial.Home) bool { return len(h.Standbys) > 0 && h.Serves() })
	if err != nil {
		return err
	}
	if err := s.await(ctx, "us", "be a complete copy", func(h *trial.Home) bool { return h.Role == "standby" }); err != nil {
		return err
	}
	if len(s.trial.Fronts) == 0 {
		return nil
	}
	return s.untilUp(ctx, "eu", "us")
}

func (s *standby) stop() {
	if s.fleet != nil {
		s.fleet.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopIn)
	defer cancel()
	if err := s.trial.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if !s.keep {
		_ = os.RemoveAll(filepath.Dir(s.trial.Nodes[0].Dir))
	}
}

func (s *standby) await(ctx context.Context, region, what string, ok func(*trial.Home) bool) error {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	return s.trial.AwaitHome(ctx, region, "eu", what, ok)
}

// untilUp waits until the load balancers of regions send devices to all nodes.
func (s *standby) untilUp(ctx context.Context, regions ...string) error {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	for slices.ContainsFunc(regions, func(r string) bool { return s.trial.Front(r).Up() < len(s.trial.Region(r)) }) {
		if !wait(ctx, 10*time.Millisecond) {
			return fmt.Errorf("the load balancers of %v do not see all nodes", regions)
		}
	}
	return nil
}

// follows waits until a region has nearly all that another one acknowledged of eu's home.
func (s *standby) follows(ctx context.Context, standby, host string) error {
	return s.await(ctx, host, "ship to "+standby, func(h *trial.Home) bool { return h.Follows(standby, 200) })
}

// load starts the devices.
func (s *standby) load(ctx context.Context) (err error) {
	s.fleet, err = outage.Start(ctx, outage.Options{Name: s.name(), Addrs: []string{s.trial.Front("eu").MQTT, s.trial.Front("us").MQTT},
		Pairs: outagePairs, Rate: outageRate, Payload: 256, Patience: 20 * time.Second})
	return err
}

// order has an operator tell a node something.
func order(ctx context.Context, n *trial.Node, binary string, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, append([]string{"ctl", "--socket", n.Socket()}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ctl %s at %s: %w: %s", strings.Join(args, " "), n.Name, err, out)
	}
	return nil
}

// outage kills all of eu under load, lets us take over by votes, lets eu come back, reconciles, and fails back.
func (b *bench) outage(ctx context.Context) error {
	s, err := b.withStandby(ctx, trial.Options{}, true)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.load(ctx); err != nil {
		return err
	}
	for range b.rounds {
		if err := s.loseAndReturn(ctx); err != nil {
			return err
		}
	}
	s.fleet.Settle(ctx)
	s.finally("a region is lost, with the way back")
	r := &b.report
	r.below("a region is lost: 99 % of devices served within 7 s of the kill", lost+"99 % of devices served", 7)
	r.below("a region is lost: nothing is lost after reconciliation", lost+"missing after reconciliation", 0)
	r.below("failback: longest gap of 99 % of devices under 1 s", back+"longest gap, p99 of devices", 1)
	r.below("failback: nothing is missing", back+"missing", 0)
	return nil
}

const (
	lost = "a region is lost: "
	back = "failback: "
)

func (s *standby) loseAndReturn(ctx context.Context) error {
	if !wait(ctx, 3*time.Second) {
		return ctx.Err()
	}
	if err := s.follows(ctx, "us", "eu"); err != nil {
		return err
	}
	before := s.fleet.Sums(nil)
	s.fleet.Loss()
	type seen struct {
		trial.Watched
		error
	}
	watched := make(chan seen, 1)
	s.trial.Kill("eu")
	go func() {
		w, err := s.trial.Watch(ctx, "us", "eu")
		watched <- seen{w, err}
	}()
	w := <-watched
	if w.error != nil {
		return w.error
	}
	unavailable, err := s.settled(ctx)
	if err != nil {
		return err
	}
	rep := s.fleet.Report("eu was killed, us took over", outage.Marks{Detected: w.Detected, Decided: w.Decided, Promoted: w.Promoted}, unavailable)
	rep.Lost = unavailable // the rest is under way
	fmt.Fprintln(os.Stderr, rep)
	s.times(lost, rep)
	s.add(lost+"unavailable until reconcile", "", float64(unavailable))

	returned := time.Now()
	if err := s.trial.StartRegion("eu"); err != nil {
		return err
	}
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	missing, err := s.arrived(ctx)
	if err != nil {
		return err
	}
	s.add(lost+"from its return until all is reconciled", "s", time.Since(returned).Seconds())
	s.add(lost+"missing after reconciliation", "", float64(missing))
	after := s.fleet.Sums(nil)
	s.add(lost+"doubled", "", float64(after.Doubled-before.Doubled))
	return s.move(ctx, back, "us", "eu")
}

// reconcile lets what eu still held go to us, if it held anything.
func (s *standby) reconcile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	for {
		for _, n := range s.trial.Region("eu") {
			var d struct {
				State    string
				Messages int
			}
			if n.Get(ctx, "/v1/homes/eu/divergence", &d) == nil && d.State == "pending" {
				fmt.Fprintf(os.Stderr, "divergence of eu: %+v\n", d)
				if err := order(ctx, n, s.binary, "reconcile", "approve", "eu", "--yes"); err != nil {
					fmt.Fprintln(os.Stderr, "bench: once more:", err) // what was sent stays sent
				}
			}
		}
		h, err := s.trial.Home(ctx, "us", "eu")
		if err == nil && h.Follows("eu", 200) {
			return nil
		}
		if !wait(ctx, 50*time.Millisecond) {
			return fmt.Errorf("eu does not follow us again: %+v: %w", h, errors.Join(err, ctx.Err()))
		}
	}
}

// arrived waits until what was missing at the loss has come, for some seconds, and says what has not.
func (s *standby) arrived(ctx context.Context) (missing uint64, err error) {
	for end := time.Now().Add(10 * time.Second); ; {
		missing, err = s.fleet.AwaitPassed(ctx)
		if err != nil || missing == 0 || time.Now().After(end) {
			return missing, err
		}
		if !wait(ctx, 20*time.Millisecond) {
			return missing, ctx.Err()
		}
	}
}

// settled waits until the fleet is served again and says what of before the loss is missing.
func (s *standby) settled(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	if err := s.fleet.AwaitServed(ctx); err != nil {
		return 0, err
	}
	return s.fleet.AwaitPassed(ctx)
}

// move has eu's home handed from one region to the other under load.
func (s *standby) move(ctx context.Context, what, from, to string) error {
	if !wait(ctx, 3*time.Second) {
		return ctx.Err()
	}
	if err := s.follows(ctx, to, from); err != nil {
		return err
	}
	if err := s.ready(ctx, from, to); err != nil {
		return err
	}
	before := s.fleet.Sums(nil)
	s.fleet.Loss()
	s.fleet.Point(s.trial.Front(to).MQTT) // as a hook has DNS do it
	if err := order(ctx, s.trial.Node(from), s.binary, "region", "switchover", "eu", "--to", to, "--confirm", "eu"); err != nil {
		return err
	}
	if err := s.await(ctx, to, "serve", (*trial.Home).Serves); err != nil {
		return err
	}
	missing, err := s.settled(ctx)
	if err != nil {
		return err
	}
	rep := s.fleet.Report("the home went from "+from+" to "+to, outage.Marks{}, missing)
	rep.Lost = missing // the rest is under way
	fmt.Fprintln(os.Stderr, rep)
	after := s.fleet.Sums(nil)
	s.add(what+"longest gap, median of devices", "s", rep.GapP50.Seconds())
	s.add(what+"longest gap, p99 of devices", "s", rep.GapP99.Seconds())
	s.add(what+"longest gap of all", "s", rep.GapMax.Seconds())
	s.add(what+"missing", "", float64(missing))
	s.add(what+"doubled", "", float64(after.Doubled-before.Doubled))
	return nil
}

// ready waits until a switchover would not be refused: on a busy machine the other region may be without a leader now.
func (s *standby) ready(ctx context.Context, from, to string) error {
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	for {
		err := order(ctx, s.trial.Node(from), s.binary, "region", "switchover", "eu", "--to", to, "--dry-run")
		if err == nil {
			return nil
		}
		if !wait(ctx, 500*time.Millisecond) {
			return err
		}
	}
}

// switchover moves a home there and back under load.
func (b *bench) switchover(ctx context.Context) error {
	s, err := b.withStandby(ctx, trial.Options{}, true)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.load(ctx); err != nil {
		return err
	}
	const what = "switchover: "
	for range b.rounds {
		for _, way := range [][2]string{{"eu", "us"}, {"us", "eu"}} {
			if err := s.move(ctx, what, way[0], way[1]); err != nil {
				return err
			}
		}
	}
	s.fleet.Settle(ctx)
	s.finally("switchovers, there and back")
	r := &b.report
	r.below("switchover: longest gap of 99 % of devices under 1 s", what+"longest gap, p99 of devices", 1)
	r.below("switchover: nothing is missing", what+"missing", 0)
	r.below("switchover: nothing comes twice", what+"doubled", 0)
	return nil
}

// times notes when devices were served again.
func (s *standby) times(what string, r *outage.Report) {
	for _, v := range []struct {
		name string
		d    time.Duration
	}{
		{"detected", r.Detect}, {"decided", r.Decide}, {"promoted", r.Promote}, {"first device served", r.First},
		{"50 % of devices served", r.P50}, {"95 % of devices served", r.P95}, {"99 % of devices served", r.P99}, {"99.9 % of devices served", r.P999},
	} {
		if v.d >= 0 {
			s.add(what+v.name, "s", v.d.Seconds())
		}
	}
}

// finally reports on all that the fleet sent and got, whose load has ended.
func (s *standby) finally(what string) {
	rep := s.fleet.Report(what, outage.Marks{}, 0)
	fmt.Fprintln(os.Stderr, rep)
	s.report.total(what+": sent", ours, rep.Sent)
	s.report.total(what+": finally lost", ours, rep.Lost)
	s.report.total(what+": doubled at QoS 1", ours, rep.DoubledQoS1)
	s.report.total(what+": doubled at QoS 2", ours, rep.DoubledQoS2)
	s.report.total(what+": sessions forgotten", ours, uint64(rep.Forgotten))
	s.report.total(what+": false wills", ours, rep.FalseWills)
	s.report.below(what+": finally nothing is lost", what+": finally lost", 0)
}

func (s *standby) add(what, unit string, v float64) { s.report.add(what, ours, unit, v) }

// shipping measures what it costs to ship a home, on both sides: the same load without a standby and with one, in turn.
func (b *bench) shipping(ctx context.Context) error {
	for range b.rounds {
		alone, err := b.shippingRound(ctx, false)
		if err != nil {
			return err
		}
		shipped, err := b.shippingRound(ctx, true)
		if err != nil {
			return err
		}
		add := func(what string, v float64) {
			b.report.add("shipping at 2,000 a second: "+what, ours, "% of a core", v)
		}
		add("the host's region alone", alone.host)
		add("the host's region, shipping", shipped.host)
		add("the standby's region, following", shipped.standby-alone.standby)
		add("both sides, beyond the region alone", shipped.host+shipped.standby-alone.host-alone.standby)
		b.report.add("shipping at 2,000 a second: both sides, times the region's own replication", ours, "",
			(shipped.host+shipped.standby-alone.host-alone.standby)/alone.host)
	}
	b.report.below("shipping costs at most what the region's own replication does", "shipping at 2,000 a second: both sides, times the region's own replication", 1)
	return nil
}

// shares are what two regions use, in percent of a core.
type shares struct{ host, standby float64 }

func (b *bench) shippingRound(ctx context.Context, ship bool) (shares, error) {
	o := trial.Options{}
	if !ship {
		o.Takeover = &trial.Takeover{}
	}
	s, err := b.shippingRegions(ctx, o, ship)
	if err != nil {
		return shares{}, err
	}
	defer s.stop()
	var nodes [2][]int
	for _, n := range s.trial.Nodes {
		i := 0
		if n.Region == "us" {
			i = 1
		}
		nodes[i] = append(nodes[i], n.PID())
	}
	var before, after [2]time.Duration
	read := func(into *[2]time.Duration) func() {
		return func() {
			for i, pids := range nodes {
				list, e := load.UsageOf(pids...)
				if e != nil {
					err = e
				}
				into[i] = 0
				for _, u := range list {
					into[i] += u.CPU
				}
			}
		}
	}
	p := load.Pairs{Name: b.name(), Addrs: []string{s.trial.Front("eu").MQTT}, N: outagePairs, QoS: 1, Window: 16, Payload: 256, Rate: outageRate,
		Warmup: 2 * time.Second, For: b.length, During: read(&before), AtEnd: read(&after)}
	if _, e := p.Run(ctx); e != nil {
		return shares{}, e
	}
	share := func(i int) float64 { return 100 * float64(after[i]-before[i]) / float64(b.length) }
	return shares{share(0), share(1)}, err
}

// shippingRegions are two linked regions, of which the second has a copy of the first's home or has none.
func (b *bench) shippingRegions(ctx context.Context, o trial.Options, ship bool) (*standby, error) {
	if ship {
		return b.withStandby(ctx, o, true)
	}
	o.Ports, o.Front = fixedPorts, func(region int) int { return fixedPorts(region, frontPort).MQTT }
	o.Dir, o.Binary, o.Regions, o.Nodes, o.Balance, o.Takeover = filepath.Join(b.dir, b.name()), b.binary, []string{"eu", "us"}, 3, true, nil
	t, err := trial.New(o)
	if err != nil {
		return nil, err
	}
	s := &standby{bench: b, trial: t}
	ctx, cancel := context.WithTimeout(ctx, outageIn)
	defer cancel()
	if err = t.Start(); err == nil {
		if err = t.WaitReady(ctx); err == nil {
			err = s.untilUp(ctx, "eu")
		}
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}
