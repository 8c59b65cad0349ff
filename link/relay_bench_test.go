package link

import (
	"fmt"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// BenchmarkRelay is BenchmarkLink through a third region, all in one process: two more
// hops of QUIC, and TLS from end to end inside.
func BenchmarkRelay(b *testing.B) {
	for _, codec := range []wire.Codec{wire.CodecZstd, wire.CodecNone} {
		b.Run(codec.String(), func(b *testing.B) { benchRelay(b, codec) })
	}
}

func benchRelay(b *testing.B, codec wire.Codec) {
	ca := newAuthority(b)
	open := func(name string, peers ...Peer) *benchHome {
		sink := &benchSink{}
		h := openHome(b, name, nil, sink)
		h.delay = 0
		for _, p := range peers {
			h.do(b, &home.SetPeer{Peer: p.ID})
		}
		o := tuning{EndpointOptions{Region: name, Identity: ca.issue(b, name), Listen: onLoopback}, Options{Home: h, Full: errFull, Local: &node{}, Peers: peers}}
		if name == "ap" {
			relays(&o)
		}
		m, err := o.open()
		if err != nil {
			b.Fatal(err)
		}
		sink.m.Store(m)
		return &benchHome{h, m, runManager(b, m, h)}
	}
	ap := open("ap", peerFrom("eu"), peerFrom("us"))
	defer ap.stop()
	for ap.m.ep.Addr() == nil {
		time.Sleep(time.Millisecond)
	}
	hub := Peer{ID: "ap", Dial: []string{ap.m.ep.Addr().String()}}
	us := open("us", peerFrom("eu"), hub)
	defer us.stop()
	o := us.do(b, &home.Attach{Session: key("dev")})
	us.do(b, &home.Subscribe{Session: key("dev"), Epoch: o.Epoch, Filters: []home.Subscription{{Filter: "fleet/#"}}})
	eu := open("eu", Peer{ID: "us", Compress: codec, Dial: []string{"relay://ap"}}, hub)
	defer eu.stop()
	toUS := func() Status { return eu.m.Status()[1] }
	for toUS().InterestFilters == 0 {
		time.Sleep(time.Millisecond)
	}
	payload := fmt.Appendf(nil, `{"device":"vehicle-0007","speed":%.2f,"soc":%.1f,"state":"driving","doors":{"fl":false,"fr":false},"hvac":{"on":true,"set":21.5},"pad":"%0100d"}`, 88.1, 71.0, 7)
	b.ResetTimer()
	for i := range b.N {
		eu.do1(b, &home.Publish{Topic: fmt.Sprintf("fleet/%d/telemetry", i%2000), Payload: payload, QoS: 1})
	}
	for toUS().Counters.MessagesOut < uint64(b.N) || toUS().LagMessages > 0 {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
