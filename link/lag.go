package link

import (
	"slices"
	"sort"
	"time"
)

// trail remembers when our home had how much, so that what a standby lacks can be told
// in time and in messages. It is pure. What is long ago is remembered less exactly.
type trail struct {
	marks []mark // by time
}

// mark is what the home had at a time.
type mark struct {
	at       time.Time
	records  uint64
	messages uint64
}

// maxMarks bounds a trail.
const maxMarks = 512

// add notes what the home has. A home that has less than before is another one.
func (t *trail) add(m mark) {
	if n := len(t.marks); n > 0 {
		switch last := t.marks[n-1]; {
		case m.records == last.records:
			return
		case m.records < last.records:
			t.marks = t.marks[:0]
		}
	}
	if len(t.marks) >= maxMarks {
		kept := t.marks[:0]
		for i := 0; i < len(t.marks); i += 2 {
			kept = append(kept, t.marks[i])
		}
		t.marks = kept
	}
	t.marks = append(t.marks, m)
}

// behind says how long ago the first record that lies behind a number was there, and how
// many messages were numbered since, as far as is remembered.
func (t *trail) behind(records uint64, now mark) (age time.Duration, messages uint64) {
	if records >= now.records {
		return 0, 0
	}
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].records > records })
	if i == len(t.marks) {
		return 0, 0 // came after the last mark
	}
	from := t.marks[max(i-1, 0)]
	return now.at.Sub(t.marks[i].at), now.messages - min(from.messages, now.messages)
}

// had is what the home had at a time, or when the trail began.
func (t *trail) had(at time.Time) uint64 {
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].at.After(at) })
	if len(t.marks) == 0 {
		return 0
	}
	return t.marks[max(i-1, 0)].records
}

// view is what the choice of a standby needs to know of one.
type view struct {
	region  string
	healthy bool // it can be shipped to
	awaited bool // it cannot, but could a moment ago: a copy elsewhere costs more than to wait
	follows bool // it has all but what is under way
}

// choose says which standby counts, given the one that did, and which are shipped to:
// the first healthy one of the list, but not before it has caught up with one that counts
// already. One that has just gone is waited for. It is pure.
func choose(list []view, counted string) (counts string, feed []string) {
	find := func(ok func(view) bool) *view {
		if i := slices.IndexFunc(list, ok); i >= 0 {
			return &list[i]
		}
		return nil
	}
	now := find(func(v view) bool { return v.region == counted && v.healthy })
	first := find(func(v view) bool { return v.healthy || v.awaited && now == nil })
	switch {
	case first == nil, !first.healthy:
		return "", nil
	case now == nil || now == first || first.follows:
		return first.region, []string{first.region}
	}
	return now.region, []string{first.region, now.region}
}
