package e2e

import (
	"context"
	"flag"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
	"causeway/test/lab"
)

// wholeLab asks for the lab's long cases, too.
var wholeLab = flag.Bool("lab", false, "run the long cases of the lab (make lab)")

// ordinary is a path between two clouds.
var ordinary = lab.Conditions{Delay: 20 * time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.001, Rate: 12_500_000}

// wide is regions eu and us as processes in a lab, eu dialling us, with a device in each that
// publishes to one in the other, all the time, at QoS 2.
type wide struct {
	t      *testing.T
	eu, us *lab.Site
	path   lab.Path
	tr     *trial.Trial

	from, to [2]*device // by region that publishes
	names    [2]string
	idle     atomic.Bool // nothing more is published
	stop     context.CancelFunc
	pumps    sync.WaitGroup
	began    time.Time
}

func wideArea(t *testing.T, gateway lab.Gateway, c lab.Conditions) *wide {
	t.Helper()
	n := lab.New(t)
	w := &wide{t: t, eu: n.Site("eu", gateway), us: n.Site("us", lab.Router), names: [2]string{"eu to us", "us to eu"}, began: time.Now()}
	w.path = n.Path(w.eu, w.us)
	w.path.Set(c)
	sites := map[string]*lab.Site{"eu": w.eu, "us": w.us}
	w.tr = start(t, trial.Options{
		Within: func(region string) []string { return sites[region].Exec() },
		Links: func(region string, _ int) trial.Links {
			at := sites[region].Address()
			return trial.Links{Listen: at + ":7444", ListenTCP: at + ":7445", Dial: []string{"udp://" + at + ":7444", "tcp://" + at + ":7445"}}
		},
	})
	w.devices(sites)
	return w
}

// devices starts those of both regions, and the load.
func (w *wide) devices(sites map[string]*lab.Site) {
	t := w.t
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	t.Cleanup(func() { stop(); w.pumps.Wait() })
	device := func(region, id string) *device {
		d := &device{addr: w.tr.Node(region).MQTT, id: id, qos: 2, dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return sites[region].Dial(ctx, addr)
		}}
		return d
	}
	for i, way := range [2][2]string{{"eu", "us"}, {"us", "eu"}} {
		to, from := device(way[1], "sub"), device(way[0], "pub")
		to.filter, from.topic, from.window = fmt.Sprint("lab/", i), fmt.Sprint("lab/", i), 64
		w.to[i], w.from[i] = to, from
		w.pumps.Go(func() { to.run(ctx) })
		await(t, "a subscription", func() bool { to.mu.Lock(); defer to.mu.Unlock(); return to.subscribed })
		await(t, way[0]+" to know what "+way[1]+" wants", func() bool { return w.wants(way[0], way[1]) == 1 })
		w.pumps.Go(func() { from.run(ctx) })
	}
	w.load(ctx)
	w.caughtUp("at the start")
}

// load publishes 250 messages a second in both regions.
func (w *wide) load(ctx context.Context) {
	w.pumps.Go(func() {
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		n := 0
		for {
			select {
			case <-every.C:
			case <-ctx.Done():
				return
			}
			if w.idle.Load() {
				continue
			}
			n += 5
			for _, d := range w.from {
				d.allow(n)
			}
		}
	})
}

// caughtUp waits until messages published from now on arrive in both regions and reports how
// long that took.
func (w *wide) caughtUp(when string) time.Duration {
	w.t.Helper()
	began := time.Now()
	var marks [2]int
	for i, d := range w.from {
		d.mu.Lock()
		marks[i] = max(d.next, d.publish) + 1
		d.mu.Unlock()
	}
	for i := range w.to {
		await(w.t, fmt.Sprintf("%s: messages published %s", w.names[i], when), func() bool { return w.to[i].last() >= marks[i] })
	}
	return time.Since(began)
}

// last is the number of the last message that arrived.
func (d *device) last() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.got) == 0 {
		return 0
	}
	return d.got[len(d.got)-1]
}

// finish ends the load, waits for what is on its way and holds the ledger to the promise.
func (w *wide) finish() {
	w.t.Helper()
	w.freeze()
	for i := range w.from {
		from, to := w.from[i], w.to[i]
		await(w.t, "everything to be acknowledged", func() bool { acked, _ := from.progress(); return acked == from.sent() })
		for until := time.Now().Add(patience); to.distinct() < from.sent() && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond) // what is not there by then the ledger calls lost
		}
	}
	time.Sleep(500 * time.Millisecond) // what is doubled would come now
	for i := range w.from {
		settle(w.names[i], w.from[i], w.to[i], time.Since(w.began)).check(w.t, w.from[i].sent(), 2)
	}
	w.t.Logf("the emulator: carried %+v, dropped %s", w.path.Carried(), w.path.Dropped())
}

// freeze ends the load: what the devices may send stays as it is.
func (w *wide) freeze() {
	for _, d := range w.from {
		d.mu.Lock()
		d.frozen = true
		d.mu.Unlock()
	}
}

// sent is how many messages a device that is frozen has to send.
func (d *device) sent() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.publish
}

// link is a region's view of its link to the other one.
func (w *wide) link(region string) admin.Link {
	w.t.Helper()
	return w.linkTo(region, map[string]string{"eu": "us", "us": "eu"}[region])
}

// linkTo is a region's view of its link to a peer.
func (w *wide) linkTo(region, peer string) admin.Link {
	w.t.Helper()
	var st admin.Status
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.tr.Node(region).Get(ctx, "/v1/status", &st); err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(st.Links, func(l admin.Link) bool { return l.Peer == peer })
	if i < 0 {
		w.t.Fatalf("%s has no link to %s", region, peer)
	}
	return st.Links[i]
}

