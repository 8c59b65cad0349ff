package link

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// BenchmarkShip ships a home's records to its standby over loopback and has what its source
// gives and its standby takes for nothing: what the link itself costs, to be held against
// BenchmarkLink. A record has 64 messages, as under load.
func BenchmarkShip(b *testing.B) {
	const perRecord = 64
	ca := newAuthority(b)
	h := openHome(b, "eu", nil, nothing{})
	src := &emptySource{h: h, records: make([][]byte, 64)}
	for i := range src.records {
		src.records[i] = record(perRecord)
	}
	taken := &takesAll{told: make(chan struct{}, 1)}
	at := h.st.Position()
	taken.at.Store(&at)
	end := func(name string, o Options) (*Manager, func()) {
		e, err := NewEndpoint(EndpointOptions{Region: name, Identity: ca.issue(b, name), Listen: onLoopback,
			Hosts: func(home.ID) []string { return []string{"us"} }})
		if err != nil {
			b.Fatal(err)
		}
		o.ID, o.Full, o.Local = "eu", errFull, &node{}
		m, err := New(e, o)
		if err != nil {
			b.Fatal(err)
		}
		return m, runManager(b, m, h)
	}
	us, stopUS := end("us", Options{Home: standbyHome{&standby{st: home.New()}}, Standby: taken, Role: func() Role { return RoleStandby }})
	defer stopUS()
	for us.ep.Addr() == nil {
		time.Sleep(time.Millisecond)
	}
	there := us.ep.Addr().String()
	eu, stopEU := end("eu", Options{Home: h, Source: src, Standbys: func() []string { return []string{"us"} }, Peers: []Peer{{Region: "us", Calls: true, Dial: []string{there}}}})
	defer stopEU()
	for len(eu.Copies()) == 0 || eu.Copies()[0].State != CopyFollows {
		time.Sleep(time.Millisecond)
	}
	b.ResetTimer()
	before := cpuTime()
	first := taken.records.Load()
	src.more.Store(uint64(b.N/perRecord + 1))
	for taken.records.Load()-first < uint64(b.N/perRecord+1) {
		time.Sleep(100 * time.Microsecond)
	}
	c := eu.Copies()[0]
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/msg")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(c.Raw)/float64(c.Wire), "ratio")
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// record is one of telemetry.
func record(messages int) []byte {
	rec := home.Record{Home: "eu", Time: home.Time(time.Hour), Entries: []home.Entry{{Owner: home.Owner{Node: "n1", Incarnation: 1}, N: 1}}}
	for i := range messages {
		payload := fmt.Appendf(nil, `{"device":"vehicle-%04d","speed":%.2f,"soc":%.1f,"state":"driving","doors":{"fl":false,"fr":false},"hvac":{"on":true,"set":21.5},"pad":"%0100d"}`, i, 130*rand.Float64(), 100*rand.Float64(), rand.N(1000000))
		rec.Entries[0].Ops = append(rec.Entries[0].Ops, &home.Publish{Topic: fmt.Sprintf("fleet/%d/telemetry", rand.N(2000)), Payload: payload, QoS: 1})
	}
	return rec.Append(nil)
}

// emptySource has as many records as it is told, of a few different ones.
type emptySource struct {
	h       *testHome
	records [][]byte
	more    atomic.Uint64
}

func (s *emptySource) Tail(ctx context.Context, _ string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error) {
	for s.base()+s.more.Load() <= after.Records {
		if err := group.Pause(ctx, 100*time.Microsecond); err != nil {
			return nil, err
		}
	}
	list := []home.Shipment{{N: after.Records, Chain: 1}}
	for size := 0; size < maxBytes && after.Records+uint64(len(list)) <= s.base()+s.more.Load(); size += len(list[len(list)-1].Data) {
		n := after.Records + uint64(len(list))
		list = append(list, home.Shipment{N: n, Chain: 1, Data: s.records[n%uint64(len(s.records))]})
	}
	return list, nil
}

func (s *emptySource) base() uint64 { return s.h.st.Position().Records }

func (s *emptySource) Copy(context.Context, string) (Copier, error) { return nil, errStopped }

// takesAll applies what it is given at once.
type takesAll struct {
	standby
	at      atomic.Pointer[home.CopyPosition]
	records atomic.Uint64
	told    chan struct{}
}

func (s *takesAll) Position() (home.CopyPosition, error) { return *s.at.Load(), nil }

func (s *takesAll) WaitPosition(ctx context.Context, after uint64) (home.CopyPosition, error) {
	for {
		if at := *s.at.Load(); at.Records > after {
			return at, nil
		}
		select {
		case <-s.told:
		case <-ctx.Done():
			return home.CopyPosition{}, ctx.Err()
		}
	}
}

func (s *takesAll) Append(_ context.Context, list []home.Shipment) error {
	s.records.Add(uint64(len(list) - 1))
	at := *s.at.Load()
	at.Records, at.Chain = list[len(list)-1].N, 1
	s.at.Store(&at)
	group.Wake(s.told)
	return nil
}
