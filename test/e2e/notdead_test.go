package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/trial"
	"causeway/test/outage"
)

// cables are the relays that two regions, and a witness, see each other by.
type cables map[[2]string]*relay

func (c cables) via(t *testing.T) func(*trial.Options) {
	return func(o *trial.Options) {
		o.LinkVia = func(from, to, address string) string {
			k := [2]string{from, to}
			if c[k] == nil {
				c[k] = newRelay(t, address)
			}
			return c[k].addr()
		}
	}
}

// isolate cuts a region off from all others, but not from its devices.
func (c cables) isolate(region string) {
	for k, r := range c {
		if k[0] == region || k[1] == region {
			r.cut()
		}
	}
}

func (c cables) heal() {
	for _, r := range c {
		r.heal()
	}
}

// The lost region is not dead: it is cut off from the other and from the witness, and keeps its devices. Where votes
// decide it stops before the other one begins; what it took until then comes back.
func TestLabNotDead_StopsBeforeTheOtherBegins(t *testing.T) {
	if !*wholeLab {
		t.Skip("make lab runs it, with the long cases")
	}
	c := cables{}
	x := newTwoRegions(t, standbyOptions{nodes: 1, witness: true, section: "mode: auto, down_after: 5s", change: c.via(t),
		fleet: outage.Options{Name: "fenced", Pairs: 10, Rate: 200}})
	x.published(t, 200)
	x.follows("us", "eu")
	x.Loss()
	c.isolate("eu")
	unavailable := x.settled(t)
	var last, first time.Time
	for _, d := range x.Devices() {
		_, _, losses := d.History()
		if l := losses[0]; last.Before(l.Last) {
			last = l.Last
		}
		if l := losses[0]; first.IsZero() || l.Back.Before(first) {
			first = l.Back
		}
	}
	t.Logf("eu served until %s, us %s later", last.Format(time.TimeOnly), first.Sub(last))
	if !last.Before(first) {
		t.Errorf("eu served a device at %s, %s after us began", last, last.Sub(first))
	}
	t.Log(x.Report("eu was cut off and us took over by itself", outage.Marks{}, unavailable))
	c.heal()
	late := x.reconcile()
	x.judge(x.finish(t, "and eu was heard again", outage.Marks{}, max(unavailable, late)), false)
}

// reconcile lets what eu did alone go to us, and says how many messages that was.
func (x *twoRegions) reconcile() (late uint64) {
	x.t.Helper()
	var d struct {
		State    string
		Messages uint64
		Records  uint64
	}
	diverged := false
	await(x.t, "eu to know that it was superseded", func() bool {
		diverged = get(x.t, x.tr.Node("eu"), "/v1/homes/eu/divergence", &d) == nil
		h, err := x.tr.Home(x.t.Context(), "eu", "eu")
		return diverged || err == nil && h.Role == "standby" && h.Host == "us"
	})
	if !diverged {
		return 0 // it has nothing that us lacks, and follows
	}
	x.t.Logf("divergence of eu: %+v", d)
	if d.State == "pending" {
		ctl(x.t, x.tr.Node("eu"), "reconcile", "approve", "eu", "--yes")
	}
	late = d.Messages
	await(x.t, "eu to be reconciled", func() bool {
		err := get(x.t, x.tr.Node("eu"), "/v1/homes/eu/divergence", &d)
		return err == nil && d.State == "done" || err != nil && strings.Contains(err.Error(), "404") // and removed
	})
	return late
}

// Where an operator decides and an isolated host serves on, the lost region goes on with its devices while the other one
// serves them, too: what it accepted alone comes to the sessions in us once it is heard again and reconciled, at QoS 2 once.
func TestLabNotDead_ServesOnAndIsReconciled(t *testing.T) {
	if !*wholeLab {
		t.Skip("make lab runs it, with the long cases")
	}
	const n = 1000
	c := cables{}
	x := newTwoRegions(t, standbyOptions{nodes: 1, section: "mode: manual, isolation: serve, down_after: 3s", change: c.via(t),
		fleet: outage.Options{Name: "alive", Pairs: 2, Rate: 20}})
	eu, us := x.tr.Front("eu").MQTT, x.tr.Front("us").MQTT
	var pubs, subs []*device
	for qos := byte(1); qos <= 2; qos++ {
		topic := fmt.Sprint("alone/", qos)
		subs = append(subs, &device{addr: eu, id: fmt.Sprint("alone-sub-", qos), filter: topic, qos: qos})
		pubs = append(pubs, &device{addr: eu, id: fmt.Sprint("alone-pub-", qos), topic: topic, qos: qos, window: 20})
	}
	away := x.live(subs...)
	await(t, "the subscriptions", func() bool { return subs[0].has() && subs[1].has() })
	away()
	x.published(t, 20)
	x.follows("us", "eu")

	c.isolate("eu")
	defer x.live(pubs...)()
	for _, p := range pubs {
		p.allow(n)
	}
	await(t, "eu to accept everything", func() bool {
		one, _ := pubs[0].progress()
		two, _ := pubs[1].progress()
		return one == n && two == n
	})
	await(t, "us to agree that eu is gone", func() bool {
		_, code := causeway(t, "", "", "ctl", "--socket", x.tr.Node("us").Socket(), "region", "failover", "eu", "--dry-run")
		return code == 0
	})
	x.order("us", "failover", "eu", "--confirm", "eu")
	x.awaitHome("us", "serve", (*trial.Home).Serves)
	x.awaitHome("eu", "serve on alone", (*trial.Home).Serves)
	for _, s := range subs {
		s.addr = us
	}
	defer x.live(subs...)()
	await(t, "the subscribers to be in us", func() bool { return subs[0].there() && subs[1].there() })

	c.heal()
	if late := x.reconcile(); late < 2*n {
		t.Errorf("%d messages came with the reconciliation, of %d that eu accepted alone", late, 2*n)
	}
	await(t, "all that eu accepted alone to come", func() bool { return subs[0].distinct() == n && subs[1].distinct() == n })
	for i, s := range subs {
		settle(fmt.Sprint("QoS ", i+1), pubs[i], s, 0).check(t, n, byte(i+1))
	}
}

// live keeps devices connected until the returned function is called, or the test ends.
func (x *twoRegions) live(devices ...*device) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, d := range devices {
		all.Go(func() { d.run(ctx) })
	}
	end = func() {
		cancel()
		all.Wait()
	}
	x.t.Cleanup(end)
	return end
}
