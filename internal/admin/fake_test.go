package admin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"causeway/internal/audit"
	"causeway/internal/health"
	"causeway/internal/readiness"
	"causeway/internal/store"
	"causeway/internal/supervise"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fake is a node that holds what a test put there and remembers what it was told to do.
type fake struct {
	mu        sync.Mutex
	st        Status
	counts    Counts
	clients   []Client
	sessions  []SessionDetail
	queue     []QueuedMessage
	links     []LinkDetail
	retained  []RetainedDetail
	shared    []SharedGroup
	config    []ConfigValue
	nodes     []ClusterNode
	route     Route
	down      error // answered by every call that can fail
	refuse    *Refused
	untraced  bool     // it has no trace
	joined    []string // ids of the traces that were begun here
	elsewhere string   // the node that decides for the region; "": this one
	events    []DeviceEvent
	bans      []Ban
	did       []string
	tokens    map[string]Token // of the region, by hash
}

func (f *fake) do(what string, args ...any) { f.did = append(f.did, fmt.Sprintf(what, args...)) }

func (f *fake) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.did)
}

func (f *fake) Status() Status { f.mu.Lock(); defer f.mu.Unlock(); return f.st }
func (f *fake) Counts() Counts { return f.counts }

// slice is the part of a sorted list above after.
func slice[T any](items []T, key func(T) Key, after Key, max int) []T {
	i, found := slices.BinarySearchFunc(items, after, func(t T, k Key) int { return key(t).Compare(k) })
	if found {
		i++
	}
	return slices.Clone(items[i:min(len(items), i+max)])
}

func find[T any](items []T, key func(T) Key, k Key) (T, error) {
	for _, item := range items {
		if key(item) == k {
			return item, nil
		}
	}
	var zero T
	return zero, ErrNotFound
}

func (f *fake) ClientsAfter(after Key, max int) ([]Client, error) {
	return slice(f.clients, Client.Key, after, max), f.down
}
func (f *fake) Client(k Key) (Client, error) {
	c, err := find(f.clients, Client.Key, k)
	return c, cmp.Or(f.down, err)
}
func (f *fake) Kick(_ context.Context, k Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("kick %s", k)
	return f.down
}

func sessionKey(s SessionDetail) Key { return s.Session.Key() }

func (f *fake) SessionsAfter(after Key, max int) (out []Session, err error) {
	for _, s := range slice(f.sessions, sessionKey, after, max) {
		out = append(out, s.Session)
	}
	return out, f.down
}
func (f *fake) Session(k Key) (SessionDetail, error) {
	s, err := find(f.sessions, sessionKey, k)
	return s, cmp.Or(f.down, err)
}
func (f *fake) Queue(k Key, after uint64, max int, payloads bool) (out []QueuedMessage, err error) {
	if _, err := f.Session(k); err != nil {
		return nil, err
	}
	for _, m := range f.queue {
		if m.Ref > after && len(out) < max {
			if !payloads {
				m.Payload = nil
			}
			out = append(out, m)
		}
	}
	return out, nil
}
func (f *fake) DeleteSession(_ context.Context, k Key, will bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("delete session %s will=%v", k, will)
	return nil
}

func (f *fake) Whereabouts(_ context.Context, k Key) (Whereabouts, error) {
	return Whereabouts{Namespace: k.Namespace, ClientID: k.Name, Homes: []WhereaboutsAt{{Home: "eu", State: "present", Epoch: 7, Queued: 2},
		{Home: "us", State: "unreachable", Why: "no link", Listed: true}}}, f.down
}
func (f *fake) MoveSession(_ context.Context, k Key, to string, dryRun bool) ([]string, error) {
	if _, err := f.Session(k); err != nil {
		return nil, err
	}
	if to == "ap" {
		return nil, Refuse("to", "this region has no link with a region \"ap\"", "ctl link show lists the peers")
	}
	if !dryRun {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.do("move session %s to %s", k, to)
	}
	return []string{"2 queued messages go to home " + to}, nil
}

