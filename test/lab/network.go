package lab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Network is sites and the paths between them. It lives as long as the test.
type Network struct {
	t     testing.TB
	sites []*Site
	seed  uint64

	mu         sync.RWMutex
	directions map[[2]*Site]*direction
	runs       sync.WaitGroup
}

// New makes an empty network, or ends the test with what is missing for one.
func New(t testing.TB) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the lab makes network namespaces, which needs root: run the test as root, or leave it out with -skip TestLab")
	}
	for _, tool := range []string{"ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the lab needs %s: install iproute2, nftables and procps (scripts/deps does)", tool)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Fatalf("the lab needs TUN devices: %v; load the module tun", err)
	}
	removeStale()
	n := &Network{t: t, seed: 1, directions: map[[2]*Site]*direction{}}
	t.Cleanup(n.close)
	return n
}

// close ends the emulator; the sites have removed themselves.
func (n *Network) close() {
	for _, s := range n.sites {
		s.tun.Close() // ends its reader
	}
	for _, s := range n.sites {
		<-s.read
	}
	for _, d := range n.directions {
		close(d.arrivals)
	}
	n.runs.Wait()
}

// connect makes the paths between a new site and the others.
func (n *Network) connect(s *Site) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.sites {
		for _, way := range [][2]*Site{{s, o}, {o, s}} {
			n.seed++
			d := newDirection(way[1].tun, n.seed)
			n.directions[way] = d
			n.runs.Go(d.run)
		}
	}
	n.sites = append(n.sites, s)
}

// route finds the direction that a packet from s takes.
func (n *Network) route(s *Site, to netip.Addr) *direction {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, o := range n.sites {
		if o != s && o.has(to) {
			return n.directions[[2]*Site{s, o}]
		}
	}
	return nil
}

// Path is the way between two sites.
type Path struct{ there, back *direction }

// Path returns the path between two sites.
func (n *Network) Path(a, b *Site) Path {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return Path{n.directions[[2]*Site{a, b}], n.directions[[2]*Site{b, a}]}
}

// Set gives both directions the same conditions.
func (p Path) Set(c Conditions) { p.SetEach(c, c) }

// SetEach sets the conditions from the first site to the second, and back.
func (p Path) SetEach(there, back Conditions) {
	p.there.set(there)
	p.back.set(back)
}

// Down cuts both directions, or heals them; the other conditions stay.
func (p Path) Down(down bool) {
	for _, d := range []*direction{p.there, p.back} {
		c := *d.cond.Load()
		c.Down = down
		d.set(c)
	}
}

// Carried counts what came out of both directions.
func (p Path) Carried() Carried {
	a, b := p.there.carried(), p.back.carried()
	return Carried{a.UDP + b.UDP, a.TCP + b.TCP, a.Other + b.Other}
}

// Dropped says how many packets the emulator dropped, by why.
func (p Path) Dropped() string {
	count := func(f fate) int64 { return p.there.dropped[f].Load() + p.back.dropped[f].Load() }
	return fmt.Sprintf("%d lost, %d over the queue, %d too large, %d while cut", count(lost), count(overflows), count(tooLarge), count(cut))
}

// command runs a program; its failure ends the test.
func (n *Network) command(args ...string) {
	n.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}
