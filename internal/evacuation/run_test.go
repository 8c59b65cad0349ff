package evacuation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// node is a node whose devices are closed and come back elsewhere as a run's state asks for.
type node struct {
	seen Seen
	rate int
}

// live plays a run until it is done, a tenth of a second at a time, and returns when that was.
func live(t *testing.T, r *Run, n *node, limit time.Duration) (*Run, time.Time) {
	t.Helper()
	const tick = 100 * time.Millisecond
	for now := r.Began; now.Before(r.Began.Add(limit)); now = now.Add(tick) {
		if next := r.Next(now, n.seen); next != nil {
			r = next
		}
		if r.Done() {
			return r, now
		}
		n.seen.Leads = false
		if r.State == EvictingConns && r.Held(n.seen) == "" {
			gone := min(n.seen.Connections, r.Options.ConnEvictRate/10)
			n.seen.Connections -= gone
			n.seen.Sessions -= gone
		}
		if r.State == EvictingSessions {
			n.seen.Sessions -= min(n.seen.Sessions, r.Options.SessEvictRate/10)
		}
	}
	t.Fatalf("not done after %s: %+v, %+v", limit, r, n.seen)
	return nil, time.Time{}
}

func TestRun_GoesThroughItsStatesInTheTimeItSaid(t *testing.T) {
	n := &node{seen: Seen{Connections: 10_000, Sessions: 10_100, Leads: true, Others: 2}}
	r := Begin("eu-1", "ops", "new kernel", Defaults(), noon, n.seen)
	if want := 60*time.Second + 20*time.Second + 60*time.Second + 200*time.Millisecond; r.Expected != want {
		t.Fatalf("expected %s, want %s", r.Expected, want)
	}
	r, ended := live(t, r, n, time.Hour)
	if took := ended.Sub(noon); took < r.Expected || took > r.Expected+time.Second {
		t.Errorf("took %s, said %s", took, r.Expected)
	}
	var states []State
	for _, s := range r.Steps {
		states = append(states, s.State)
	}
	if !slices.Equal(states, order) {
		t.Errorf("went through %v", states)
	}
}

func TestRun_Next(t *testing.T) {
	others := Seen{Others: 1}
	tests := []struct {
		name  string
		state State
		after time.Duration // in the state
		seen  Seen
		want  State
	}{
		{"load balancers have not heard", WaitingHealthCheck, 59 * time.Second, others, WaitingHealthCheck},
		{"they have", WaitingHealthCheck, 60 * time.Second, others, EvictingConns},
		{"it leads still", WaitingHealthCheck, time.Hour, Seen{Leads: true, Others: 1}, WaitingHealthCheck},
		{"nobody else is there", WaitingHealthCheck, time.Hour, Seen{}, WaitingHealthCheck},
		{"connections are left", EvictingConns, time.Hour, Seen{Connections: 1, Others: 1}, EvictingConns},
		{"none are", EvictingConns, 0, others, WaitingTakeover},
		{"the others died meanwhile", EvictingConns, time.Hour, Seen{}, EvictingConns},
		{"devices come back elsewhere", WaitingTakeover, 59 * time.Second, others, WaitingTakeover},
		{"they had their time", WaitingTakeover, 60 * time.Second, others, EvictingSessions},
		{"sessions are left", EvictingSessions, time.Hour, Seen{Sessions: 1, Others: 1}, EvictingSessions},
		{"a connection came late", EvictingSessions, time.Hour, Seen{Connections: 1, Others: 1}, EvictingSessions},
		{"nothing is left", EvictingSessions, 0, others, Prohibiting},
		{"the end", Prohibiting, time.Hour, others, Prohibiting},
		{"the clock was set back", WaitingHealthCheck, -time.Hour, others, WaitingHealthCheck},
		{"a state of another version", "resting", time.Hour, others, "resting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Run{Options: Defaults(), State: tt.state, Began: noon, Since: noon}
			got := r
			if next := r.Next(noon.Add(tt.after), tt.seen); next != nil {
				got = next
			}
			if got.State != tt.want {
				t.Errorf("%s -> %s, want %s", tt.state, got.State, tt.want)
			}
			if got != r && (len(r.Steps) != 0 || len(got.Steps) != 1 || !got.Since.Equal(noon.Add(tt.after))) {
				t.Errorf("steps %v -> %v, since %s", r.Steps, got.Steps, got.Since)
			}
		})
	}
}

func TestRun_HeldOnlyWhileItHasDevices(t *testing.T) {
	for _, s := range order {
		r := &Run{State: s}
		if held := r.Held(Seen{}) != ""; held != (s != Prohibiting) {
			t.Errorf("%s without another node: held is %v", s, held)
		}
		if r.Held(Seen{Others: 1}) != "" {
			t.Errorf("%s with another node is held", s)
		}
	}
}

// Whatever is seen and whenever it is looked: states come in their order, none before its time, none that closes
// connections while nobody else takes them; and once no more devices come it ends.
func TestRun_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{ConnEvictRate: rapid.IntRange(1, 1000).Draw(t, "rate"), SessEvictRate: rapid.IntRange(1, 1000).Draw(t, "sessions rate"),
			WaitHealthCheck: time.Duration(rapid.IntRange(0, 100).Draw(t, "health")) * time.Second, WaitTakeover: time.Duration(rapid.IntRange(0, 100).Draw(t, "takeover")) * time.Second}
		r := Begin("eu-1", "ops", "", o, noon, Seen{Connections: 5})
		now := noon
		for range rapid.IntRange(0, 50).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(-5, 40).Draw(t, "later")) * time.Second)
			seen := Seen{Connections: rapid.IntRange(0, 2).Draw(t, "connections"), Sessions: rapid.IntRange(0, 2).Draw(t, "sessions"),
				Leads: rapid.Bool().Draw(t, "leads"), Others: rapid.IntRange(0, 1).Draw(t, "others")}
			next := r.Next(now, seen)
			if left := r.Left(now, seen); left < 0 {
				t.Fatalf("%s left", left)
			}
			if next == nil {
				continue
			}
			switch {
			case seen.Others == 0:
				t.Fatalf("%s -> %s with nobody else", r.State, next.State)
			case slices.Index(order, next.State) != slices.Index(order, r.State)+1:
				t.Fatalf("%s -> %s", r.State, next.State)
			case r.State == WaitingHealthCheck && (max(0, now.Sub(r.Since)) < o.WaitHealthCheck || seen.Leads):
				t.Fatalf("connections are closed after %s, leads %v", now.Sub(r.Since), seen.Leads)
			case r.State == WaitingTakeover && max(0, now.Sub(r.Since)) < o.WaitTakeover:
				t.Fatalf("devices had %s", now.Sub(r.Since))
			case next.Done() && (seen.Connections > 0 || seen.Sessions > 0):
				t.Fatalf("done with %+v", seen)
			}
			r = next
		}
		for range len(order) {
			now = now.Add(time.Hour)
			if next := r.Next(now, Seen{Others: 1}); next != nil {
				r = next
			}
		}
		if !r.Done() {
			t.Fatalf("does not end: %+v", r)
		}
	})
}

func TestOptions_Validate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"conn-evict-rate":   func(o *Options) { o.ConnEvictRate = 0 },
		"sess-evict-rate":   func(o *Options) { o.SessEvictRate = MostRate + 1 },
		"wait-health-check": func(o *Options) { o.WaitHealthCheck = -1 },
		"wait-takeover":     func(o *Options) { o.WaitTakeover = MostWait + 1 },
	} {
		o := Defaults()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