func (f *fake) Links() (out []Link) {
	for _, l := range f.links {
		out = append(out, l.Link)
	}
	return out
}
func (f *fake) Link(peer string) (LinkDetail, error) {
	return find(f.links, func(l LinkDetail) Key { return Key{"", l.Link.Peer} }, Key{"", peer})
}
func (f *fake) TestLink(_ context.Context, peer string, o LinkTestOptions) (LinkTest, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("test link %s %s %s %d", peer, o.Namespace, o.Topic, o.Bytes)
	t := LinkTest{Peer: peer, Node: "eu-1", Steps: []LinkTestStep{{Name: "tunnel", State: LinkTestOK},
		{Name: "ping", State: LinkTestMissed, Figures: []LinkTestFigure{{"loss", 0.1}}}, {Name: "padding", State: "skipped"}}}
	t.Settle()
	return t, f.down
}
func (f *fake) ForgetPeer(_ context.Context, peer string, dryRun bool) (Forgotten, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return Forgotten{}, f.refuse
	}
	if !dryRun {
		f.do("forget %s", peer)
	}
	return Forgotten{Messages: 12, Bytes: 3456, Filters: 7}, nil
}
func (f *fake) Route(namespace, topic string, max int) (Route, error) {
	r := f.route
	r.Namespace, r.Topic = namespace, topic
	return r, f.down
}

func retainedKeyOf(r RetainedDetail) Key { return r.Retained.Key() }

func (f *fake) RetainedAfter(after Key, max int) (out []Retained, err error) {
	for _, r := range slice(f.retained, retainedKeyOf, after, max) {
		out = append(out, r.Retained)
	}
	return out, f.down
}
func (f *fake) Retained(k Key) (RetainedDetail, error) { return find(f.retained, retainedKeyOf, k) }
func (f *fake) ExportRetained(k Key) (RetainedMessage, error) {
	d, err := f.Retained(k)
	return RetainedMessage{Namespace: d.Retained.Namespace, Topic: d.Retained.Topic, QoS: d.Retained.QoS, Payload: d.Payload, ExpiresAt: d.Retained.ExpiresAt}, err
}
func (f *fake) ImportRetained(_ context.Context, m RetainedMessage, dryRun bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch m.Topic {
	case "bad":
		return BadRequest("it is bad", "mend it")
	case "full":
		return Refuse("home", "there is no room", "make some")
	}
	f.do("import %s/%s %q dry=%v", m.Namespace, m.Topic, m.Payload, dryRun)
	return f.down
}
func (f *fake) DeleteRetained(_ context.Context, k Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("delete retained %s", k)
	return nil
}
func (f *fake) Config() []ConfigValue { return f.config }
func (f *fake) SharedGroups(_ string, max int) ([]SharedGroup, error) {
	return f.shared[:min(max, len(f.shared))], nil
}

