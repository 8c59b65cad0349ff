package app

import (
	"testing"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/store"
)

// A packet that is allowed and never fits the log would be proposed for ever.
func TestMaxOpBytes_HoldsWhatComesInOnePacket(t *testing.T) {
	for _, packet := range []int{int(config.Default().Limits.Packet), 8 << 20} {
		ops := []home.Op{&home.Publish{Topic: "a", Payload: make([]byte, packet)}}
		sub, unsub := &home.Subscribe{}, &home.Unsubscribe{}
		for n := 0; n+4 <= packet; n += 4 { // two bytes of length, one of filter, one of options
			sub.Filters = append(sub.Filters, home.Subscription{Filter: "a"})
			unsub.Filters = append(unsub.Filters, "a")
		}
		for _, op := range append(ops, sub, unsub) {
			if size, most := home.OpSize(op), maxOpBytes(packet); size > most {
				t.Errorf("%T of a packet of %d bytes: %d bytes, at most %d fit", op, packet, size, most)
			}
		}
		o := replica.Options{Home: "eu", Epoch: home.Epoch{Number: 1, Host: "eu"}, Node: "n", Incarnation: 1, FS: store.DiskFS(), Dir: "x", Sink: sink{},
			MaxOpBytes: maxOpBytes(packet), QueueBytes: max(64<<20, 2*int64(maxOpBytes(packet)))}
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
	}
}
