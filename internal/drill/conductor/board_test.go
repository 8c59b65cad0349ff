package conductor

import (
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill"
)

func boardOf(events ...drill.Event) *conductor {
	return &conductor{events: events, touched: map[string]admin.DrillTouch{}, selves: map[string]bool{}}
}

// A conductor that is started again between an approval and the step's end does not ask for it again, also when no region
// that kept it is left.
func TestApproval_OfTheJournalStays(t *testing.T) {
	c := boardOf(drill.Event{What: drill.EvApproved, Step: 2, By: "alice"}, drill.Event{What: drill.EvApproved, Step: 3, By: "bob"})
	if got, err := c.approval(t.Context(), &drill.Step{N: 3, Name: "kill eu", Wait: time.Minute}); got != "by bob" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Nobody approves by the name that the drill is conducted with, in whatever region.
func TestApproval_NeedsAnother(t *testing.T) {
	step := &drill.Step{N: 3, Name: "kill eu", By: []drill.Approver{{Name: "alice", Role: "operator"}, {Name: "bob", Role: "operator"}}}
	by := func(name string) admin.DrillTouch {
		return admin.DrillTouch{What: admin.DrillApprove, Step: "kill eu", By: name, Role: "operator"}
	}
	c := boardOf()
	c.takeIn("carol", []admin.DrillTouch{by("alice")})
	c.takeIn("alice", nil)
	if got := c.approved(step); got != nil {
		t.Errorf("it is approved by %s, who conducts it", got.By)
	}
	c.takeIn("carol", []admin.DrillTouch{by("bob")})
	if got := c.approved(step); got == nil || got.By != "bob" {
		t.Errorf("approved: %v", got)
	}
}
