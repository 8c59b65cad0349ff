package app

import (
	"testing"
	"time"
)

// What a standby lacks when it is back was acknowledged: the voters are not told that it
// has everything before it has a mark that was put into the log when acknowledgements
// waited again. [E13]
func TestDegrading_VotersHearOfTheEndWhenTheStandbyHasEverything(t *testing.T) {
	now := time.Unix(0, 0)
	var d degrading
	step := func(after time.Duration, healthy bool, records uint64, want word, degraded bool) {
		t.Helper()
		now = now.Add(after)
		if got := d.next(now, healthy, records, true); got != want {
			t.Errorf("at %s: got %d, want %d", now.Sub(time.Unix(0, 0)), got, want)
		}
		if got := d.degraded(); got != degraded {
			t.Errorf("at %s: degraded is %v", now.Sub(time.Unix(0, 0)), got)
		}
	}
	// A new leader does not know what the one before it said.
	step(0, true, 5, sayNothing, false)
	step(calmFor, true, 5, takeMark, false)
	d.mark = 6
	step(1, true, 6, sayWhole, false)
	d.said(sayWhole)
	step(time.Hour, true, 7, sayNothing, false)

	step(time.Second, false, 7, sayNothing, false)
	step(standbyAwayAfter, false, 7, sayShort, false)
	step(1, false, 7, sayShort, false) // they could not be told: nothing is acknowledged yet
	d.said(sayShort)
	step(time.Minute, false, 7, sayNothing, true)

	step(1, true, 90, sayNothing, false) // it takes records again, and has not all
	step(calmFor, true, 95, takeMark, false)
	d.mark = 101
	step(1, true, 100, sayNothing, false)
	step(1, false, 100, sayNothing, false)
	step(standbyAwayAfter, false, 100, sayNothing, true) // away again: the voters still know
	step(1, true, 100, sayNothing, false)
	step(calmFor, true, 101, takeMark, false) // the former mark is too low by now
	d.mark = 200
	step(1, true, 200, sayWhole, false)
	d.said(sayWhole)
	step(1, true, 200, sayNothing, false)
}

// Where acknowledgements wait for the standby however long, the voters are told nothing.
func TestDegrading_WaitsForever(t *testing.T) {
	d := degrading{sure: true}
	now := time.Unix(0, 0)
	for range 100 {
		if w := d.next(now, false, 0, false); w != sayNothing || d.degraded() {
			t.Fatalf("got %d, degraded %v", w, d.degraded())
		}
		now = now.Add(time.Minute)
	}
}
