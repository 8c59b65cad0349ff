package home

import (
	"fmt"
	"testing"
)

// aged gives a session references up to number last and acknowledges them, as a
// session that has lived for long: in the log, so that every replica has it so.
func (r *rig) aged(id string, e SessionEpoch, last uint64) {
	r.t.Helper()
	k := SessionKey{"", id}
	r.sub(id, e, Subscription{Filter: "age", QoS: 1})
	for from := uint64(1); from <= last; from += 1024 {
		to := min(from+1023, last)
		ops := make([]Op, 0, 1025)
		for range to - from + 1 {
			ops = append(ops, &Publish{Topic: "age", QoS: 1})
		}
		r.do(append(ops, &Ack{Session: k, Epoch: e, Done: []Range{{from, to}}})...)
	}
	r.do(&Unsubscribe{Session: k, Epoch: e, Filters: []string{"age"}})
}

// Packet ids go round at every 32,768 references, on every replica alike, whoever
// owns the session and with what in flight.
func TestPacketIDs_GoRound(t *testing.T) {
	const before = 5 // references before the ids begin again
	for _, rounds := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint(rounds), func(t *testing.T) {
			r := newRig(t, "eu")
			k := SessionKey{"", "dev"}
			e := r.attach("dev", false, 3600)
			last := rounds*packetIDs - before
			r.aged("dev", e, last)
			r.sub("dev", e, Subscription{Filter: "a", QoS: 2})
			for i := range 10 {
				r.pub("a", fmt.Sprint(i), byte(1+i%2), false)
			}
			ids := func(e SessionEpoch) (list []uint16) {
				for _, q := range r.s.Queue(k, e, 0, 100, nil) {
					list = append(list, PacketID(q.Ref))
				}
				return list
			}
			want := "[32764 32765 32766 32767 32768 1 2 3 4 5]"
			r.want("packet ids", ids(e), want)

			kept := store{}
			r.s.Flush(kept.put, kept.del)
			restarted, at := kept.load(t), len(r.log)
			other := Owner{"n2", 1}
			o := r.as(other, &Attach{Session: k, Expiry: 3600})
			r.want("packet ids at the next owner", ids(o.Epoch), want)
			r.want("possibly sent", o.Resumed, last+10)

			// Acknowledged out of order, over the end of the ids.
			r.as(other, &Ack{Session: k, Epoch: o.Epoch, Received: []Range{{last + 2, last + 2}}, Done: []Range{{last + 5, last + 7}}})
			r.want("packet ids left", ids(o.Epoch), "[32764 32765 32766 32767 3 4 5]")
			r.pub("a", "next", 1, false)
			r.want("packet ids with a new one", ids(o.Epoch), "[32764 32765 32766 32767 3 4 5 6]")
			replay(t, restarted, r.log[at:])
			if !same(restarted, r.s) {
				t.Error("a replica that was restarted before differs")
			}
		})
	}
}

// One message stays unacknowledged while the ids go all the way round: those that
// follow wait rather than take its id, and come once it is gone.
func TestPacketIDs_WaitForTheOneInUse(t *testing.T) {
	for _, start := range []uint64{0, packetIDs - 3, packetIDs, 2*packetIDs - 1, 2 * packetIDs} {
		t.Run(fmt.Sprint(start), func(t *testing.T) {
			r := newRig(t, "eu")
			k := SessionKey{"", "dev"}
			e := r.attach("dev", false, 3600)
			r.aged("dev", e, start)
			r.sub("dev", e, Subscription{Filter: "a", QoS: 1})
			stuck := start + 1
			r.pub("a", "stuck", 1, false)
			for sent := 0; sent < packetIDs+10; sent += 1024 {
				ops := make([]Op, 0, 1024)
				for range 1024 {
					ops = append(ops, &Publish{Topic: "a", QoS: 1})
				}
				r.do(ops...)
			}
			q := r.s.Queue(k, e, stuck+packetIDs-10, 100, nil)
			r.want("shown before the id comes round", len(q), 8)
			r.want("the last one", PacketID(q[7].Ref), PacketID(stuck+packetIDs-2))
			r.want("behind it", len(r.s.Queue(k, e, q[7].Ref, 100, nil)), 0)

			r.do(&Ack{Session: k, Epoch: e, Done: []Range{{stuck, stuck + 1}}})
			q = r.s.Queue(k, e, stuck+packetIDs-2, 100, nil)
			r.want("shown once it is gone", len(q), 2)
			r.want("the next one", PacketID(q[0].Ref), PacketID(stuck+packetIDs-1))
			r.want("then its id", PacketID(q[1].Ref), PacketID(stuck))
		})
	}
}
