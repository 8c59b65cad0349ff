package sim

import (
	"time"

	"causeway/internal/home"
)

// lapse is after how long what was fresh before a question is so no more,
// whatever the clocks did.
const lapse = time.Second

// yield calls done once all former owners of a session surely send nothing more
// for it: each said so, its run is over, or it cannot be fresh any more. [C1]
func (n *node) yield(formers []home.Owner, k home.SessionKey, epoch home.SessionEpoch, done func()) {
	if n.w.opt.Plant == NoYield {
		formers = nil
	}
	left := 1
	one := func() {
		if left--; left == 0 {
			done()
		}
	}
	for _, f := range formers {
		left++
		once := n.once(one)
		n.soon(n.ticks(lapse), once)
		n.askToYield(n.r.named(f.Node), f, k, epoch, once)
	}
	one()
}

// askToYield asks once: when the question or its answer gets lost, time answers.
func (n *node) askToYield(to *node, former home.Owner, k home.SessionKey, epoch home.SessionEpoch, done func()) {
	if !to.up {
		if n.w.reaches(n, to) && n.w.reaches(to, n) {
			n.soon(n.w.latency(), done) // nobody listens at its address
		}
		return
	}
	n.tell(to, func() {
		if to.owner == former {
			to.giveUp(k, epoch)
		}
		to.tell(n, done)
	})
}

// giveUp ends a session's connection, and the one that is about to have it, if
// another node has it at a higher epoch.
func (n *node) giveUp(k home.SessionKey, epoch home.SessionEpoch) {
	if x := n.coming[k]; x != nil {
		x.yielded = max(x.yielded, epoch)
	}
	if c := n.conns[k]; c != nil && c.epoch < epoch {
		c.end()
	}
}

// once lets only the first call through.
func (n *node) once(do func()) func() {
	called := false
	return func() {
		if !called {
			called = true
			do()
		}
	}
}

// knowing is a sibling's question whether an index is applied here.
type knowing struct {
	index uint64
	done  func()
}

// knownTo calls done once every sibling has applied what is applied here, or
// cannot be fresh any more. [C4]
func (n *node) knownTo(done func()) {
	index, left := n.applied, 1
	once := n.once(done)
	n.soon(n.ticks(lapse), once)
	one := func() {
		if left--; left == 0 {
			once()
		}
	}
	for _, to := range n.r.nodes {
		if to == n || !to.up {
			continue
		}
		left++
		n.tell(to, func() {
			to.known = append(to.known, knowing{index, func() { to.tell(n, one) }})
			to.answerKnown()
		})
	}
	one()
}

func (n *node) answerKnown() {
	list := n.known
	n.known = nil
	for _, k := range list {
		if k.index <= n.applied {
			k.done()
			continue
		}
		n.known = append(n.known, k)
	}
}
