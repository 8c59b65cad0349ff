package takeover

import (
	"fmt"
	"slices"
	"testing"

	"causeway/internal/home"
)

// Every order in which a host changes its list of voters, one at a time, and renews its
// promises, promises lapse, and a standby that has heard of fewer changes asks for promises:
// never has each of them a majority by its own list. Two who are promised a home have two
// epochs, so what Voter.Answer decides on is here who holds the voter.

// lists are what the host decides by, one after another: two voters are replaced.
var lists = [][]string{{"eu", "us", "w1"}, {"eu", "us", "w1", "w2"}, {"eu", "us", "w2"}, {"eu", "us", "w2", "w3"}, {"eu", "w2", "w3"}}

var everybody = []string{"eu", "us", "w1", "w2", "w3"}

const (
	nobody = iota
	theHost
	theStandby
)

type listState struct {
	host, standby int // which list each decides by
	told          [5]int8
	holds         [5]uint8
}

type listRules struct{ careless, hasty bool }

// at is how far a copy goes that has a list: each is a record.
func at(list int) Position {
	return Position{Epoch: home.Epoch{Number: 1, Host: "eu"}, Seq: home.Seq(list + 1)}
}

func (s *listState) majority(list int, counts func(i int) bool) bool {
	n := 0
	for i, v := range everybody {
		if slices.Contains(lists[list], v) && counts(i) {
			n++
		}
	}
	return n >= Majority(len(lists[list]))
}

func (s *listState) both() bool {
	return s.majority(s.host, func(i int) bool { return s.holds[i] == theHost }) &&
		s.majority(s.standby, func(i int) bool { return s.holds[i] == theStandby })
}

// next are the states that may follow.
func (s listState) next(r listRules) (all []listState) {
	add := func(change func(*listState)) {
		n := s
		change(&n)
		all = append(all, n)
	}
	settled := s.majority(s.host, func(i int) bool { return int(s.told[i]) == s.host })
	if s.host+1 < len(lists) && (settled || r.hasty) {
		add(func(n *listState) { n.host++ })
	}
	if s.standby < s.host {
		add(func(n *listState) { n.standby++ })
	}
	for i := range everybody {
		known := List{ListID(lists[s.told[i]]), at(int(s.told[i]))}
		if s.holds[i] != theStandby {
			add(func(n *listState) {
				n.holds[i] = theHost
				if l := known.Told(ListID(lists[s.host]), at(s.host)); l != known {
					n.told[i] = int8(s.host)
				}
			})
		}
		if s.holds[i] == nobody && (r.careless || !known.Outdated(ListID(lists[s.standby]), at(s.standby))) {
			add(func(n *listState) { n.holds[i] = theStandby })
		}
		if s.holds[i] != nobody {
			add(func(n *listState) { n.holds[i] = nobody })
		}
	}
	return all
}

// search goes through all states and returns one in which two have a majority.
func search(r listRules) (found string, states int) {
	seen := map[listState]bool{{}: true}
	for todo := []listState{{}}; len(todo) > 0; {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s.both() {
			return fmt.Sprintf("host by %v, standby by %v: %v", lists[s.host], lists[s.standby], s.holds), len(seen)
		}
		for _, n := range s.next(r) {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return "", len(seen)
}

func TestLists_OneMajority(t *testing.T) {
	found, states := search(listRules{})
	t.Logf("%d states", states)
	if found != "" {
		t.Error(found)
	}
}

// A search that finds nothing proves nothing.
func TestLists_PlantedMistakes(t *testing.T) {
	for name, r := range map[string]listRules{
		"voters promise to whoever asks":                  {careless: true},
		"the next change does not wait for the voters":    {hasty: true},
		"voters are told nothing, and nothing waits them": {careless: true, hasty: true},
	} {
		if found, _ := search(r); found == "" {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

// A standby that has what the voter was told of, or more, is not held back by a voter that
// was not told of the newest list.
func TestList_NewerIsNotOutdated(t *testing.T) {
	old, new := ListID([]string{"eu", "us", "w1"}), ListID([]string{"w2", "us", "eu", "w1"})
	l := List{}.Told(old, at(3))
	for _, c := range []struct {
		name string
		id   uint64
		at   Position
		want bool
	}{
		{"the same list, behind", old, at(1), false},
		{"another list, behind", new, at(1), true},
		{"another list, as far", new, at(3), false},
		{"another list, further", new, at(4), false},
		{"of a version that does not say", 0, at(1), false},
	} {
		if got := l.Outdated(c.id, c.at); got != c.want {
			t.Errorf("%s: outdated %v", c.name, got)
		}
	}
	if l.Told(new, at(2)) != l {
		t.Error("a word that was overtaken counts")
	}
	if ListID([]string{"a", "b"}) != ListID([]string{"b", "a"}) || ListID([]string{"ab"}) == ListID([]string{"a", "b"}) {
		t.Error("lists are told apart by their order, or not by where names end")
	}
}
