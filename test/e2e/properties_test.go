package e2e

import (
	"encoding/json"
	"reflect"
	"testing"

	"causeway/internal/trial"
)

// Everything an MQTT 5 publisher attached arrives in the other region as it was.
func TestTwoRegions_PropertiesArriveIntact(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	sub := subscribe(t, us.MQTT, "-V", "5", "-q", "1", "-t", "request/+", "-C", "1", "-F", "%j",
		"-D", "subscribe", "subscription-identifier", "77")
	awaitRoute(t, eu, "request/1", 0, 1)

	publish(t, eu.MQTT, "-V", "5", "-q", "1", "-t", "request/1", "-m", `{"on":true}`,
		"-D", "publish", "content-type", "application/json", "-D", "publish", "payload-format-indicator", "1",
		"-D", "publish", "response-topic", "reply/1", "-D", "publish", "correlation-data", "c-42",
		"-D", "publish", "message-expiry-interval", "3600",
		"-D", "publish", "user-property", "trace", "abc", "-D", "publish", "user-property", "unit", "°C")

	var got struct {
		Topic, Payload string
		QoS            int `json:"qos"`
		Properties     map[string]any
	}
	if err := json.Unmarshal([]byte(sub.wait()), &got); err != nil {
		t.Fatal(err)
	}
	expiry, _ := got.Properties["message-expiry-interval"].(float64)
	if expiry < 3500 || expiry > 3600 {
		t.Errorf("message expiry %v, want what is left of 3600 s", got.Properties["message-expiry-interval"])
	}
	delete(got.Properties, "message-expiry-interval")
	want := map[string]any{
		"content-type": "application/json", "payload-format-indicator": 1.0, "response-topic": "reply/1", "correlation-data": "c-42",
		"user-properties": map[string]any{"trace": "abc", "unit": "°C"}, "subscription-identifier": 77.0,
	}
	if got.Topic != "request/1" || got.Payload != `{"on":true}` || got.QoS != 1 || !reflect.DeepEqual(got.Properties, want) {
		t.Errorf("got %+v\nwant properties %v", got, want)
	}
}