// newFake is a node with something in every corner.
func newFake() *fake {
	later := noon.Add(time.Hour)
	f := &fake{
		st: Status{Region: "eu", Node: "eu-1", StartedAt: noon,
			Homes: []Home{{ID: "eu", Epoch: 3, Host: "eu", Leader: "eu-1", Leading: true, Seq: 900, Filters: 5, Retained: 2, Queued: 4, QueuedBytes: 4096, Owed: 1, Role: RoleHome,
				Standbys: []HomeStandby{{Region: "us", Connected: true, State: "follows", Since: noon, LagRecords: 7, LagMessages: 5, LagBytes: 900, LagSeconds: 0.5}}}},
			Admission:   Admission{Namespaces: []QueueCount{}},
			Listeners:   []Listener{{Name: "cars", Type: "mqtts", Address: ":8883", Namespace: "cars", Open: true, Connections: 3, MaxConnections: 100}},
			Connections: []ConnectionCount{{Listener: "cars", Protocol: "5", Namespace: "cars", Count: 2}, {Listener: "cars", Protocol: "3.1.1", Namespace: "cars", Count: 1}},
			Sessions:    []SessionCount{{Home: "eu", Namespace: "cars", State: "attached", Count: 3}, {Home: "eu", Namespace: "cars", State: "detached", Count: 9}},
			Stores:      []Store{{Name: "data", Path: "/var/lib/causeway", Bytes: 1 << 20, FreeBytes: 90 << 30}},
		},
		counts: Counts{
			Commits: []Durations{{Label: "eu", Bounds: []float64{0.001, 0.01}, Counts: []uint64{1, 1, 1}, Sum: 0.2}},
			Fsyncs:  []Durations{{Label: "log", Bounds: []float64{0.001}, Counts: []uint64{0, 1}, Sum: 0.5}},
			Nodes:   []NodesCount{{"core", true, 2}, {"core", false, 1}},
			Homes: []HomeCounts{{Home: "eu", Votes: 3, Fetched: 100, FetchTotal: 400, Behind: 12, Switches: 4, Bodies: 20, BodyRetries: 3, Open: true, Term: 7, VotesHere: 2,
				Stale: 500 * time.Millisecond, NodeDowns: 1, Mismatches: []NodeCount{{"eu-3", 2}}, Followers: []NodeCount{{"eu-2", 9}}}},
			Siblings: []SiblingCounts{{Node: "eu-2", Connected: true, QueuedBytes: 50, Sent: 10, Dropped: 3, Received: 8, Streams: 2, Malformed: 1,
				Asked: 6, Answered: 4, Gone: 1, Lapsed: 1}},
			BytesIn: 5000, BytesOut: 7000,
			Queues:      []QueueAge{{"eu", "cars", 70 * time.Second}},
			Connects:    []ConnectsCount{{"cars", "ok", 40}, {"cars", "bad_login", 2}},
			Disconnects: []DisconnectsCount{{"gone", 5}},
			Takeovers:   []TakeoversCount{{"node", "ok", 1}},
			Messages:    []MessagesCount{{false, 1, "cars", 100}, {true, 1, "cars", 70}, {true, 0, "cars", 7}},
			Dropped:     []DroppedCount{{"memory", "memory_full", 4}},
		},
		queue: []QueuedMessage{
			{Ref: 5, PacketID: 5, Seq: 880, Topic: "cmd/1", QoS: 1, Bytes: 5, Payload: []byte("hello"), ExpiresAt: &later},
			{Ref: 6, PacketID: 6, Seq: 881, Topic: "cmd/1", QoS: 2, Bytes: 3, Payload: []byte{0, 1, 2}, Received: true},
		},
		links: []LinkDetail{{
			Link: Link{Kind: "region", Peer: "us", Name: "us", State: "up", Since: noon, Transport: "udp", Connections: 8, Address: "10.0.0.2:7444", Dialled: true, RTTSeconds: 0.08,
				LagSeconds: 0.2, LagMessages: 3, SpoolMessages: 3, SpoolBytes: 300, SpoolCapacityBytes: 1 << 30,
				TunnelsUDP: 3, TunnelsTCP: 2, TunnelsRelay: 4, UDPProbes: 5, DialFailures: 7, Canary: &LinkCanary{OutAgeSeconds: 1.5, InAgeSeconds: 0.5, RoundTripSeconds: 0.09},
				Relayed:      []LinkRelayed{{To: "ap", Open: 1, Tunnels: 6, Bytes: 4096}},
				RelayRefused: []LinkRefused{{Reason: "forbidden", Count: 8}},
				Bytes:        []LinkBytes{{"out", "raw", 1000}, {"out", "wire", 400}}},
			Out: []string{"#"}, Interest: LinkInterest{Epoch: 1, Version: 9, Filters: 4},
			QoSMax: 2, AtLimit: "drop-oldest", Spools: []LinkSpool{{Class: "", Filters: []string{}, AckedSeq: 870, Messages: 3, Bytes: 300, OldestSeconds: 0.2}},
			Cursors: []LinkCursor{{Home: "us", Epoch: 1, Seq: 55}},
		}},
		shared: []SharedGroup{{Namespace: "default", Group: "workers", Filter: "jobs/#", Scope: ScopeGlobal, Members: 2, Attached: 1, LagMessages: 12, LagBytes: 3000, OldestSeconds: 9, Mismatches: []string{"us does not declare it"}},
			{Namespace: "default", Group: "workers", Filter: "late/#", Scope: ScopeLocal, Members: 1, LagMessages: 3, LagBytes: 60, OldestSeconds: 70, Mismatches: []string{"us does not declare it"}}},
		retained: []RetainedDetail{
			{Retained{Namespace: "cars", Topic: "fleet/a", QoS: 1, Bytes: 2, Version: 1, Home: "eu"}, []byte("on")},
			{Retained{Namespace: "cars", Topic: "fleet/b/c", QoS: 0, Bytes: 3, Version: 2, Home: "us", ExpiresAt: &later}, []byte("off")},
		},
		config: []ConfigValue{{"region", "eu", "causeway.yaml:1"}},
		route:  Route{Ack: "region", AckFilter: "#", Sessions: 1, Targets: []Target{{"session", "cars/car-1", 1, true, "subscribed to cmd/+"}, {"peer", "us", 0, false, "never has pii/#"}}},
	}
	for _, id := range []string{"a/b", "car-1", "car-2", "ü+#%"} {
		f.clients = append(f.clients, Client{Namespace: "cars", ClientID: id, Node: "eu-1", Listener: "cars", Address: "10.1.2.3:4567", Protocol: "5", ConnectedAt: noon})
		f.sessions = append(f.sessions, SessionDetail{Session: Session{Namespace: "cars", ClientID: id, Home: "eu", Epoch: 8, State: "attached", Owner: "eu-1",
			ExpirySeconds: 3600, Queued: 2, QueuedBytes: 8, Will: true}, Subscriptions: []Subscription{{Filter: "cmd/+", QoS: 1}}})
	}
	f.sessions = append(f.sessions, SessionDetail{Session: Session{Namespace: "plants", ClientID: "..", Home: "eu", State: "detached", ExpiresAt: &later}})
	return f
}

