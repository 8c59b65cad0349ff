package sim

import "time"

// freshFor is how old what a node knows of the log may be while it still speaks
// for sessions. [C1]
const (
	freshFor      = 300 * time.Millisecond
	askEvery      = 100 * time.Millisecond
	isolatedAfter = 5 * time.Second
)

// freshness is until when a node may speak for its sessions.
type freshness struct {
	until   time.Duration
	waiting []answered // about what is not applied yet
}

// answered is an answer: so much was committed when the question was asked, or
// later.
type answered struct {
	at      time.Duration
	commits uint64
}

// isFresh says whether the node may send for its sessions.
func (n *node) isFresh() bool { return n.w.now < n.fresh.until }

// speaks is isFresh, but for a planted mistake.
func (n *node) speaks() bool { return n.isFresh() || n.w.opt.Plant == NoFreshness }

// ask asks the leader what is committed.
func (n *node) ask() {
	at, to := n.w.now, n.leader
	if n.office != nil {
		if commits, sure := n.office.sure(); sure {
			n.fresh.hear(n, answered{at, commits})
		}
		return
	}
	if to == nil {
		return
	}
	n.tell(to, func() {
		if to.office == nil {
			return
		}
		commits, sure := to.office.sure()
		if !sure {
			return
		}
		to.office.silence[n.name] = n.w.now
		to.tell(n, func() { n.fresh.hear(n, answered{at, commits}) })
	})
}

// sure is what is committed, if this leader is sure of its office: it has applied
// what was committed before, and a majority followed it a moment ago.
func (o *office) sure() (commits uint64, ok bool) {
	return o.n.committed, o.entered && !o.hung() && o.n.w.now-o.held() < freshFor
}

func (f *freshness) hear(n *node, a answered) {
	f.waiting = append(f.waiting, a)
	if len(f.waiting) > 8 {
		f.waiting = f.waiting[1:]
	}
	f.settle(n)
}

// settle counts the answers about what is applied by now.
func (f *freshness) settle(n *node) {
	was := n.isFresh()
	for len(f.waiting) > 0 && f.waiting[0].commits <= n.applied {
		f.until = max(f.until, f.waiting[0].at+n.ticks(freshFor))
		f.waiting = f.waiting[1:]
	}
	if !was && n.isFresh() {
		n.serveAll()
	}
}

// ticks is how long a time of the node's own clock is.
func (n *node) ticks(d time.Duration) time.Duration { return time.Duration(float64(d) * n.rate) }

// isolated closes all connections of a node that has not been fresh for long.
func (n *node) isolated() {
	if n.w.now-n.fresh.until > isolatedAfter && len(n.conns) > 0 {
		n.w.say("%s is isolated", n.name)
		n.harmed()
		for _, c := range n.inOrder() {
			c.moved = true
			c.close()
		}
	}
}
