package link

import (
	"reflect"
	"testing"
	"time"
)

// Which standby counts, and which are shipped to.
func TestChoose(t *testing.T) {
	well, there, gone, away := view{healthy: true, follows: true}, view{healthy: true}, view{awaited: true}, view{}
	for _, c := range []struct {
		name    string
		us, ap  view
		counted string
		counts  string
		feed    []string
	}{
		{"the first", well, well, "", "us", []string{"us"}},
		{"the first, that has to catch up", there, well, "", "us", []string{"us"}},
		{"the first is away", away, there, "", "ap", []string{"ap"}},
		{"the first has just gone", gone, well, "us", "", nil},
		{"the first has just gone, another one counts", gone, well, "ap", "ap", []string{"ap"}},
		{"the first is back and catches up", there, well, "ap", "ap", []string{"us", "ap"}},
		{"the first has caught up", well, well, "ap", "us", []string{"us"}},
		{"the one that counts is lost", there, away, "ap", "us", []string{"us"}},
		{"none", away, away, "us", "", nil},
	} {
		c.us.region, c.ap.region = "us", "ap"
		counts, feed := choose([]view{c.us, c.ap}, c.counted)
		if counts != c.counts || !reflect.DeepEqual(feed, c.feed) {
			t.Errorf("%s: %q counts, %q are shipped to", c.name, counts, feed)
		}
	}
}

// How far behind a standby is, in time and messages, as far as is remembered.
func TestTrail(t *testing.T) {
	began := time.Unix(0, 0)
	at := func(second int) mark {
		return mark{began.Add(time.Duration(second) * time.Second), uint64(10 * second), uint64(100 * second)}
	}
	var tr trail
	if age, n := tr.behind(0, at(5)); age != 0 || n != 0 {
		t.Errorf("nothing is remembered, and it is %v behind", age)
	}
	for s := range 5 * maxMarks {
		tr.add(at(s))
	}
	if len(tr.marks) > maxMarks {
		t.Errorf("%d marks", len(tr.marks))
	}
	now := at(5*maxMarks - 1)
	for _, s := range []int{1, 100, 1000, 5*maxMarks - 50, 5*maxMarks - 2} {
		age, messages := tr.behind(at(s).records, now)
		want := now.at.Sub(at(s).at)
		if age > want || age < want*3/4-64*time.Second || messages < uint64(want/time.Second*100) {
			t.Errorf("at second %d: %v and %d messages behind, want %v", s, age, messages, want)
		}
	}
	if age, n := tr.behind(now.records, now); age != 0 || n != 0 {
		t.Errorf("it has all, and is %v behind", age)
	}
	tr.add(mark{now.at, 5, 5}) // another home, or the same from a backup
	if len(tr.marks) != 1 {
		t.Error("what was before is remembered")
	}
	if had := tr.had(began); had != 5 {
		t.Errorf("had %d", had)
	}
}
