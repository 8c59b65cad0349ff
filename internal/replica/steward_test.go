package replica

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// tend is asked with servers written as "node@disk", a suffrage, what they lack
// of the log, and when they were heard.
func TestTend(t *testing.T) {
	now := time.Now()
	const last = 1000
	v, l := raft.Voter, raft.Nonvoter
	at := func(id string, s raft.ServerSuffrage, lacks uint64, ago time.Duration) server {
		x := server{Server: raft.Server{ID: raft.ServerID(id), Suffrage: s}, last: last - lacks, sent: now.Add(-ago)}
		x.node, x.disk = splitID(id)
		return x
	}
	for _, tc := range []struct {
		name string
		all  []server
		want string
		do   change
	}{
		{"all is well", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 0, 0)}, "", nothing},
		{"a learner behind waits", []server{at("a@1", v, 0, 0), at("b@1", l, 500, 0)}, "", nothing},
		{"a learner that caught up votes", []server{at("a@1", v, 0, 0), at("b@1", l, 3, 0)}, "b@1", promote},
		{"a learner that is not heard does not", []server{at("a@1", v, 0, 0), at("b@1", l, 3, 2*time.Second)}, "", nothing},
		{"a fourth is a spare", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 0, 0), at("d@1", l, 0, 0)}, "", nothing},
		{"a dead voter is not removed for a spare", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 900, time.Hour), at("d@1", l, 0, 0)}, "", nothing},
		{"a wiped node's new disk votes first", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 900, time.Hour), at("c@2", l, 0, 0)}, "c@2", promote},
		{"then its old disk goes", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 900, time.Hour), at("c@2", v, 0, 0)}, "c@1", remove},
		{"not while the new one lags", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 900, time.Hour), at("c@2", l, 900, 0)}, "", nothing},
		{"of two learners the lost disk goes", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 0, 0), at("d@1", l, 900, time.Hour), at("d@2", l, 0, 0)}, "d@1", remove},
		{"a new disk that was not heard yet stays", []server{at("a@1", v, 0, 0), at("b@1", v, 0, 0), at("c@1", v, 900, time.Minute), at("c@2", l, last, time.Hour)}, "", nothing},
		{"never below the configured voters", []server{at("a@1", v, 0, 0), at("b@1", v, 900, time.Hour), at("b@2", v, 0, 0)}, "", nothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			voters := 0
			for _, s := range tc.all {
				if s.Suffrage == raft.Voter {
					voters++
				}
			}
			s, do := tend(tc.all, voters, 3, last, now)
			if do != tc.do || string(s.ID) != tc.want {
				t.Errorf("change %d of %q, want %d of %q", do, s.ID, tc.do, tc.want)
			}
		})
	}
}

func TestDigests(t *testing.T) {
	d := newDigests()
	d.add(digest{1024, 7})
	d.add(digest{2048, 8})
	if d.newest() != (digest{2048, 8}) {
		t.Errorf("newest is %v", d.newest())
	}
	if d.compare("b", digest{2048, 8}, true) || d.compare("b", digest{4096, 9}, true) || d.compare("b", digest{}, true) || d.counts()["b"] != 0 {
		t.Error("an equal, an unknown or no digest counts as a difference")
	}
	if !d.compare("b", digest{2048, 9}, true) || d.counts()["b"] != 1 {
		t.Error("a copy that differs is not told")
	}
	if d.alone() {
		t.Error("one that differs outvotes the leader")
	}
	if d.compare("c", digest{2048, 9}, true) {
		t.Error("two that agree are told that they differ")
	}
	if !d.alone() {
		t.Error("the leader does not see that two others agree")
	}
	// A replicant has its state of a copy, which may be the one that is wrong.
	d = newDigests()
	d.add(digest{1024, 7})
	if !d.compare("b", digest{1024, 6}, true) || !d.compare("r", digest{1024, 6}, false) || d.alone() {
		t.Error("a copy that differs is believed for a replicant that followed it")
	}
}
