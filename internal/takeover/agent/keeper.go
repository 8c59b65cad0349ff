package agent

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// keeper does for one copy what has to be done again and again.
//
//	              the log says: hosted here            ┌────────────┐
//	        ┌──────────────────────────────────────────│  hosting   │ renews promises, serves while
//	        │                                          └────────────┘ it may rely on a majority
//	┌───────┴───┐ silence, or an operator ┌──────────┐ majority  ▲  │ a higher epoch is in force
//	│ following │────────────────────────▶│ standing │───────────┘  ▼
//	└───────────┘◀────────────────────────└──────────┘  promotes  fenced: set aside
//	        ▲      the host is back, or refused                      │
//	        └────────────────────────────────────────────────────────┘
type keeper struct {
	a  *Agent
	c  Copy
	id home.ID

	wake   chan struct{} // poked when something changed that a step should see
	until  atomic.Int64  // the region may serve before this time of a.now
	founds atomic.Bool   // the region may found its own home, which is empty
	acts   acts

	mu        sync.Mutex
	copy      CopyState // as of the last step
	kept      Kept      // as of the beginning, and what was heard since
	unkept    bool      // kept has news that the book lacks
	host      takeover.Host
	inherited home.Epoch
	stand     *stand // it stands for the home; nil
	wanted    *Order // an operator wants it promoted; nil
	views     map[string]*view
	began     time.Duration
	alone     time.Duration // since when it hosts without a lease; 0: it has one, or does not host
	rest      time.Duration // before that it does not stand
	served    bool          // it did when looked at last
	why       string        // it does not stand for a silent host; ""
	unfounded string        // why the region's own home, which is empty, is not founded; ""
	ordered   bool          // an operator wants it founded
	listed    uint64        // the list of voters in the copy
	since     uint64        // and how many records it had when that was seen first
	word      request       // the last one on falling short that a majority heard; Home "": none
}

// view is what a voter said last.
type view struct {
	busy     bool          // a call is under way
	heard    time.Duration // when it was asked for its last reply
	said     reply
	any      bool
	problem  string // of the last call; ""
	told     bool   // it knows how far a standby is
	released home.Epoch
	list     uint64 // of voters that it was told the host decides by
}

func newKeeper(a *Agent, c Copy) *keeper {
	return &keeper{a: a, c: c, id: c.Home(), wake: make(chan struct{}, 1), views: map[string]*view{}}
}

// begin starts a run with what is kept.
func (k *keeper) begin(kept Kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept, k.unkept, k.stand, k.wanted, k.alone, k.rest, k.served = kept, false, nil, nil, 0, 0, false
	k.began, k.word = k.a.now(), request{}
	k.host = takeover.Host{InForce: kept.InForce}
	clear(k.views)
	k.founds.Store(false) // what was heard in an earlier run may be over
	k.observe(k.c.State())
}

// end ends what this node may say for the home.
func (k *keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.host.Promises, k.host.Confirmed = takeover.Promises{}, false
	k.settle()
}

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// beat is how often a keeper steps.
func (k *keeper) beat() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return min(max(k.copy.Settings.Lease/8, 50*time.Millisecond), time.Second)
}

func (k *keeper) run(ctx context.Context) error {
	for ctx.Err() == nil {
		k.step(ctx)
		k.a.sleep(ctx, k.beat(), k.wake)
	}
	return nil
}

// step looks at the copy and does what is next.
func (k *keeper) step(ctx context.Context) {
	st, now := k.look()
	k.remember(ctx)
	k.endSole(ctx)
	switch {
	case st.hosts(k.a.o.Region):
		k.asHost(ctx, &st, now)
	case st.Handed == k.a.o.Region:
		k.asHeir(ctx, &st, now)
	default:
		k.asStandby(ctx, &st, now)
	}
	k.judgeFounding(&st)
	k.transition()
}

// look takes over how the copy is now.
func (k *keeper) look() (CopyState, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.observe(k.c.State())
	return k.copy, k.a.now()
}

// observe takes over how the copy is. The caller holds mu.
func (k *keeper) observe(st CopyState) {
	k.copy = st
	if id := takeover.ListID(st.Settings.Voters); id != k.listed {
		k.listed, k.since = id, st.Records
	}
	handed := st.Handed != ""
	if k.host.Epoch != st.Epoch || k.host.Handed != handed {
		old := k.host
		k.host = takeover.Host{Epoch: st.Epoch, Handed: handed, InForce: old.InForce, Promises: takeover.Promises{Epoch: st.Epoch}}
		if k.stand != nil && k.stand.promises.Epoch == st.Epoch { // it was promoted to that
			k.host.Promises, k.host.Confirmed = k.stand.promises, k.stand.sure
		}
		if k.stand != nil && k.stand.promises.Epoch.Compare(st.Epoch) <= 0 {
			k.stand = nil
		}
	}
	k.host.Confirmed = k.host.Confirmed || k.inherited == st.Epoch && k.host.InForce.Compare(st.Epoch) <= 0
	k.settle()
}

// list is the list of voters that a host tells them: not before the copy has a record more
// than when the list was seen first, so that who has as many records has the list. The caller
// holds mu.
func (k *keeper) list(st *CopyState) uint64 {
	if st.Records <= k.since {
		return 0
	}
	return k.listed
}

