package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
)

// The time that a message waits for a link counts: over an outage of ten seconds (six, without
// -lab) one that expires in half of that does not arrive, one that expires in a minute arrives with
// what is left of it and everything else its publisher attached. What was retained and deleted
// meanwhile is so on both sides.
func TestTwoRegions_ExpiryOverAnOutage(t *testing.T) {
	t.Parallel()
	tr, cable := startWithRelay(t, "")
	eu, us := tr.Node("eu"), tr.Node("us")
	away := 6 * time.Second // longer than a tunnel lives: what is in one does not age on its way
	if *wholeLab {
		away = 10 * time.Second
	}
	sub := subscribe(t, us.MQTT, "-V", "5", "-q", "2", "-t", "order/+", "-C", "3", "-F", "%j")
	awaitRoute(t, eu, "order/1", 0, 1)
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/deleted", "-m", "on")
	awaitRetained(t, us, "state/deleted", true)

	cable.cut()
	before, cut := cable.bytes.Load(), time.Now()
	half := fmt.Sprint(int(away.Seconds() / 2))
	publish(t, eu.MQTT, attached("1", half)...)
	publish(t, eu.MQTT, attached("2", "60")...)
	spooled := time.Now()
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/deleted", "-n")
	publish(t, eu.MQTT, "-V", "5", "-q", "1", "-r", "-t", "state/short", "-m", "red", "-D", "publish", "message-expiry-interval", half)
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/new", "-m", "green")
	time.Sleep(time.Until(cut.Add(away)))
	if passed := cable.bytes.Load() - before; passed > 2*1500 { // a packet each way was past the check
		t.Errorf("%d bytes crossed the cut link", passed)
	}
	waited := time.Since(spooled)
	cable.heal()
	publish(t, eu.MQTT, attached("3", "60")...)
	publish(t, eu.MQTT, attached("4", "60")...)

	lines := sub.lines()
	t.Logf("%v without a link: all is there %v later", away, time.Since(cut.Add(away)).Round(time.Millisecond))
	for i, topic := range []string{"order/2", "order/3", "order/4"} {
		left := wantAttached(t, lines[i], topic)
		if most := 61*time.Second - waited; topic == "order/2" && left > most { // it counts up to the next second
			t.Errorf("%s has %v left of a minute after %v", topic, left, waited)
		}
	}
	awaitRetained(t, us, "state/new", true)
	awaitRetained(t, us, "state/deleted", false)
	wantRetained(t, us, "1 state/new green\n")
	wantRetained(t, eu, "1 state/new green\n")
}

// attachments are what a publisher may attach to a message, as mosquitto's clients call it.
var attachments = map[string]any{
	"content-type": "application/json", "payload-format-indicator": 1.0, "response-topic": "reply/1", "correlation-data": "c-42",
	"user-properties": map[string]any{"trace": "abc", "unit": "°C"},
}

// attached are arguments of mosquitto_pub for an order with everything attached.
func attached(order, expiry string) []string {
	args := []string{"-V", "5", "-q", "2", "-t", "order/" + order, "-m", "{}", "-D", "publish", "message-expiry-interval", expiry}
	for _, name := range slices.Sorted(maps.Keys(attachments)) {
		if user, ok := attachments[name].(map[string]any); ok {
			for _, key := range slices.Sorted(maps.Keys(user)) {
				args = append(args, "-D", "publish", "user-property", key, fmt.Sprint(user[key]))
			}
			continue
		}
		args = append(args, "-D", "publish", name, fmt.Sprint(attachments[name]))
	}
	return args
}

// wantAttached holds what mosquitto_sub printed to what attached sent, and returns what is left of
// the expiry.
func wantAttached(t *testing.T, line, topic string) time.Duration {
	t.Helper()
	var got struct {
		Topic, Payload string
		QoS            int `json:"qos"`
		Properties     map[string]any
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	left, _ := got.Properties["message-expiry-interval"].(float64)
	delete(got.Properties, "message-expiry-interval")
	if got.Topic != topic || got.Payload != "{}" || got.QoS != 2 || !reflect.DeepEqual(got.Properties, attachments) {
		t.Errorf("got %s\nwant %s with %v", line, topic, attachments)
	}
	return time.Duration(left) * time.Second
}
