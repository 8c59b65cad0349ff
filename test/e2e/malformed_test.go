package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/trial"
)

// One truncated SUBSCRIBE of MQTT 5 ends its own connection, with a reason code and words.
// Devices connected meanwhile notice nothing. (It once ended a whole broker: mochi #501.)
func TestTruncatedSubscribe_OnlyItsConnectionEnds(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	sent := append(numbers(20), "end")
	bystander := subscribe(t, eu.MQTT, "-V", "5", "-i", "bystander", "-q", "1", "-t", "calm", "-C", "21")
	awaitRoute(t, eu, "calm", 1, 0)

	for name, broken := range map[string][]byte{
		"filter longer than the packet": {0x82, 8, 0, 1, 0, 0, 10, 'a', '/', 'b'},
		"no options":                    {0x82, 6, 0, 1, 0, 0, 1, 'a'},
		"no filter":                     {0x82, 3, 0, 1, 0},
		"properties cut off":            {0x82, 4, 0, 1, 5, 0x0B},
	} {
		conn, r := hello(t, eu.MQTT, "broken")
		if _, err := conn.Write(broken); err != nil {
			t.Fatal(err)
		}
		h, body, err := readPacket(r, packet.V5)
		if err != nil || h.Type != packet.DISCONNECT {
			t.Fatalf("%s: answered by %v, %v, want a DISCONNECT", name, h.Type, err)
		}
		d, err := packet.DecodeServerDisconnect(body)
		if err != nil || d.Code != packet.MalformedPacket && d.Code != packet.ProtocolError || d.ReasonString == "" {
			t.Errorf("%s: DISCONNECT %v %q, %v", name, d.Code, d.ReasonString, err)
		}
		wantClosed(t, conn)
	}

	publishLines(t, eu.MQTT, sent, "-V", "5", "-q", "1", "-t", "calm")
	if got := bystander.lines(); !slices.Equal(got, sent) {
		t.Errorf("the bystander: %s", differ(got, sent))
	}
	if strings.Contains(bystander.errs.String(), "onnection lost") {
		t.Errorf("the bystander was disconnected: %s", bystander.errs.String())
	}
}

// Who begins with a packet beyond every limit, or with another than CONNECT, is closed on the
// first bytes: nobody waits for the rest.
func TestOversizedBeforeConnect_ClosedAtOnce(t *testing.T) {
	t.Parallel()
	eu := start(t, trial.Options{Regions: []string{"eu"}}).Node("eu")
	for name, first := range map[string][]byte{
		"CONNECT of 256 MB": {0x10, 0xFF, 0xFF, 0xFF, 0x7F},
		"PUBLISH of 256 MB": {0x30, 0xFF, 0xFF, 0xFF, 0x7F},
		"PINGREQ":           {0xC0, 0x00},
		"HTTP":              []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		conn, err := net.Dial("tcp", eu.MQTT)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := conn.Write(first); err != nil {
			t.Fatal(err)
		}
		wantClosed(t, conn)
		if took := time.Since(began); took > 4*time.Second { // connect_timeout is longer
			t.Errorf("%s: closed after %v", name, took)
		}
	}
	hello(t, eu.MQTT, "well-behaved")
}

// Who sends its CONNECT a byte at a time is closed when connect_timeout is over, though never
// silent; who connects in time stays.
func TestSlowConnect_ClosedAtItsDeadline(t *testing.T) {
	t.Parallel()
	tr := layOut(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	edit(t, eu, "name: mqtt, ", "name: mqtt, connect_timeout: 1s, ")
	restart(t, eu, 0)
	quick, _ := hello(t, eu.MQTT, "quick")

	slow, err := net.Dial("tcp", eu.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	go func() { // ends when the node closes
		for _, b := range packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: strings.Repeat("x", 5000), CleanStart: true}) {
			if _, err := slow.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	wantClosed(t, slow)
	if took := time.Since(began); took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("closed after %v, want about 1 s", took)
	}

	if _, err := quick.Write(packet.AppendPingreq(nil)); err != nil {
		t.Fatal(err)
	}
	if h, _, err := readPacket(bufio.NewReader(quick), packet.V5); err != nil || h.Type != packet.PINGRESP {
		t.Errorf("who had connected in time got %v, %v", h.Type, err)
	}
}

// hello connects with MQTT 5 over plain TCP.
func hello(t *testing.T, addr, id string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: id, CleanStart: true})); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	h, body, err := readPacket(r, packet.V5)
	if err != nil || h.Type != packet.CONNACK {
		t.Fatalf("CONNECT answered by %v, %v", h.Type, err)
	}
	if c, err := packet.DecodeConnack(body, packet.V5); err != nil || c.Code.Failed() {
		t.Fatalf("CONNACK %v, %v", c.Code, err)
	}
	return conn, r
}

// wantClosed reads until the node closed the connection.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open after %v", patience)
	}
}

// edit changes a node's configuration file before it starts.
func edit(t *testing.T, n *trial.Node, old, new string) {
	t.Helper()
	file := n.Dir + "/causeway.yaml"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s has no %q", file, old)
	}
	write(t, file, strings.Replace(string(b), old, new, 1))
}
