package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/admin"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *time.Time { t := noon.Add(d); return &t }

// fakeAPI answers each call with what was put there for it, by method and request URI, and
// remembers the calls that change something.
type fakeAPI struct {
	answers map[string]any

	mu    sync.Mutex
	calls []string
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + r.RequestURI
	body, _ := io.ReadAll(r.Body)
	if r.Method != http.MethodGet {
		f.mu.Lock()
		f.calls = append(f.calls, strings.TrimSpace(call+" "+string(body)))
		f.mu.Unlock()
	}
	w.Header().Set(admin.HeaderVersion, "v0.1.0")
	w.Header().Set(admin.HeaderFeatures, strings.Join(admin.Features(), ","))
	answer, ok := f.answers[call]
	if !ok {
		answer = &admin.Problem{Type: admin.ProblemNotFound, Title: "Not found", Status: 404, Detail: call + ": not found",
			Instance: r.URL.EscapedPath(), Fix: "see causeway ctl clients list"}
	}
	if p, ok := answer.(*admin.Problem); ok {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// serve answers at the socket of a data directory until the test ends.
func (f *fakeAPI) serve(t *testing.T, dataDir string) {
	t.Helper()
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dataDir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: f}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
}

func link() admin.Link {
	return admin.Link{Kind: "region", Peer: "us", Name: "us", State: "up", Since: noon.Add(-3 * time.Hour), Transport: "udp", Address: "10.0.0.2:7444", Dialled: true,
		Connections: 8, ConnectionsReason: "1.1% of the packets are lost", RTTSeconds: 0.0803, LagSeconds: 0.2, LagMessages: 3, SpoolMessages: 3, SpoolBytes: 1 << 30, SpoolCapacityBytes: 10 << 30, SpoolFullInSeconds: 7200,
		Canary:  &admin.LinkCanary{OutAgeSeconds: 1.1, InAgeSeconds: 0.7, RoundTripSeconds: 0.0921},
		Bytes:   []admin.LinkBytes{{Direction: "in", Form: "raw", Bytes: 90}, {Direction: "out", Form: "raw", Bytes: 5 << 20}, {Direction: "out", Form: "wire", Bytes: 2 << 20}},
		Relayed: []admin.LinkRelayed{{To: "ap", Open: 1, Tunnels: 4, Bytes: 3 << 20}}, RelayRefused: []admin.LinkRefused{{Reason: "forbidden", Count: 2}}}
}

func status() admin.Status {
	return admin.Status{
		Readiness: 100, Blockers: []string{},
		Version: "v0.1.0", Region: "eu", Node: "eu-1", StartedAt: noon.Add(-3*time.Hour - 5*time.Second), Now: noon,
		State:  admin.State{State: "ready", Since: noon.Add(-3 * time.Hour), Parts: []admin.StatePart{}},
		Totals: admin.Totals{Connections: 3, Sessions: 12, SessionsAttached: 3, Received: 100, Sent: 77, Dropped: 10},
		Homes: []admin.Home{{ID: "eu", Epoch: 3, Host: "eu", Leader: "eu-1", Leading: true, Seq: 900, Filters: 5, Retained: 2,
			Queued: 4, QueuedBytes: 4096, Role: admin.RoleHome,
			Standbys: []admin.HomeStandby{{Region: "us", Connected: true, State: "follows", Since: noon, LagRecords: 7, LagMessages: 5, LagBytes: 900, LagSeconds: 0.5}}}},
		Admission: admin.Admission{Namespaces: []admin.QueueCount{}},
		Listeners: []admin.Listener{
			{Name: "cars", Type: "mqtts", Address: ":8883", Namespace: "cars", Open: true, Connections: 3, MaxConnections: 100},
			{Name: "plant", Type: "mqtt", Address: "127.0.0.1:1883", Namespace: "plants", Error: "address already in use"}},
		Connections: []admin.ConnectionCount{}, Sessions: []admin.SessionCount{},
		Links: []admin.Link{link()},
		Stores: []admin.Store{{Name: "data", Path: "/var/lib/causeway", Bytes: 1 << 20, FreeBytes: 90 << 30, SizeBytes: 100 << 30, ReserveBytes: 10 << 30,
			SpoolBytes: 33 << 30, SpoolLimitBytes: 40 << 30, SpoolLimitBy: "spool_max", SpoolLimitNode: "eu-1", SpoolFullInSeconds: 5400}},
		Conditions: []admin.Condition{{Name: "disk_spools", Level: "warning", Summary: "the spools hold 33.0 GiB of 40.0 GiB that disk.spool_max of eu-1 leaves them, full in 1h30m", Next: "causeway ctl link list"}},
		Services:   []admin.Service{{Name: "replica", State: "running", Since: noon.Add(-3 * time.Hour)}},
	}
}

func services() []admin.Service {
	return []admin.Service{
		{Name: "replica", State: "running", Since: noon.Add(-3 * time.Hour)},
		{Name: "link/us", State: "backoff", Since: noon.Add(-4 * time.Second), Restarts: 12, LastError: "dial udp 10.0.0.2:7444: timeout",
			LastErrorAt: at(-4 * time.Second), NextStart: at(26 * time.Second)},
	}
}

// answers is a node with something in every corner.
func answers() map[string]any {
	client := admin.Client{Namespace: "cars", ClientID: "car-1", Node: "eu-1", Listener: "cars", Address: "10.1.2.3:4567", Username: "car-1",
		Protocol: "5", ConnectedAt: noon.Add(-90 * time.Minute), KeepAliveSeconds: 60, CleanStart: true, InFlight: 2, Received: 40, Sent: 1200}
	evil := client
	evil.ClientID, evil.Protocol = "\x1b[31mred\x1b[0m-"+strings.Repeat("ü", 60), "3.1.1"
	attached := admin.Session{Namespace: "cars", ClientID: "car-1", Home: "eu", Epoch: 8, State: "attached", Owner: "eu-1", ExpirySeconds: 3600,
		Queued: 2, QueuedBytes: 2048, Will: true}
	detached := admin.Session{Namespace: "cars", ClientID: "car-2", Home: "eu", Epoch: 9, State: "detached", ExpirySeconds: admin.NeverExpires}
	expiring := admin.Session{Namespace: "cars", ClientID: "car-3", Home: "eu", Epoch: 10, State: "detached", ExpirySeconds: 7200, ExpiresAt: at(time.Hour)}
	retained := admin.Retained{Namespace: "default", Topic: "fleet/a", QoS: 1, Bytes: 2, Version: 4, Home: "us", ExpiresAt: at(time.Hour)}
	kicked := admin.Change{Action: "kick", Target: "cars/car-1", Effects: []string{"the connection from 10.1.2.3:4567 closes", "a persistent session stays"}}
	wouldKick := kicked
	wouldKick.DryRun = true
	forgotten := admin.Change{Action: "forget peer", Target: "us", Effects: []string{"12 spooled messages (3456 bytes) for it are dropped", "7 filters it wants are removed"}}
	wouldForget := forgotten
	wouldForget.DryRun = true
	refused := &admin.Problem{Type: admin.ProblemRefused, Title: "A precondition is not met", Status: 409, Detail: "the link to ap is up",
		Instance: "/v1/peers/ap/forget", Fix: "remove the link from the node file first",
		Refused: []admin.Refusal{{Condition: "link_up", Reason: "the link to ap is up: it would tell its interest again", Fix: "remove the link from the node file first"}}}
	return map[string]any{
		"GET /v1/status":   status(),
		"GET /v1/services": admin.Page[admin.Service]{Items: services()},
		"GET /v1/shared?limit=100": admin.Page[admin.SharedGroup]{Items: []admin.SharedGroup{
			{Namespace: "default", Group: "workers", Filter: "jobs/#", Scope: "global", Regions: []string{"eu", "us"}, Members: 3, Attached: 1, LagMessages: 12, LagBytes: 3 << 20,
				OldestSeconds: 75, Away: []admin.SharedAway{{Region: "us", Ready: true}}},
			{Namespace: "default", Group: "alone", Filter: "a", Scope: "local", Members: 1}}},
		"GET /v1/shared?group=workers": admin.Page[admin.SharedGroup]{Items: []admin.SharedGroup{
			{Namespace: "default", Group: "workers", Filter: "jobs/#", Scope: "global", Regions: []string{"eu", "us"}, Members: 3, Attached: 1,
				Away: []admin.SharedAway{{Region: "us"}}, Mismatches: []string{"us does not declare it"}}}},
		"GET /v1/audit?limit=100": admin.Page[admin.AuditRecord]{Items: []admin.AuditRecord{
			{N: 1, At: noon, State: "asked", Who: "ops", Role: "admin", Action: "POST /v1/peers/{peer}/forget", Target: "/v1/peers/ap/forget", Hash: "aa"},
			{N: 2, At: noon, State: "refused", Of: 1, Who: "ops", Role: "admin", Action: "POST /v1/peers/{peer}/forget", Target: "/v1/peers/ap/forget", Reason: "the link to ap is up", Hash: "bb"}}},
		"GET /v1/audit/verify": admin.AuditVerified{Records: 1, First: 1, Last: 1, LastAt: at(0), Head: "aa", Reason: "line 2, record 2: its hash is not of what it says and the record before"},
		"GET /v1/version":      admin.Version{Version: "v0.1.0", Revision: "abc", Go: "go1.26.8", API: "v1", Features: []string{"clients", "status"}},
		"GET /v1/config": admin.Page[admin.ConfigValue]{Items: []admin.ConfigValue{{Key: "region", Value: "eu", Source: "causeway.yaml:1"},
			{Key: "limits.packet", Value: "2MiB", Source: "default"}}},

		"GET /v1/retained/export?filter=fleet%2F%23&limit=1000&namespace=cars": admin.Page[admin.RetainedMessage]{Items: []admin.RetainedMessage{
			{Namespace: "cars", Topic: "fleet/a", QoS: 1, Payload: []byte("on"), Properties: []byte{}}, {Namespace: "cars", Topic: "fleet/b", Payload: []byte("off"), Properties: []byte{}, ExpiresAt: at(time.Hour)}}, Next: "Y2Fy"},
		"GET /v1/retained/export?after=Y2Fy&filter=fleet%2F%23&limit=1000&namespace=cars": admin.Page[admin.RetainedMessage]{Items: []admin.RetainedMessage{{Namespace: "cars", Topic: "fleet/c", Payload: []byte("x"), Properties: []byte{}}}},
		"POST /v1/retained/import?dry_run=true":                                           admin.RetainedImported{DryRun: true, Imported: 2, Refused: []string{}},
		"POST /v1/retained/import?overwrite=true":                                         admin.RetainedImported{Imported: 1, Same: 1, Refused: []string{"cars/x: it is larger than limits.packet, 10 bytes; leave it out"}},
		"GET /v1/alarms": admin.AlarmPage{Items: []admin.Alarm{
			{Node: "eu-4", Name: "silent", Level: "critical", Summary: "the node does not answer: it is not seen", Since: noon, Next: "start it, or if it is gone for good: causeway ctl cluster force-leave eu-4"},
			{Node: "eu-1", Name: "link", Level: "warning", Summary: "the link to ap is down: timeout", Since: noon.Add(-time.Hour), Next: "causeway ctl link show ap"}},
			Unanswered: []admin.Unanswered{{Node: "eu-4", Reason: "it is not seen"}}},
		"POST /v1/cluster/transfer?dry_run=true":                  admin.Change{Action: "transfer the leadership", DryRun: true, Effects: []string{"another node leads the home; its devices notice nothing"}},
		"POST /v1/admission?dry_run=true&for=30m&per_second=2000": admin.Change{Action: "set the rate", Target: "2000/s", DryRun: true, Effects: []string{"each node lets in 2000 a second"}},
		"GET /v1/nodes": admin.NodePage{Items: []admin.NodeSummary{
			{Node: "eu-1", Version: "v0.1.0", StartedAt: noon.Add(-3 * time.Hour), State: "ready", Since: noon.Add(-2 * time.Hour), Leading: true, Connections: 3},
			{Node: "eu-2", Version: "v0.1.0", StartedAt: noon.Add(-time.Minute), State: "catching_up", Since: noon.Add(-time.Minute),
				Progress: &admin.Progress{From: "eu-1", FetchedBytes: 1 << 30, TotalBytes: 4 << 30, EntriesBehind: 900}},
			{Node: "eu-3", Version: "v0.1.0", StartedAt: noon.Add(-time.Hour), State: "isolated", Since: noon.Add(-time.Second),
				Trouble: &admin.Trouble{Summary: "the node is isolated: no leader is heard", Since: noon, Next: "look"}}},
			Unanswered: []admin.Unanswered{{Node: "eu-4", Reason: "it is not seen"}}},
		"GET /v1/clients?limit=100": admin.ClientPage{Items: []admin.Client{client, evil},
			Unanswered: []admin.Unanswered{{Node: "eu-2", Reason: "not available now: node eu-2 does not answer: timeout"}}},
		"GET /v1/clients?limit=100&node=eu-1":         admin.ClientPage{Items: []admin.Client{client}, Unanswered: []admin.Unanswered{}},
		"GET /v1/clients?limit=1":                     admin.Page[admin.Client]{Items: []admin.Client{client}, Next: "Y2Fyc_"},
		"GET /v1/clients?limit=1000":                  admin.Page[admin.Client]{Items: []admin.Client{client}, Next: "Y2Fyc_"},
		"GET /v1/clients?after=Y2Fyc_&limit=1000":     admin.Page[admin.Client]{Items: []admin.Client{evil}},
		"GET /v1/clients?limit=100&namespace=plants":  admin.Page[admin.Client]{Items: []admin.Client{}},
		"GET /v1/clients/cars/car-1":                  client,
		"DELETE /v1/clients/cars/car-1?dry_run=true":  wouldKick,
		"DELETE /v1/clients/cars/car-1":               kicked,
		"GET /v1/sessions?limit=100&namespace=cars":   admin.Page[admin.Session]{Items: []admin.Session{attached, detached, expiring}},
		"GET /v1/sessions?limit=100&state=sleepy":     &admin.Problem{Type: admin.ProblemBadRequest, Title: "The request is not understood", Status: 400, Detail: `the parameter state is "sleepy"`, Fix: "give state as attached or detached"},
		"GET /v1/sessions/default/a%2Fb":              admin.SessionDetail{Session: admin.Session{Namespace: "default", ClientID: "a/b", Home: "eu", Epoch: 1, State: "detached", ExpirySeconds: 0, Transient: true}, Subscriptions: []admin.Subscription{{Filter: "cmd/+", QoS: 1, ID: 7, NoLocal: true, RetainHandling: 2}, {Filter: "#"}}},
		"GET /v1/sessions/cars/car-1/queue?limit=100": admin.Page[admin.QueuedMessage]{Items: []admin.QueuedMessage{{Ref: 5, PacketID: 5, Seq: 880, Topic: "cmd/1", QoS: 1, Bytes: 5, ExpiresAt: at(time.Minute)}}},
		"GET /v1/sessions/cars/car-1/queue?limit=100&payload=true": admin.Page[admin.QueuedMessage]{Items: []admin.QueuedMessage{
			{Ref: 5, PacketID: 5, Seq: 880, Topic: "cmd/1", QoS: 1, Bytes: 5, Payload: []byte("hello")},
			{Ref: 32769, PacketID: 1, Seq: 881, Topic: "cmd/1", QoS: 2, Bytes: 3, Payload: []byte{0, 1, 2}, Received: true}}},
		"GET /v1/sessions/cars/car-1/where": admin.Whereabouts{Namespace: "cars", ClientID: "car-1", Homes: []admin.WhereaboutsAt{
			{Home: "eu", State: "absent"}, {Home: "us", State: "present", Epoch: 71, Queued: 3, Listed: true}, {Home: "ap", State: "unreachable", Why: "no tunnel stands"}}},
		"POST /v1/sessions/cars/car-1/move?dry_run=true&to=us": admin.Change{Action: "move session to us", Target: "cars/car-1", DryRun: true, Effects: []string{"3 queued messages go to home us"}},
		"POST /v1/sessions/cars/car-1/move?to=us":              admin.Change{Action: "move session to us", Target: "cars/car-1", Effects: []string{"3 queued messages go to home us"}},
		"DELETE /v1/sessions/cars/car-1?publish_will=true":     admin.Change{Action: "delete session", Target: "cars/car-1", Effects: []string{"its will is published"}},

		"GET /v1/links": admin.Page[admin.Link]{Items: []admin.Link{link(), {Kind: "region", Peer: "ap", Name: "ap", State: "down", Cause: "identity",
			Reason: "the certificate says region uk", Since: noon.Add(-48 * time.Hour), SpoolBytes: 3 << 40, Dropped: 9, Bytes: []admin.LinkBytes{},
			Relayed: []admin.LinkRelayed{}, RelayRefused: []admin.LinkRefused{}}}},
		"GET /v1/links/us": admin.LinkDetail{Link: link(), In: []string{}, Out: []string{"events/#", "cmd/#"}, Never: []string{"pii/#"}, QoSMax: 1, AtLimit: "drop-oldest",
			Interest: admin.LinkInterest{Epoch: 1, Version: 9, Filters: 4},
			Spools:   []admin.LinkSpool{{Class: "cmd", Filters: []string{"cmd/#"}}, {Class: "", AckedSeq: 870, Messages: 3, Bytes: 1 << 30, OldestSeconds: 0.2}},
			Cursors:  []admin.LinkCursor{{Home: "us", Epoch: 1, Seq: 55}}},
		"POST /v1/links/us/test?namespace=default&topic=pii%2F1": admin.LinkTest{Peer: "us", Node: "eu-1", State: admin.LinkTestMissed, Steps: []admin.LinkTestStep{
			{Name: "tunnel", State: "ok", Detail: "udp to 10.0.0.2:7444, dialled by this side, up for 3h0m0s", Figures: []admin.LinkTestFigure{}},
			{Name: "topic", State: "missed", Detail: "pii/1 would not cross: the link's never has pii/#", Next: "causeway ctl routes test pii/1", Figures: []admin.LinkTestFigure{}}}},
		"POST /v1/links/ap/test": admin.LinkTest{Peer: "ap", Node: "eu-1", State: admin.LinkTestFailed, Steps: []admin.LinkTestStep{
			{Name: "tunnel", State: "failed", Detail: "the link is down for 48h0m0s: the certificate says region uk", Next: "causeway ctl link show ap"}}},
		"POST /v1/links/eu-b/test": admin.LinkTest{Peer: "eu-b", Node: "eu-1", State: admin.LinkTestOK, Steps: []admin.LinkTestStep{
			{Name: "ping", State: "ok", Detail: "round trip 8ms", Figures: []admin.LinkTestFigure{{Name: "round_trip_seconds", Value: 0.008}}}}},
		"POST /v1/links/us/test?bytes=10485760": admin.LinkTest{Peer: "us", Node: "eu-1", State: admin.LinkTestOK, Steps: []admin.LinkTestStep{
			{Name: "padding", State: "ok", Detail: "10485760 bytes in 2s: 5.2 MB/s"}}},
		"GET /v1/links/old-emqx": admin.LinkDetail{Link: admin.Link{Kind: "mqtt", Peer: "old-emqx", Name: "old-emqx", State: "up", Since: noon.Add(-time.Hour), Address: "mqtts://old:8883",
			SpoolBytes: 300, SpoolCapacityBytes: 10 << 30, LagMessages: 3, LagSeconds: 0.2, Canary: &admin.LinkCanary{OutAgeSeconds: 2, InAgeSeconds: 3, RoundTripSeconds: 0.03},
			Bytes: []admin.LinkBytes{{Direction: "out", Form: "wire", Bytes: 1 << 20}, {Direction: "in", Form: "wire", Bytes: 2 << 20}},
			Foreign: &admin.LinkForeign{Direction: "both", Protocol: "MQTT 5", Connections: 8, ConnectionsUp: 7, UnderWay: 3, MessagesOut: 1000, MessagesIn: 900, Again: 4, PutOff: 1,
				CanaryReturns: true, Drops: []admin.LinkDrops{{Reason: "refused", Count: 2}, {Reason: "loop", Count: 5}}}},
			In: []string{"v/#"}, Out: []string{"v/#"}, Never: []string{}, QoSMax: 2, AtLimit: "drop-oldest"},
		"POST /v1/peers/us/forget?dry_run=true": wouldForget,
		"POST /v1/peers/us/forget":              forgotten,
		"POST /v1/peers/ap/forget?dry_run=true": refused,
		"POST /v1/peers/ap/forget":              refused,

		"GET /v1/routes?namespace=default&topic=pii%2F1": admin.Route{Namespace: "default", Topic: "pii/1", Ack: "region", AckFilter: "#", Sessions: 1,
			Targets: []admin.Target{{Kind: "session", Name: "default/car-1", QoS: 1, Sends: true, Reason: "subscribed"},
				{Kind: "peer", Name: "us", QoS: 0, Reason: "the link's never has pii/#"}}},
		"GET /v1/routes?namespace=plants&topic=x":            admin.Route{Namespace: "plants", Topic: "x", Ack: "memory", Targets: []admin.Target{}},
		"GET /v1/retained?filter=fleet%2F%2B&limit=100":      admin.Page[admin.Retained]{Items: []admin.Retained{retained}},
		"GET /v1/retained/default/fleet%2Fa":                 admin.RetainedDetail{Retained: retained, Payload: []byte("on")},
		"DELETE /v1/retained/default/fleet%2Fa?dry_run=true": admin.Change{Action: "delete retained", Target: "default/fleet/a", DryRun: true, Effects: []string{"the retained message of 2 bytes is removed, here and at the peers"}},
	}
}
