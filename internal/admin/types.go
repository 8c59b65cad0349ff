package admin

import (
	"cmp"
	"strings"
	"time"
)

// The structs of this file are what the API speaks; openapi.yaml describes them field by field.
// Times are RFC 3339, durations seconds, sizes bytes, payloads base64.

// Seconds is a duration as JSON has it.
type Seconds float64

// SecondsOf converts d.
func SecondsOf(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration is s as Go has it.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Key names a client or session (namespace, client id) or a retained message (namespace, topic).
type Key struct{ Namespace, Name string }

// Compare orders keys by namespace, then name.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name))
}

func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Version is what the node speaks.
type Version struct {
	Version  string   `json:"version"`
	Revision string   `json:"revision"` // of the source; "" when unknown
	Go       string   `json:"go"`
	API      string   `json:"api"` // the newest version of the API it serves
	Features []string `json:"features"`
}

// Status is one page about a node.
type Status struct {
	Version     string            `json:"version"`
	Region      string            `json:"region"`
	Node        string            `json:"node"`
	StartedAt   time.Time         `json:"started_at"`
	Now         time.Time         `json:"now"`
	State       State             `json:"state"`
	Trouble     *Trouble          `json:"trouble"` // the one thing wrong; null when nothing is
	Totals      Totals            `json:"totals"`
	Homes       []Home            `json:"homes"`
	Listeners   []Listener        `json:"listeners"`
	Admission   Admission         `json:"admission"`
	Connections []ConnectionCount `json:"connections"`
	Sessions    []SessionCount    `json:"sessions"`
	Links       []Link            `json:"links"`
	Stores      []Store           `json:"stores"`
	Services    []Service         `json:"services"`
	Readiness   int               `json:"readiness"`  // score of this node's checks, 0 to 100
	Blockers    []string          `json:"blockers"`   // checks that fail
	CRLs        []CRL             `json:"crls"`       // lists of revoked certificates
	Conditions  []Condition       `json:"conditions"` // all that is not well of what is watched by degrees
}

// CRL is a list of revoked certificates, or an authority that has none although others of its use have.
type CRL struct {
	Use        string     `json:"use"`    // identity, or listener NAME
	Issuer     string     `json:"issuer"` // name of the authority; "" of a source that gave no list yet
	Source     string     `json:"source"` // file or URL; "" of an authority without a list
	State      string     `json:"state"`  // one of those below
	Stale      string     `json:"stale"`  // what is done when it is not current: alarm or refuse
	Number     string     `json:"number"` // as the authority counts; "" if it does not
	Revoked    int        `json:"revoked"`
	ThisUpdate *time.Time `json:"this_update"`
	NextUpdate *time.Time `json:"next_update"` // null: the list does not say
	Problem    string     `json:"problem"`     // why its source gave nothing when it was last asked
}

// The states of a list.
const (
	CRLCurrent = "current"
	CRLStale   = "stale" // its authority has promised a newer one by now
	CRLMissing = "missing"
)

// Admission is how a node lets connections in.
type Admission struct {
	PerSecond    float64      `json:"per_second"` // 0: as they come
	Until        *time.Time   `json:"until"`      // of a pace for a time; null: there is none
	Waiting      int          `json:"waiting"`    // accepted, before TLS
	Parked       int          `json:"parked"`     // CONNECTs that wait for the home of their session
	DrainSeconds float64      `json:"drain_seconds"`
	Namespaces   []QueueCount `json:"namespaces"` // of those that wait before TLS
}

// QueueCount counts connections of a namespace that wait.
type QueueCount struct {
	Namespace string `json:"namespace"`
	Count     int    `json:"count"`
}

