package e2e

import (
	"fmt"
	"testing"
	"time"
)

// ledger compares what one device was acknowledged with what another got.
type ledger struct {
	name                                              string
	sent, acked, received, lost, doubled, reordered   int
	reconnects, publisherSessions, subscriberSessions int
	flagged                                           int // of received, with DUP
	took                                              time.Duration
}

// settle makes the ledger of a stream. Doubled counts arrivals beyond the first; reordered
// counts first arrivals after one with a greater number.
func settle(name string, from, to *device, took time.Duration) ledger {
	from.mu.Lock()
	defer from.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	l := ledger{name: name, sent: from.next - 1, acked: len(from.acked), received: len(to.got), flagged: to.dups, took: took,
		reconnects: from.connects + to.connects - 2, publisherSessions: from.lostState, subscriberSessions: to.lostState}
	seen := make(map[int]bool, len(to.got))
	highest := 0
	for _, n := range to.got {
		switch {
		case seen[n]:
			l.doubled++
		case n < highest:
			l.reordered++
		}
		seen[n] = true
		highest = max(highest, n)
	}
	for _, n := range from.acked {
		if !seen[n] {
			l.lost++
		}
	}
	return l
}

func (l ledger) String() string {
	return fmt.Sprintf("%s: sent %d, acknowledged %d, received %d (%d with DUP), lost %d, doubled %d, reordered %d, reconnects %d, %.1f s",
		l.name, l.sent, l.acked, l.received, l.flagged, l.lost, l.doubled, l.reordered, l.reconnects, l.took.Seconds())
}

// check holds a stream of n messages to the promise of its QoS.
func (l ledger) check(t *testing.T, n int, qos byte) {
	t.Helper()
	t.Log(l)
	if l.sent != n || l.acked != n {
		t.Errorf("%s: %d sent, %d acknowledged, want %d", l.name, l.sent, l.acked, n)
	}
	if l.lost != 0 || l.reordered != 0 {
		t.Errorf("%s: %d lost, %d reordered", l.name, l.lost, l.reordered)
	}
	if qos == 2 && l.doubled != 0 {
		t.Errorf("%s: %d doubled", l.name, l.doubled)
	}
	if l.publisherSessions+l.subscriberSessions != 0 {
		t.Errorf("%s: session present was 0 on %d and %d connections that had one", l.name, l.publisherSessions, l.subscriberSessions)
	}
}

// The ledger is what every promise is read off, so it is held to a known stream itself.
func TestLedger_CountsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name                     string
		acked, got               []int
		lost, doubled, reordered int
	}{
		{"all well", []int{1, 2, 3}, []int{1, 2, 3}, 0, 0, 0},
		{"re-sent after a break", []int{1, 2, 3}, []int{1, 2, 1, 2, 3}, 0, 2, 0},
		{"one lost", []int{1, 2, 3}, []int{1, 3}, 1, 0, 0},
		{"never acknowledged", []int{1, 2}, []int{1, 2, 3}, 0, 0, 0},
		{"overtaken", []int{1, 2, 3}, []int{1, 3, 2}, 0, 0, 1},
		{"nothing came", []int{1, 2}, nil, 2, 0, 0},
	} {
		l := settle(c.name, &device{acked: c.acked, next: 4, connects: 1}, &device{got: c.got, connects: 1}, 0)
		if l.lost != c.lost || l.doubled != c.doubled || l.reordered != c.reordered || l.sent != 3 {
			t.Errorf("%v", l)
		}
	}
}
