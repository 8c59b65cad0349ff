package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"causeway/internal/admin"
	"causeway/internal/replica"
)

// Drills are documents of the region's own home, drill/ID, so that its standbys have them, too.

const (
	drillPrefix = "drill/"
	maxDrills   = 40 // kept; the oldest go
	drillTries  = 5  // to write what others write as well
)

// Drills implements admin.Drills.
func (n node) Drills() ([]admin.Drill, error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	var all []admin.Drill
	for _, d := range n.a.documents.list() {
		if !strings.HasPrefix(d.Name, drillPrefix) {
			continue
		}
		if x, _, err := n.drill(strings.TrimPrefix(d.Name, drillPrefix)); err == nil {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(x, y admin.Drill) int {
		return cmp.Or(y.Started.Compare(x.Started), strings.Compare(y.ID, x.ID))
	})
	return all, nil
}

// drill reads one, with the revision of its document.
func (n node) drill(id string) (d admin.Drill, revision uint64, err error) {
	doc, ok := n.a.documents.get(drillPrefix + id)
	if !ok {
		return d, 0, admin.ErrNotFound
	}
	return d, doc.Revision, json.Unmarshal(doc.Body, &d)
}

// PutDrill implements admin.Drills.
func (n node) PutDrill(ctx context.Context, d admin.Drill, by string) (admin.Drill, error) {
	d.Conductor = by
	d, err := n.changeDrill(ctx, d.ID, by, true, func(have *admin.Drill) error {
		d.Touches = have.Touches
		*have = d
		return nil
	})
	if err != nil {
		return d, err
	}
	return d, n.dropDrills(ctx, by)
}

// TouchDrill implements admin.Drills.
func (n node) TouchDrill(ctx context.Context, id string, t admin.DrillTouch) (admin.Drill, error) {
	return n.changeDrill(ctx, id, t.By, false, func(d *admin.Drill) error {
		if d.Ended != nil {
			return admin.Refuse("ended", "the drill has ended: "+d.Outcome, "causeway ctl drill report "+id)
		}
		if t.What == admin.DrillApprove && t.Step != d.Waits {
			return admin.Refuse("step", fmt.Sprintf("the drill waits for %q and not for %q", d.Waits, t.Step), "causeway ctl drill watch "+id)
		}
		if t.What == admin.DrillApprove && t.By == d.Conductor {
			return admin.Refuse("two_persons", t.By+" conducts the drill, and nobody approves what is one's own", "have somebody approve who has a token of another name")
		}
		if t.What == admin.DrillObserve && slices.ContainsFunc(d.Touches, func(o admin.DrillTouch) bool { return o.What == t.What && o.By == t.By }) {
			return nil
		}
		const most = 200
		if len(d.Touches) >= most {
			return admin.Refuse("full", "more was done about this drill than is kept", "wait for its end")
		}
		d.Touches = append(d.Touches, t)
		return nil
	})
}

// changeDrill changes a drill from what it is in the log, also when another one does at the same time.
func (n node) changeDrill(ctx context.Context, id, by string, create bool, change func(*admin.Drill) error) (admin.Drill, error) {
	for try := 1; ; try++ {
		d, seen, err := n.drill(id)
		if err != nil && !(create && errors.Is(err, admin.ErrNotFound)) {
			return d, err
		}
		if err := change(&d); err != nil {
			return d, err
		}
		b, err := json.Marshal(d)
		if err != nil {
			return d, err
		}
		_, err = n.a.documents.set(ctx, drillPrefix+id, seen, b, by, "drill")
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, errDocumentChanged) && try < drillTries:
			continue
		case errors.Is(err, errNoHome), errors.Is(err, replica.ErrStandby), errors.Is(err, errDocumentLevel):
			return d, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
		}
		return d, err
	}
}

// dropDrills removes the oldest.
func (n node) dropDrills(ctx context.Context, by string) error {
	all, err := n.Drills()
	if err != nil || len(all) <= maxDrills {
		return err
	}
	for _, d := range all[maxDrills:] {
		_, seen, err := n.drill(d.ID)
		if err != nil {
			continue
		}
		if _, err := n.a.documents.set(ctx, drillPrefix+d.ID, seen, nil, by, "the oldest of "+fmt.Sprint(maxDrills)); err != nil && !errors.Is(err, errDocumentChanged) {
			return err
		}
	}
	return nil
}
