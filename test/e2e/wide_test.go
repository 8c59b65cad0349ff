package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/url"
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

// wide is regions as processes in a lab, with devices that publish to others in other regions, all
// the time, at QoS 2. Most cases have eu and us, eu dialling us, and a device in each that
// publishes to one in the other.
type wide struct {
	t      *testing.T
	net    *lab.Network
	eu, us *lab.Site
	path   lab.Path
	tr     *trial.Trial
	sites  map[string]*lab.Site // by region; none: everything is on loopback
	pad    []byte               // of each message, behind its number
	pace   int                  // messages of each publisher every 20 ms

	flows      []flow
	publishers map[string]*device // by region and topic
	idle       atomic.Bool        // nothing more is published
	ctx        context.Context    // of the devices
	pumps      sync.WaitGroup
	began      time.Time
}

// flow is what one device publishes and another gets.
type flow struct {
	name     string
	from, to *device
}

func newWide(t *testing.T) *wide {
	return &wide{t: t, pace: 5, publishers: map[string]*device{}, began: time.Now()}
}

func wideArea(t *testing.T, gateway lab.Gateway, c lab.Conditions, change ...func(*wide, *trial.Options)) *wide {
	t.Helper()
	n := lab.New(t)
	w := newWide(t)
	w.net = n
	w.eu, w.us = n.Site("eu", gateway), n.Site("us", lab.Router)
	w.path = n.Path(w.eu, w.us)
	w.path.Set(c)
	w.sites = map[string]*lab.Site{"eu": w.eu, "us": w.us}
	o := w.inSites()
	for _, f := range change {
		f(w, &o)
	}
	w.tr = start(t, o)
	w.bothWays()
	return w
}

// inSites lets each region's node run at its site, and others dial it there.
func (w *wide) inSites() trial.Options {
	return trial.Options{
		Within: func(region string) []string { return w.sites[region].Exec() },
		Links: func(region string, _ int) trial.Links {
			at := w.sites[region].Address()
			return trial.Links{Listen: at + ":7444", ListenTCP: at + ":7445", Dial: []string{"udp://" + at + ":7444", "tcp://" + at + ":7445"}}
		},
	}
}

// bothWays starts the devices of eu and us, and the load.
func (w *wide) bothWays() {
	w.t.Helper()
	w.stream("eu", "us", "lab/0")
	w.stream("us", "eu", "lab/1")
	w.load()
	w.caughtUp("at the start")
}

// stream starts a device in a region that subscribes to a topic, and one in another that
// publishes to it, unless one does already.
func (w *wide) stream(from, to, topic string) {
	w.t.Helper()
	if w.ctx == nil { // the devices end before the sites and nodes that are there by now
		ctx, stop := context.WithCancel(context.Background())
		w.ctx = ctx
		w.t.Cleanup(func() { stop(); w.pumps.Wait() })
	}
	sub := w.device(to, "sub-"+topic)
	sub.filter = topic
	w.pumps.Go(func() { sub.run(w.ctx) })
	await(w.t, "a subscription", func() bool { sub.mu.Lock(); defer sub.mu.Unlock(); return sub.subscribed })
	if from != to {
		await(w.t, from+" to know what "+to+" wants", func() bool { return w.routed(from, to, topic) })
	}
	pub := w.publishers[from+topic]
	if pub == nil {
		pub = w.device(from, "pub-"+topic)
		pub.topic, pub.window, pub.pad = topic, 64, w.pad
		w.publishers[from+topic] = pub
	}
	w.flows = append(w.flows, flow{from + " to " + to, pub, sub})
}

func (w *wide) device(region, id string) *device {
	d := &device{addr: w.tr.Node(region).MQTT, id: id, qos: 2}
	if site := w.sites[region]; site != nil {
		d.dial = site.Dial
	}
	return d
}

// routed says that a region knows that a peer wants a topic.
func (w *wide) routed(region, peer, topic string) bool {
	var r admin.Route
	err := get(w.t, w.tr.Node(region), "/v1/routes?topic="+url.QueryEscape(topic), &r)
	return err == nil && slices.ContainsFunc(r.Targets, func(x admin.Target) bool { return x.Kind == "peer" && x.Name == peer && x.Sends })
}

// load connects the publishers and has each publish; 250 messages a second at a pace of 5.
func (w *wide) load() {
	for _, d := range w.publishers {
		w.pumps.Go(func() { d.run(w.ctx) })
	}
	w.pumps.Go(func() {
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		n := 0
		for {
			select {
			case <-every.C:
			case <-w.ctx.Done():
				return
			}
			if w.idle.Load() {
				continue
			}
			n += w.pace
			for _, d := range w.publishers {
				d.allow(n)
			}
		}
	})
}

// caughtUp waits until messages published from now on arrive everywhere and reports how long
// that took.
func (w *wide) caughtUp(when string) time.Duration {
	w.t.Helper()
	began := time.Now()
	marks := make([]int, len(w.flows))
	for i, s := range w.flows {
		s.from.mu.Lock()
		marks[i] = max(s.from.next, s.from.publish) + 1
		s.from.mu.Unlock()
	}
	for i, s := range w.flows {
		await(w.t, fmt.Sprintf("%s: messages published %s", s.name, when), func() bool { return s.to.last() >= marks[i] })
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
	for _, s := range w.flows {
		for until := time.Now().Add(patience); s.to.distinct() < s.from.sent() && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond) // what is not there by then the ledger calls lost
		}
	}
	time.Sleep(500 * time.Millisecond) // what is doubled would come now
	for _, s := range w.flows {
		settle(s.name, s.from, s.to, time.Since(w.began)).check(w.t, s.from.sent(), 2)
	}
	if w.sites != nil {
		w.t.Logf("the emulator: carried %+v, dropped %s", w.path.Carried(), w.path.Dropped())
	}
}

// freeze ends the load: what the devices may send stays as it is, and is acknowledged.
func (w *wide) freeze() {
	w.t.Helper()
	for _, d := range w.publishers {
		d.mu.Lock()
		d.frozen = true
		d.mu.Unlock()
	}
	for _, d := range w.publishers {
		await(w.t, "everything to be acknowledged", func() bool { acked, _ := d.progress(); return acked == d.sent() })
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

// outage cuts the path for a while and shows that nothing passed meanwhile; before it is over,
// last is done.
func (w *wide) outage(d time.Duration, last ...func()) {
	w.t.Helper()
	w.path.Down(true)
	before := w.path.Carried()
	time.Sleep(d)
	for _, do := range last {
		do()
	}
	if passed := w.path.Carried().Minus(before); passed.Sum() != 0 {
		w.t.Errorf("%+v passed while the path was down", passed)
	}
	w.path.Down(false)
}