// fixture is a server over a fake node that is ready.
func fixture(t *testing.T, f *fake, change ...func(*Options)) *Server {
	t.Helper()
	h := health.New(quiet())
	h.Set("replica", health.OK())
	o := Options{Node: f, Name: "eu-1", Health: h, Metrics: NewMetrics(Build{"v0.1.0", "abc"}), Build: Build{"v0.1.0", "abc"}, Logger: quiet(),
		Services: func() []supervise.Status {
			return []supervise.Status{{Name: "replica", State: supervise.StateRunning, Since: noon},
				{Name: "link/us", State: supervise.StateRunning, Since: noon, Restarts: 2, LastError: "dial: timeout", LastErrorAt: noon}}
		}}
	o.Readiness = &readiness.Registry{}
	o.Readiness.Add(readiness.Check{Name: "standby_lag", Run: func(context.Context) readiness.Result { return readiness.OK("") }})
	o.Facts = func() ReadinessFacts {
		return ReadinessFacts{Certificates: []Certificate{{Name: "node", NotBefore: noon, NotAfter: noon}, {Name: "devices of cars", NotBefore: noon, NotAfter: noon}}, Digests: []FactDigest{{"ack", "aa"}}}
	}
	o.Audit = audit.New(store.NewCrashFS(), "audit", audit.Options{})
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fake) Cluster() (Cluster, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes == nil {
		return Cluster{Home: "eu", Nodes: []ClusterNode{{Node: "eu-1", State: "leader"}}}, f.down
	}
	return Cluster{Home: "eu", Nodes: f.nodes}, f.down
}

func (f *fake) ChangeCluster(_ context.Context, act ClusterAct, target string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	if f.down == nil && !dryRun {
		f.do("%s %s", act, target)
	}
	return []string{"an effect"}, f.down
}
