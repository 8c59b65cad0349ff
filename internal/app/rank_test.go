package app

import (
	"fmt"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link"
)

// The ranking follows round trips and reachability, when they stay, and not noise.
func TestRanker(t *testing.T) {
	var k ranker
	var have home.Rank
	now := time.Unix(0, 0)
	entries := 0
	watch := func(d time.Duration, rtt ...time.Duration) string {
		for end := now.Add(d); now.Before(end); now = now.Add(rankEvery) {
			var links []link.Status
			for i, r := range rtt {
				s := link.Status{Peer: home.ID([]string{"ap", "br", "us"}[i]), State: link.Up, RTT: r * time.Millisecond}
				if r == 0 {
					s.State, s.RTT = link.Down, 0
				}
				links = append(links, s)
			}
			if next, changed := k.next(now, have, links); changed {
				have = next
				entries++
			}
		}
		return fmt.Sprint(have.Peers, have.Away, entries)
	}
	for _, step := range []struct {
		what string
		got  string
		want string
	}{
		{"the nearest first", watch(2*time.Second, 200, 90, 80), "[us br ap] 0 1"},
		{"noise", watch(5*time.Minute, 200, 80, 85), "[us br ap] 0 1"},
		{"a moment", watch(10*time.Second, 200, 20, 85), "[us br ap] 0 1"},
		{"and back", watch(time.Minute, 200, 80, 85), "[us br ap] 0 1"},
		{"materially nearer", watch(time.Minute, 200, 20, 85), "[br us ap] 0 2"},
		{"down for a moment", watch(8*time.Second, 200, 0, 85), "[br us ap] 0 2"},
		{"up again", watch(8*time.Second, 200, 20, 85), "[br us ap] 0 2"},
		{"down", watch(20*time.Second, 200, 0, 85), "[us ap br] 1 3"},
	} {
		if step.got != step.want {
			t.Errorf("%s: %s, want %s", step.what, step.got, step.want)
		}
	}
	k = ranker{} // another leader goes on with the ranking there is
	if got := watch(8*time.Second, 200, 0, 85); got != "[us ap br] 1 3" {
		t.Errorf("another leader: %s", got)
	}
	if got := watch(time.Minute, 200, 20, 85); have.Away != 0 || have.Peers[0] != "br" {
		t.Errorf("up for long: %s", got)
	}
	if got := watch(2*time.Second, 200); fmt.Sprint(have.Peers) != "[ap]" {
		t.Errorf("links that are gone: %s", got)
	}
}
