package app

import (
	"sync"
	"time"

	"causeway/internal/home"
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
func (w *where) Of(k home.SessionKey) (home.ID, string) {
	var found *homeService
	var at home.SessionEpoch
	why := ""
	for _, h := range w.a.homes {
		e, has := h.State().EpochOf(k)
		switch {
		case h.hosts():
			if has && (found == nil || e > at) {
				found, at = h, e
			}
		case has:
			why = "the session lives in home " + string(h.id) + ": " + h.reason()
		case h.current() == nil && !h.own() && h.shutFor() < openWithin:
			why = "the session may live in home " + string(h.id) + ": " + h.reason()
		}
	}
	switch own := w.a.home; {
	case found != nil:
		return found.id, ""
	case why != "":
		return "", why
	case own.current() == nil || own.hosts(): // the broker waits until it is ready
		return own.id, ""
	default:
		return "", own.reason()
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
