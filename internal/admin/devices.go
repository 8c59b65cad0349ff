package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Devices are what is known of devices beside their sessions: why one is offline, which do most, who is kept out.
type Devices interface {
	// DeviceHistory returns what became of a device's last connections at this node, oldest first.
	DeviceHistory(k Key) ([]DeviceEvent, error)
	// TopDevices returns those that have most of something at this node.
	TopDevices(by string, max int) (TopPage, error)

	Bans() ([]Ban, error) // that hold, by kind and value
	AddBan(ctx context.Context, b Ban, dryRun bool) (Ban, []string, error)
	DeleteBan(ctx context.Context, id, by string, dryRun bool) ([]string, error)
	Flapping() (Flapping, error)
	SetFlapping(ctx context.Context, f Flapping, by string, dryRun bool) ([]string, error)
}

// DeviceEvent is one thing that became of a device's connection.
type DeviceEvent struct {
	At            time.Time `json:"at"`
	Node          string    `json:"node"`
	Event         string    `json:"event"`  // connected, ended, refused
	Reason        string    `json:"reason"` // of an end or a refusal: as causeway_disconnects_total and causeway_connects_total have it
	Detail        string    `json:"detail"`
	Listener      string    `json:"listener"`
	Address       string    `json:"address"`
	Username      string    `json:"username"`
	Protocol      string    `json:"protocol"`
	Present       bool      `json:"present"`   // it found its session
	TookOver      bool      `json:"took_over"` // it took the session from another connection
	LastedSeconds Seconds   `json:"lasted_seconds"`
	BytesIn       int64     `json:"bytes_in"`
	BytesOut      int64     `json:"bytes_out"`
}

// DeviceHistory is what is known of a device at all nodes, and the answer to why it is offline.
type DeviceHistory struct {
	Namespace  string        `json:"namespace"`
	ClientID   string        `json:"client_id"`
	Online     bool          `json:"online"`
	Verdict    string        `json:"verdict"` // in a sentence
	Events     []DeviceEvent `json:"events"`  // oldest first
	Unanswered []Unanswered  `json:"unanswered"`
}

// What devices may be listed by.
const (
	TopConnects  = "connects"  // connections made
	TopTakeovers = "takeovers" // sessions taken from another connection
	TopRefused   = "refused"   // CONNECTs that were not taken
	TopBytes     = "bytes"     // of the present connection, both ways
	TopMemory    = "memory"    // bytes that wait in memory: slow subscribers
	TopInFlight  = "in_flight" // messages sent and not acknowledged
	TopQueue     = "queue"     // messages in the session's queue
)

var topKinds = []string{TopConnects, TopTakeovers, TopRefused, TopBytes, TopMemory, TopInFlight, TopQueue}

// TopDevice is a device that has much of something.
type TopDevice struct {
	Namespace string `json:"namespace"`
	ClientID  string `json:"client_id"`
	Node      string `json:"node"` // where it was counted; "" of what is in the home
	Value     int64  `json:"value"`
	Error     int64  `json:"error"` // the value may be so much less
	Bytes     int64  `json:"bytes"` // of a queue
}

// TopPage is the devices that have most of something.
type TopPage struct {
	By         string       `json:"by"`
	Since      *time.Time   `json:"since"` // of what is counted over a time; null: now
	Items      []TopDevice  `json:"items"`
	Unanswered []Unanswered `json:"unanswered"`
}

// Ban keeps devices out.
type Ban struct {
	ID        string     `json:"id"`
	Home      string     `json:"home"` // whose operators wrote it
	Kind      string     `json:"kind"` // client, user, address
	Namespace string     `json:"namespace"`
	Value     string     `json:"value"`
	Until     *time.Time `json:"until"` // null: until it is taken back
	At        time.Time  `json:"at"`
	By        string     `json:"by"`
	Reason    string     `json:"reason"`
	Jail      bool       `json:"jail"` // the region's own doing: the device flapped
}

