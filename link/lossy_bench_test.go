package link

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
	"causeway/test/lab"
)

// BenchmarkLossyPath is one peer pair over an emulated path of 25 MB/s: what it carries
// of 256-byte messages after it had time to find out how. It makes network namespaces,
// which needs root. Each case takes 9 to 27 s whatever b.N is, so -benchtime 1x will do:
//
//	go test ./link -run '^$' -bench 'LossyPath/80ms/1.0%' -benchtime 1x
func BenchmarkLossyPath(b *testing.B) {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 80 * time.Millisecond} {
		for _, loss := range []float64{0, 0.001, 0.01, 0.03} {
			for _, w := range ways {
				b.Run(fmt.Sprintf("%s/%.1f%%/%s", rtt, 100*loss, w.name), func(b *testing.B) {
					n := lab.New(b)
					at := [2]*lab.Site{n.Site("eu", lab.Router), n.Site("us", lab.Router)}
					n.Path(at[0], at[1]).Set(lab.Conditions{Delay: rtt / 2, Loss: loss, Rate: 25_000_000})
					benchPath(b, at, w)
				})
			}
		}
	}
}

// way is how a pair is connected.
type way struct {
	name        string
	udp, tcp    bool
	connections int
	warmUp      time.Duration // to find out how
}

var ways = []way{
	{"one", true, false, 1, 4 * time.Second},
	{"several", true, false, 0, 12 * time.Second},
	{"tcp", false, true, 0, 4 * time.Second},
	{"automatic", true, true, 0, 22 * time.Second},
}

const measure = 5 * time.Second

func benchPath(b *testing.B, at [2]*lab.Site, w way) {
	tune := func(s *lab.Site) func(*tuning) {
		return func(o *tuning) {
			o.Connections = w.connections
			o.Listen = func() (net.PacketConn, error) { return s.ListenUDP(7444) }
			o.ListenTCP = func() (net.Listener, error) { return s.ListenTCP(7445) }
			o.DialTCP = func(ctx context.Context, to string) (net.Conn, error) { return s.Dial(ctx, to) }
		}
	}
	ca := newAuthority(b)
	us := tunedBenchHome(b, "us", ca.issue(b, "us"), Peer{ID: "eu", Compress: wire.CodecNone}, tune(at[1]))
	defer us.stop()
	o := us.do(b, &home.Attach{Session: key("dev")})
	us.do(b, &home.Subscribe{Session: key("dev"), Epoch: o.Epoch, Filters: []home.Subscription{{Filter: "fleet/#"}}})
	p := Peer{ID: "us", Compress: wire.CodecNone}
	if w.udp {
		p.Dial = append(p.Dial, "udp://"+at[1].Address()+":7444")
	}
	if w.tcp {
		p.Dial = append(p.Dial, "tcp://"+at[1].Address()+":7445")
	}
	for us.m.ep.Addr() == nil {
		time.Sleep(time.Millisecond)
	}
	eu := tunedBenchHome(b, "eu", ca.issue(b, "eu"), p, tune(at[0]))
	defer eu.stop()
	for eu.st.Peers()[0].Filters == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, stop := context.WithCancel(context.Background())
	fed := make(chan struct{})
	go func() { defer close(fed); eu.feed(ctx, b) }()
	time.Sleep(w.warmUp)
	before := us.m.Status()[0].Counters.MessagesIn
	time.Sleep(measure)
	rate := float64(us.m.Status()[0].Counters.MessagesIn-before) / measure.Seconds()
	stop()
	<-fed
	s := eu.m.Status()[0]
	b.ReportMetric(rate, "msg/s")
	b.ReportMetric(float64(s.Connections), "connections")
	b.ReportMetric(0, "ns/op")
	b.Logf("%s: %.0f msg/s over %s, %d connections, %s %s; %d tunnels; %d of %d packets lost", strings.TrimPrefix(b.Name(), "BenchmarkLossyPath/"),
		rate, s.Network, s.Connections, s.WhyConnections, s.WhyNotUDP, s.Counters.Tunnels, s.LostCount, s.PacketsSent)
}

// backlog is how many messages always wait for the peer.
const backlog = 50_000

// feed publishes as much as the peer takes.
func (h *benchHome) feed(ctx context.Context, b *testing.B) {
	payload := make([]byte, 256)
	rng := rand.NewChaCha8([32]byte{1})
	for i := 0; ctx.Err() == nil; i++ {
		if i%256 == 0 {
			for h.m.Status()[0].LagMessages > backlog && group.Pause(ctx, time.Millisecond) == nil {
				continue
			}
		}
		_, _ = rng.Read(payload)
		h.do1(b, &home.Publish{Topic: "fleet/telemetry", Payload: append([]byte(nil), payload...), QoS: 1})
	}
}