// VotersKnow says that a majority of the home's voters keep which list of voters its host
// decides by: only then it may be changed again.
func (a *Agent) VotersKnow(id home.ID) bool {
	k := a.keepers[id]
	if k == nil || !a.atWork.Load() {
		return false
	}
	voters := k.c.State().Settings.Voters // the copy's of now: it may have been changed since the last step
	list, n := takeover.ListID(voters), 0
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range voters {
		if v := k.views[name]; v != nil && v.list == list {
			n++
		}
	}
	return n >= takeover.Majority(len(voters))
}

// standing is takeover's, of a copy that hosts. The caller holds mu.
func (k *keeper) standing() takeover.Standing {
	return k.host.Standing(k.a.now(), k.copy.Settings.Voters, k.copy.Settings.Policy)
}

// settle sets until when the region may serve. The caller holds mu.
func (k *keeper) settle() {
	until := int64(0)
	switch standing := k.standing(); {
	case !k.copy.hosts(k.a.o.Region) || k.kept.Held:
	case standing == takeover.Serving:
		until = math.MaxInt64
		if k.copy.Settings.Votes() && !k.kept.Sole {
			lease, _ := k.host.Promises.Until(k.copy.Settings.Voters, k.copy.Settings.Terms)
			until = int64(lease)
		}
	case k.kept.Sole && standing != takeover.Fenced:
		until = math.MaxInt64
	}
	k.until.Store(until)
}

// hear notes an epoch in force. The caller holds mu.
func (k *keeper) hear(e home.Epoch) {
	if e.Compare(k.host.InForce) <= 0 {
		return
	}
	k.host.Hear(e)
	if e.Compare(k.kept.InForce) > 0 {
		k.kept.InForce, k.unkept = e, true
	}
	k.settle()
	k.poke()
}

// remember keeps what was heard: a fenced home stays fenced whoever leads next, and
// although nobody says it again.
func (k *keeper) remember(ctx context.Context) {
	k.mu.Lock()
	e, news := k.kept.InForce, k.unkept
	k.mu.Unlock()
	if !news {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := k.a.o.Votes.note(ctx, k.id, func(k *Kept) { k.InForce = highest(k.InForce, e) })
	if err != nil {
		k.a.o.Logger.Warn("keep which epoch is in force; it is tried again", "home", k.id, "epoch", e, "problem", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unkept = k.kept.InForce != e
}

// endSole takes an operator's word back that the region serves without a majority, once
// there is one again, or another region serves: kept for longer it would let two regions
// serve at once when they are cut off from each other the next time.
func (k *keeper) endSole(ctx context.Context) {
	k.mu.Lock()
	until, majority := k.host.Promises.Until(k.copy.Settings.Voters, k.copy.Settings.Terms)
	hosts, wanted := k.copy.hosts(k.a.o.Region), k.wanted != nil
	over := hosts && (majority && k.a.now() < until || k.host.InForce.Compare(k.copy.Epoch) > 0) || !hosts && !wanted && !k.copy.Empty
	over = over && k.kept.Sole
	k.mu.Unlock()
	if !over {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := k.a.o.Votes.note(ctx, k.id, func(k *Kept) { k.Sole = false }); err != nil {
		k.a.o.Logger.Warn("keep that voters decide again; it is tried again", "home", k.id, "problem", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept.Sole = false
	k.settle()
	k.a.o.Logger.Info("the region serves by the voters' promises again", "home", k.id, "epoch", k.copy.Epoch)
}

// everyone are the regions and witnesses that a keeper talks to. The caller holds mu.
func (k *keeper) everyone() []string {
	s := &k.copy.Settings
	list := slices.Clone(s.Voters)
	for _, r := range append([]string{string(k.id)}, s.Standbys...) {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

// each asks every one of names that is not being asked yet, side by side, and has
// take called with each reply under mu, with the time of the question.
func (k *keeper) each(ctx context.Context, names []string, q request, take func(name string, asked time.Duration, p *reply)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	limit := max(k.copy.Settings.Lease/2, time.Second)
	for _, name := range names {
		v := k.views[name]
		if v == nil {
			v = &view{}
			k.views[name] = v
		}
		if v.busy || ctx.Err() != nil {
			continue
		}
		v.busy = true
		k.a.call(func() {
			asked := k.a.now()
			p, err := k.a.ask(ctx, name, &q, limit)
			k.mu.Lock()
			defer k.mu.Unlock()
			v.busy = false
			if err != nil {
				v.problem = err.Error()
				return
			}
			v.heard, v.said, v.any, v.problem = asked, p, true, ""
			k.hear(p.InForce)
			take(name, asked, &p)
			k.settle()
		})
	}
}

// silentFor says whether a majority of voters, asked lately, heard no host that serves
// for a time. The caller holds mu.
func (k *keeper) silentFor(d time.Duration) bool {
	n, now := 0, k.a.now()
	for _, name := range k.copy.Settings.Voters {
		if v := k.views[name]; v != nil && v.any && now-v.heard < k.copy.Settings.Hold && v.said.Silent >= d {
			n++
		}
	}
	return n >= takeover.Majority(len(k.copy.Settings.Voters))
}

// next is an epoch above all that was heard of. The caller holds mu.
func (k *keeper) next() home.Epoch {
	heard := []home.Epoch{k.copy.Epoch, k.host.InForce, k.kept.InForce, k.kept.Promised}
	if k.stand != nil {
		heard = append(heard, k.stand.promises.Epoch)
	}
	for _, v := range k.views {
		heard = append(heard, v.said.Promised, v.said.InForce)
	}
	return takeover.Next(k.a.o.Region, heard...)
}

// jitter is a random part of d, so that two who stand do not meet again and again.
func jitter(d time.Duration) time.Duration { return rand.N(d + 1) }
