package admin

import (
	"strings"
	"testing"
	"time"
)

// Who looks at a storm sees of which stage it is made, as it was in the last minute.
func TestAdmission_ShowsTheQueueAndItsStages(t *testing.T) {
	f := newFake()
	f.st.Admission = Admission{PerSecond: 500, Waiting: 1500, DrainSeconds: 3, Namespaces: []QueueCount{{"cars", 1500}}}
	s := fixture(t, f)
	for _, stage := range []string{"queue", "tls", "connect", "auth", "attach"} {
		s.metrics.ConnectStage(stage)
	}
	for range 4 {
		s.metrics.ConnectStage("queue")(10 * time.Second)
		s.metrics.ConnectStage("tls")(60 * time.Millisecond)
		s.metrics.ConnectStage("auth")(20 * time.Millisecond)
		s.metrics.ConnectStage("attach")(20 * time.Millisecond)
	}
	w := call(t, s, "GET", "/v1/admission", "")
	for _, want := range []string{`"waiting":1500`, `"drain_seconds":3`, `"by":"ops"`, `{"stage":"queue","connections":4,"mean_seconds":10,"share":0}`,
		`{"stage":"tls","connections":4,"mean_seconds":0.06,"share":0.6}`, `{"stage":"connect","connections":0,"mean_seconds":0,"share":0}`, `"stage":"attach","connections":4,"mean_seconds":0.02,"share":0.2`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	for _, st := range s.metrics.stages.lately(time.Now().Add(2 * time.Minute)) {
		if st.Connections != 0 {
			t.Errorf("after two minutes: %+v", st)
		}
	}
}
