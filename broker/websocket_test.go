package broker

import (
	"crypto/tls"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"causeway/broker/packet"
)

func overWS(o *Options) {
	o.Listeners[0].Transport, o.Listeners[0].Origins = WS, []string{"https://good.example"}
}

func (l *lab) dialWS(cfg *tls.Config, header http.Header, protocols ...string) (*device, *websocket.Conn, *http.Response) {
	l.t.Helper()
	scheme := "ws://"
	if cfg != nil {
		scheme = "wss://"
	}
	dialer := websocket.Dialer{Subprotocols: protocols, TLSClientConfig: cfg, HandshakeTimeout: patience}
	ws, resp, err := dialer.Dial(scheme+l.s.Addr("tcp").String()+"/mqtt", header)
	if err != nil {
		return nil, nil, resp
	}
	l.t.Cleanup(func() { _ = ws.Close() })
	return &device{t: l.t, nc: &wsConn{ws: ws}, v: packet.V5}, ws, resp
}

func TestWebSocket_Conversation(t *testing.T) {
	l := newLab(t, overWS)
	d, ws, resp := l.dialWS(nil, nil, "mqtt")
	if resp.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
		t.Error("no sub-protocol in the answer")
	}
	d.connectOK("web", persistent)
	d.subscribe(2, "a")
	d.publish(pub("a", "hello", 2, 1))
	seen := map[packet.Type]bool{d.read().h.Type: true, d.read().h.Type: true}
	if !seen[packet.PUBREC] || !seen[packet.PUBLISH] {
		t.Errorf("got %v", seen)
	}
	// A packet may be cut anywhere, and share a message with another. [MQTT-6.0.0-2]
	b := packet.AppendPingreq(packet.AppendPingreq(nil))
	for _, part := range [][]byte{b[:1], b[1:]} {
		if err := ws.WriteMessage(websocket.BinaryMessage, part); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if f := d.read(); f.h.Type != packet.PINGRESP {
			t.Errorf("got %s", f.h.Type)
		}
	}
	d.send([]byte{0x20, 0})
	if code := d.closed(); !code.Failed() {
		t.Errorf("closed with %s", code)
	}
	eventually(t, "nobody is left", func() bool { return l.s.Stats().Listeners["tcp"].Open.Load() == 0 })
}

func TestWebSocket_Refusals(t *testing.T) {
	l := newLab(t, overWS)
	if _, _, resp := l.dialWS(nil, nil, "mqttv3.1"); resp == nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("wrong sub-protocol: %v", resp)
	}
	if _, _, resp := l.dialWS(nil, nil); resp == nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("no sub-protocol: %v", resp)
	}
	if _, _, resp := l.dialWS(nil, http.Header{"Origin": {"https://evil.example"}}, "mqtt"); resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("foreign origin: %v", resp)
	}
	if d, _, _ := l.dialWS(nil, http.Header{"Origin": {"https://good.example"}}, "mqtt"); d == nil {
		t.Error("good origin refused")
	}
	resp, err := http.Get("http://" + l.s.Addr("tcp").String() + "/other")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("other path: %v %v", resp, err)
	}
	http.DefaultClient.CloseIdleConnections()
	resp.Body.Close()
}

func TestWebSocket_TextMessageEndsTheConnection(t *testing.T) {
	l := newLab(t, overWS)
	d, ws, _ := l.dialWS(nil, nil, "mqtt")
	d.connectOK("web")
	if err := ws.WriteMessage(websocket.TextMessage, packet.AppendPingreq(nil)); err != nil {
		t.Fatal(err)
	}
	d.closed()
}

func TestWebSocket_OverTLSWithClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	l, _ := authLab(t, AuthOptions{}, func(o *Options) {
		o.Listeners[0].Transport, o.Listeners[0].TLS = WSS, ca.server(tls.RequireAndVerifyClientCert)
		o.Listeners[0].Methods = []Method{Cert}
	})
	d, _, resp := l.dialWS(ca.client("browser"), nil, "mqtt")
	if d == nil {
		t.Fatalf("refused: %v", resp)
	}
	d.connectOK("web")
	d.silent()
	if c, _ := l.house.Client(key("web")); c.Username != "browser" {
		t.Errorf("client %+v", c)
	}
}

// A connection that sends no HTTP request is closed like any other that does not connect.
func TestWebSocket_SlowRequest(t *testing.T) {
	l := newLab(t, overWS, func(o *Options) { o.Listeners[0].ConnectTimeout = 200 * time.Millisecond })
	nc, err := net.Dial("tcp", l.s.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	d := &device{t: t, nc: nc}
	if _, err := nc.Write([]byte("GET /mqtt HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	d.closed()
	eventually(t, "it is not counted any more", func() bool { return l.s.Stats().Listeners["tcp"].Open.Load() == 0 })
	if l.s.Stats().Listeners["tcp"].Connects[ConnectGone].Load() != 1 {
		t.Error("not counted as gone")
	}
}
