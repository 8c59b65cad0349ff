package app

import (
	"testing"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
)

const gib = 1 << 30

func TestSpace_Limit(t *testing.T) {
	d := &config.Disk{Reserve: "20%", SpoolMax: "40%"}
	for _, c := range []struct {
		name          string
		free, spooled uint64
		shed          bool
		want          uint64
		by            home.LimitCause
	}{
		{"an empty disk", 100 * gib, 0, true, 40 * gib, home.LimitMax},
		{"others took much", 30 * gib, 0, true, 10 * gib, home.LimitReserve},
		{"what is spooled counts", 25 * gib, 30 * gib, true, 35 * gib, home.LimitReserve},
		{"at the reserve nothing grows", 20 * gib, 30 * gib, true, 30 * gib, home.LimitReserve},
		{"nor a little below", 15 * gib, 30 * gib, true, 30 * gib, home.LimitReserve},
		{"half of it is gone", 9 * gib, 32 * gib, true, 28 * gib, home.LimitReserve},
		{"and was shed a moment ago", 9 * gib, 28 * gib, false, 28 * gib, home.LimitReserve},
		{"links work on a full disk", 0, 0, true, spoolFloor, home.LimitReserve},
		{"more than the most", 100 * gib, 50 * gib, true, 40 * gib, home.LimitMax},
	} {
		got, by := spaceOf(d, 100*gib, c.free).limit(c.spooled, c.shed)
		if got != c.want || by != c.by {
			t.Errorf("%s: %d by %s, want %d by %s", c.name, got, by, c.want, c.by)
		}
	}
	if got, _ := spaceOf(&config.Disk{Reserve: "1GiB", SpoolMax: "2GiB"}, 100*gib, 50*gib).limit(0, true); got != 2*gib {
		t.Errorf("sizes: %d", got)
	}
}

// A bound is entered when it matters: at once when it falls, seldom when it rises, and
// not at all for what a log writes. On a disk that others fill the spools shrink step
// by step, with time between for the disk to follow.
func TestLimiter_EntersWhatMatters(t *testing.T) {
	d := &config.Disk{Reserve: "20%", SpoolMax: "40%"}
	var l limiter
	now := time.Unix(1000, 0)
	have, entered := home.SpoolLimit{}, 0
	look := func(free, spooled uint64) {
		now = now.Add(diskEvery)
		if next, ok := l.next(spaceOf(d, 100*gib, free), have, spooled, now); ok {
			have, entered = next, entered+1
		}
	}
	for i := range uint64(100) {
		look(90*gib-i*10<<20, 0)
	}
	if entered != 1 || have.Bytes != 40*gib {
		t.Fatalf("%d bounds entered on a disk with room, the last %d", entered, have.Bytes)
	}
	look(30*gib, 0)
	if have.Bytes != 10*gib || have.By != home.LimitReserve {
		t.Errorf("it falls at once: %+v", have)
	}
	look(80*gib, 0)
	if have.Bytes != 10*gib {
		t.Errorf("it rises at once: %+v", have)
	}
	for range 5 {
		look(80*gib, 0)
	}
	if have.Bytes != 40*gib || entered != 3 {
		t.Errorf("it rises after a while: %+v, %d", have, entered)
	}
	spooled, steps := uint64(32*gib), 0
	for range 46 { // 92 s in which the disk does not follow
		before := have.Bytes
		look(5*gib, spooled)
		if have.Bytes < before {
			steps, spooled = steps+1, min(spooled, have.Bytes)
		}
	}
	if steps < 3 || steps > 5 || spooled < 18*gib {
		t.Errorf("%d steps in 92 s, to %d GiB", steps, spooled/gib)
	}
}
