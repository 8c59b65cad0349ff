package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A crew works in two regions as one. Each message goes to one of them: to those of the
// region where it was published while one is there, otherwise to the other region, also
// when that is away for a while.
func TestGlobalGroup_OneCrewInTwoRegions(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Extra: func(string) string { return "shared: [{ group: crew, regions: [eu, us] }]\n" }})
	eu, us := tr.Node("eu"), tr.Node("us")
	a := subscribe(t, eu.MQTT, "-i", "a", "-q", "1", "-t", "$share/crew/work/#")
	b := subscribe(t, us.MQTT, "-i", "b", "-c", "-V", "5", "-x", "3600", "-q", "1", "-t", "$share/crew/work/#")
	crew := func(at *trial.Node, want string) {
		t.Helper()
		var last string
		defer func() {
			if t.Failed() {
				t.Logf("last answer: %s", last)
			}
		}()
		await(t, at.Name+" to see "+want, func() bool {
			var p admin.Page[admin.SharedGroup]
			if err := get(t, at, "/v1/shared?group=crew", &p); err != nil || len(p.Items) != 1 {
				return false
			}
			g := p.Items[0]
			last = fmt.Sprintf("%s, %d here, away %v, wrong %v", g.Scope, g.Attached, g.Away, g.Mismatches)
			return last == want
		})
	}
	crew(eu, "global, 1 here, away [{us true}], wrong []")
	crew(us, "global, 1 here, away [{eu true}], wrong []")

	numbers := func(from, to int) (list []string) {
		for i := from; i <= to; i++ {
			list = append(list, fmt.Sprint(i))
		}
		return list
	}
	send := func(from, to int, qos string) {
		publishLines(t, eu.MQTT, numbers(from, to), "-i", "from", "-q", qos, "-t", "work/1")
	}
	got := func(s *subscriber) []string { return strings.Fields(s.out.String()) }
	send(1, 100, "1")
	await(t, "a to do the first hundred", func() bool { return len(got(a)) == 100 })

	a.kill()
	crew(eu, "global, 0 here, away [{us true}], wrong []")
	send(101, 200, "2")
	await(t, "b to do the second hundred", func() bool { return len(got(b)) == 100 }) // QoS 0 may overtake
	send(201, 220, "0")
	await(t, "b to do what follows", func() bool { return len(got(b)) == 120 })

	us.Kill()
	send(221, 320, "1")
	restart(t, us, 1)
	await(t, "b to do what was sent meanwhile", func() bool { return slices.Contains(got(b), "320") })
	if want := numbers(101, 320); !slices.Equal(slices.Compact(got(b)), want) {
		t.Errorf("b did %v", got(b))
	}
	if want := numbers(1, 100); !slices.Equal(got(a), want) {
		t.Errorf("a did %v", got(a))
	}
}
