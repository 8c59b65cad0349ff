package e2e

import (
	"bufio"
	"io"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"causeway/broker/packet"
	"causeway/internal/trial"
)

// A browser in us, over WebSocket with the sub-protocol mqtt, gets what was published in eu
// over TCP. Its packets come cut into frames as it pleases. [MQTT-6.0.0-2]
func TestWebSocket_GetsWhatWasPublishedOverTCP(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: patience}
	ws, resp, err := dialer.Dial("ws://"+us.WebSocket+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
		t.Errorf("sub-protocol %q, want mqtt [MQTT-6.0.0-4]", got)
	}
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	r := bufio.NewReader(&frames{ws: ws})
	out := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "browser", CleanStart: true})
	out = packet.AppendSubscribe(out, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "page/#", QoS: 1}}})
	for _, part := range [][]byte{out[:3], out[3 : len(out)-2], out[len(out)-2:]} {
		if err := ws.WriteMessage(websocket.BinaryMessage, part); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []packet.Type{packet.CONNACK, packet.SUBACK} {
		if h, _, err := readPacket(r, packet.V5); err != nil || h.Type != want {
			t.Fatalf("got %v, %v, want %v", h.Type, err, want)
		}
	}
	awaitRoute(t, eu, "page/1", 0, 1)

	publish(t, eu.MQTT, "-q", "1", "-t", "page/1", "-m", "hello")

	h, body, err := readPacket(r, packet.V5)
	if err != nil || h.Type != packet.PUBLISH {
		t.Fatalf("got %v, %v", h.Type, err)
	}
	var p packet.Publish
	if err := packet.DecodeServerPublish(h, body, packet.V5, &p); err != nil || string(p.Topic) != "page/1" || string(p.Payload) != "hello" {
		t.Errorf("got %s %q, %v", p.Topic, p.Payload, err)
	}
}

// frames reads the bytes of binary messages, one after the other.
type frames struct {
	ws *websocket.Conn
	in io.Reader
}

func (f *frames) Read(b []byte) (int, error) {
	for {
		if f.in == nil {
			_, in, err := f.ws.NextReader()
			if err != nil {
				return 0, err
			}
			f.in = in
		}
		n, err := f.in.Read(b)
		if err == io.EOF {
			f.in, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}