// State is what the node is, and why.
type State struct {
	State  string    `json:"state"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Next   string    `json:"next"` // what helps; "" when nothing is known to
	// Progress of a node that is catching up; null otherwise.
	Progress *Progress   `json:"progress"`
	Parts    []StatePart `json:"parts"`
}

// Progress is how far a copy of the home has come. What is 0 is not known, or not to be done.
type Progress struct {
	From          string `json:"from"` // node that the state is, or was, fetched from
	FetchedBytes  int64  `json:"fetched_bytes"`
	TotalBytes    int64  `json:"total_bytes"`
	EntriesBehind uint64 `json:"entries_behind"`
}

// StatePart is what one part of the node says about itself.
type StatePart struct {
	Part   string    `json:"part"`
	State  string    `json:"state"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Trouble is the one thing to look at first.
type Trouble struct {
	Summary string    `json:"summary"`
	Since   time.Time `json:"since"`
	Next    string    `json:"next"` // a command or an act
}

// Totals are the numbers of the node in one line. Messages count since the node started.
type Totals struct {
	Connections      int   `json:"connections"`
	Sessions         int   `json:"sessions"`
	SessionsAttached int   `json:"sessions_attached"`
	Received         int64 `json:"received"`
	Sent             int64 `json:"sent"`
	Dropped          int64 `json:"dropped"`
}

// Home is a home that this node hosts a copy of.
type Home struct {
	ID          string `json:"id"`
	Epoch       uint64 `json:"epoch"`
	Host        string `json:"host"`   // region that hosts it at this epoch
	Leader      string `json:"leader"` // node that leads its log; "" when there is none
	Leading     bool   `json:"leading"`
	Seq         uint64 `json:"seq"` // newest message number
	Filters     int    `json:"filters"`
	Retained    int    `json:"retained"`
	Queued      int    `json:"queued"`
	QueuedBytes int64  `json:"queued_bytes"`
	Owed        int    `json:"owed"` // of queued: what no region that served could deliver
	Role        string `json:"role"` // of the copy here: one of those below

	Standbys []HomeStandby `json:"standbys"` // at the node that leads the home, where it is served
}

// What a region's copy of a home is.
const (
	RoleHome    = "host"    // it serves the home's sessions
	RoleFenced  = "fenced"  // it would, but another region serves them
	RoleStandby = "standby" // it takes what the host ships
	RoleHanded  = "handed"  // it was handed over
	RoleRetired = "retired" // it was superseded, and waits for a new copy
	RoleEmpty   = "empty"   // it has nothing yet
)

var homeRoles = []string{RoleHome, RoleFenced, RoleStandby, RoleHanded, RoleRetired, RoleEmpty}

// HomeStandby is how a standby of a home is, as its host knows.
type HomeStandby struct {
	Region      string    `json:"region"`
	Connected   bool      `json:"connected"` // and takes what is shipped
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	Since       time.Time `json:"since"` // of the link to it being up or down
	LagRecords  uint64    `json:"lag_records"`
	LagMessages uint64    `json:"lag_messages"` // about
	LagBytes    uint64    `json:"lag_bytes"`    // about
	LagSeconds  Seconds   `json:"lag_seconds"`  // since the oldest record was committed that it lacks
}

// Listener is one way in for devices.
type Listener struct {
	Name           string `json:"name"`
	Type           string `json:"type"` // mqtt, mqtts, ws, wss
	Address        string `json:"address"`
	Namespace      string `json:"namespace"`
	Open           bool   `json:"open"`
	Error          string `json:"error"` // why it is not open
	Connections    int    `json:"connections"`
	MaxConnections int    `json:"max_connections"` // 0: no bound
}

// ConnectionCount counts connected clients.
type ConnectionCount struct {
	Listener  string `json:"listener"`
	Protocol  string `json:"protocol"` // 3.1, 3.1.1, 5
	Namespace string `json:"namespace"`
	Count     int    `json:"count"`
}

// SessionCount counts sessions.
type SessionCount struct {
	Home      string `json:"home"`
	Namespace string `json:"namespace"`
	State     string `json:"state"` // attached, detached
	Count     int    `json:"count"`
}

// Store is a place on a disk.
type Store struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`      // used by the store
	FreeBytes int64  `json:"free_bytes"` // of its file system
	SizeBytes int64  `json:"size_bytes"` // of its file system
	// Of the spools of all links.
	ReserveBytes       int64   `json:"reserve_bytes"`         // that they leave free
	SpoolBytes         int64   `json:"spool_bytes"`           // what they hold
	SpoolLimitBytes    int64   `json:"spool_limit_bytes"`     // what they may hold now; 0: no bound
	SpoolLimitBy       string  `json:"spool_limit_by"`        // spool_max, reserve; "" without a bound
	SpoolLimitNode     string  `json:"spool_limit_node"`      // whose disk it is
	SpoolFullInSeconds Seconds `json:"spool_full_in_seconds"` // at the pace since the oldest was spooled; 0 if that cannot be said
}

// Condition is something that is not well, or is about not to be.
type Condition struct {
	Name    string `json:"name"`  // a word for programs: spool, disk_spools
	Peer    string `json:"peer"`  // that it is about; "" for none
	Level   string `json:"level"` // notice, warning, critical
	Summary string `json:"summary"`
	Next    string `json:"next"`
}

// Service is a supervised part of the node.
type Service struct {
	Name        string     `json:"name"`
	State       string     `json:"state"`
	Since       time.Time  `json:"since"`
	Restarts    int        `json:"restarts"`
	Panics      int        `json:"panics"`
	LastError   string     `json:"last_error"`
	LastErrorAt *time.Time `json:"last_error_at"`
	NextStart   *time.Time `json:"next_start"` // while it waits to be started again
}

// Client is a connected device.
type Client struct {
	Namespace        string    `json:"namespace"`
	ClientID         string    `json:"client_id"`
	Node             string    `json:"node"`
	Listener         string    `json:"listener"`
	Address          string    `json:"address"`
	Username         string    `json:"username"`
	Protocol         string    `json:"protocol"`
	ConnectedAt      time.Time `json:"connected_at"`
	KeepAliveSeconds int       `json:"keep_alive_seconds"`
	CleanStart       bool      `json:"clean_start"`
	InFlight         int       `json:"in_flight"` // sent and not acknowledged
	Waiting          int       `json:"waiting"`   // messages in this node's memory for it
	Received         int64     `json:"received"`  // PUBLISH packets from it
	Sent             int64     `json:"sent"`      // PUBLISH packets to it
}

// Key is the client's key.
func (c Client) Key() Key { return Key{c.Namespace, c.ClientID} }

// ClientPage is a part of the list of connected devices, in the order of their keys.
type ClientPage struct {
	Items      []Client     `json:"items"`
	Next       string       `json:"next"`       // pass as after to go on; "" at the end
	Unanswered []Unanswered `json:"unanswered"` // nodes whose devices are missing
}

// NodeSummary is a node of the region in one line.
type NodeSummary struct {
	Node        string    `json:"node"`
	Version     string    `json:"version"`
	StartedAt   time.Time `json:"started_at"`
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	Since       time.Time `json:"since"`
	Progress    *Progress `json:"progress"` // of a node that is catching up; null otherwise
	Trouble     *Trouble  `json:"trouble"`  // null when nothing is wrong
	Leading     bool      `json:"leading"`
	Connections int       `json:"connections"`
}

// NodePage is all nodes of the region.
type NodePage struct {
	Items      []NodeSummary `json:"items"`
	Unanswered []Unanswered  `json:"unanswered"`
}

// Session is what the home keeps of a device.
type Session struct {
	Namespace     string     `json:"namespace"`
	ClientID      string     `json:"client_id"`
	Home          string     `json:"home"`
	Epoch         uint64     `json:"epoch"`
	State         string     `json:"state"` // attached, detached
	Owner         string     `json:"owner"` // node; "" while detached
	Transient     bool       `json:"transient"`
	ExpirySeconds int64      `json:"expiry_seconds"` // 4294967295: never
	ExpiresAt     *time.Time `json:"expires_at"`     // while detached
	Queued        int        `json:"queued"`
	QueuedBytes   int64      `json:"queued_bytes"`
	InboundIDs    int        `json:"inbound_ids"` // QoS 2 messages from it that wait for PUBREL
	Will          bool       `json:"will"`
}

// NeverExpires is the ExpirySeconds of a session that stays for good. [MQTT-3.1.2-23]
const NeverExpires = 4294967295

// Key is the session's key.
func (s Session) Key() Key { return Key{s.Namespace, s.ClientID} }

// SessionDetail is a session with its subscriptions.
type SessionDetail struct {
	Session       Session        `json:"session"`
	Subscriptions []Subscription `json:"subscriptions"`
}

// Subscription is one filter of a session.
type Subscription struct {
	Filter            string `json:"filter"`
	QoS               int    `json:"qos"`
	NoLocal           bool   `json:"no_local"`
	RetainAsPublished bool   `json:"retain_as_published"`
	RetainHandling    int    `json:"retain_handling"`
	ID                uint32 `json:"id"` // Subscription Identifier; 0: none
}

// QueuedMessage is one reference of a session's queue.
type QueuedMessage struct {
	Ref       uint64     `json:"ref"`
	PacketID  int        `json:"packet_id"`
	Seq       uint64     `json:"seq"`
	Topic     string     `json:"topic"`
	QoS       int        `json:"qos"`
	Retain    bool       `json:"retain"`
	Received  bool       `json:"received"` // PUBREC came; PUBREL is due
	Bytes     int64      `json:"bytes"`
	ExpiresAt *time.Time `json:"expires_at"`
	Payload   []byte     `json:"payload"` // null unless asked for
}

// Link is the relation to one peer region.
type Link struct {
	Peer               string      `json:"peer"`
	Name               string      `json:"name"`
	Leaf               bool        `json:"leaf"`   // the peer is a leaf region, as it last said
	State              string      `json:"state"`  // up, paused (while up), dialing, down, elsewhere
	Pause              *LinkPause  `json:"pause"`  // null unless nothing may cross now
	Cause              string      `json:"cause"`  // why it is down, or up and not over UDP; one lower-case word for metrics: timeout, identity, refused, udp_blocked, relayed
	Reason             string      `json:"reason"` // why it is down, for people, with addresses and names
	Since              time.Time   `json:"since"`
	Transport          string      `json:"transport"`          // udp, tcp, relay; "" while down
	TransportReason    string      `json:"transport_reason"`   // why it is not udp
	Via                string      `json:"via"`                // the region that relays; "" without one
	Connections        int         `json:"connections"`        // of the tunnel; 0 while down
	ConnectionsReason  string      `json:"connections_reason"` // why there are several
	Address            string      `json:"address"`            // of the peer
	Dialled            bool        `json:"dialled"`            // by this side
	RTTSeconds         Seconds     `json:"rtt_seconds"`
	LagSeconds         Seconds     `json:"lag_seconds"` // age of the oldest message not acknowledged by the peer
	LagMessages        int         `json:"lag_messages"`
	SpoolMessages      int         `json:"spool_messages"`
	SpoolBytes         int64       `json:"spool_bytes"`
	SpoolCapacityBytes int64       `json:"spool_capacity_bytes"`
	SpoolFullInSeconds Seconds     `json:"spool_full_in_seconds"` // at the pace since the oldest was spooled; 0 if that cannot be said
	Dropped            int64       `json:"dropped"`               // from the spool, since the peer was added
	TunnelsUDP         int64       `json:"tunnels_udp"`           // opened since the node started
	TunnelsTCP         int64       `json:"tunnels_tcp"`
	TunnelsRelay       int64       `json:"tunnels_relay"`
	UDPProbes          int64       `json:"udp_probes"`        // of a better way, while on TCP or through a relay
	DialFailures       int64       `json:"dial_failures"`     // rounds of all addresses
	ThrottledSeconds   Seconds     `json:"throttled_seconds"` // that frames waited for the link's rate
	SlowedSeconds      Seconds     `json:"slowed_seconds"`    // that what the peer sent waited for connected devices here whose queues fill up
	Canary             *LinkCanary `json:"canary"`            // null: the peer's version has none, or no tunnel was up yet
	Bytes              []LinkBytes `json:"bytes"`

	Relayed      []LinkRelayed `json:"relayed"`       // by this region, from the peer to others
	RelayRefused []LinkRefused `json:"relay_refused"` // to the peer

	Kind    string       `json:"kind"`    // region, mqtt
	Foreign *LinkForeign `json:"foreign"` // null for kind region
}

// LinkRelayed is what this region relayed from a peer to another one since the node started.
type LinkRelayed struct {
	To      string `json:"to"`
	Open    int    `json:"open"`    // tunnels that the peer opened and that go on
	Tunnels int64  `json:"tunnels"` // that the peer opened
	Bytes   int64  `json:"bytes"`   // from the peer, whoever opened the tunnel
}

// LinkRefused counts tunnels that a peer wanted relayed and that were refused since the node
// started.
type LinkRefused struct {
	Reason string `json:"reason"` // forbidden, no_tunnel, too_old, busy, hops, unknown, failed
	Count  int64  `json:"count"`
}

// LinkCanary is how far messages got that only try the link: from home to home, each way.
type LinkCanary struct {
	OutAgeSeconds    Seconds `json:"out_age_seconds"`    // since the newest that the peer's home has was sent
	InAgeSeconds     Seconds `json:"in_age_seconds"`     // since the newest of the peer's came into this home
	RoundTripSeconds Seconds `json:"round_trip_seconds"` // of the newest that was acknowledged, by this side's clock; 0: none was
}

// States of a Link that others look for.
const (
	LinkUp        = "up"
	LinkPaused    = "paused"
	LinkElsewhere = "elsewhere" // another node of the region has it
)

// LinkBytes counts what crossed a link since the node started.
type LinkBytes struct {
	Direction string `json:"direction"` // in, out
	Form      string `json:"form"`      // raw, wire, transport
	Bytes     int64  `json:"bytes"`
}

// LinkDetail is a link with its policy, its spools and what it knows of the peer.
type LinkDetail struct {
	Link     Link         `json:"link"`
	In       []string     `json:"in"`
	Out      []string     `json:"out"`
	Never    []string     `json:"never"`
	InPrefix string       `json:"in_prefix"`
	Rate     string       `json:"rate"`
	QoSMax   int          `json:"qos_max"`
	AtLimit  string       `json:"at_limit"` // of the spool: drop-oldest, refuse
	Interest LinkInterest `json:"interest"`
	Spools   []LinkSpool  `json:"spools"`
	Cursors  []LinkCursor `json:"cursors"`
}

// LinkInterest is what the peer wants.
type LinkInterest struct {
	Epoch   uint64 `json:"epoch"` // of the peer's home
	Version uint64 `json:"version"`
	Filters int    `json:"filters"`
}

// LinkSpool is one class of a peer's spool.
type LinkSpool struct {
	Class         string   `json:"class"`
	Filters       []string `json:"filters"`   // none for the class of all the others
	AckedSeq      uint64   `json:"acked_seq"` // everything up to it is done with
	Messages      int      `json:"messages"`
	Bytes         int64    `json:"bytes"`
	OldestSeconds Seconds  `json:"oldest_seconds"`
	Dropped       int64    `json:"dropped"`
}

// LinkCursor is how far the peer's messages are in our log.
type LinkCursor struct {
	Home  string `json:"home"`
	Epoch uint64 `json:"epoch"`
	Class string `json:"class"`
	Seq   uint64 `json:"seq"`
}

// Forgotten is what forgetting a peer drops.
type Forgotten struct {
	Messages int
	Bytes    int64
	Filters  int
}

// Route says where a message would go.
type Route struct {
	Namespace string   `json:"namespace"`
	Topic     string   `json:"topic"`
	Ack       string   `json:"ack"` // policy of a PUBACK
	AckFilter string   `json:"ack_filter"`
	Sessions  int      `json:"sessions"`
	Groups    int      `json:"groups"`
	Peers     int      `json:"peers"` // that would get it
	Targets   []Target `json:"targets"`
	Truncated bool     `json:"truncated"` // there are more targets
}

// Target is one place a message would go to, or would not.
type Target struct {
	Kind   string `json:"kind"` // session, group, peer
	Name   string `json:"name"`
	QoS    int    `json:"qos"` // the highest it would get
	Sends  bool   `json:"sends"`
	Reason string `json:"reason"` // why it does, or does not
}

// SharedGroup is a shared subscription with the sessions that share it.
type SharedGroup struct {
	Namespace     string       `json:"namespace"`
	Group         string       `json:"group"`
	Filter        string       `json:"filter"`            // "" for a declared group without members anywhere
	Scope         string       `json:"scope"`             // ScopeLocal or ScopeGlobal
	Regions       []string     `json:"regions,omitempty"` // it is declared over
	Members       int          `json:"members"`
	Attached      int          `json:"attached"`       // members that are connected
	Away          []SharedAway `json:"away,omitempty"` // other regions that have members, the one that is chosen first
	LagMessages   int          `json:"lag_messages"`
	LagBytes      int64        `json:"lag_bytes"`            // of what waits for a member with room
	OldestSeconds Seconds      `json:"oldest_seconds"`       // for which the oldest of it has waited
	Mismatches    []string     `json:"mismatches,omitempty"` // regions that declare the group otherwise, and how
}

// Scopes of a shared subscription.
const (
	ScopeLocal  = "local"  // each region's group gets each message
	ScopeGlobal = "global" // one member over all its regions does
)

// SharedAway is the part of a global group that another region has.
type SharedAway struct {
	Region string `json:"region"`
	Ready  bool   `json:"ready"` // a member is attached there, and the region can be reached
}

// Retained is a retained message without its payload.
type Retained struct {
	Namespace string     `json:"namespace"`
	Topic     string     `json:"topic"`
	QoS       int        `json:"qos"`
	Bytes     int64      `json:"bytes"`
	Version   uint64     `json:"version"`
	Home      string     `json:"home"` // that wrote this version
	ExpiresAt *time.Time `json:"expires_at"`
}

// Key is the message's key.
func (r Retained) Key() Key { return Key{r.Namespace, r.Topic} }

// RetainedDetail is a retained message with its payload.
type RetainedDetail struct {
	Retained Retained `json:"retained"`
	Payload  []byte   `json:"payload"`
}

// ConfigValue is one key of the configuration.
type ConfigValue struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // default, file:line, variable or flag
}

// Change says what a changing call did, or with DryRun would do.
type Change struct {
	Action  string   `json:"action"`
	Target  string   `json:"target"`
	DryRun  bool     `json:"dry_run"`
	Effects []string `json:"effects"`
}

// ForgetRequest is the body of the call that forgets a peer.
type ForgetRequest struct {
	Confirm string `json:"confirm"` // the peer's name again
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"` // pass as after to go on; "" at the end
}

