package evacuation

import (
	"testing"
	"time"
)

// A region is evacuated from its load balancers to the last device that came back elsewhere; it is over when the region
// serves again, and not before.
func TestRegion_FromHealthCheckToProhibiting(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := BeginRegion(Region{Region: "eu", To: "us", Options: Defaults(), Epoch: 3, Connections: 3000, Nodes: 3}, now)
	if want := 2*time.Minute + 2*time.Second; r.Expected != want {
		t.Errorf("expected to take %s, want %s", r.Expected, want)
	}
	if r.Next(now.Add(59*time.Second)) != nil {
		t.Error("it does not wait for load balancers")
	}
	next := r.Next(now.Add(time.Minute))
	if next == nil || next.State != EvictingConns {
		t.Fatalf("after the wait: %+v", next)
	}
	if next.Next(now.Add(time.Hour)) != nil {
		t.Error("more is to be written: nobody here can")
	}
	serving := RegionSeen{Epoch: 3, Serves: true, Own: true, Connections: 0}
	gone := now.Add(2 * time.Minute)
	for _, tt := range []struct {
		name string
		seen RegionSeen
		at   time.Time
		want State
		over bool
	}{
		{"it still serves", serving, gone, EvictingConns, false},
		{"devices are left", RegionSeen{Epoch: 4, Connections: 5}, gone, EvictingConns, false},
		{"none is", RegionSeen{Epoch: 4, Empty: gone}, gone.Add(time.Second), WaitingTakeover, false},
		{"they had their time", RegionSeen{Epoch: 4, Empty: gone}, gone.Add(time.Minute), Prohibiting, false},
		{"it serves another's home", RegionSeen{Epoch: 4, Serves: true}, gone, EvictingConns, false},
		{"it serves again", RegionSeen{Epoch: 5, Serves: true, Own: true}, gone, EvictingConns, true},
	} {
		if got := next.At(tt.at, tt.seen); got != tt.want || next.Over(tt.seen) != tt.over {
			t.Errorf("%s: %s, over %v", tt.name, got, next.Over(tt.seen))
		}
	}
	if got := Earliest([]State{Prohibiting, EvictingConns, WaitingTakeover}); got != EvictingConns {
		t.Errorf("the region is in %s", got)
	}
}
