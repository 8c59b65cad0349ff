package load

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestTelemetry_IsJSONAndTheSameEachTime(t *testing.T) {
	seen := map[string]bool{}
	for n := range uint64(200) {
		v := Telemetry{Vehicle: int(n % 3)}
		b := v.Append(n/3, []byte("head"))
		if !bytes.Equal(b, v.Append(n/3, []byte("head"))) {
			t.Fatalf("message %d of vehicle %d differs from itself", n/3, v.Vehicle)
		}
		body := b[len("head"):]
		if !json.Valid(body) || len(body) < 400 || len(body) > 600 || seen[string(body)] {
			t.Fatalf("message %d of vehicle %d: %s", n/3, v.Vehicle, body)
		}
		seen[string(body)] = true
	}
}
