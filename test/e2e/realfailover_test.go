package e2e

import (
	"slices"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// realFleet is clients of each make, each of which gets what all publish.
type realFleet struct {
	*twoRegions
	door    *door
	clients []*realClient
	raw     *wireDevice
}

// newRealFleet starts two regions that stand by for each other, with clients in eu.
func newRealFleet(t *testing.T) *realFleet {
	t.Helper()
	tr := start(t, trial.Options{Takeover: &trial.Takeover{StandbyOf: map[string][]string{"eu": {"us"}, "us": {"eu"}}, Section: "down_after: 3s"}})
	x := &realFleet{twoRegions: &twoRegions{t: t, tr: tr}, door: newDoor(t, tr.Node("eu").MQTT)}
	x.awaitHome("eu", "serve with a lease", func(h *trial.Home) bool { return len(h.Standbys) > 0 && h.Serves() })
	x.awaitHome("us", "be a complete copy", func(h *trial.Home) bool { return h.Role == "standby" })
	for _, begin := range []func(*testing.T, string) *realClient{realMosquitto, realPython, realMQTTJS, realPahoGo, realAutopaho} {
		c := begin(t, x.door.addr())
		x.clients = append(x.clients, c)
		t.Cleanup(func() {
			for _, stop := range c.stop {
				stop()
			}
		})
	}
	x.raw = startWireDevice(t, x.door.addr(), "real-raw", realTopic+"#")
	awaitRoute(t, tr.Node("eu"), realTopic+"x", len(x.clients)+1, 0)
	for _, c := range x.clients {
		close(c.begin)
	}
	x.more("before")
	return x
}

// more waits until each client was acknowledged, and got from each other, a good deal more.
func (x *realFleet) more(when string) {
	x.t.Helper()
	const enough = 40
	type mark struct {
		acked int
		got   map[string]int
	}
	marks := map[*realClient]mark{}
	for _, c := range x.clients {
		m := mark{got: map[string]int{}}
		m.acked, _ = c.progress()
		c.mu.Lock()
		for from, list := range c.got {
			m.got[from] = len(list)
		}
		c.mu.Unlock()
		marks[c] = m
	}
	for _, c := range x.clients {
		m := marks[c]
		await(x.t, when+": "+c.name+" to go on", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, from := range x.clients {
				if len(c.got[from.name]) < m.got[from.name]+enough {
					return false
				}
			}
			return c.name == "mosquitto" || len(c.acked) >= m.acked+enough
		})
	}
}

// judge ends the publishers and holds what arrived against what was acknowledged. late is how many messages came out of a
// reconciliation: those may be out of order, and twice where the word that they had been sent or received was lost.
func (x *realFleet) judge(late int) {
	x.t.Helper()
	for _, c := range x.clients {
		close(c.quit)
	}
	for _, c := range x.clients {
		<-c.idle
	}
	for _, c := range x.clients {
		for _, from := range x.clients {
			missing := func() (list []int) {
				from.mu.Lock()
				acked := make([]int, 0, len(from.acked))
				for n := range from.acked {
					acked = append(acked, n)
				}
				from.mu.Unlock()
				c.mu.Lock()
				defer c.mu.Unlock()
				have := map[int]bool{}
				for _, n := range c.got[from.name] {
					have[n] = true
				}
				for _, n := range acked {
					if !have[n] {
						list = append(list, n)
					}
				}
				slices.Sort(list)
				return list
			}
			for end := time.Now().Add(20 * time.Second); len(missing()) > 0 && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			if list := missing(); len(list) > 0 {
				x.t.Errorf("%s never got %d messages that %s was acknowledged: %v", c.name, len(list), from.name, list)
			}
			doubled, reordered := c.faults(from.name)
			x.t.Logf("%s from %s: %d acknowledged, %d arrived, %d twice, %d out of order", c.name, from.name, len(from.acked), len(c.got[from.name]), doubled, reordered)
			if c.forgets || from.forgets {
				continue
			}
			if doubled > late {
				x.t.Errorf("%s got %d messages of %s twice at QoS 2; %d came late", c.name, doubled, from.name, late)
			}
			if reordered > late {
				x.t.Errorf("%s got %d messages of %s out of order; %d came late", c.name, reordered, from.name, late)
			}
		}
	}
}

// faults counts arrivals beyond the first, and first arrivals behind a greater number.
func (c *realClient) faults(from string) (doubled, reordered int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, highest := map[int]bool{}, 0
	for _, n := range c.got[from] {
		switch {
		case seen[n]:
			doubled++
		case n < highest:
			reordered++
		}
		seen[n], highest = true, max(highest, n)
	}
	return doubled, reordered
}

// moved waits for a region to serve, and leads clients there.
func (x *realFleet) moved(from, to string, order ...string) {
	x.t.Helper()
	x.follows(to, from)
	x.order(from, order...)
	x.awaitHome(to, "serve", (*trial.Home).Serves)
	x.door.point(x.tr.Node(to).MQTT)
}

// The clients that people use go through a planned switchover and back with their sessions: nothing that was acknowledged
// is lost, and at QoS 2 nothing comes twice or out of order.
func TestRealClients_Switchover(t *testing.T) {
	x := newRealFleet(t)
	x.moved("eu", "us", "switchover", "eu", "--to", "us", "--confirm", "eu")
	x.more("in us")
	x.moved("us", "eu", "failback", "eu", "--confirm", "eu")
	x.more("back in eu")
	if n := x.raw.swept(); n >= wireSweep {
		t.Errorf("%d packet ids were cleared after planned promotions, which lose none", n)
	}
	x.judge(0)
	x.raw.check(0)
}

// They go through the loss of their region, too, and what it had acknowledged and not shipped comes with the
// reconciliation. On the wire, each new QoS 2 message after the promotion comes under an id that was released before: all
// makes let go of what they may have held under it. [E5]
func TestRealClients_Failover(t *testing.T) {
	x := newRealFleet(t)
	x.follows("us", "eu")
	x.tr.Kill("eu")
	x.raw.lost()
	await(t, "us to agree that eu is gone", func() bool {
		_, code := causeway(t, "", "", "ctl", "--socket", x.tr.Node("us").Socket(), "region", "failover", "eu", "--dry-run")
		return code == 0
	})
	x.order("us", "failover", "eu", "--confirm", "eu")
	x.awaitHome("us", "serve", (*trial.Home).Serves)
	x.door.point(x.tr.Node("us").MQTT)
	var page admin.Page[admin.Session]
	if err := get(t, x.tr.Node("us"), "/v1/sessions?home=eu&prefix=real-", &page); err != nil || len(page.Items) != 2*len(x.clients)+1 {
		t.Errorf("us lists %d sessions of eu's home, %v; want %d", len(page.Items), err, 2*len(x.clients)+1)
	}
	x.more("in us")
	x.more("in us, beyond the ids that are cleared at once")
	if n := x.raw.swept(); n < 2*wireSweep {
		t.Errorf("only %d packet ids were cleared; the queue went over more than %d", n, wireSweep)
	}
	x.comesBack()
	late := x.reconcile()
	x.moved("us", "eu", "failback", "eu", "--confirm", "eu")
	x.more("back in eu")
	x.judge(int(late))
	x.raw.check(int(late))
}