// Flapping is when a device that connects too often is jailed.
type Flapping struct {
	Enabled       bool    `json:"enabled"`
	Connects      int     `json:"connects"` // so many at one node
	WithinSeconds Seconds `json:"within_seconds"`
	JailSeconds   Seconds `json:"jail_seconds"`
}

func (a *api) deviceHistory(r *http.Request, q *query) (any, error) {
	k := clientKey(r)
	events, err := a.node.DeviceHistory(k)
	h := DeviceHistory{Namespace: k.Namespace, ClientID: k.Name, Events: list(events), Unanswered: []Unanswered{}}
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", k, err)
	}
	if a.alone(r) && a.peers != nil {
		return h, nil
	}
	if a.peers != nil {
		others, unanswered, err := askOthers[DeviceHistory](r.Context(), a, Path("clients", k.Namespace, k.Name, "history"), nil)
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", k, err)
		}
		for _, o := range others {
			h.Events = append(h.Events, o.Events...)
		}
		h.Unanswered = list(unanswered)
	}
	slices.SortStableFunc(h.Events, func(x, y DeviceEvent) int { return x.At.Compare(y.At) })
	a.judge(r, &h)
	return h, nil
}

// judge says in a sentence why the device is offline.
func (a *api) judge(r *http.Request, h *DeviceHistory) {
	k := Key{h.Namespace, h.ClientID}
	if c, err := a.getClient(r, nil); err == nil {
		c := c.(Client)
		h.Online, h.Verdict = true, fmt.Sprintf("it is connected at %s from %s since %s", c.Node, c.Address, c.ConnectedAt.Format(time.RFC3339))
		return
	}
	if bans, err := a.node.Bans(); err == nil {
		for _, b := range bans {
			if b.holds(k, h.Events) {
				h.Verdict = "it is not let in: " + b.String()
				return
			}
		}
	}
	session := "it has no session"
	if s, err := a.node.Session(k); err == nil {
		session = fmt.Sprintf("its session is kept, %d messages wait", s.Session.Queued)
		if s.Session.ExpiresAt != nil {
			session += ", until " + s.Session.ExpiresAt.Format(time.RFC3339)
		}
	}
	if len(h.Events) == 0 {
		h.Verdict = "no node has heard of it since it started, or in a long time; " + session
		return
	}
	last := h.Events[len(h.Events)-1]
	at := last.At.Format(time.RFC3339)
	switch last.Event {
	case "refused":
		h.Verdict = fmt.Sprintf("its last CONNECT, from %s at %s, was refused at %s: %s (%s); %s", last.Address, at, last.Node, last.Reason, last.Detail, session)
	case "ended":
		h.Verdict = fmt.Sprintf("its connection to %s from %s ended at %s: %s, and it did not come back; %s", last.Node, last.Address, at, EndWords(last.Reason), session)
	default:
		h.Verdict = fmt.Sprintf("it connected at %s at %s, and that node is gone or does not answer; %s", last.Node, at, session)
	}
}

// holds says that a ban concerns a device: by its id, or by the user or address it came with last.
func (b *Ban) holds(k Key, events []DeviceEvent) bool {
	switch b.Kind {
	case "client":
		return b.Namespace == k.Namespace && b.Value == k.Name
	case "user":
		return b.Namespace == k.Namespace && len(events) > 0 && events[len(events)-1].Username == b.Value
	}
	return len(events) > 0 && events[len(events)-1].Reason == "banned"
}

// String is the ban in a few words.
func (b *Ban) String() string {
	s := fmt.Sprintf("the %s %s is banned by %s", b.Kind, b.Value, b.By)
	if b.Until != nil {
		s += " until " + b.Until.Format(time.RFC3339)
	}
	if b.Reason != "" {
		s += ": " + b.Reason
	}
	return s
}

// EndWords says why a connection ended as a person would.
func EndWords(reason string) string {
	if w := map[string]string{
		"client": "the device said goodbye", "gone": "the connection broke or was closed by the device without a goodbye", "keep_alive": "nothing came for one and a half keep-alives",
		"protocol": "what it sent breaks the protocol", "taken_over": "its client id connected again", "deleted": "an operator closed it", "home": "the home stopped, or gave the session to another node",
		"slow": "it did not read what was sent to it", "shutdown": "the node stopped", "internal": "the node failed", "evicted": "the node was evacuated", "revoked": "its certificate was revoked",
	}[reason]; w != "" {
		return w
	}
	return reason
}

