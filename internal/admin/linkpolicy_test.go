package admin

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// What changes a link is done once, as asked, and not at all with dry_run or without the peer's
// name where that is wanted.
func TestLinkControl_DoesWhatIsAsked(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	for _, c := range []struct{ path, body string }{
		{"/v1/links/us/policy", `{"set":[{"key":"out","value":["a","b"]}],"reset":["rate"]}`},
		{"/v1/links/us/policy?dry_run=true", `{"set":[{"key":"out","value":["c"]}]}`},
		{"/v1/links/us/pause?for=1d&reason=why", ""},
		{"/v1/links/us/pause?dry_run=true", ""},
		{"/v1/links/us/resume", ""},
		{"/v1/links/us/spool/trim?class=&older_than=48h", `{"confirm":"us"}`},
		{"/v1/links/us/spool/trim?filter=x", `{"confirm":"eu"}`},
		{"/v1/links/us/spool/trim?filter=y&dry_run=true", ""},
	} {
		call(t, s, "POST", c.path, c.body)
	}
	want := []string{"policy us {[{out [a b]}] [rate]}", "pause us 24h0m0s why", "resume us", "trim us {Filter: Class: AllClasses:false OlderThan:48h0m0s}"}
	if got := f.done(); !slices.Equal(got, want) {
		t.Errorf("did\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A pause that nobody ends is the one thing wrong, after what nobody wanted.
func TestStatus_RemindsOfAPause(t *testing.T) {
	f := newFake()
	until := noon.Add(time.Hour)
	l := f.links[0].Link
	l.State, l.Pause = LinkPaused, &LinkPause{Since: noon, Until: &until, Reason: "maintenance"}
	f.st.Links = []Link{l}
	s := fixture(t, f)
	trouble := s.status().Trouble
	if trouble == nil || trouble.Summary != "the link to us is paused until 2026-03-01T13:00:00Z: maintenance" || trouble.Next != "causeway ctl link resume us" || !trouble.Since.Equal(noon) {
		t.Fatalf("%+v", trouble)
	}
	f.st.Links[0].State, f.st.Links[0].Reason = "down", "timeout"
	if trouble := s.status().Trouble; trouble == nil || !strings.Contains(trouble.Summary, "is down") {
		t.Errorf("down and paused: %+v", trouble)
	}
}
