package replica

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestHeld(t *testing.T) {
	now := time.Now()
	voters := func(ids ...raft.ServerID) (list []raft.Server) {
		for _, id := range ids {
			list = append(list, raft.Server{ID: id, Suffrage: raft.Voter})
		}
		return list
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		name    string
		servers []raft.Server
		heard   map[raft.ServerID]time.Time
		want    time.Time
	}{
		{"alone", voters("a"), nil, now},
		{"three, nobody heard", voters("a", "b", "c"), nil, time.Time{}},
		{"three, one heard", voters("a", "b", "c"), map[raft.ServerID]time.Time{"b": ago(time.Second)}, ago(time.Second)},
		{"three, the quicker of two counts", voters("a", "b", "c"),
			map[raft.ServerID]time.Time{"b": ago(time.Hour), "c": ago(time.Millisecond)}, ago(time.Millisecond)},
		{"four need three", voters("a", "b", "c", "d"),
			map[raft.ServerID]time.Time{"b": ago(time.Second), "c": ago(2 * time.Second)}, ago(2 * time.Second)},
		{"five, the third counts", voters("a", "b", "c", "d", "e"),
			map[raft.ServerID]time.Time{"b": ago(1), "c": ago(2), "d": ago(3), "e": ago(4)}, ago(2)},
		{"a learner does not count", append(voters("a", "b", "c"), raft.Server{ID: "l", Suffrage: raft.Nonvoter}),
			map[raft.ServerID]time.Time{"l": now}, time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newContacts()
			for id, at := range tc.heard {
				c.answered(id, at, 1)
			}
			if got := c.held(tc.servers, "a", now); !got.Equal(tc.want) {
				t.Errorf("held up to %v, want %v", got, tc.want)
			}
		})
	}
}

func TestContacts_KnowTheNewest(t *testing.T) {
	c, now := newContacts(), time.Now()
	c.answered("b", now, 7)
	c.answered("b", now.Add(-time.Second), 5) // an answer that was overtaken
	if sent, last := c.of("b"); !sent.Equal(now) || last != 7 {
		t.Errorf("b was heard at %v with %d entries", sent, last)
	}
	c.forget()
	if sent, _ := c.of("b"); !sent.IsZero() {
		t.Error("an earlier leadership's contacts count")
	}
}