func (a *api) topDevices(r *http.Request, q *query) (any, error) {
	by, limit := q.text("by"), q.limit()
	if !slices.Contains(topKinds, by) {
		q.wrong("by", fmt.Sprintf("as one of %v", topKinds))
	}
	if q.err != nil {
		return nil, q.err
	}
	page, err := a.node.TopDevices(by, limit)
	if err != nil {
		return nil, fmt.Errorf("top devices: %w", err)
	}
	page.By, page.Items, page.Unanswered = by, list(page.Items), []Unanswered{}
	if a.alone(r) || by == TopQueue { // queues are in the home, of which every node has all
		return page, nil
	}
	others, unanswered, err := askOthers[TopPage](r.Context(), a, Path("top"), r.URL.Query())
	if err != nil {
		return nil, fmt.Errorf("top devices: %w", err)
	}
	for _, o := range others {
		page.Items = append(page.Items, o.Items...)
		if o.Since != nil && (page.Since == nil || o.Since.Before(*page.Since)) {
			page.Since = o.Since
		}
	}
	slices.SortFunc(page.Items, func(x, y TopDevice) int {
		return cmp.Or(cmp.Compare(y.Value, x.Value), Key{x.Namespace, x.ClientID}.Compare(Key{y.Namespace, y.ClientID}), cmp.Compare(x.Node, y.Node))
	})
	page.Items, page.Unanswered = page.Items[:min(limit, len(page.Items))], list(unanswered)
	return page, nil
}

func (a *api) listBans(*http.Request, *query) (any, error) {
	bans, err := a.node.Bans()
	if err != nil {
		return nil, fmt.Errorf("bans: %w", err)
	}
	return Page[Ban]{Items: list(bans)}, nil
}

func (a *api) addBan(r *http.Request, q *query) (any, error) {
	b := Ban{Kind: q.text("kind"), Namespace: q.text("namespace"), Value: q.text("value"), Reason: q.text("reason"), By: a.caller(r), At: time.Now().UTC()}
	if b.Namespace == "" && b.Kind != "address" {
		b.Namespace = defaultNamespace
	}
	if d := q.duration("for"); d > 0 {
		until := b.At.Add(d)
		b.Until = &until
	}
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	b, effects, err := a.node.AddBan(r.Context(), b, dry)
	if err != nil {
		return nil, fmt.Errorf("ban %s %s: %w", b.Kind, b.Value, err)
	}
	return Change{Action: "ban", Target: b.Kind + " " + b.Value, DryRun: dry, Effects: list(effects)}, nil
}

func (a *api) deleteBan(r *http.Request, q *query) (any, error) {
	id, dry := r.PathValue("id"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.DeleteBan(r.Context(), id, a.caller(r), dry)
	if err != nil {
		return nil, fmt.Errorf("ban %s: %w", id, err)
	}
	return Change{Action: "take back the ban", Target: id, DryRun: dry, Effects: list(effects)}, nil
}

func (a *api) getFlapping(*http.Request, *query) (any, error) { return a.node.Flapping() }

func (a *api) setFlapping(r *http.Request, q *query) (any, error) {
	f := Flapping{WithinSeconds: SecondsOf(q.duration("within")), JailSeconds: SecondsOf(q.duration("jail"))}
	var err error
	if f.Connects, err = strconv.Atoi(cmp.Or(q.text("connects"), "0")); err != nil {
		q.wrong("connects", "as a whole number")
	}
	f.Enabled = !q.flag("off")
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.SetFlapping(r.Context(), f, a.caller(r), dry)
	if err != nil {
		return nil, fmt.Errorf("flapping: %w", err)
	}
	return Change{Action: "jail devices that flap", Target: "the region", DryRun: dry, Effects: list(effects)}, nil
}
