package outage

import (
	"strings"
	"testing"
)

func TestReport_NamesWhatIsBroken(t *testing.T) {
	good := Report{Sent: 10, Acked: 10, Received: 10}
	for _, c := range []struct {
		want    string
		planned bool
		spoil   func(*Report)
	}{
		{"", true, func(*Report) {}},
		{"1 messages are lost", false, func(r *Report) { r.Lost = 1 }},
		{"2 devices were not served again", false, func(r *Report) { r.Away = 2 }},
		{"3 sessions were forgotten", false, func(r *Report) { r.Forgotten = 3 }},
		{"1 wills came of devices that came back", false, func(r *Report) { r.FalseWills = 1 }},
		{"9 messages of 10 were acknowledged", false, func(r *Report) { r.Acked = 9 }},
		{"", false, func(r *Report) { r.Reordered, r.Unavailable, r.DoubledQoS2, r.DoubledQoS1 = 4, 4, 1, 7 }},
		{"5 messages came out of order, of which 4 were late", false, func(r *Report) { r.Reordered, r.Unavailable = 5, 4 }},
		{"1 messages were unavailable", true, func(r *Report) { r.Unavailable = 1 }},
		{"1 messages came twice at QoS 2", true, func(r *Report) { r.DoubledQoS2 = 1 }},
	} {
		r := good
		c.spoil(&r)
		if got := strings.Join(r.Broken(c.planned), "; "); got != c.want {
			t.Errorf("got %q, want %q of\n%s", got, c.want, &r)
		}
	}
}
