package replica

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLinger(t *testing.T) {
	b := Options{}.withDefaults().Batching
	const long = time.Hour
	for _, tc := range []struct {
		name string
		load load
		want time.Duration
	}{
		{"nothing waits", load{sinceSent: long}, never},
		{"idle until now", load{ops: 1, urgent: 1, bytes: 300, sinceSent: 5 * time.Millisecond}, 0},
		{"first ever", load{ops: 1, urgent: 1, sinceSent: long}, 0},
		{"one alone, just sent", load{ops: 1, urgent: 1, lastOps: 1, sinceSent: 300 * time.Microsecond}, 0},
		{"one alone, after many", load{ops: 1, urgent: 1, lastOps: 9, sinceSent: 300 * time.Microsecond}, 700 * time.Microsecond},
		{"more than a few after one", load{ops: 9, urgent: 9, lastOps: 1, sinceSent: 300 * time.Microsecond}, 700 * time.Microsecond},
		{"what nobody waits for", load{ops: 9, sinceSent: 1500 * time.Microsecond}, 500 * time.Microsecond},
		{"what nobody waits for, with one that somebody does", load{ops: 9, urgent: 1, lastOps: 1, sinceSent: 100 * time.Microsecond}, 0},
		{"what nobody waits for, after a while", load{ops: 1, sinceSent: 2 * time.Millisecond}, 0},
		{"devices that come", load{ops: 9, patient: 9, sinceSent: 3 * time.Millisecond}, 5 * time.Millisecond},
		{"devices that come, with records under way", load{ops: 9, patient: 9, flights: 1, flightOps: 9, sinceSent: 3 * time.Millisecond}, 5 * time.Millisecond},
		{"a device that comes alone", load{ops: 1, patient: 1, sinceSent: 8 * time.Millisecond}, 0},
		{"devices that come, with a message", load{ops: 9, patient: 8, urgent: 1, sinceSent: time.Millisecond}, 0},
		{"devices that come, with what nobody waits for", load{ops: 9, patient: 1, sinceSent: 3 * time.Millisecond}, 5 * time.Millisecond},
		{"an entry full of devices that come", load{ops: 512, patient: 512}, 0},
		{"one alone, sent over a millisecond ago", load{ops: 1, urgent: 1, sinceSent: 1500 * time.Microsecond}, 0},
		{"few in flight", load{ops: 10, urgent: 10, flights: 1, flightOps: 20, sinceSent: 400 * time.Microsecond}, 600 * time.Microsecond},
		{"few, but long in flight", load{ops: 1, urgent: 1, flights: 1, flightOps: 1, sinceSent: time.Second}, 0},
		{"many in flight", load{ops: 100, urgent: 100, flights: 1, flightOps: 400, sinceSent: time.Millisecond}, 3 * time.Millisecond},
		{"many waiting", load{ops: 129, urgent: 129, sinceSent: time.Millisecond}, 3 * time.Millisecond},
		{"many, time is up", load{ops: 100, urgent: 100, flights: 1, flightOps: 400, sinceSent: 4 * time.Millisecond}, 0},
		{"full of operations", load{ops: 512, urgent: 512, flights: 1, flightOps: 512}, 0},
		{"full of bytes", load{ops: 2, urgent: 2, bytes: 256 << 10, flights: 1, flightOps: 512}, 0},
		{"full, but two under way", load{ops: 512, urgent: 512, flights: 2, flightOps: 1024, sinceSent: long}, never},
		{"full, but nobody leads", load{ops: 512, urgent: 512, leaderless: true, sinceSent: long}, never},
		{"stopping", load{ops: 1, urgent: 1, flights: 1, flightOps: 1, draining: true}, 0},
		{"stopping, two under way", load{ops: 1, urgent: 1, flights: 2, flightOps: 2, draining: true}, never},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := b.wait(tc.load); got != tc.want {
				t.Errorf("wait(%+v) = %s, want %s", tc.load, got, tc.want)
			}
		})
	}
}

// Whatever waits is sent within the linger, once there is a slot and a leader.
func TestLinger_IsBounded(t *testing.T) {
	b := Options{}.withDefaults().Batching
	rapid.Check(t, func(t *rapid.T) {
		l := load{
			ops: rapid.IntRange(1, 2000).Draw(t, "ops"), bytes: rapid.IntRange(0, 1<<20).Draw(t, "bytes"),
			urgent: rapid.IntRange(0, 2000).Draw(t, "urgent"), patient: rapid.IntRange(0, 2000).Draw(t, "patient"), lastOps: rapid.IntRange(0, 512).Draw(t, "lastOps"),
			flights: rapid.IntRange(0, 1).Draw(t, "flights"), flightOps: rapid.IntRange(0, 512).Draw(t, "flightOps"),
			sinceSent: time.Duration(rapid.Int64Range(0, int64(10*time.Millisecond)).Draw(t, "since")),
		}
		d := b.wait(l)
		most := b.Linger
		if l.urgent == 0 && l.patient > 0 {
			most = b.PatientLinger
		}
		if d < 0 || l.sinceSent+d > max(most, l.sinceSent) {
			t.Fatalf("wait(%+v) = %s", l, d)
		}
	})
}
