package foreign

import (
	"fmt"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// A broker has more for a connected device than its queue holds, and sends it faster than the device reads: nothing runs
// over, since the acknowledgements go at a pace.
func TestIn_SlowsDownForADeviceWhoseQueueFillsUp(t *testing.T) {
	run(t, nil, func(l *lab) {
		const total, window, queue = 12_000, 400, 4_000
		l.home.do(&home.Configure{Revision: 1, Limits: home.Limits{QueueMessages: queue}})
		k := home.SessionKey{Namespace: "ns", ClientID: "d"}
		e := l.home.do(&home.Attach{Session: k, Expiry: 1 << 31}).Epoch
		l.home.do(&home.Subscribe{Session: k, Epoch: e, Filters: []home.Subscription{{Filter: "v", QoS: 1}}})
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		read := make(chan int)
		go func() { // 5,000 a second
			next, idle := uint64(1), 0
			for next <= total && idle < 10_000 {
				q := l.home.st.Queue(k, e, next-1, 50, nil)
				if idle++; len(q) > 0 {
					last := q[len(q)-1].Ref
					l.home.do(&home.Ack{Session: k, Epoch: e, Done: []home.Range{{From: next, To: last}}})
					next, idle = last+1, 0
				}
				time.Sleep(10 * time.Millisecond)
			}
			read <- int(next - 1)
		}()
		for n := range total {
			if n >= window {
				l.want("acknowledged", s.acked(packet.PUBACK).PacketID, 1+(n-window)%window)
			}
			s.publish(packet.OutPublish{Topic: "v", QoS: 1, PacketID: uint16(1 + n%window), Payload: fmt.Append(nil, n)})
		}
		for range window {
			s.acked(packet.PUBACK)
		}
		l.want("read", <-read, total)
		if slowed := l.m.Status()[0].Counters.Slowed; slowed < time.Second {
			t.Errorf("acknowledgements waited %v", slowed)
		}
	})
}
