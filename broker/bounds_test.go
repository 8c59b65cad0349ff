package broker

import (
	"fmt"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// A namespace that is over its quota is refused with a reason; another one is served as ever.
func TestQuota_HurtsNobodyElse(t *testing.T) {
	l := newLab(t)
	l.s.SetLimits(Limits{Quotas: map[string]Quota{"ns": {Connections: 2, Publish: 1}}, Connected: func(k home.SessionKey) (n int) {
		for _, c := range l.home.state.SessionCounts() {
			if c.Namespace == k.Namespace {
				n = c.Attached
			}
		}
		if info, ok := l.home.state.Session(k); ok && info.Owner != (home.Owner{}) {
			n--
		}
		return n
	}})
	d := l.connect(packet.V5, "one")
	l.connect(packet.V5, "two")
	if ack := l.dial(packet.V5).hello("three"); ack.Code != packet.QuotaExceeded {
		t.Errorf("CONNACK %s", ack.Code)
	}
	if ack := l.dial(packet.V5).hello("two"); ack.Code != packet.Success { // it takes its own place
		t.Errorf("CONNACK of who is there already %s", ack.Code)
	}
	if n := l.s.stats.Listeners["tcp"]; n != nil && n.Connects[ConnectOverQuota].Load() != 1 {
		t.Errorf("%d refused", n.Connects[ConnectOverQuota].Load())
	}
	codes := map[packet.Code]int{}
	for i := range uint16(20) {
		codes[d.publish1("t", "x", i+1)]++
	}
	if codes[packet.QuotaExceeded] < 15 || codes[packet.NoMatchingSubscribers] < 1 {
		t.Errorf("PUBACK codes %v", codes)
	}
	if n := l.s.Stats().Dropped[DropQuota].Load(); n != int64(codes[packet.QuotaExceeded]) {
		t.Errorf("%d dropped, %v", n, codes)
	}
	l.s.SetLimits(Limits{Quotas: map[string]Quota{"other": {Connections: 1, Publish: 1}}})
	l.connect(packet.V5, "three")
	if code := d.publish1("t", "x", 30); code == packet.QuotaExceeded {
		t.Error("the quota of another namespace was applied")
	}
}

// A rate lets through what it says, and a burst of a second after a silence.
func TestTenant_Rate(t *testing.T) {
	var x tenant
	x.setRate(100)
	taken := 0
	now := instant(0)
	for range 3000 { // three seconds
		if x.take(now) == 0 {
			taken++
		}
		now += instant(time.Millisecond)
	}
	if taken < 295 || taken > 305 {
		t.Errorf("%d taken in 3 s at 100/s", taken)
	}
	now += instant(5 * time.Second)
	for taken = 0; x.take(now) == 0; taken++ {
	}
	if taken < 99 || taken > 102 {
		t.Errorf("%d taken at once after a silence", taken)
	}
	if wait := x.take(now); wait < 0 || wait > 10*time.Millisecond {
		t.Error(fmt.Sprint("waits ", wait))
	}
	x.setRate(0)
	if x.take(now) != 0 {
		t.Error("no rate is a bound")
	}
}

// A message at QoS 2 that was taken, and whose PUBREC was lost, is not refused when it comes again while its namespace is
// over its rate: the device would use the id for another message, and the home take that for the first.
func TestQuota_KnowsWhatWasTaken(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(2, "t")
	d := l.connect(packet.V5, "one")
	d.publish(pub("t", "first", 2, 2))
	d.ack(packet.PUBREC, 2)
	l.s.SetLimits(Limits{Quotas: map[string]Quota{"ns": {Publish: 1}}})
	for i := uint16(10); d.publish1("other", "x", i) != packet.QuotaExceeded; i++ {
	}
	d.publish(pub("t", "first", 2, 2))
	if code := d.ack(packet.PUBREC, 2); code.Failed() {
		t.Errorf("PUBREC %s for a message that was taken", code)
	}
	if m := sub.message(); string(m.Payload) != "first" {
		t.Errorf("got %q", m.Payload)
	}
	sub.silent()
}
