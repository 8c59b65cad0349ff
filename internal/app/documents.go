package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"causeway/internal/health"
	"causeway/internal/home"
	"causeway/internal/replica"
)

// documents are those of a home that this node has a copy of: read here, written
// through the log, and heard of by all who serve the home as they are applied.
type documents struct {
	h *homeService

	mu      sync.Mutex
	changed chan struct{}     // closed at the next change; nil: nobody waits
	unread  map[string]string // what is the matter with documents that cannot be read, by name
}

// Errors of set.
var (
	errDocumentChanged = errors.New("it was changed meanwhile: look at it again, and repeat")
	errDocumentFull    = fmt.Errorf("a document may have %d bytes, and the home has room for some hundreds: remove old ones", home.MaxDocument)
	errDocumentLevel   = errors.New("the home has no documents yet: its feature level is below 3; finalize the upgrade of all its nodes")
)

// documentsOf are those of a home; of the region's own, if id is empty. ok is false
// for a home of which there is no copy here.
func (a *App) documentsOf(id home.ID) (d *documents, ok bool) {
	if id == "" {
		return a.documents, true
	}
	for _, h := range a.homes {
		if h.id == id {
			return h.documents, true
		}
	}
	return nil, false
}

// state is the home's, empty while it is not open.
func (d *documents) state() *home.State {
	if r := d.h.opened.Load(); r != nil {
		return r.State()
	}
	return nothing
}

func (d *documents) get(name string) (home.Document, bool) { return d.state().Document(name) }

func (d *documents) list() []home.Document { return d.state().Documents() }

func (d *documents) history(name string) []home.Document { return d.state().DocumentHistory(name) }

// set writes a document, or removes it without a body, from the revision that the caller
// has seen; 0: there was none. It returns the new revision once it is in the log of the
// home: other nodes, and standbys, hear of it in their time. Errors: those above,
// errNoHome, replica.ErrStandby where another region hosts the home, ctx's.
func (d *documents) set(ctx context.Context, name string, seen uint64, body []byte, by, note string) (revision uint64, err error) {
	r := d.h.current()
	if r == nil {
		return 0, errNoHome
	}
	op := &home.SetDocument{Name: name, Seen: seen, Body: body, By: by, Note: note}
	if r.State().Level() < home.LevelOf(op.Kind()) {
		return 0, errDocumentLevel
	}
	if !r.Hosting() {
		return 0, replica.ErrStandby
	}
	o, err := outcomeOf(ctx, r, op)
	switch {
	case err != nil:
		return 0, err
	case o.Code == home.CodeVoid:
		return 0, errDocumentChanged
	case o.Code == home.CodeQuota:
		return 0, errDocumentFull
	case o.Code != home.CodeOK:
		return 0, fmt.Errorf("no document can be called %q", name)
	}
	return o.Record, nil
}

// edit changes a document by what change makes of it, however often others come first. It
// writes nothing when change returns what it was given. change may be called several times.
func (d *documents) edit(ctx context.Context, name, by, note string, change func(body []byte) ([]byte, error)) (revision uint64, err error) {
	for {
		have, _ := d.get(name)
		next, err := change(have.Body)
		if err != nil || string(next) == string(have.Body) {
			return have.Revision, err
		}
		rev, err := d.set(ctx, name, have.Revision, next, by, note)
		if !errors.Is(err, errDocumentChanged) {
			return rev, err
		}
		if !wait(ctx, officeEvery) { // this node has not applied what it lost against
			return 0, ctx.Err()
		}
	}
}

// watch calls fn with each document whose name begins with prefix, at first as it is and
// then each time it was written; without a body when it is there no more. What changes
// several times while fn runs is told once. It returns when ctx ends.
func (d *documents) watch(ctx context.Context, prefix string, fn func(home.Document)) {
	told := map[string]uint64{}
	for {
		changed := d.next()
		if d.h.opened.Load() != nil {
			d.tell(prefix, told, fn)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// tell calls fn with what changed since it was told.
func (d *documents) tell(prefix string, told map[string]uint64, fn func(home.Document)) {
	there := map[string]bool{}
	for _, x := range d.list() {
		if !strings.HasPrefix(x.Name, prefix) {
			continue
		}
		now, ok := d.get(x.Name)
		if !ok {
			continue // it was removed since
		}
		there[x.Name] = true
		if told[x.Name] != now.Revision {
			told[x.Name] = now.Revision
			fn(now)
		}
	}
	for name := range told {
		if !there[name] {
			delete(told, name)
			fn(home.Document{Name: name})
		}
	}
}

// understood notes whether a document can be read: what cannot is said until it can, and what was read of it before holds.
func (d *documents) understood(doc home.Document, err error) bool {
	d.mu.Lock()
	was := d.unread[doc.Name]
	if err == nil {
		delete(d.unread, doc.Name)
		d.mu.Unlock()
		return true
	}
	if d.unread == nil {
		d.unread = map[string]string{}
	}
	now := fmt.Sprintf("revision %d of the document %s of home %s cannot be read: %v", doc.Revision, doc.Name, d.h.id, err)
	d.unread[doc.Name] = now
	d.mu.Unlock()
	if now != was {
		d.h.a.log.Error("a document cannot be read; what it said before holds", "problem", now)
	}
	return false
}

// problem is what is the matter with documents that cannot be read; "" if there are none.
func (d *documents) problem() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Values(d.unread)), "; ")
}

// documentsFix is what there is to do about documents that cannot be read.
const documentsFix = "upgrade this node to the version that wrote it, or write it anew (causeway ctl users, tokens, ban or evacuation)"

func (d *documents) health() health.Condition {
	if p := d.problem(); p != "" {
		return health.Condition{State: health.Ready, Reason: p, Next: documentsFix}
	}
	return health.OK()
}

// next is closed when a document changes, or another copy of the home is opened.
func (d *documents) next() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

func (d *documents) change() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}
