package replica

import (
	"sync"

	"causeway/internal/home"
)

// completion is a proposal with its answer.
type completion struct {
	proposal
	outcome home.Outcome
	err     error
}

// dispatcher calls done functions one after the other, in the order they were
// added, without a lock held: a done may call Propose. Whoever finds it idle
// does the calling; others leave at once.
type dispatcher struct {
	mu    sync.Mutex
	ready []completion
	busy  bool
}

func (d *dispatcher) add(cs []completion) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = append(d.ready, cs...)
}

// drain calls what was added, unless another goroutine is doing so: that one
// then calls it.
func (d *dispatcher) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy {
		return
	}
	d.busy = true
	for len(d.ready) > 0 {
		cs := d.ready
		d.ready = nil
		d.mu.Unlock()
		for i := range cs {
			if cs[i].done != nil {
				cs[i].done(cs[i].outcome, cs[i].err)
			}
		}
		d.mu.Lock()
	}
	d.busy = false
}
