package takeover

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// Terms are the durations that hosts and voters of a home agree on.
type Terms struct {
	// Lease is for how long a host relies on a promise, counted from when it asked.
	Lease time.Duration
	// Hold is for how long a voter keeps one, counted from when it promised. It is
	// longer than Lease by what two monotonic clocks may differ in that time.
	Hold time.Duration
}

// Position is how far a copy of a home goes.
type Position struct {
	Epoch home.Epoch
	Seq   home.Seq
}

// Behind says whether p lacks something that o has.
func (p Position) Behind(o Position) bool {
	if c := p.Epoch.Compare(o.Epoch); c != 0 {
		return c < 0
	}
	return p.Seq < o.Seq
}

// Voter is what a voter has promised about one home. Promised is durable: it is
// kept before an answer is given. The rest is of one run.
type Voter struct {
	Promised home.Epoch    // the highest epoch it agreed to
	Until    time.Duration // before that it agrees to no other one

	standbys map[string]standing
}

// standing is what a living standby told of itself.
type standing struct {
	at    Position
	heard time.Duration
}

// Resume begins another run of the voter. What it promised in the last one may
// still be relied on.
func (v *Voter) Resume(now time.Duration, t Terms) {
	v.Until = now + t.Hold
	v.standbys = nil
}

// Tell notes how far a standby's copy goes.
func (v *Voter) Tell(now time.Duration, region string, at Position) {
	if v.standbys == nil {
		v.standbys = map[string]standing{}
	}
	v.standbys[region] = standing{at, now}
}

// Ask is a region's request for a promise: to go on hosting, or to begin to.
type Ask struct {
	Epoch home.Epoch
	// Candidate says that the region does not host the home yet; At is how far its
	// copy goes.
	Candidate bool
	At        Position
	// Forced is an operator's word: a copy that is behind will do.
	Forced bool
}

// Answer of a voter.
type Answer uint8

// Answers. Only Yes is a promise.
const (
	Yes    Answer = iota // nobody else gets a promise for Terms.Hold
	Wait                 // another region may rely on a promise
	Behind               // a living standby has more
	Old                  // a higher epoch was promised
)

func (a Answer) String() string {
	return [...]string{"yes", "another region may still rely on a promise", "a living standby has more", "a higher epoch was promised"}[a]
}

// Answer decides on a request. A promise changes the voter.
//
//	           epoch below Promised ─────────────▶ Old
//	           epoch = Promised     ─────────────▶ Yes
//	           epoch above, before Until ────────▶ Wait
//	           candidate, a living standby ahead ▶ Behind
//	otherwise                       ─────────────▶ Yes
func (v *Voter) Answer(now time.Duration, a Ask, t Terms) Answer {
	switch c := a.Epoch.Compare(v.Promised); {
	case c < 0:
		return Old
	case c > 0 && now < v.Until:
		return Wait
	case c > 0 && a.Candidate && !a.Forced && v.knowsBetter(now, a, t):
		return Behind
	}
	v.Promised, v.Until = a.Epoch, now+t.Hold
	return Yes
}

// Release is a host's word that it does not rely on promises for its epoch any more.
func (v *Voter) Release(epoch home.Epoch) {
	if epoch == v.Promised {
		v.Until = 0
	}
}

// knowsBetter says that another standby, heard of lately, has more than the
// candidate.
func (v *Voter) knowsBetter(now time.Duration, a Ask, t Terms) bool {
	for region, s := range v.standbys {
		if region != a.Epoch.Host && now-s.heard < t.Hold && a.At.Behind(s.at) {
			return true
		}
	}
	return false
}

// Majority is how many of n voters decide.
func Majority(n int) int { return n/2 + 1 }

// Promises are the answers that a region may rely on for one epoch.
type Promises struct {
	Epoch home.Epoch
	asked map[string]time.Duration // by voter: when it was asked for what it promised last
}

// Take notes a promise of a voter, asked for at a time. One for another epoch counts
// nothing.
func (p *Promises) Take(voter string, epoch home.Epoch, asked time.Duration) {
	if epoch != p.Epoch {
		return
	}
	if p.asked == nil {
		p.asked = map[string]time.Duration{}
	}
	p.asked[voter] = max(asked, p.asked[voter])
}

// Until is when the promises of a majority of voters end: before that no other region
// has one. Not ok without a majority. A voter that is none of voters does not count.
func (p *Promises) Until(voters []string, t Terms) (until time.Duration, ok bool) {
	var list []time.Duration
	for _, v := range voters {
		if at, yes := p.asked[v]; yes {
			list = append(list, at)
		}
	}
	need := Majority(len(voters))
	if len(list) < need {
		return 0, false
	}
	slices.Sort(list)
	return list[len(list)-need] + t.Lease, true
}
