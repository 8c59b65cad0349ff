package replica

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
)

// What an operator is told of a node that lost its disk: from whom it fetches the
// state, how much there is and how much is here.
func TestRegion_ProgressOfAWipedNode(t *testing.T) {
	var mu sync.Mutex
	runs := map[home.NodeID]*Progress{} // the newest of each node
	under(t, func(o *Options) {
		small(o)
		mu.Lock()
		defer mu.Unlock()
		o.Progress = &Progress{}
		runs[o.Node] = o.Progress
	}, func(rg *region) {
		d := rg.others(rg.leader())[0]
		d.kill()
		time.Sleep(3 * time.Second) // the others' logs do not reach back to the beginning any more
		d.wipe()
		d.start()
		rg.await("the wiped node to serve", 60*time.Second, rg.allReady(d))
		mu.Lock()
		c := runs[home.NodeID(d.name)].Read()
		mu.Unlock()
		if c.From == "" || string(c.From) == d.name || c.Total == 0 || c.Fetched != c.Total || !c.Applying {
			t.Errorf("progress %+v", c)
		}
	})
}

// Behind is not cut off: the leader answers. Without an answer for a second it is.
func TestFreshness_Behind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFreshness()
		if !f.never() {
			t.Error("fresh before anything was heard")
		}
		f.hear(heard{at: time.Now(), commit: 20}, upTo(9))
		if n, heard := f.behind(9); n != 11 || !heard {
			t.Errorf("%d entries behind, heard %v; want 11", n, heard)
		}
		time.Sleep(heardLately)
		if _, heard := f.behind(9); heard {
			t.Error("a leader counts as heard that has been silent for a second")
		}
		f.hear(heard{at: time.Now(), commit: 20}, upTo(20))
		if n, heard := f.behind(20); n != 0 || heard || f.never() {
			t.Error("behind with everything applied")
		}
	})
}
