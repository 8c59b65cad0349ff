package admin

import (
	"context"
	"testing"
)

func (f *fake) RegionEvacuation() (Evacuation, error) {
	return Evacuation{Node: "eu", State: "evicting_conns", Began: noon, Since: noon, Connections: 7, LeftSeconds: 60}, f.down
}

func (f *fake) StartRegionEvacuation(_ context.Context, o EvacuationOrder, to string, connections int, dryRun bool) (EvacuationChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return EvacuationChange{}, f.refuse
	}
	if !dryRun {
		f.do("evacuate region %s to %s by %s", o.Node, to, o.By)
	}
	return EvacuationChange{Connections: connections}, f.down
}

func (f *fake) StopRegionEvacuation(_ context.Context, region, by string, dryRun bool) ([]string, error) {
	return []string{"it stays"}, f.down
}

// A region is as far as the node that is least far, and has what all have.
func TestRegionEvacuation_JoinsNodes(t *testing.T) {
	e := Evacuation{State: "prohibiting", Done: true, Connections: 0, LeftSeconds: 0}
	e.join(&Evacuation{State: "waiting_takeover", LeftSeconds: 9})
	e.join(&Evacuation{State: "evicting_conns", Connections: 4, LeftSeconds: 5, Held: "the standby is behind"})
	if e.State != "evicting_conns" || e.Done || e.Connections != 4 || e.LeftSeconds != 9 || e.Held == "" {
		t.Errorf("%+v", e)
	}
}
