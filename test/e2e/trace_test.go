package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// traced is what a trace saw, as `trace get -o ndjson` prints it: node, event and whom it was about.
func traced(t *testing.T, n *trial.Node, id string) (lines []admin.TraceLine) {
	t.Helper()
	out, code := causeway(t, "", "", "ctl", "--socket", n.Socket(), "trace", "get", id, "-o", "ndjson")
	if code != 0 {
		t.Fatal(out)
	}
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		var l admin.TraceLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("%q: %v", s.Text(), err)
		}
		lines = append(lines, l)
	}
	return lines
}

func hasLine(lines []admin.TraceLine, event, client, peer string) bool {
	return slices.ContainsFunc(lines, func(l admin.TraceLine) bool { return l.Event == event && l.ClientID == client && l.Peer == peer })
}

// Where does this message go? In its region to the link, in the other from the link to the device, which acknowledges it;
// at whatever node that was. And why is this device offline: its connection ended, at a node that nobody asked.
func TestTrace_AcrossALinkAndNodes(t *testing.T) {
	tr, addr := region(t, trial.Options{Regions: []string{"eu", "us"}})
	eu, us := tr.Region("eu"), tr.Region("us")
	sub := subscribe(t, us[0].MQTT, "-V", "5", "-i", "lamp", "-q", "1", "-t", "cmd/#", "-C", "10")
	awaitRoute(t, eu[0], "cmd/1", 0, 1)
	var here, there, meter admin.TraceStarted
	ctlJSON(t, eu[0], &here, "trace", "start", "--topic", "cmd/+")
	ctlJSON(t, us[0], &there, "trace", "start", "--topic", "cmd/+")
	ctlJSON(t, eu[1], &meter, "trace", "start", "--client", "meter")
	if len(here.Unanswered) > 0 {
		t.Errorf("not at %v", here.Unanswered)
	}
	publishLines(t, addr, numbers(10), "-i", "meter", "-q", "1", "-t", "cmd/1")
	if got := sub.lines(); !slices.Equal(got, numbers(10)) {
		t.Errorf("got %v", got)
	}

	for _, n := range eu { // any node knows what all saw
		await(t, "the messages are followed into the link", func() bool {
			lines := traced(t, n, here.ID)
			published, sent := 0, 0
			for _, l := range lines {
				switch {
				case l.Event == "published" && l.ClientID == "meter" && l.Topic == "cmd/1" && l.QoS == 1 && l.Payload == nil:
					published++
				case l.Event == "forwarded" && l.Peer == "us":
					sent++
				}
			}
			return published == 10 && sent == 10 && slices.IsSortedFunc(lines, func(x, y admin.TraceLine) int { return x.At.Compare(y.At) })
		})
		await(t, "the device's connection is followed to its end", func() bool {
			lines := traced(t, n, meter.ID)
			return hasLine(lines, "connected", "meter", "") && hasLine(lines, "accepted", "meter", "") && hasLine(lines, "ended", "meter", "")
		})
	}
	await(t, "and out of it", func() bool {
		lines := traced(t, us[0], there.ID)
		return hasLine(lines, "arrived", "", "eu") && hasLine(lines, "delivered", "lamp", "") && hasLine(lines, "acknowledged", "lamp", "")
	})

	if out, code := causeway(t, "", "", "ctl", "--socket", eu[2].Socket(), "trace", "stop", here.ID, "--yes"); code != 0 {
		t.Fatal(out)
	}
	var list admin.TraceList
	ctlJSON(t, eu[0], &list, "trace", "list")
	for _, x := range list.Items {
		if want := map[string]string{here.ID: "stopped", meter.ID: "running"}[x.ID]; x.State != want || len(x.Nodes) != 3 {
			t.Errorf("trace %s is %s at %v, want %s", x.ID, x.State, x.Nodes, want)
		}
	}
	before := len(traced(t, eu[0], here.ID))
	publishLines(t, addr, numbers(3), "-q", "1", "-t", "cmd/1")
	if after := len(traced(t, eu[0], here.ID)); after != before {
		t.Errorf("a stopped trace went on: %d lines, then %d", before, after)
	}
	if text, code := causeway(t, "", "", "ctl", "--socket", eu[0].Socket(), "trace", "get", here.ID); code != 0 || !strings.Contains(text, fmt.Sprintf("%-12s meter  cmd/1  qos 1", "published")) {
		t.Errorf("%d: %s", code, text)
	}
}
