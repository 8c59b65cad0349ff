package app

import (
	"context"
	"time"

	"causeway/internal/home"
	"causeway/internal/replica"
)

// One node of the region is to lead all its groups, so that it has the links, the
// votes and the shipping: that which leads the region's own home. The others are led
// right, too, while that is not so.

// followEvery is how often the node that leads the own home looks at the others.
const followEvery = 500 * time.Millisecond

// followLead has the leadership of the other groups handed to the node that leads the
// region's own home.
func (a *App) followLead(ctx context.Context) error {
	for wait(ctx, followEvery) {
		if !a.home.leads() {
			continue
		}
		for _, r := range a.otherGroups() {
			a.takeLead(ctx, r)
		}
	}
	return nil
}

// otherGroups are the copies of other homes and the region's votes, as far as open.
func (a *App) otherGroups() (list []*replica.Replica) {
	for _, h := range a.homes[1:] {
		if r := h.current(); r != nil {
			list = append(list, r)
		}
	}
	if a.book != nil {
		if r := a.book.live.Load(); r != nil {
			list = append(list, r)
		}
	}
	return list
}

// takeLead asks who leads a group to hand that to this node. It may refuse, if this
// node is behind for example; then it is asked again.
func (a *App) takeLead(ctx context.Context, r *replica.Replica) {
	self := home.NodeID(a.cfg.Node)
	leader, known := r.Leader()
	if r.Leads() || !known || leader == self {
		return
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := r.Change(within, "transfer", self, false); err != nil {
		a.log.Debug("take over the lead of a group", "from", leader, "error", err)
	}
}
