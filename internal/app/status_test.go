package app

import (
	"encoding/json"
	"testing"
)

// What a key has is shown in one line, whatever the JSON that it comes in is laid out like.
func TestPlain_OneLine(t *testing.T) {
	for value, want := range map[string]string{`"eu"`: "eu", "[\n  \"cert\",\n  \"jwt\"\n]": `["cert","jwt"]`, `12`: "12", `[]`: "[]", `""`: ""} {
		if got := plain(json.RawMessage(value)); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}
