package app

import (
	"sync"
	"time"

	"causeway/internal/home"
	"causeway/internal/replica"
)

// where says which home a device's session lives in. It implements broker.Homes.
type where struct {
	a *App

	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil: nobody waits
}

// openWithin is for how long a node waits for a copy of another region's home to be
// opened, at first or again, before it answers without knowing what is in it.
const openWithin = 30 * time.Second

// Of returns the hosted home that has the session. One that no home has is created
// in the region's own. A session that is known to live in a home which is served
// elsewhere, or may be, is never created anew: the device would lose what waits for
// it. If several have it, the one that attached it last counts. [E8]
//
// A copy that stands by while its host is heard tells so: the device is served there. So does a home that was closed for its
// devices to go elsewhere: one that knows several nodes of the region would be held at each.
func (w *where) Of(k home.SessionKey) (id home.ID, elsewhere bool) {
	var found *homeService
	var at home.SessionEpoch
	waits := false
	for _, h := range w.a.homes {
		e, has := h.State().EpochOf(k)
		switch {
		case h.hosts():
			if e, has = h.State().Attachable(k); has && (found == nil || e > at) {
				found, at = h, e
			}
		case has:
			waits, elsewhere = true, h.elsewhere()
		case h.current() == nil && !h.own() && h.shutFor() < openWithin:
			waits, elsewhere = true, false
		}
	}
	switch own := w.a.home; {
	case found != nil:
		return found.id, found.lapsed()
	case w.roams() && own.hosts():
		if w.a.roaming.of(k) != "" {
			return "", false
		}
		return own.id, false
	case waits:
		return "", elsewhere
	case own.current() == nil || own.hosts(): // the broker waits until it is ready
		return own.id, own.lapsed()
	default:
		return "", own.elsewhere()
	}
}

func (w *where) roams() bool { return w.a.roaming != nil && w.a.roaming.on() }

// lapsed says that the home could not be served here for so long that its connections were closed, and that a standby may
// serve it by now.
func (h *homeService) lapsed() bool {
	r := h.current()
	return h.cutOff.Load() && r != nil && len(r.State().Takeover().Standbys) > 0 && !h.inTouch()
}

// elsewhere says that another region is known to serve the home.
func (h *homeService) elsewhere() bool {
	r := h.current()
	return r != nil && r.Elsewhere()
}

// How long a host that was heard is taken to serve its home, and how long that word holds
// unless it is said again.
const (
	hostHeard     = 1500 * time.Millisecond
	elsewhereHold = 3 * shippedEvery
)

// tellElsewhere tells the nodes of the region, from the one that leads the copy, while its
// host is heard. A copy that was handed over to this region is about to be served here.
func (h *homeService) tellElsewhere(r *replica.Replica) {
	if to, _ := r.State().Handed(); to == h.a.cfg.Region || h.links == nil {
		return
	}
	if heard := h.heardUntil(h.links.Copies()); time.Since(heard) < hostHeard {
		r.SetElsewhere(elsewhereHold)
	}
}

// Changed is closed when a home begins or ceases to be served here.
func (w *where) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *where) change() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}
