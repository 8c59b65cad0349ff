package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"causeway/internal/devices"
	"causeway/internal/evacuation"
	"causeway/internal/home"
)

// Every node tells of what is under way in the region, so that whoever listens to one of them hears it.

// tellMoves tells who listens of evacuations or of the rebalance, whose documents begin so, until ctx ends.
func (a *App) tellMoves(ctx context.Context, prefix string) {
	t := teller{a, map[string]string{}}
	a.documents.watch(ctx, prefix, t.tell)
}

// teller is what was told last.
type teller struct {
	a      *App
	states map[string]string // by document
}

func (t *teller) tell(d home.Document) {
	kind, what, state := "evacuation", strings.TrimPrefix(d.Name, nodeDocument("")), ""
	if d.Name == rebalanceDocument {
		kind, what = "rebalance", t.a.cfg.Region
		if b, err := readDocument[evacuation.Rebalance](d); err == nil && b != nil {
			state = strings.TrimSuffix(fmt.Sprintf("%s %s %s", b.State, b.Outcome, b.Detail), " ")
		}
	} else if run, err := readDocument[evacuation.Run](d); err == nil && run != nil {
		state = fmt.Sprintf("%s, it had %d connections", run.State, run.Connections)
	}
	switch {
	case state == t.states[d.Name]:
	case state == "":
		t.a.events.Emit(kind, what, "it is over: devices are taken again")
	default:
		t.a.events.Emit(kind, what, strings.TrimSpace(state)+"; by "+d.By)
	}
	t.states[d.Name] = state
}

// tellBans tells of bans that are new since the node started, and of those that were taken back. Those whose time is over
// are not told.
func (a *App) tellBans(by string, before, now []devices.Ban) {
	known := map[string]bool{}
	for _, b := range before {
		known[b.ID()] = true
	}
	for _, b := range now {
		if !known[b.ID()] && b.At.After(a.started) {
			a.events.Emit("ban", b.Kind+" "+b.Value, fmt.Sprintf("kept out %s, by %s: %s", banEnd(&b), b.By, cmp.Or(b.Reason, "no reason given")))
		}
		delete(known, b.ID())
	}
	for _, b := range before {
		if known[b.ID()] && !b.Over(time.Now()) {
			a.events.Emit("ban", b.Kind+" "+b.Value, "let in again, by "+by)
		}
	}
}

func banEnd(b *devices.Ban) string {
	if b.Until.IsZero() {
		return "until it is taken back"
	}
	return "until " + b.Until.UTC().Format(time.RFC3339)
}
