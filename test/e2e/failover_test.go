package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"causeway/internal/trial"
	"causeway/test/outage"
)

// twoRegions is eu and us, each a standby of the other's home, with a load balancer each, and a fleet of devices that
// has its sessions in eu and goes to us when eu does not answer.
type twoRegions struct {
	*fleetOutage
	t  *testing.T
	tr *trial.Trial
	o  standbyOptions
}

type standbyOptions struct {
	nodes   int    // of each region
	witness bool   // a third vote
	section string // of takeover
	extra   string // of each node's file
	fleet   outage.Options
	change  func(*trial.Options)
}

func newTwoRegions(t *testing.T, so standbyOptions) *twoRegions {
	t.Helper()
	o := trial.Options{Nodes: so.nodes, Balance: true, Extra: func(string) string { return so.extra },
		Takeover: &trial.Takeover{StandbyOf: map[string][]string{"eu": {"us"}, "us": {"eu"}}, Section: so.section}}
	if so.witness {
		o.Takeover.Witnesses = []string{"w1"}
	}
	if so.change != nil {
		so.change(&o)
	}
	x := &twoRegions{t: t, tr: start(t, o), o: so}
	// A home is served without a lease until its standbys are in its log; then it waits for the first one, not ready.
	x.awaitHome("eu", "serve with a lease", func(h *trial.Home) bool { return len(h.Standbys) > 0 && h.Serves() })
	x.awaitHome("us", "be a complete copy", func(h *trial.Home) bool { return h.Role == "standby" })
	await(t, "the load balancers to see all nodes", func() bool {
		return !slices.ContainsFunc(x.tr.Fronts, func(f *trial.Front) bool { return f.Up() != len(x.tr.Region(f.Region)) })
	})
	so.fleet.Addrs = []string{x.tr.Front("eu").MQTT, x.tr.Front("us").MQTT}
	x.fleetOutage = newOutage(t, so.fleet)
	return x
}

func (x *twoRegions) awaitHome(region, what string, ok func(*trial.Home) bool) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := x.tr.AwaitHome(ctx, region, "eu", what, ok); err != nil {
		x.t.Fatal(err)
	}
}

// follows waits until a region has all that another one acknowledged of eu's home, or nearly: under load the host is
// always a little ahead.
func (x *twoRegions) follows(standby, host string) {
	x.t.Helper()
	x.awaitHome(host, "ship to "+standby, func(h *trial.Home) bool { return h.Follows(standby, 200) })
}

// lose kills all of eu under load, as a loss of power of the whole region does, and waits until us serves its home, by
// itself or since it is told to.
func (x *twoRegions) lose() outage.Marks {
	x.t.Helper()
	x.follows("us", "eu")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	watched := make(chan trial.Watched, 1)
	failed := make(chan error, 1)
	x.Loss()
	x.tr.Kill("eu")
	go func() {
		w, err := x.tr.Watch(ctx, "us", "eu")
		failed <- err
		watched <- w
	}()
	if !x.o.witness {
		await(x.t, "us to agree that eu is gone", func() bool {
			_, code := causeway(x.t, "", "", "ctl", "--socket", x.tr.Node("us").Socket(), "region", "failover", "eu", "--dry-run")
			return code == 0
		})
		x.order("us", "failover", "eu", "--confirm", "eu")
	}
	if err := <-failed; err != nil {
		x.t.Fatal(err)
	}
	w := <-watched
	return outage.Marks{Detected: w.Detected, Decided: w.Decided, Promoted: w.Promoted}
}

// order has an operator ask a region for something; it must be done.
func (x *twoRegions) order(region string, args ...string) {
	x.t.Helper()
	ctl(x.t, x.tr.Node(region), append([]string{"region"}, args...)...)
}

// moves has one region hand eu's home to the other, and waits for the devices there.
func (x *twoRegions) moves(from, to string) {
	x.t.Helper()
	args := []string{"switchover", "eu", "--to", to, "--confirm", "eu"}
	if to == "eu" {
		args = []string{"failback", "eu", "--confirm", "eu"}
	}
	x.follows(to, from)
	x.Loss()
	x.Point(x.tr.Front(to).MQTT) // as a hook has DNS do it: from would park who comes
	x.order(from, args...)
	x.awaitHome(to, "serve", (*trial.Home).Serves)
	if missing := x.settled(x.t); missing > 0 {
		x.t.Errorf("%d messages are missing after the home went to %s", missing, to)
	}
}

func (x *twoRegions) judge(r *outage.Report, planned bool) {
	x.t.Helper()
	for _, b := range r.Broken(planned) {
		x.t.Error(b)
	}
}

// comesBack starts eu again and waits until its own home stands by there, from a copy that us sent or what it has.
func (x *twoRegions) comesBack() {
	x.t.Helper()
	if err := x.tr.StartRegion("eu"); err != nil {
		x.t.Fatal(err)
	}
	x.awaitHome("eu", "stand by", func(h *trial.Home) bool { return h.Role == "standby" && h.Host == "us" })
	x.follows("eu", "us")
}

// The whole way: eu dies under load and an operator has us take over; eu comes back, what only it had is reconciled, and
// its home goes back. All devices are served again each time with their sessions, no will is published, and in the end
// everything that was ever acknowledged has arrived, and everything that was sent is acknowledged.
func TestFailover_Manual(t *testing.T) {
	x := newTwoRegions(t, standbyOptions{nodes: 1, section: "down_after: 3s", fleet: outage.Options{Name: "manual", Pairs: 20, Rate: 200, Patience: 15 * time.Second}})
	x.published(t, 200)
	m := x.lose()
	unavailable := x.settled(t)
	t.Log(x.Report("eu was killed, us took over", m, unavailable))
	x.comesBack()
	late := x.reconcile() // what was sent between the count of those and the end of eu is in it, too
	x.moves("us", "eu")
	x.published(t, 200)
	x.judge(x.finish(t, "eu is back and serves", outage.Marks{}, max(unavailable, late)), false)
}

// eu's home goes to us and back under load: no device waits long, nothing is lost, nothing comes twice at QoS 2, and all
// stays in order.
func TestSwitchover_ThereAndBack(t *testing.T) {
	x := newTwoRegions(t, standbyOptions{nodes: 1, section: "down_after: 3s", fleet: outage.Options{Name: "planned", Pairs: 20, Rate: 200}})
	x.published(t, 200)
	x.moves("eu", "us")
	there := x.Report("the home went to us", outage.Marks{}, 0)
	t.Log(there)
	x.moves("us", "eu")
	x.judge(x.finish(t, "and back", outage.Marks{}, 0), true)
}
