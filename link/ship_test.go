package link

import (
	"testing"
	"time"

	"causeway/link/wire"
)

// A home is shipped to its standby: record by record, and all of it.
func TestShip_StandbyFollows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.tuned("us", standsBy("eu", "us"), peerFrom("eu"))
		eu, _ := w.shipsTo("eu", []string{"us"}, peerTo("us"))
		s := newStandby("eu")
		defer func() { s.stop(); <-s.done }()
		us.also("eu", RoleStandby, Options{Home: standbyHome{s}, Standby: s})
		eu.home.publish(t, "events/a", 0, 100)
		took := follows(t, eu, s, 10*time.Second)
		t.Logf("follows after %v", took)
		eu.home.publish(t, "events/a", 100, 1100)
		took = follows(t, eu, s, 10*time.Second)
		c := eu.m.Copies()
		t.Logf("1000 more after %v: %+v", took, c[0])
		if len(c) != 1 || c[0].State != CopyFollows || !c[0].Counts || c[0].Link.State != Up {
			t.Errorf("shipping %+v", c)
		}
		_ = wire.PurposeShip
	})
}
