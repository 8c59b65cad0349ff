package replica

import (
	"testing"
	"testing/synctest"
	"time"
)

func upTo(applied uint64) func(uint64) bool { return func(i uint64) bool { return i <= applied } }

func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFreshness()
		if f.now() {
			t.Fatal("fresh before anything was heard")
		}
		f.hear(heard{at: time.Now(), commit: 10}, upTo(10))
		if !f.now() {
			t.Fatal("not fresh though all that was committed is applied")
		}
		time.Sleep(freshFor - 1)
		if !f.now() {
			t.Error("not fresh a moment before its time")
		}
		time.Sleep(1)
		if f.now() {
			t.Error("fresh after its time")
		}
	})
}

// What counts is when the question was asked: an answer that lay in a buffer
// while the process stood still is worth nothing. [C1]
func TestFreshness_CountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFreshness()
		asked := time.Now()
		time.Sleep(10 * time.Second)
		f.hear(heard{at: asked, commit: 1}, upTo(1))
		if f.now() {
			t.Error("fresh by an answer to an old question")
		}
	})
}

// A node that has not applied what was committed is not fresh, however well it
// hears the leader.
func TestFreshness_WaitsForTheApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFreshness()
		f.hear(heard{at: time.Now(), commit: 10}, upTo(9))
		if f.now() {
			t.Fatal("fresh without having applied")
		}
		time.Sleep(100 * time.Millisecond)
		f.hear(heard{at: time.Now(), commit: 20}, upTo(9))
		f.applied(upTo(10)) // the older answer is met, the newer is not
		time.Sleep(freshFor - 100*time.Millisecond - 1)
		if !f.now() {
			t.Error("the older answer did not count")
		}
		time.Sleep(1)
		if f.now() {
			t.Error("the newer answer counts, though it is not met")
		}
		f.applied(upTo(20))
		if !f.now() {
			t.Error("the newer answer is met and does not count")
		}
	})
}

func TestFreshness_FarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFreshness()
		for i := range uint64(100) {
			f.hear(heard{at: time.Now(), commit: i + 1}, upTo(0))
		}
		if n := len(f.waiting); n > maxHeard {
			t.Errorf("%d answers wait, want at most %d", n, maxHeard)
		}
		if f.applied(upTo(50)); f.now() {
			t.Error("fresh by an answer that was given up")
		}
		if f.applied(upTo(100)); !f.now() {
			t.Error("not fresh though everything is applied")
		}
		if f.lose(); f.now() {
			t.Error("fresh after losing it")
		}
	})
}
