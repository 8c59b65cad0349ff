package simlab

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// balancer is the load balancer in front of a region, which checks the nodes'
// readiness and knows nothing else of them. It does what deploy/haproxy is set
// up to: a node that refuses is marked down at once, one that is not ready after
// two checks, and then its connections are cut; after one good check it is up.
type balancer struct {
	region *Region

	mu   sync.Mutex
	rnd  *rand.Rand
	bad  map[*Node]int  // checks in a row that failed
	down map[*Node]bool // marked
}

// Times of a balancer.
const (
	checkEvery = 100 * time.Millisecond
	checksBad  = 2
	connectIn  = time.Second // to a machine that does not answer
)

func newBalancer(r *Region) *balancer {
	return &balancer{region: r, rnd: rand.New(rand.NewPCG(r.lab.opt.Seed, 0xBA1)), bad: map[*Node]int{}, down: map[*Node]bool{}}
}

// run checks until the lab ends.
func (b *balancer) run() {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for _, n := range b.region.nodes {
				ok, _ := n.Ready()
				b.checked(n, ok)
			}
		case <-b.region.lab.end:
			return
		}
	}
}

func (b *balancer) checked(n *Node, ok bool) {
	b.mu.Lock()
	if ok {
		b.bad[n], b.down[n] = 0, false
		b.mu.Unlock()
		return
	}
	b.bad[n]++
	mark := b.bad[n] == checksBad
	b.down[n] = b.down[n] || mark
	b.mu.Unlock()
	if mark {
		n.cutLines()
	}
}

var errNoNode = errors.New("the balancer has no node that is ready")

// dial connects a device with one of the nodes that are up.
func (b *balancer) dial() (*line, error) {
	n := b.pick()
	if n == nil {
		return nil, errNoNode
	}
	if n.silent.Load() {
		time.Sleep(connectIn)
		b.fail(n)
		return nil, errDown
	}
	l, err := n.dial()
	if err != nil {
		b.fail(n)
	}
	return l, err
}

func (b *balancer) pick() *Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	var up []*Node
	for _, n := range b.region.nodes {
		if !b.down[n] {
			up = append(up, n)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[b.rnd.IntN(len(up))]
}

func (b *balancer) fail(n *Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bad[n], b.down[n] = checksBad, true
}
