package replica

import (
	"sync/atomic"
	"time"

	"causeway/internal/home"
)

// Progress tells how far a copy has come that catches up, also while Open runs.
// The zero value is ready to use; any goroutine may read it.
type Progress struct {
	fetch atomic.Pointer[fetchProgress]
	open  atomic.Pointer[Replica] // once it applies the log
}

type fetchProgress struct {
	from        home.NodeID
	done, total int64
}

// CatchUp is how far a copy has come.
type CatchUp struct {
	From           home.NodeID // the state was, or is, fetched from; "" when it was not
	Fetched, Total int64       // bytes of it
	Applying       bool        // the log is being applied
	Behind         uint64      // entries known to be committed and not applied here
}

// Read says how far the copy is.
func (p *Progress) Read() (c CatchUp) {
	if f := p.fetch.Load(); f != nil {
		c.From, c.Fetched, c.Total = f.from, f.done, f.total
	}
	if r := p.open.Load(); r != nil {
		c.Applying = true
		c.Behind, _ = r.fresh.behind(r.fsm.index.Load())
	}
	return c
}

func (p *Progress) fetched(from home.NodeID, done, total int64) {
	p.fetch.Store(&fetchProgress{from, done, total})
}

// CatchingUp says of a home that is not Fresh that it is only behind: a leader
// answers, and what it says was committed is being applied; or nothing was ever
// heard, since it has just been opened.
func (r *Replica) CatchingUp() bool {
	if r.fresh.now() {
		return false
	}
	_, heard := r.fresh.behind(r.fsm.index.Load())
	return heard || r.fresh.never() && time.Since(r.fresh.started) < openedLately
}

// FreshWithin says that the home is Fresh, or was at most d ago.
func (r *Replica) FreshWithin(d time.Duration) bool { return !r.fresh.never() && r.fresh.age() <= d }

// openedLately is for how long a home that was never fresh is not cut off yet.
const openedLately = 10 * time.Second

// behind is how many entries this node lacks of what it heard last was
// committed; heard says that a leader answered a moment ago.
func (f *freshness) behind(applied uint64) (entries uint64, heard bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == 0 {
		return 0, false
	}
	last := f.waiting[len(f.waiting)-1]
	if last.commit > applied {
		entries = last.commit - applied
	}
	return entries, time.Since(last.at) < heardLately
}

// never says that the node has not been fresh yet.
func (f *freshness) never() bool { return f.until.Load() < 0 }
