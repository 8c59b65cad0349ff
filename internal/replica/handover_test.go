package replica

import (
	"errors"
	"testing"
	"time"

	"causeway/internal/home"
)

// The heir of a leadership is lost right before the hand-over, or a little earlier, in each way
// that raft gets stuck on: the hand-over fails, and the leader goes on while the heir is away.
func TestRegion_HandOverFails(t *testing.T) {
	cut := func(rg *region, heir *node) { rg.cut(heir) }
	kill := func(rg *region, heir *node) { rg.net.Kill(heir.name) } // what ends the process takes longer
	for _, c := range []struct {
		name   string
		lose   func(rg *region, heir *node)
		before time.Duration
		times  int
	}{
		{"cut off as it begins", cut, 0, 1},
		{"killed a moment ago, tried twice", kill, 100 * ms, 2},
		{"cut off, tried twice", cut, 100 * ms, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			underLoad(t, 10*ms, nil, func(rg *region) {
				was := rg.leader()
				for range 2 {
					rg.failHandOver(was, c.times, func(heir *node) { c.lose(rg, heir); time.Sleep(c.before) })
				}
			})
		})
	}
}

const ms = time.Millisecond

// failHandOver has a leader hand over to a node that lose makes unreachable, and wants it to lead
// on within what one request may take. Tried again it is refused. The node comes back afterwards.
func (rg *region) failHandOver(was *node, times int, lose func(heir *node)) {
	rg.t.Helper()
	heir := rg.others(was)[0]
	lose(heir)
	term := was.replica().core().raft.CurrentTerm()
	for n := range times {
		var refused *RefusedError
		if err := was.replica().core().transfer(rg.t.Context(), home.NodeID(heir.name)); err == nil || errors.As(err, &refused) != (n > 0) {
			rg.t.Fatalf("hand-over %d to a node that has just gone: %v", n, err)
		}
	}
	at := was.replica().Applied()
	rg.await("the log to grow", rpcTimeout+time.Second, func() bool { return was.replica().Applied() > at+20 })
	if now := was.replica().core().raft.CurrentTerm(); now != term {
		rg.t.Errorf("the term went from %d to %d: somebody was elected", term, now)
	}
	rg.net.HealAll()
	heir.kill()
	heir.start()
	rg.await("the heir", time.Minute, func() bool {
		_, err := was.replica().core().heir(home.NodeID(heir.name))
		return err == nil && heir.ready()
	})
}