// wants is how many filters a region knows that a peer wants.
func (w *wide) wants(region, peer string) int {
	w.t.Helper()
	var d admin.LinkDetail
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.tr.Node(region).Get(ctx, "/v1/links/"+peer, &d); err != nil {
		w.t.Fatal(err)
	}
	return d.Interest.Filters
}

// on waits until both regions' links are up over a transport.
func (w *wide) on(transport string) time.Duration {
	w.t.Helper()
	began := time.Now()
	for _, region := range []string{"eu", "us"} {
		await(w.t, region+" on "+transport, func() bool {
			l := w.link(region)
			return l.State == admin.LinkUp && l.Transport == transport
		})
	}
	return time.Since(began)
}

// outage cuts the path for a while and shows that nothing passed meanwhile.
func (w *wide) outage(d time.Duration) {
	w.t.Helper()
	w.path.Down(true)
	before := w.path.Carried()
	time.Sleep(d)
	if passed := w.path.Carried().Minus(before); passed.Sum() != 0 {
		w.t.Errorf("%+v passed while the path was down", passed)
	}
	w.path.Down(false)
}

// The NAT in front of eu forgets its mappings and gives other ports: the connection migrates,
// no tunnel is opened anew.
func TestLab_NATRebinds(t *testing.T) {
	w := wideArea(t, lab.SymmetricNAT, ordinary)
	times := 2
	if *wholeLab {
		times = 10
		w.eu.ForgetAfter(2 * time.Second)
		w.idle.Store(true)
		time.Sleep(7 * time.Second)
		w.idle.Store(false)
		t.Logf("7 s idle behind a NAT that forgets after 2 s: %v to the first message", w.caughtUp("after a pause").Round(time.Millisecond))
	}
	for range times {
		before := w.link("us").Address
		w.eu.Forget()
		took := w.caughtUp("after the NAT forgot")
		after := w.link("us").Address
		if after == before {
			t.Errorf("us still sees %s: the NAT did not rebind", after)
		}
		t.Logf("NAT rebound from %s to %s: %v to the first message published since", before, after, took.Round(time.Millisecond))
	}
	if l := w.link("eu"); l.TunnelsUDP != 1 || l.TunnelsTCP != 0 {
		t.Errorf("%d tunnels on UDP, %d on TCP: the connection did not migrate", l.TunnelsUDP, l.TunnelsTCP)
	}
	w.finish()
}

// The gateways drop UDP, and let it pass again.
func TestLab_UDPBlocked(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	rounds := 1
	if *wholeLab {
		rounds = 3
	}
	for range rounds {
		w.eu.BlockUDP(true)
		w.us.BlockUDP(true)
		fell := w.caughtUp("after UDP was blocked")
		w.on("tcp")
		before := w.path.Carried()
		w.caughtUp("on TCP")
		if passed := w.path.Carried().Minus(before); passed.UDP != 0 || passed.TCP == 0 {
			t.Errorf("passed while UDP was blocked: %+v", passed)
		}
		l := w.link("eu")
		t.Logf("on TCP: %v to the first message published since UDP was blocked; %s (%s)", fell.Round(time.Millisecond), l.TransportReason, l.Cause)
		if l.Cause != "udp_blocked" {
			t.Errorf("cause %q, reason %q", l.Cause, l.TransportReason)
		}
		w.eu.BlockUDP(false)
		w.us.BlockUDP(false)
		back := w.on("udp")
		w.caughtUp("on UDP again")
		t.Logf("back on UDP %v after it was allowed", back.Round(time.Millisecond))
	}
	w.finish()
}

// The path is down for longer than the tunnel lives; what is published meanwhile is spooled.
func TestLab_Outage(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	d := 6 * time.Second
	if *wholeLab {
		d = time.Minute
	}
	w.outage(d)
	t.Logf("%v without a path: %v to the first message published since it was back", d, w.caughtUp("after the outage").Round(time.Millisecond))
	w.on("udp")
	w.finish()
}

// The path goes and comes every 3 s.
func TestLab_Flapping(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	flaps := 1
	if *wholeLab {
		flaps = 8
	}
	for range flaps {
		w.outage(3 * time.Second)
		back := time.Now()
		t.Logf("a flap: %v to the first message published since", w.caughtUp("after a flap").Round(time.Millisecond))
		time.Sleep(time.Until(back.Add(3 * time.Second)))
	}
	l := w.link("eu")
	t.Logf("%d flaps, %d tunnels on UDP, %d on TCP", flaps, l.TunnelsUDP, l.TunnelsTCP)
	w.finish()
}

// The node of either side is killed while batches are on their way.
func TestLab_NodeKilled(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	times := 1
	if *wholeLab {
		times = 4
	}
	for range times {
		for _, region := range []string{"us", "eu"} {
			n := w.tr.Node(region)
			n.Kill()
			killed := time.Now()
			restart(t, n, 0)
			took := w.caughtUp("after a kill")
			t.Logf("%s killed: served again after %v, %v more to the first message published since", region,
				(time.Since(killed) - took).Round(time.Millisecond), took.Round(time.Millisecond))
		}
	}
	w.finish()
}

// A path of 1228 bytes, the least that QUIC works on; larger packets vanish without a word.
func TestLab_SmallestPath(t *testing.T) {
	c := ordinary
	c.MTU = 1228
	w := wideArea(t, lab.Router, c)
	w.on("udp")
	if l := w.link("eu"); l.TunnelsTCP != 0 {
		t.Errorf("%d tunnels over TCP", l.TunnelsTCP)
	}
	if *wholeLab {
		w.outage(10 * time.Second)
		t.Logf("10 s without a path: %v to the first message published since it was back", w.caughtUp("after the outage").Round(time.Millisecond))
	}
	w.finish()
}
