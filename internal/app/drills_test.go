package app_test

import (
	"errors"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
)

// Two persons means two names; and what one of them approved of is still approved when the node was started again.
func TestDrill_ApprovedByAnother(t *testing.T) {
	u := startUnread(t)
	d := admin.Drill{ID: "q-1", Name: "quarterly", Home: "eu", Started: time.Now().UTC(), Waits: "kill eu"}
	if _, err := u.Node().PutDrill(t.Context(), d, "alice"); err != nil {
		t.Fatal(err)
	}
	approve := func(by, step string) error {
		_, err := u.Node().TouchDrill(t.Context(), "q-1", admin.DrillTouch{What: admin.DrillApprove, Step: step, By: by, Role: "admin"})
		return err
	}
	var refused *admin.Refused
	if err := approve("alice", "kill eu"); !errors.As(err, &refused) || refused.Reasons[0].Condition != "two_persons" {
		t.Errorf("who conducts it, by another token of the same name: %v", err)
	}
	if err := approve("bob", "kill us"); !errors.As(err, &refused) || refused.Reasons[0].Condition != "step" {
		t.Errorf("another step: %v", err)
	}
	if err := approve("bob", "kill eu"); err != nil {
		t.Fatal(err)
	}
	u.stop()
	u.region = start(t, u.yaml, app.Options{})
	is, err := u.Node().PutDrill(t.Context(), d, "alice")
	if err != nil || len(is.Touches) != 1 || is.Touches[0].By != "bob" {
		t.Errorf("after a restart: %+v, %v", is.Touches, err)
	}
}
