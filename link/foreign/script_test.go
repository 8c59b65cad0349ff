package foreign

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// lab is a region with a home and its links, and a broker that does what the test says, on a virtual clock.
type lab struct {
	t     *testing.T
	ctx   context.Context
	home  *testHome
	dials chan net.Conn
	stop  context.CancelFunc // of the links
	ended chan struct{}
	m     *Manager

	window int // of the links that start
}

// run runs a test in a bubble. cfg changes the link, which is called old and goes both ways in namespace ns.
func run(t *testing.T, cfg func(*Link), test func(l *lab)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := &lab{t: t, ctx: ctx, dials: make(chan net.Conn), home: openHome(ctx, t)}
		for _, id := range []home.ID{"old", "other"} {
			l.home.do(policyOf(id, linkOf(cfg)))
			l.home.do(&home.Interest{Peer: id, Epoch: home.Epoch{Number: 1}, Full: true, Version: 1, Add: []home.InterestFilter{{Namespace: "ns", Filter: "#"}}})
		}
		l.start(cfg)
		defer func() {
			l.halt()
			cancel()
			<-l.home.ended
		}()
		test(l)
	})
}

func linkOf(cfg func(*Link)) Link {
	link := Link{Name: "old", Namespace: "ns", Address: []string{"mqtt://broker:1883"}, In: []string{"#"}, Out: []string{"#"}, Retained: true, ClientID: "cw", Version: packet.V5}
	if cfg != nil {
		cfg(&link)
	}
	return link
}

func policyOf(id home.ID, link Link) *home.SetPeer {
	return &home.SetPeer{Peer: id, In: link.In, Out: link.Out, Never: link.Never, QoSMax: link.QoSMax, Retained: link.Retained}
}

// start runs the links; halt ends them, as a killed node would: nothing is said that is not said by then.
func (l *lab) start(cfg func(*Link)) {
	var ctx context.Context
	ctx, l.stop = context.WithCancel(l.ctx)
	l.ended = make(chan struct{})
	m, err := New(Options{Region: "eu", Home: l.home, Full: errFull, Local: l.home, Links: []Link{linkOf(cfg)}, Dial: l.dial, Window: l.window})
	if err != nil {
		l.t.Fatal(err)
	}
	l.m = m
	l.home.mu.Lock()
	l.home.links = m
	l.home.mu.Unlock()
	ended := l.ended
	go func() {
		defer close(ended)
		_ = m.Run(ctx)
	}()
}

func (l *lab) halt() {
	l.stop()
	<-l.ended
}

func (l *lab) dial(ctx context.Context, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.dials <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// script is the broker's end of a connection.
type script struct {
	*lab
	net.Conn
	v       packet.Version
	connect *packet.Connect
	packets chan got
	mute    atomic.Bool // it answers no pings
}

type got struct {
	h    packet.Header
	body []byte
}

// accept takes the next connection and answers it.
func (l *lab) accept(present bool, ack packet.Connack) *script {
	s := l.greeted()
	ack.SessionPresent = present
	s.send(packet.AppendConnack(nil, s.v, &ack))
	return s
}

// greeted takes the next connection up to its CONNECT.
func (l *lab) greeted() *script {
	l.t.Helper()
	s := &script{lab: l, packets: make(chan got, 1000)}
	select {
	case s.Conn = <-l.dials:
	case <-time.After(time.Hour):
		l.t.Fatalf("nobody dials: %+v", l.m.Status())
	}
	go s.receive()
	g := <-s.packets
	level := bytes.Index(g.body, []byte("MQTT")) + 4
	bridge := g.body[level]&0x80 != 0
	g.body[level] &^= 0x80
	c, err := packet.DecodeConnect(g.body)
	if err != nil {
		l.t.Fatal(err)
	}
	s.v, s.connect = c.Version, c
	if bridge {
		c.User = append(c.User, packet.UserProperty{Key: "bridge"})
	}
	return s
}

func (s *script) receive() {
	defer close(s.packets)
	r := bufio.NewReader(s)
	v := packet.Version(0)
	for {
		h, body, err := readClient(r, v)
		if err != nil {
			return
		}
		if h.Type == packet.CONNECT {
			v = packet.V5
		}
		if h.Type != packet.PINGREQ {
			s.packets <- got{h, body}
		} else if !s.mute.Load() {
			_, _ = s.Write(packet.AppendPingresp(nil))
		}
	}
}

func readClient(r *bufio.Reader, v packet.Version) (packet.Header, []byte, error) {
	return readPacket(r, v, 1<<20)
}

func (s *script) send(b []byte) {
	if _, err := s.Write(b); err != nil {
		s.t.Errorf("broker: %v", err)
	}
}

func (s *script) ack(t packet.Type, id uint16, code packet.Code) {
	s.send(packet.AppendAck(nil, s.v, t, id, code))
}

// next is the next packet, which must be of a type.
func (s *script) next(want packet.Type) got {
	s.t.Helper()
	select {
	case g, ok := <-s.packets:
		if !ok || g.h.Type != want {
			s.t.Fatalf("%s came, not %s", g.h.Type, want)
		}
		return g
	case <-time.After(time.Minute):
		s.t.Fatalf("no %s came", want)
	}
	return got{}
}

// nothing checks that nothing comes for a while.
func (s *script) nothing() {
	s.t.Helper()
	select {
	case g := <-s.packets:
		s.t.Fatalf("%s came", g.h.Type)
	case <-time.After(5 * time.Second):
	}
}

func (s *script) published() packet.Publish {
	s.t.Helper()
	g := s.next(packet.PUBLISH)
	var p packet.Publish
	if err := packet.DecodePublish(g.h, g.body, s.v, &p); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *script) acked(want packet.Type) packet.Ack {
	s.t.Helper()
	g := s.next(want)
	a, err := packet.DecodeAck(g.h, g.body, s.v)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// subscribed answers the SUBSCRIBE.
func (s *script) subscribed() packet.Subscribe {
	s.t.Helper()
	p, err := packet.DecodeSubscribe(s.next(packet.SUBSCRIBE).body, s.v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(packet.AppendSuback(nil, s.v, p.PacketID, slices.Repeat([]packet.Code{packet.GrantedQoS2}, len(p.Filters))))
	return p
}

func (s *script) publish(p packet.OutPublish) { s.send(packet.AppendPublish(nil, s.v, &p)) }

// settle waits until the home and the links have nothing to do.
func (l *lab) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (l *lab) want(what string, got, want any) {
	l.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		l.t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func (l *lab) dropped(r DropReason) uint64 { return l.m.Status()[0].Counters.Dropped[r] }

// outOnly is a link of one direction.
func outOnly(l *Link) { l.In = nil }
