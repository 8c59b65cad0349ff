package app

import (
	"context"
	"math"
	"slices"
	"time"

	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/link"
)

// The order in which peers are asked to take messages of global groups changes
// when it has been wrong for long enough, by enough: each change is an entry, and
// workers gain nothing from being changed every second.
const (
	rankEvery  = 2 * time.Second
	rankHold   = 20 * time.Second // a better order has to be one for so long
	awayAfter  = 10 * time.Second // a link that is down for so long cannot be reached, and can when it is up for so long
	rttSmooth  = 0.2              // weight of a new round trip
	rttBetter  = 0.75             // a peer is better when its round trip is this much of the other's
	rttBetween = 2 * time.Millisecond
)

// rankPeers enters a ranking of peers while this node leads the home.
func (h *homeService) rankPeers(ctx context.Context, r *replica.Replica) {
	var k ranker
	for r.WaitLeads(ctx, true) == nil {
		if !wait(ctx, rankEvery) {
			return
		}
		s := r.State()
		if !s.HasGlobal() || !r.Leads() {
			k = ranker{}
			continue
		}
		next, changed := k.next(time.Now(), s.Ranking(), h.links.Status())
		if changed && proposeWait(ctx, r, &next) != nil && ctx.Err() != nil {
			return
		}
	}
}

// ranker watches links. Its memory is of this leader's office; the order itself is
// the home's.
type ranker struct {
	peers map[home.ID]*ranked
}

// ranked is what is known of a peer.
type ranked struct {
	rtt    float64   // nanoseconds, smoothed; 0 not known
	up     bool      // as of the last look
	since  time.Time // of up
	away   bool
	better time.Time // since when it should be before its predecessor; zero if not
}

// next looks at the links and returns the ranking, and whether it is not the one
// in force any more.
func (k *ranker) next(now time.Time, have home.Rank, links []link.Status) (home.Rank, bool) {
	if k.peers == nil {
		k.peers = map[home.ID]*ranked{}
	}
	near := have.Peers[:len(have.Peers)-have.Away]
	for i := range links {
		k.look(now, &links[i], slices.Contains(have.Peers, links[i].Peer) && !slices.Contains(near, links[i].Peer))
	}
	order := k.listed(have.Peers, links)
	for i := 1; i < len(order); i++ {
		if k.overtakes(now, order[i-1], order[i]) {
			order[i-1], order[i] = order[i], order[i-1]
			k.peers[order[i-1]].better = time.Time{}
		}
	}
	slices.SortStableFunc(order, func(a, b home.ID) int { return boolInt(k.peers[a].away) - boolInt(k.peers[b].away) })
	next := home.Rank{Peers: order}
	for _, id := range order {
		next.Away += boolInt(k.peers[id].away)
	}
	return next, !sameOp(&have, &next)
}

// look takes in the state of a link; away is what the ranking in force says.
func (k *ranker) look(now time.Time, s *link.Status, away bool) {
	p, up := k.peers[s.Peer], s.State == link.Up
	if p == nil {
		p = &ranked{up: up, since: now, away: away}
		k.peers[s.Peer] = p
	}
	if p.up != up {
		p.up, p.since = up, now
	}
	if now.Sub(p.since) >= awayAfter {
		p.away = !up
	}
	switch rtt := float64(s.RTT); {
	case !up || rtt == 0:
	case p.rtt == 0:
		p.rtt = rtt
	default:
		p.rtt += rttSmooth * (rtt - p.rtt)
	}
}

// listed is the order in force without peers that are gone; new ones follow, the
// nearest first.
func (k *ranker) listed(have []home.ID, links []link.Status) (order []home.ID) {
	linked := func(id home.ID) bool {
		return slices.ContainsFunc(links, func(s link.Status) bool { return s.Peer == id })
	}
	for _, id := range have {
		if linked(id) {
			order = append(order, id)
		}
	}
	n := len(order)
	for i := range links {
		if !slices.Contains(order, links[i].Peer) {
			order = append(order, links[i].Peer)
		}
	}
	slices.SortStableFunc(order[n:], func(a, b home.ID) int { return int(math.Copysign(1, k.distance(a)-k.distance(b))) })
	return order
}

// distance of a peer whose round trip is not known is large.
func (k *ranker) distance(id home.ID) float64 {
	if rtt := k.peers[id].rtt; rtt > 0 {
		return rtt
	}
	return math.MaxFloat64
}

// overtakes says whether the later of two neighbours has been materially nearer
// for long enough.
func (k *ranker) overtakes(now time.Time, before, after home.ID) bool {
	a, b := k.distance(before), k.peers[after]
	if b.rtt == 0 || b.rtt > rttBetter*a || a-b.rtt < float64(rttBetween) {
		b.better = time.Time{}
		return false
	}
	if b.better.IsZero() {
		b.better = now
	}
	return now.Sub(b.better) >= rankHold
}

func boolInt(on bool) int {
	if on {
		return 1
	}
	return 0
}
