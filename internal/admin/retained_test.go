package admin

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// What an export printed is taken in elsewhere; there is a word on each that is not, and none holds up another.
func TestRetained_ExportAndImport(t *testing.T) {
	from := newFake()
	big := RetainedDetail{Retained{Namespace: "plants", Topic: "a", QoS: 1}, make([]byte, maxExport)}
	from.retained = append(from.retained, big, RetainedDetail{Retained{Namespace: "plants", Topic: "b"}, []byte("last")})
	s := fixture(t, from)
	var lines []RetainedMessage
	pages := 0
	for next := ""; pages == 0 || next != ""; pages++ {
		p := answer[Page[RetainedMessage]](t, call(t, s, "GET", "/v1/retained/export?after="+next, ""))
		lines, next = append(lines, p.Items...), p.Next
	}
	if pages != 2 || len(lines) != 4 || string(lines[3].Payload) != "last" {
		t.Fatalf("%d pages, %d messages", pages, len(lines))
	}

	to := newFake()
	to.retained = []RetainedDetail{from.retained[0], {Retained{Namespace: "cars", Topic: lines[1].Topic, QoS: lines[1].QoS}, []byte("another")}}
	ended := time.Now().Add(-time.Hour)
	lines[2].ExpiresAt = &ended
	lines = append(lines, RetainedMessage{Namespace: "cars", Topic: "bad"}, RetainedMessage{Namespace: "cars", Topic: "full"})
	lines[1].ExpiresAt = nil
	body, err := json.Marshal(RetainedImport{lines})
	if err != nil {
		t.Fatal(err)
	}
	dst := fixture(t, to)
	got := answer[RetainedImported](t, call(t, dst, "POST", "/v1/retained/import", string(body)))
	if got.Imported != 1 || got.Same != 1 || got.Kept != 1 || got.Expired != 1 || len(got.Refused) != 2 || !strings.Contains(got.Refused[0], "cars/bad: it is bad") {
		t.Errorf("%+v", got)
	}
	if done := to.done(); len(done) != 1 || !slices.Contains(done, `import plants/b "last" dry=false`) {
		t.Errorf("%v", done)
	}
	if got := answer[RetainedImported](t, call(t, dst, "POST", "/v1/retained/import?overwrite=true", string(body))); got.Kept != 0 || got.Imported != 2 {
		t.Errorf("%+v", got)
	}
}
