package link

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
)

// Links come and go while the Manager runs; those that stay are not touched.
func TestManager_Reconfigure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		ap := w.region("ap", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		if err := eu.m.Reconfigure([]Peer{peerTo("us"), peerTo("ap")}); err != nil {
			t.Fatal(err)
		}
		up(t, eu, "ap")
		if err := eu.m.Reconfigure([]Peer{peerTo("ap")}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "us is told", func() bool { return us.status("eu").State == Down })
		if r := us.status("eu").Reason; !strings.Contains(r, "region eu stops the link") {
			t.Errorf("reason %q", r)
		}
		if n := ap.status("eu").Counters.Tunnels; n != 1 {
			t.Errorf("the link that stayed had %d tunnels", n)
		}
		if err := eu.m.Reconfigure([]Peer{{ID: "x", Dial: []string{"sctp://a:1"}}}); err == nil || !strings.Contains(err.Error(), `link to "x"`) {
			t.Errorf("a bad configuration: %v", err)
		}
		if len(eu.m.Status()) != 1 {
			t.Error("a refused configuration changed something")
		}
	})
}

func TestOptions_Validate(t *testing.T) {
	good := func() tuning {
		return tuning{EndpointOptions{Region: "eu", Identity: &identity{}, Listen: func() (net.PacketConn, error) { return nil, net.ErrClosed }},
			Options{Home: &testHome{}, Full: errFull, Local: &node{}, Peers: []Peer{peerTo("us")}}}
	}
	for _, c := range []struct {
		name string
		edit func(o *tuning)
		want string
	}{
		{"good", func(*tuning) {}, ""},
		{"no region", func(o *tuning) { o.Region = "" }, "Region is empty"},
		{"no home", func(o *tuning) { o.Home = nil }, "must be set"},
		{"keep-alive", func(o *tuning) { o.KeepAlive = time.Minute }, "at most 10s"},
		{"idle", func(o *tuning) { o.KeepAlive, o.IdleTimeout = time.Second, time.Second }, "below twice KeepAlive"},
		{"itself", func(o *tuning) { o.Peers[0].Region = "eu" }, "this region itself"},
		{"twice", func(o *tuning) { o.Peers = append(o.Peers, peerTo("us")) }, "configured twice"},
		{"no name", func(o *tuning) { o.Peers[0].ID = "" }, "name the peer"},
		{"scheme", func(o *tuning) { o.Peers[0].Dial = []string{"sctp://a:1"} }, `"sctp" is not supported`},
		{"port", func(o *tuning) { o.Peers[0].Dial = []string{"host"} }, "missing port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good()
			c.edit(&o)
			_, err := o.open()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

var _ home.Sink = (*nodeSink)(nil)

// A tunnel whose peer is refused since its handshake is closed, and both sides say why; those of other peers stay.
func TestEndpoint_Recheck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		ap := w.region("ap", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"), peerTo("ap"))
		up(t, eu, "us")
		up(t, eu, "ap")
		refused := func(s tls.ConnectionState) error {
			if region, err := (&identity{}).PeerRegion(s); err != nil || region != "us" {
				return err
			}
			return errors.New("its certificate is revoked")
		}
		if n := eu.m.ep.Recheck(refused); n != 1 {
			t.Errorf("%d tunnels closed", n)
		}
		eventually(t, 10*time.Second, "us is told", func() bool { return strings.Contains(us.status("eu").Reason, "revoked") })
		up(t, eu, "us") // its certificate is taken here
		if n := ap.status("eu").Counters.Tunnels; n != 1 {
			t.Errorf("the link that stayed had %d tunnels", n)
		}
	})
}
