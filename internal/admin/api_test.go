package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"causeway/internal/group"
	"causeway/internal/health"
	"causeway/internal/supervise"
)

// call makes a request as whoever may use the socket.
func call(t *testing.T, s *Server, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	newAPI(s).handler(viaSocket).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// answer decodes a 200.
func answer[T any](t *testing.T, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func problemIn(t *testing.T, w *httptest.ResponseRecorder) (p Problem) {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("%d, content type %q: %s", w.Code, got, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != w.Code || p.Title == "" || p.Detail == "" || p.Fix == "" {
		t.Errorf("status %d, problem %+v", w.Code, p)
	}
	return p
}

func TestVersionAndFeatures_InEveryAnswer(t *testing.T) {
	s := fixture(t, newFake())
	for _, path := range []string{"/v1/version", "/v1/nothing", "/healthz"} {
		w := call(t, s, "GET", path, "")
		if v, f := w.Header().Get(HeaderVersion), w.Header().Get(HeaderFeatures); v != "v0.1.0" || !strings.Contains(f, "sessions") {
			t.Errorf("%s: version %q, features %q", path, v, f)
		}
	}
	if v := answer[Version](t, call(t, s, "GET", "/v1/version", "")); v.API != "v1" || !slices.Equal(v.Features, Features()) {
		t.Errorf("%+v", v)
	}
}

func TestStatus(t *testing.T) {
	s := fixture(t, newFake())
	s.metrics.Dropped("queue", "queue_full", 6)
	st := answer[Status](t, call(t, s, "GET", "/v1/status", ""))
	if want := (Totals{Connections: 3, Sessions: 12, SessionsAttached: 3, Received: 100, Sent: 77, Dropped: 10}); st.Totals != want {
		t.Errorf("totals %+v, want %+v", st.Totals, want)
	}
	if st.State.State != "ready" || st.Trouble != nil || st.Version != "v0.1.0" || len(st.Services) != 2 {
		t.Errorf("%+v", st)
	}
}

// A client id may be anything MQTT allows; each is one segment of the path.
func TestNamesInPaths(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	for _, id := range []string{"a/b", "car-1", "ü+#%"} {
		c := answer[Client](t, call(t, s, "GET", Path("clients", "cars", id), ""))
		if c.ClientID != id {
			t.Errorf("asked for %q, got %q", id, c.ClientID)
		}
	}
	if d := answer[SessionDetail](t, call(t, s, "GET", Path("sessions", "plants", ".."), "")); d.Session.ClientID != ".." {
		t.Errorf("%+v", d)
	}
	r := answer[RetainedDetail](t, call(t, s, "GET", Path("retained", "cars", "fleet/b/c"), ""))
	if string(r.Payload) != "off" {
		t.Errorf("%+v", r)
	}
}

func TestChanges(t *testing.T) {
	tests := []struct {
		method, path, body string
		did                string
		effect             string
	}{
		{"DELETE", Path("clients", "cars", "a/b"), "", "kick cars/a/b", "the connection from 10.1.2.3:4567 to node eu-1 closes"},
		{"DELETE", Path("sessions", "cars", "car-1"), "", "delete session cars/car-1 will=false", "its will is not published"},
		{"DELETE", Path("sessions", "cars", "car-1") + "?publish_will=true", "", "delete session cars/car-1 will=true", "its will is published"},
		{"POST", Path("sessions", "cars", "car-1", "move") + "?to=us", "", "move session cars/car-1 to us", "2 queued messages go to home us"},
		{"DELETE", Path("retained", "cars", "fleet/a"), "", "delete retained cars/fleet/a", "the retained message of 2 bytes is removed, here and at the peers"},
		{"POST", Path("peers", "us", "forget"), `{"confirm":"us"}`, "forget us", "12 spooled messages (3456 bytes) for it are dropped"},
	}
	for _, tt := range tests {
		t.Run(tt.did, func(t *testing.T) {
			f := newFake()
			s := fixture(t, f)
			dry := tt.path + "?dry_run=true"
			if strings.Contains(tt.path, "?") {
				dry = tt.path + "&dry_run=true"
			}
			c := answer[Change](t, call(t, s, tt.method, dry, ""))
			if !c.DryRun || !slices.Contains(c.Effects, tt.effect) || len(f.done()) != 0 {
				t.Errorf("dry run: %+v, did %v", c, f.done())
			}
			c = answer[Change](t, call(t, s, tt.method, tt.path, tt.body))
			if c.DryRun || !slices.Contains(c.Effects, tt.effect) || !slices.Equal(f.done(), []string{tt.did}) {
				t.Errorf("%+v, did %v", c, f.done())
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	tests := []struct {
		name, method, path, body string
		status                   int
		typ, detail              string
	}{
		{"no such path", "GET", "/v1/nothing", "", 404, ProblemNotFound, "there is no /v1/nothing here"},
		{"wrong method", "POST", "/v1/clients", "", 405, ProblemMethod, "POST does not go with this path"},
		{"no such client", "GET", "/v1/clients/cars/x", "", 404, ProblemNotFound, "client cars/x: not found"},
		{"no such client to kick", "DELETE", "/v1/clients/cars/x", "", 404, ProblemNotFound, "client cars/x: not found"},
		{"no such session", "GET", "/v1/sessions/cars/x/queue", "", 404, ProblemNotFound, "queue of cars/x: not found"},
		{"move to nowhere", "POST", "/v1/sessions/cars/car-1/move?to=ap", "", 409, ProblemRefused, "this region has no link"},
		{"move, not said where to", "POST", "/v1/sessions/cars/car-1/move", "", 400, ProblemBadRequest, "the parameter to is"},
		{"mistyped dry run", "DELETE", "/v1/clients/cars/car-1?dryrun=true", "", 400, ProblemBadRequest, `there is no parameter "dryrun"`},
		{"half a dry run", "DELETE", "/v1/clients/cars/car-1?dry_run=yes", "", 400, ProblemBadRequest, `the parameter dry_run is "yes"`},
		{"dry run twice", "DELETE", "/v1/clients/cars/car-1?dry_run=false&dry_run=true", "", 400, ProblemBadRequest, "the parameter dry_run is there 2 times"},
		{"limit", "GET", "/v1/clients?limit=1001", "", 400, ProblemBadRequest, `the parameter limit is "1001"`},
		{"cursor", "GET", "/v1/clients?after=x", "", 400, ProblemBadRequest, `the parameter after is "x"`},
		{"state", "GET", "/v1/sessions?state=gone", "", 400, ProblemBadRequest, `the parameter state is "gone"`},
		{"filter", "GET", "/v1/retained?filter=a%23", "", 400, ProblemBadRequest, "topic filter is not valid"},
		{"topic", "GET", "/v1/routes?topic=a/%2B", "", 400, ProblemBadRequest, "topic name is not valid"},
		{"no topic", "GET", "/v1/routes", "", 400, ProblemBadRequest, "topic name is not valid"},
		{"confirm missing", "POST", "/v1/peers/us/forget", "", 409, ProblemRefused, `confirm is "" and not the peer's name`},
		{"confirm wrong", "POST", "/v1/peers/us/forget", `{"confirm":"eu"}`, 409, ProblemRefused, `confirm is "eu"`},
		{"body no JSON", "POST", "/v1/peers/us/forget", `confirm`, 400, ProblemBadRequest, "the body: "},
		{"body unknown key", "POST", "/v1/peers/us/forget", `{"force":true}`, 400, ProblemBadRequest, "the body: "},
		{"body large", "POST", "/v1/peers/us/forget", `{"confirm":"` + strings.Repeat("x", maxBody) + `"}`, 413, ProblemTooLarge, "the body is larger than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := call(t, s, tt.method, tt.path, tt.body)
			p := problemIn(t, w)
			if w.Code != tt.status || p.Type != tt.typ || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("%d %+v", w.Code, p)
			}
		})
	}
	if len(f.done()) != 0 {
		t.Errorf("did %v", f.done())
	}
}

func TestNodeErrors(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	f.down = fmt.Errorf("the log is replayed: %w", ErrUnavailable)
	w := call(t, s, "GET", "/v1/sessions", "")
	if p := problemIn(t, w); w.Code != 503 || w.Header().Get("Retry-After") != "1" || p.Detail != "the log is replayed: not available now" {
		t.Errorf("%d %+v", w.Code, p)
	}
	f.down = errors.New("pebble: closed")
	w = call(t, s, "GET", "/v1/clients", "")
	if p := problemIn(t, w); w.Code != 500 || p.Type != ProblemInternal {
		t.Errorf("%d %+v", w.Code, p)
	}
	f.refuse = Refuse("link_up", "the link to us is up: it would tell its interest again", "remove the link from the node file first")
	w = call(t, s, "POST", "/v1/peers/us/forget", `{"confirm":"us"}`)
	if p := problemIn(t, w); w.Code != 409 || len(p.Refused) != 1 || p.Refused[0].Condition != "link_up" {
		t.Errorf("%d %+v", w.Code, p)
	}
}

func TestPages(t *testing.T) {
	f := newFake()
	f.sessions = nil
	for i := range 2500 {
		f.sessions = append(f.sessions, SessionDetail{Session: Session{Namespace: "cars", ClientID: fmt.Sprintf("car-%04d", i), State: "detached"}})
	}
	f.sessions[2400].Session.State = "attached"
	s := fixture(t, f)
	seen, path := 0, "/v1/sessions?limit=1000"
	for next := ""; ; {
		p := answer[Page[Session]](t, call(t, s, "GET", path+next, ""))
		for _, item := range p.Items {
			if want := fmt.Sprintf("car-%04d", seen); item.ClientID != want {
				t.Fatalf("%s where %s was due", item.ClientID, want)
			}
			seen++
		}
		if p.Next == "" {
			break
		}
		next = "&after=" + p.Next
	}
	if seen != 2500 {
		t.Errorf("saw %d of 2500", seen)
	}
	p := answer[Page[Session]](t, call(t, s, "GET", "/v1/sessions?state=attached&prefix=car-24", ""))
	if len(p.Items) != 1 || p.Items[0].ClientID != "car-2400" || p.Next != "" {
		t.Errorf("filtered: %+v", p)
	}
	if p := answer[Page[Session]](t, call(t, s, "GET", "/v1/sessions?namespace=plants", "")); p.Items == nil || len(p.Items) != 0 {
		t.Errorf("an empty page is %+v", p)
	}
}

// A filter that hardly anything passes does not walk three million sessions in one call.
func TestPages_ScanIsBounded(t *testing.T) {
	n, calls := 0, 0
	page, err := collect(Key{}, 10, func(Client) bool { return false }, func(_ Key, max int) ([]Client, error) {
		calls++
		out := make([]Client, max)
		for i := range out {
			n++
			out[i] = Client{Namespace: "cars", ClientID: fmt.Sprintf("%09d", n)}
		}
		return out, nil
	})
	if err != nil || calls != maxScan/maxLimit || page.Next != cursor(Key{"cars", fmt.Sprintf("%09d", maxScan)}) {
		t.Errorf("%d calls, %+v, %v", calls, page, err)
	}
}

func TestRetained_FilteredByTopicFilter(t *testing.T) {
	s := fixture(t, newFake())
	p := answer[Page[Retained]](t, call(t, s, "GET", "/v1/retained?filter=fleet/%2B", ""))
	if len(p.Items) != 1 || p.Items[0].Topic != "fleet/a" {
		t.Errorf("%+v", p)
	}
}

func TestQueue_PagesAndPayloads(t *testing.T) {
	s := fixture(t, newFake())
	path := Path("sessions", "cars", "car-1", "queue")
	p := answer[Page[QueuedMessage]](t, call(t, s, "GET", path+"?limit=1", ""))
	if len(p.Items) != 1 || p.Items[0].Payload != nil || p.Next != "5" {
		t.Errorf("%+v", p)
	}
	p = answer[Page[QueuedMessage]](t, call(t, s, "GET", path+"?payload=true&after="+p.Next, ""))
	if len(p.Items) != 1 || !slices.Equal(p.Items[0].Payload, []byte{0, 1, 2}) || p.Next != "" {
		t.Errorf("%+v", p)
	}
}

func TestHealthPages(t *testing.T) {
	tests := []struct {
		c                     health.Condition
		ready, drain, healthy int
	}{
		{health.OK(), 200, 200, 200},
		{health.Condition{State: health.CatchingUp, Reason: "900 entries behind"}, 503, 503, 200},
		{health.Condition{State: health.Isolated, Reason: "no leader"}, 503, 503, 200},
		{health.Condition{State: health.Fenced, Reason: "epoch 4@us"}, 503, 503, 200},
		{health.Condition{State: health.Evacuating, Reason: "asked by ops"}, 503, 404, 200},
		{health.Condition{State: health.Stopping, Reason: "asked to stop"}, 503, 404, 200},
		{health.Condition{State: health.Failed, Reason: "fsync: input/output error"}, 503, 503, 503},
	}
	for _, tt := range tests {
		t.Run(string(tt.c.State), func(t *testing.T) {
			s := fixture(t, newFake())
			s.health.Set("replica", tt.c)
			for path, want := range map[string]int{"/readyz": tt.ready, "/readyz?drain=404": tt.drain, "/healthz": tt.healthy} {
				w := call(t, s, "GET", path, "")
				var body healthBody
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
					t.Fatal(err)
				}
				if w.Code != want || body.State != string(tt.c.State) || body.Reason != tt.c.Reason {
					t.Errorf("%s: %d %+v", path, w.Code, body)
				}
			}
		})
	}
}

func TestDiagnose_TheFirstCauseSpeaks(t *testing.T) {
	f := newFake()
	f.links[0].Link.State, f.links[0].Link.Reason = "down", "dial udp 10.0.0.2:7444: timeout"
	f.st.Links = f.Links()
	s := fixture(t, f)
	expect := func(summary, next string) {
		t.Helper()
		tr := s.status().Trouble
		if tr == nil || tr.Summary != summary || !strings.Contains(tr.Next, next) || tr.Since.IsZero() {
			t.Errorf("trouble %+v", tr)
		}
	}
	expect("the link to us is down: dial udp 10.0.0.2:7444: timeout", "causeway ctl link show us")
	f.st.Listeners[0].Open, f.st.Listeners[0].Error = false, "address already in use"
	expect("the listener cars (:8883) is not open: address already in use", "free the address")
	f.st.Stores[0].FreeBytes = 100 << 20
	expect("the disk of data (/var/lib/causeway) has 100.0 MiB left", "free space")
	s.health.Set("replica", health.Condition{State: health.Isolated, Reason: "no leader for 6s"})
	expect("the node is isolated: no leader for 6s", "check the network")
	s.health.Set("replica", health.Condition{State: health.Isolated, Reason: "no leader for 6s", Next: "causeway ctl cluster status"})
	expect("the node is isolated: no leader for 6s", "causeway ctl cluster status")
}

func TestDiagnose_SpoolAndServices(t *testing.T) {
	st := Status{State: State{State: "ready"}, Links: []Link{{Peer: "us", State: LinkUp, SpoolBytes: 80, SpoolCapacityBytes: 100}}}
	if tr := diagnose(st); tr == nil || !strings.HasPrefix(tr.Summary, "the spool for us is 80% full") {
		t.Errorf("%+v", tr)
	}
	st.Links = []Link{{Peer: "us", State: LinkElsewhere, Reason: "not at this node"}}
	if tr := diagnose(st); tr != nil {
		t.Errorf("a link that another node has: %+v", tr)
	}
	st.Services = []Service{{Name: "link/us", State: "backoff", Restarts: 3, LastError: "panic: index 7"}}
	if tr := diagnose(st); tr == nil || tr.Summary != "the service link/us failed (restarted 3 times): panic: index 7" {
		t.Errorf("%+v", tr)
	}
}

// A part that fails again and again is what is wrong, before one that failed once, and the next command has it tried again.
func TestStatus_NamesTheIsolatedPart(t *testing.T) {
	f := newFake()
	f.links = nil
	s := fixture(t, f)
	asked := ""
	s.restart = func(name string) error { asked = name; return nil }
	s.supervised = func() []supervise.Status {
		return []supervise.Status{{Name: "disk", State: supervise.StateBackoff, Restarts: 1, LastError: "no"},
			{Name: "link us", State: supervise.StateIsolated, Restarts: 11, Panics: 12, LastError: "panic: index 7"}}
	}
	st := answer[Status](t, call(t, s, "GET", "/v1/status", ""))
	if tr := st.Trouble; tr == nil || tr.Summary != "the service link us is isolated, since it fails again and again (restarted 11 times): panic: index 7" ||
		!strings.Contains(tr.Next, `causeway ctl services restart "link us"`) {
		t.Errorf("%+v", tr)
	}
	if w := call(t, s, "POST", "/v1/services/link%20us/restart", ""); w.Code != 200 || asked != "link us" {
		t.Errorf("%d %s, asked for %q", w.Code, w.Body, asked)
	}
	if w := call(t, s, "GET", "/metrics", ""); !strings.Contains(w.Body.String(), `causeway_panics_total{service="link us"} 12`) ||
		!strings.Contains(w.Body.String(), `causeway_service_isolated{service="link us"} 1`) {
		t.Errorf("the metrics do not say so: %s", w.Body)
	}
}

// A request that panics costs itself.
func TestAPI_APanicIsOneRequest(t *testing.T) {
	s := fixture(t, newFake())
	crashed := ""
	s.crashed = func(part string, p *group.Panic) { crashed = part + ": " + p.Error() }
	s.supervised = func() []supervise.Status { panic("index 7") }
	if w := call(t, s, "GET", "/v1/services", ""); w.Code != 500 || problemIn(t, w).Type != ProblemInternal || crashed != "admin requests: panic: index 7" {
		t.Errorf("%d %s, %q", w.Code, w.Body, crashed)
	}
	if w := call(t, s, "GET", "/v1/links", ""); w.Code != 200 {
		t.Errorf("the next one: %d %s", w.Code, w.Body)
	}
}