// Counts are totals since the node started, for metrics. Labels have few values: never a client
// id, topic or address.
type Counts struct {
	Connects    []ConnectsCount
	Disconnects []DisconnectsCount
	Takeovers   []TakeoversCount
	Messages    []MessagesCount
	Dropped     []DroppedCount
	BytesIn     int64 // of MQTT packets
	BytesOut    int64
	Commits     []Durations // from a proposal to its outcome on this node, by home
	Fsyncs      []Durations // of a write of the log or the store, by what was synced
	Nodes       []NodesCount
	Homes       []HomeCounts
	Queues      []QueueAge // of the homes that are served here, where something waits
	Siblings    []SiblingCounts
	Objects     ObjectsCounts
	CRLFailures []UseCount
}

// UseCount counts something by what certificates are used for.
type UseCount struct {
	Use   string
	Count int64
}

// NodesCount counts the nodes of the region that gossip has told of.
type NodesCount struct {
	Role  string
	Seen  bool // now
	Count int
}

// QueueAge is for how long the oldest message in a session's queue has waited.
type QueueAge struct {
	Home, Namespace string
	Age             time.Duration
}

// HomeCounts are what a node knows of a home it keeps a copy of.
type HomeCounts struct {
	Home  string
	Votes int // configured
	// Of the copy that is fetched, if one is, and of the log that is applied.
	Fetched, FetchTotal int64 // bytes
	Behind              uint64

	Open       bool // the rest is known
	Term       uint64
	VotesHere  int
	Stale      time.Duration // since the node might speak for its sessions; 0 while it may
	NodeDowns  int64         // nodes that it declared dead
	Mismatches []NodeCount   // digests of theirs that were not this copy's
	Followers  []NodeCount   // entries they lack; on the leader only

	// Of a replicant: from one core to another, bodies that cores gave, and answers
	// that had to be asked for again.
	Switches, Bodies, BodyRetries int64
}

