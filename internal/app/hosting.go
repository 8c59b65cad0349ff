package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"causeway/internal/health"
	"causeway/internal/replica"
)

// A copy of a home hosts it or stands by, and that changes while it is open:
//
//	standing by --promoted--> hosting --handed over, or superseded--> standing by
//
// Hosting begins with CONNECTs let in at a pace, since a fleet is on its way, and
// ends with the home's devices closed at one: where they come they must not come all
// at once.

// hosts says that the home is served from this region, as far as this node knows.
func (h *homeService) hosts() bool {
	r := h.live.Load()
	return r != nil && r.Hosting()
}

// watchHosting does what begins and ends with hosting.
func (h *homeService) watchHosting(ctx context.Context, r *replica.Replica) {
	hosted := r.Hosting()
	for ctx.Err() == nil {
		h.a.follow()
		h.a.where.change()
		if r.WaitHosting(ctx, !hosted) != nil {
			return
		}
		if hosted = !hosted; hosted {
			h.hostingBegan(r)
		} else {
			h.hostingEnded(ctx)
		}
	}
}

// watchHeir has the agent look at the copy at once when the home is handed over to this region, and again when it is not
// the heir any more: devices wait meanwhile.
func (h *homeService) watchHeir(ctx context.Context, r *replica.Replica) {
	for heir := true; r.WaitHeir(ctx, heir) == nil; heir = !heir {
		if h.a.deciding != nil {
			h.a.deciding.Changed(h.id)
		}
	}
}

// promotionLeast and promotionMost bound for how long CONNECTs are paced after a
// promotion; between them it is twice what the home's sessions take.
const (
	promotionLeast = 30 * time.Second
	promotionMost  = 10 * time.Minute
)

func (h *homeService) hostingBegan(r *replica.Replica) {
	lineage := r.State().Lineage()
	h.lone.Store(len(lineage) > 0 && lineage[len(lineage)-1].Unplanned)
	sessions := 0
	for _, c := range r.State().SessionCounts() {
		sessions += c.Attached + c.Detached
	}
	rate := float64(h.a.region().Takeover.Admission)
	for_ := promotionLeast
	if rate > 0 {
		for_ = min(max(for_, time.Duration(2*float64(sessions)/rate*float64(time.Second))), promotionMost)
		h.a.broker.PaceConnects(rate, for_)
	}
	h.a.log.Warn("this region serves the home from now on", "home", string(h.id), "epoch", r.State().Epoch().String(), "sessions", sessions, "connects_paced_for", for_)
}

func (h *homeService) hostingEnded(ctx context.Context) {
	h.served.Store(false)
	h.a.where.change()
	h.a.log.Warn("this region serves the home no more: its devices are closed at a pace, so that they go where it is served", "home", string(h.id), "reason", h.reason())
	n := h.house.CloseAtPace(ctx, h.a.evacuating.departRate())
	h.a.log.Info("its connections are closed", "home", string(h.id), "connections", n)
}

// departRate is how many connections a second are closed when a home is served
// elsewhere: what a region can let in.
const departRate = 5000

var errNotHosted = errors.New("the home is served by another region")

// standsBy says why the home is not served here although it is open; "" if it is.
func standsBy(r *replica.Replica, region string) string {
	if r.Hosting() {
		return ""
	}
	s := r.State()
	if s.ID() == "" {
		return "the copy of the home is still to come from its host"
	}
	if superseded(r, region) {
		return "another region serves it at a higher epoch than " + s.Epoch().String()
	}
	if to, ok := s.Handed(); ok {
		return "it was handed over to region " + to
	}
	return "region " + s.Epoch().Host + " serves it (epoch " + s.Epoch().String() + ")"
}

// standing is the condition of a copy that does not host its home. A region that
// hosts another home goes on serving devices; one that hosts none is fenced.
func (h *homeService) standing(r *replica.Replica) health.Condition {
	why := standsBy(r, h.a.cfg.Region)
	if !h.own() || h.a.hostsAny() {
		return health.Condition{State: health.Ready, Reason: "home " + string(h.id) + ": " + why}
	}
	c := health.Condition{State: health.Standby, Reason: "home " + string(h.id) + ": " + why, Next: "causeway ctl region status"}
	if superseded(r, h.a.cfg.Region) {
		c.State = health.Fenced
	}
	return c
}

// held says that an operator stopped the home here: the node that decides hears it first.
func (h *homeService) held() bool {
	return h.a.deciding != nil && (h.a.deciding.Held(h.id) || h.a.book.held(h.id))
}

// heldBack is the condition of a home that an operator stopped here, until it is resumed. Other
// homes are served.
func (h *homeService) heldBack() health.Condition {
	c := health.Condition{State: health.Fenced, Reason: "home " + string(h.id) + ": an operator stopped it here", Next: "causeway ctl region resume " + string(h.id)}
	if !h.own() || slices.ContainsFunc(h.a.homes, func(o *homeService) bool { ok, _ := o.Ready(); return ok && o != h }) {
		c.State = health.Ready
	}
	return c
}

// superseded says that the region went on with an epoch that another region took over.
func superseded(r *replica.Replica, region string) bool {
	_, handed := r.State().Handed()
	return !r.Hosting() && !handed && r.State().Epoch().Host == region
}

// hostsAny says that this region hosts a home.
func (a *App) hostsAny() bool {
	for _, h := range a.homes {
		if h.hosts() {
			return true
		}
	}
	return false
}
