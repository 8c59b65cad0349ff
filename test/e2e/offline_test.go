package e2e

import (
	"net"
	"strings"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/admin"
	"causeway/internal/trial"
)

// Why is this device offline? Any node tells what became of its connections at all of them; a ban written at one node
// closes it at another and keeps it out everywhere; a device that connects again and again is jailed at all nodes.
func TestWhyIsThisDeviceOffline(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	history := func(at *trial.Node, id string) (h admin.DeviceHistory) {
		ctlJSON(t, at, &h, "clients", "history", id)
		return h
	}
	tells := func(what, id string, words ...string) admin.DeviceHistory {
		t.Helper()
		var h admin.DeviceHistory
		await(t, what, func() bool {
			h = history(nodes[2], id)
			for _, w := range words {
				if !strings.Contains(h.Verdict, w) {
					return false
				}
			}
			return true
		})
		return h
	}

	car := subscribe(t, nodes[0].MQTT, "-c", "-i", "car", "-q", "1", "-t", "cmd/car")
	awaitRoute(t, nodes[2], "cmd/car", 1, 0)
	tells("it to be online", "car", "it is connected at "+nodes[0].Name)
	car.kill()
	tells("it to be gone", "car", "ended at", "the connection broke", "its session is kept, 0 messages wait")
	again := subscribe(t, nodes[1].MQTT, "-c", "-i", "car", "-q", "1", "-t", "cmd/car")
	h := tells("it to be back", "car", "it is connected at "+nodes[1].Name)
	if n := len(h.Events); n != 3 || h.Events[0].Node != nodes[0].Name || h.Events[0].Present || h.Events[1].Event != "ended" || h.Events[1].BytesIn == 0 || !h.Events[2].Present {
		t.Errorf("history %+v", h)
	}

	ctl(t, nodes[2], "ban", "add", "--client", "car", "--reason", "mad", "--for", "1h", "--yes")
	again.kill() // mosquitto goes on dialling; it was closed
	tells("the ban to be named", "car", "not let in", "mad")
	for _, n := range nodes {
		conn, err := net.Dial("tcp", n.MQTT)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "car", CleanStart: true}))
		b := make([]byte, 4)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if k, err := conn.Read(b); err != nil || k < 4 || b[3] != byte(packet.Banned) {
			t.Errorf("%s answered %x, %v", n.Name, b, err)
		}
		conn.Close()
	}
	var bans admin.Page[admin.Ban]
	ctlJSON(t, nodes[1], &bans, "ban", "list")
	if len(bans.Items) != 1 || bans.Items[0].Value != "car" || bans.Items[0].Until == nil {
		t.Fatalf("bans %+v", bans)
	}
	ctl(t, nodes[0], "ban", "del", bans.Items[0].ID, "--yes")
	back := subscribe(t, nodes[1].MQTT, "-c", "-i", "car", "-q", "1", "-t", "cmd/car")
	tells("it to be let in again", "car", "it is connected")
	back.kill()

	ctl(t, nodes[0], "ban", "flapping", "--connects", "10", "--within", "1m", "--jail", "10m", "--yes")
	jailed := func() bool {
		ctlJSON(t, nodes[2], &bans, "ban", "list")
		return len(bans.Items) == 1 && bans.Items[0].Jail && bans.Items[0].Value == "mad"
	}
	await(t, "a device that flaps to be jailed", func() bool {
		if jailed() {
			return true
		}
		conn, err := net.Dial("tcp", nodes[1].MQTT)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: "mad", CleanStart: true}))
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = conn.Read(make([]byte, 4))
		return false
	})
	conn, err := net.Dial("tcp", nodes[0].MQTT)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: "mad", CleanStart: true}))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 4)); err == nil {
		t.Errorf("a jailed device got %d bytes", n)
	}
	var top admin.TopPage
	ctlJSON(t, nodes[2], &top, "clients", "top", "--by", "connects")
	if len(top.Items) == 0 || top.Items[0].ClientID != "mad" || top.Items[0].Node != nodes[1].Name || top.Items[0].Value < 10 {
		t.Errorf("top %+v", top)
	}
}
