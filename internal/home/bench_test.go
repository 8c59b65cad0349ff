package home

import (
	"fmt"
	"testing"
	"time"
)

// bench applies records as a log gives them: encoded.
type bench struct {
	s    *State
	n    uint64
	outs []Outcome
}

func newBench(b *testing.B) *bench {
	r := &bench{s: New()}
	r.apply(b, &Genesis{Home: "eu", Epoch: Epoch{1, "eu"}})
	return r
}

// record encodes the next record.
func (r *bench) record(ops ...Op) []byte {
	r.n++
	rec := Record{Home: "eu", Time: Time(r.n), Entries: []Entry{{Owner: Owner{"n1", 1}, N: r.n, Ops: ops}}}
	return rec.Append(nil)
}

func (r *bench) apply(b *testing.B, ops ...Op) []Outcome { return r.take(b, r.record(ops...)) }

func (r *bench) take(b *testing.B, record []byte) []Outcome {
	rec, err := DecodeRecord(record)
	if err != nil {
		b.Fatal(err)
	}
	r.outs = r.outs[:0]
	if err := r.s.Apply(&rec, noSink{}, func(_ *Entry, _ int, o Outcome) { r.outs = append(r.outs, o) }); err != nil {
		b.Fatal(err)
	}
	return r.outs
}

// fleet attaches n durable sessions, each with one filter.
func (r *bench) fleet(b *testing.B, n int, filter func(i int) string) (keys []SessionKey, epochs []SessionEpoch) {
	for i := range n {
		k := SessionKey{"default", fmt.Sprintf("device-%06d", i)}
		e := r.apply(b, &Attach{Session: k, Expiry: 3600})[0].Epoch
		r.apply(b, &Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: filter(i), QoS: 1}}})
		keys, epochs = append(keys, k), append(epochs, e)
	}
	return keys, epochs
}

// A fleet of 10,000 durable sessions, one filter each; every message matches
// one of them, and is acknowledged in the next record.
func BenchmarkApply(b *testing.B) {
	const fleet, batch = 10_000, 512
	r := newBench(b)
	keys, epochs := r.fleet(b, fleet, func(i int) string { return fmt.Sprintf("fleet/%d/+/cmd", i) })
	payload := make([]byte, 256)
	sent := make([]uint64, fleet)
	var acks []Op
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		ops := acks
		acks = nil
		for range batch {
			d := (i * 7919) % fleet
			i++
			ops = append(ops, &Publish{Session: keys[0], Epoch: epochs[0], PacketID: 1, Topic: fmt.Sprintf("fleet/%d/x/cmd", d), Payload: payload, QoS: 1})
			sent[d]++
			acks = append(acks, &Ack{Session: keys[d], Epoch: epochs[d], Done: []Range{{sent[d], sent[d]}}})
		}
		record := r.record(ops...)
		b.StartTimer()
		r.take(b, record)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/msg")
}

// One message to 100 durable sessions, acknowledged by all of them.
func BenchmarkApply_FanOut100(b *testing.B) {
	const fleet = 100
	r := newBench(b)
	keys, epochs := r.fleet(b, fleet, func(int) string { return "news/#" })
	payload := make([]byte, 256)
	num := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		num++
		ops := []Op{&Publish{Session: keys[0], Epoch: epochs[0], PacketID: 1, Topic: "news/today", Payload: payload, QoS: 1}}
		for d := range fleet {
			ops = append(ops, &Ack{Session: keys[d], Epoch: epochs[d], Done: []Range{{num, num}}})
		}
		record := r.record(ops...)
		b.StartTimer()
		r.take(b, record)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*fleet), "ns/copy")
}

