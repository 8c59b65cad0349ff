package home

import (
	"fmt"
	"testing"
)

// A fleet of 10,000 durable sessions, one filter each; every message matches
// one of them, and is acknowledged in the next record.
func BenchmarkApply(b *testing.B) {
	const fleet, batch = 10_000, 512
	s := New()
	o := Owner{"n1", 1}
	n := uint64(0)
	apply := func(b *testing.B, ops []Op) []Outcome {
		n++
		rec := Record{Home: "eu", Time: Time(n), Entries: []Entry{{Owner: o, N: n, Ops: ops}}}
		back, err := DecodeRecord(rec.Append(nil))
		if err != nil {
			b.Fatal(err)
		}
		var outs []Outcome
		if err := s.Apply(&back, noSink{}, func(_ *Entry, _ int, o Outcome) { outs = append(outs, o) }); err != nil {
			b.Fatal(err)
		}
		return outs
	}
	apply(b, []Op{&Genesis{Home: "eu", Epoch: Epoch{1, "eu"}}})
	keys, epochs := make([]SessionKey, fleet), make([]SessionEpoch, fleet)
	for i := range fleet {
		keys[i] = SessionKey{"default", fmt.Sprintf("device-%05d", i)}
		epochs[i] = apply(b, []Op{&Attach{Session: keys[i], Expiry: 3600}})[0].Epoch
		apply(b, []Op{&Subscribe{Session: keys[i], Epoch: epochs[i], Filters: []Subscription{{Filter: fmt.Sprintf("fleet/%d/+/cmd", i), QoS: 1}}}})
	}
	payload := make([]byte, 256)
	sent := make([]uint64, fleet)
	var acks []Op
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		ops := acks
		acks = nil
		for range batch {
			d := (i * 7919) % fleet
			i++
			ops = append(ops, &Publish{Session: keys[0], Epoch: epochs[0], PacketID: 1, Topic: fmt.Sprintf("fleet/%d/x/cmd", d), Payload: payload, QoS: 1})
			sent[d]++
			acks = append(acks, &Ack{Session: keys[d], Epoch: epochs[d], Done: []Range{{sent[d], sent[d]}}})
		}
		apply(b, ops)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/msg")
}
