package link

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// BenchmarkLink sends messages from one home to another over loopback: spool,
// frames, QUIC with mTLS, entries, acks and trims, with logs in memory. Proposing
// and applying at both ends is in the time.
func BenchmarkLink(b *testing.B) {
	for _, codec := range []wire.Codec{wire.CodecZstd, wire.CodecNone} {
		b.Run(codec.String(), func(b *testing.B) { benchLink(b, codec) })
	}
}

func benchLink(b *testing.B, codec wire.Codec) {
	eu, _, stop := benchPair(b, codec)
	defer stop()
	payload := fmt.Appendf(nil, `{"device":"vehicle-0007","speed":%.2f,"soc":%.1f,"state":"driving","doors":{"fl":false,"fr":false},"hvac":{"on":true,"set":21.5},"pad":"%0100d"}`, 88.1, 71.0, 7)
	b.ResetTimer()
	for i := range b.N {
		eu.do1(b, &home.Publish{Topic: fmt.Sprintf("fleet/%d/telemetry", i%2000), Payload: payload, QoS: 1})
	}
	for {
		if s := eu.m.Status()[0]; s.Counters.MessagesOut >= uint64(b.N) && s.LagMessages == 0 {
			b.ReportMetric(float64(s.Counters.RawOut)/float64(s.Counters.WireOut), "ratio")
			b.ReportMetric(float64(b.N)/float64(s.Counters.FramesOut), "msg/frame")
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// benchSink is the part of home.Sink that a link needs.
type benchSink struct {
	nothing
	m atomic.Pointer[Manager]
}

func (s *benchSink) Spooled(p home.ID) {
	if m := s.m.Load(); m != nil {
		m.Spooled(p)
	}
}

func (s *benchSink) Wanted() {
	if m := s.m.Load(); m != nil {
		m.Wanted()
	}
}

func runManager(b *testing.B, m *Manager, h *testHome) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.RunWithEndpoint(ctx); err != nil {
			b.Errorf("Run: %v", err)
		}
	}()
	return func() {
		cancel()
		<-done
		h.stop()
	}
}

// BenchmarkLinkLatency is one message at a time, from Propose in one home until
// it is applied in the other.
func BenchmarkLinkLatency(b *testing.B) {
	eu, us, stop := benchPair(b, wire.CodecZstd)
	defer stop()
	src := home.Source{Home: "eu", Epoch: eu.st.Epoch()}
	for b.Loop() {
		seq := eu.do(b, &home.Publish{Topic: "fleet/1", Payload: []byte("x"), QoS: 1}).Seq
		for {
			if at, _ := us.st.Cursor(src, ""); at >= seq {
				break
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// benchHome is a home with its link.
type benchHome struct {
	*testHome
	m    *Manager
	stop func()
}

// onLoopback opens a socket for one machine.
func onLoopback() (net.PacketConn, error) {
	return net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
}

func openBenchHome(b *testing.B, name string, id *identity, p Peer) *benchHome {
	return tunedBenchHome(b, name, id, p, func(*tuning) {})
}

func tunedBenchHome(b *testing.B, name string, id *identity, p Peer, tune func(*tuning)) *benchHome {
	sink := &benchSink{}
	h := openHome(b, name, nil, sink)
	h.delay = 0
	h.do(b, &home.SetPeer{Peer: p.ID})
	o := tuning{EndpointOptions{Region: name, Identity: id, Listen: onLoopback}, Options{Home: h, Full: errFull, Local: &node{}, Peers: []Peer{p}}}
	tune(&o)
	m, err := o.open()
	if err != nil {
		b.Fatal(err)
	}
	sink.m.Store(m)
	return &benchHome{h, m, runManager(b, m, h)}
}

// benchPair links two homes over loopback; us wants fleet/#.
func benchPair(b *testing.B, codec wire.Codec) (eu, us *benchHome, stop func()) {
	ca := newAuthority(b)
	us = openBenchHome(b, "us", ca.issue(b, "us"), Peer{ID: "eu", Compress: codec})
	o := us.do(b, &home.Attach{Session: key("dev")})
	us.do(b, &home.Subscribe{Session: key("dev"), Epoch: o.Epoch, Filters: []home.Subscription{{Filter: "fleet/#"}}}) // QoS 0: no queue that grows
	for us.m.ep.Addr() == nil {
		time.Sleep(time.Millisecond)
	}
	eu = openBenchHome(b, "eu", ca.issue(b, "eu"), Peer{ID: "us", Compress: codec, Dial: []string{us.m.ep.Addr().String()}})
	for eu.st.Peers()[0].Filters == 0 {
		time.Sleep(time.Millisecond)
	}
	return eu, us, func() {
		eu.stop()
		us.stop()
	}
}

// BenchmarkLive is messages in no log, from Forward to Local, as fast as they are
// not dropped.
func BenchmarkLive(b *testing.B) {
	eu, us, stop := benchPair(b, wire.CodecZstd)
	defer stop()
	payload := fmt.Appendf(nil, `{"device":"vehicle-0007","speed":%.2f,"pad":"%0150d"}`, 88.1, 7)
	msg := &home.Message{Topic: "fleet/7/telemetry", Payload: payload}
	for i := range b.N {
		eu.m.Forward("us", msg, wanted)
		for i%64 == 0 && len(eu.m.linkWith("us").live.messages) > 4096 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	for us.m.Status()[0].Counters.LiveIn < uint64(b.N) {
		time.Sleep(100 * time.Microsecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
