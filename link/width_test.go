package link

import (
	"testing"
	"time"
)

// carries is how much a path carries over n connections, in bytes a second.
type path struct {
	carries func(n int) float64
	load    float64 // that there is, in bytes a second
	loss    float64
	refuse  int // connections that do not come about above this
}

// walk lets a width look at a path for a while.
func (w *width) walk(p path, from time.Time, d time.Duration) time.Time {
	n := max(w.n, 1)
	for at := from; at.Before(from.Add(d)); at = at.Add(lookEvery) {
		have := n
		if p.refuse > 0 {
			have = min(n, p.refuse)
		}
		rate := min(p.load, p.carries(have))
		g := glance{over: lookEvery, bytes: uint64(rate * lookEvery.Seconds()), packets: uint64(rate*lookEvery.Seconds()/1200) + 1, have: have}
		g.lost = uint64(p.loss*float64(g.packets) + 0.5)
		if p.load > p.carries(have) {
			g.held = lookEvery
		}
		n = w.look(at, g)
	}
	return from.Add(d)
}

// linear carries a megabyte a second on each connection, up to a bound.
func linear(most float64) func(int) float64 {
	return func(n int) float64 { return min(1e6*float64(n), most) }
}

func TestWidth(t *testing.T) {
	for _, c := range []struct {
		name  string
		first path // for a minute
		want  int
		then  path // for ten more, if it carries anything
		later int
	}{
		{"nothing lost", path{linear(1e9), 1e9, 0, 0}, 1, path{}, 0},
		{"lossy, and little to send", path{linear(1e9), 5e5, 0.01, 0}, 1, path{}, 0},
		{"lossy, and all that it takes", path{linear(1e9), 1e9, 0.01, 0}, 32, path{}, 0},
		{"as many as the load needs", path{linear(1e9), 6e6, 0.01, 0}, 16, path{linear(1e9), 6e6, 0.01, 0}, 16},
		{"the path is full", path{linear(5e6), 1e9, 0.01, 0}, 4, path{linear(5e6), 1e9, 0.01, 0}, 4},
		{"more carry nothing", path{linear(1e6), 1e9, 0.01, 0}, 1, path{linear(1e6), 1e9, 0.01, 0}, 1},
		{"no more come about", path{linear(1e9), 1e9, 0.01, 4}, 4, path{linear(1e9), 1e9, 0.01, 4}, 4},
		{"the load stays", path{linear(1e9), 1e9, 0.01, 0}, 32, path{linear(1e9), 2.5e7, 0.01, 0}, 32},
		{"the load goes down", path{linear(1e9), 1e9, 0.01, 0}, 32, path{linear(1e9), 3e6, 0.01, 0}, 8},
		{"the load ends", path{linear(1e9), 1e9, 0.01, 0}, 32, path{linear(1e9), 0, 0, 0}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := width{most: 32}
			w.start(time.Unix(1000, 0), lastWidth{})
			at := w.walk(c.first, time.Unix(1000, 0), time.Minute)
			if w.n != c.want {
				t.Errorf("%d connections after a minute, want %d", w.n, c.want)
			}
			if c.then.carries == nil {
				return
			}
			w.walk(c.then, at, 9*time.Minute)
			if w.n != c.later {
				t.Errorf("%d connections later, want %d", w.n, c.later)
			}
		})
	}
}

// Where more carried nothing, they are tried again after a while that grows.
func TestWidth_TriesAgain(t *testing.T) {
	w, at := width{most: 32}, time.Unix(1000, 0)
	w.start(at, lastWidth{})
	tried, before := 0, 0
	for end := at.Add(time.Hour); at.Before(end); before = w.n {
		at = w.walk(path{linear(1e6), 1e9, 0.01, 0}, at, lookEvery)
		if w.n > before && before > 0 {
			tried++
		}
	}
	if tried < 5 || tried > 12 {
		t.Errorf("more connections were tried %d times in an hour in which they carried nothing", tried)
	}
	w.walk(path{linear(1e9), 1e9, 0.01, 0}, at, vainMost+time.Minute)
	if w.n != 32 {
		t.Errorf("%d connections where more carry more now", w.n)
	}
}

// A tunnel that follows another one at once begins with as many connections.
func TestWidth_GoesOn(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		n    int
		ago  time.Duration
		want int
	}{{16, time.Second, 16}, {64, time.Second, 32}, {16, time.Hour, 1}, {0, time.Second, 1}} {
		w := width{most: 32}
		w.start(now, lastWidth{c.n, now.Add(-c.ago)})
		if w.n != c.want {
			t.Errorf("%d connections %v ago: begins with %d, want %d", c.n, c.ago, w.n, c.want)
		}
	}
}
