package app

import (
	"testing"
	"time"
)

func TestIsolation_BeginsOnce(t *testing.T) {
	var i isolation
	at := time.Now()
	step := func(d time.Duration, fresh, want bool) {
		t.Helper()
		at = at.Add(d)
		if got := i.begins(fresh, at); got != want {
			t.Errorf("%v later, fresh %v: begins %v", d, fresh, got)
		}
	}
	step(time.Hour, true, false)
	step(time.Hour, false, false)
	step(isolatedAfter, false, false)
	step(1, false, true)
	step(time.Hour, false, false)
	step(1, true, false)
	step(1, false, false)
	step(isolatedAfter+1, false, true)
}