// NodeCount is a number about another node of the region.
type NodeCount struct {
	Node  string
	Count int64
}

// SiblingCounts are what passed between this node and another of its region, beside the log.
type SiblingCounts struct {
	Node                          string
	Connected                     bool
	QueuedBytes                   int64
	Sent, Dropped, Received       int64 // messages that are in no log
	Streams, Malformed            int64
	Asked, Answered, Gone, Lapsed int64 // questions whether it has given up a session, and how they ended
}

// Durations is a distribution of seconds. Counts are by bucket, not cumulative; there is one more
// than Bounds.
type Durations struct {
	Label  string
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// ConnectsCount counts what became of connections.
type ConnectsCount struct {
	Listener, Result string
	Count            int64
}

// DisconnectsCount counts connections that ended.
type DisconnectsCount struct {
	Reason string
	Count  int64
}

// TakeoversCount counts sessions that moved to another connection.
type TakeoversCount struct {
	Scope  string // node, region, home
	Result string
	Count  int64
}

// MessagesCount counts PUBLISH packets.
type MessagesCount struct {
	Sent      bool // to a device; otherwise received from one
	QoS       int
	Namespace string
	Count     int64
}

// DroppedCount counts messages that were dropped.
type DroppedCount struct {
	Place, Reason string
	Count         int64
}