// One session takes 1,000 messages and acknowledges them as ten ranges.
func BenchmarkApply_AckRanges(b *testing.B) {
	const batch = 1000
	r := newBench(b)
	keys, epochs := r.fleet(b, 1, func(int) string { return "a" })
	last := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		ops := make([]Op, 0, batch)
		for range batch {
			ops = append(ops, &Publish{Topic: "a", Session: SessionKey{Namespace: "default"}, QoS: 1})
		}
		r.apply(b, ops...)
		ack := &Ack{Session: keys[0], Epoch: epochs[0]}
		for i := range uint64(10) { // the first halves, then the second ones
			ack.Done = append(ack.Done, Range{last + 100*i + 1, last + 100*i + 50})
		}
		rest := &Ack{Session: keys[0], Epoch: epochs[0], Done: []Range{{last + 1, last + batch}}}
		last += batch
		record := r.record(ack, rest)
		b.StartTimer()
		r.take(b, record)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/ref")
}

// A fleet of 10,000 comes back, 500 attaches a record.
func BenchmarkApply_Attach(b *testing.B) {
	const fleet, batch = 10_000, 500
	r := newBench(b)
	keys, _ := r.fleet(b, fleet, func(i int) string { return fmt.Sprintf("fleet/%d/+/cmd", i) })
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		ops := make([]Op, 0, batch)
		for range batch {
			ops = append(ops, &Attach{Session: keys[i%fleet], Expiry: 3600, Window: 100})
			i++
		}
		record := r.record(ops...)
		b.StartTimer()
		r.take(b, record)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/attach")
}

// A node with 10,000 of 100,000 sessions is declared dead.
func BenchmarkApply_NodeDown(b *testing.B) {
	const fleet, gone = 100_000, 10_000
	r := newBench(b)
	keys, _ := r.fleet(b, fleet, func(i int) string { return fmt.Sprintf("fleet/%d/+/cmd", i) })
	run := Incarnation(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		run++
		e := Entry{Owner: Owner{"n2", run}, N: 1}
		for i := range gone {
			e.Ops = append(e.Ops, &Attach{Session: keys[i], Expiry: 3600})
		}
		r.take(b, (&Record{Home: "eu", Time: Time(r.n), Entries: []Entry{e}}).Append(nil))
		record := r.record(&NodeDown{Owner: e.Owner})
		b.StartTimer()
		r.take(b, record)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*gone), "ns/session")
}

// 100,000 sessions changed, each with a new message: the whole flush, the longest
// that nothing can be applied meanwhile, and how long that would be if all of it
// were written at once.
func BenchmarkFlush(b *testing.B) {
	const fleet, batch = 100_000, 500
	for _, ahead := range []bool{false, true} {
		b.Run(fmt.Sprintf("ahead=%v", ahead), func(b *testing.B) {
			r := newBench(b)
			keys, epochs := r.fleet(b, fleet, func(i int) string { return fmt.Sprintf("fleet/%d/cmd", i) })
			payload := make([]byte, 256)
			var written []byte
			put := func(k, v []byte) { written = append(append(written, k...), v...) }
			del := func(k []byte) { written = append(written, k...) }
			r.s.Flush(put, del)
			var stall time.Duration
			timed := func(f func()) {
				start := time.Now()
				f()
				stall = max(stall, time.Since(start))
			}
			b.ReportAllocs()
			for num := uint64(1); b.Loop(); num++ {
				b.StopTimer()
				for i := 0; i < fleet; i += batch {
					ops := make([]Op, 0, 2*batch)
					for d := i; d < i+batch; d++ {
						if num > 1 {
							ops = append(ops, &Ack{Session: keys[d], Epoch: epochs[d], Done: []Range{{num - 1, num - 1}}})
						}
						ops = append(ops, &Publish{Session: keys[0], Epoch: epochs[0], Topic: fmt.Sprintf("fleet/%d/cmd", d), Payload: payload, QoS: 1})
					}
					r.apply(b, ops...)
				}
				written = written[:0]
				w := writer{put: put, del: del}
				b.StartTimer()
				for more := ahead; more; {
					w.budget = maxPart
					timed(func() { more = r.s.flushOnePart(&w) })
				}
				timed(func() { r.s.Flush(put, del) })
			}
			b.ReportMetric(float64(stall.Microseconds())/1000, "stall-ms")
		})
	}
}
