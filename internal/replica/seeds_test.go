package replica

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"causeway/internal/home"
)

var (
	regionSeeds = flag.Int("region.seeds", 4, "how many schedules of faults to run")
	regionSeed  = flag.Uint64("region.seed", 1, "the first of them")
)

// Schedules of kills, wiped disks, cuts and hung disks drawn from a seed, a
// minority at a time, while all nodes propose. A seed replays the schedule, not
// the run.
func TestRegion_Seeds(t *testing.T) {
	for seed := *regionSeed; seed < *regionSeed+uint64(*regionSeeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			under(t, small, func(rg *region) {
				rnd := rand.New(rand.NewPCG(seed, 0xFA))
				for range 4 {
					rg.fault(rnd)
				}
			})
		})
	}
}

// fault does one bad thing to one node, and undoes it.
func (rg *region) fault(rnd *rand.Rand) {
	upTo := func(d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }
	d := rg.nodes[rnd.IntN(len(rg.nodes))]
	if l := rg.leader(); l != nil && rnd.IntN(3) == 0 {
		d = l
	}
	lasts := upTo(4 * time.Second)
	kind := rnd.IntN(6)
	rg.t.Logf("%s: fault %d for %s", d.name, kind, lasts)
	switch kind {
	case 0, 1:
		d.kill()
		time.Sleep(lasts)
		d.start()
	case 2:
		d.kill()
		d.wipe()
		time.Sleep(lasts)
		d.start()
	case 3:
		for _, o := range rg.others(d) {
			rg.net.Cut(d.name, o.name)
		}
		time.Sleep(lasts)
		rg.net.HealAll()
	case 4:
		other := rg.others(d)[rnd.IntN(2)]
		rg.net.CutOneWay(d.name, other.name)
		time.Sleep(lasts)
		rg.net.HealAll()
	case 5:
		if d.replica() == nil {
			return
		}
		release := d.hang()
		time.Sleep(lasts / 2)
		release()
	}
	rg.await("all nodes ready, with a vote each", 60*time.Second, func() bool { return rg.allReady()() && rg.whole() })
}

// whole says that the group is what it was: a wiped disk's place was taken by the
// new one. Before that the loss of another disk is one too many.
func (rg *region) whole() bool {
	l := rg.leader()
	if l == nil {
		return false
	}
	servers := l.replica().core().servers()
	for _, d := range rg.nodes {
		if !votes(servers, serverID(home.NodeID(d.name), d.peer().Disk)) {
			return false
		}
	}
	return len(servers) == len(rg.nodes)
}
