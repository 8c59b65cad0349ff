package config

import "time"

// Config is what one node runs with: every key of the node file, resolved. Load builds it; nobody
// changes it afterwards, so it may be shared without a lock. The tags are the key names in the
// file; the key of a nested field is the path joined by dots (limits.packet), of a list item the
// index in brackets (listeners[0].listen). Relative paths count from the working directory.
type Config struct {
	// Region is the region this node belongs to; with identity configured it must be the region
	// in the certificate. Default "local".
	Region string `mapstructure:"region"`
	// Node names this node inside its region. Default: the region followed by "-1".
	Node string `mapstructure:"node"`
	// Role is what the node does for its region. Default RoleCore.
	Role Role `mapstructure:"role"`
	// Leaf says that the region is a leaf: a factory or a site of one node that dials one hub and has
	// no say in what other regions decide. Sizes and ages default to those of a small machine with an
	// unsteady network. Default false.
	Leaf bool `mapstructure:"leaf"`
	// DataDir holds the log, the store and the admin socket. Default "./data".
	DataDir string `mapstructure:"data_dir"`
	// Identity is this node's certificate towards other nodes and regions. Needed only when links
	// are configured.
	Identity Identity `mapstructure:"identity"`
	// Cluster connects this node with the others of its region. Without it the node is its region's
	// only one.
	Cluster Cluster `mapstructure:"cluster"`
	// Listeners are the addresses devices connect to. Default: one mqtt listener on
	// 127.0.0.1:1883 that admits anonymous devices.
	Listeners []Listener `mapstructure:"listeners"`
	// Auth says where users and their rights come from.
	Auth Auth `mapstructure:"auth"`
	// Limits bound what one session and one packet may hold.
	Limits Limits `mapstructure:"limits"`
	// Ack says, by topic filter, what a PUBACK waits for; the first match wins, and what matches
	// nothing is AckRegion. Default: "#" by AckRegion.
	Ack []AckRule `mapstructure:"ack"`
	// Namespaces bound what tenants take. Default: no bounds.
	Namespaces []Namespace `mapstructure:"namespaces"`
	// ACL says which devices may publish and subscribe to what, before what auth.acl_file says. Default:
	// none; without it and without that file everybody may do everything.
	ACL []ACLRule `mapstructure:"acl"`
	// Disk says what of the data directory's file system links may fill.
	Disk Disk `mapstructure:"disk"`
	// Residency says where messages may be stored. All rules that match a message count. Default: none,
	// everything may be stored wherever a link leads.
	Residency []ResidencyRule `mapstructure:"residency"`
	// Shared declares shared subscriptions that are one over several regions. The same list belongs
	// into the files of all regions. Default: none; each region's group gets each message once.
	Shared []SharedGroup `mapstructure:"shared"`
	// Links are the peer regions this region exchanges messages with. Default: none.
	Links []Link `mapstructure:"links"`
	// Link is the side of the links that accepts tunnels.
	Link LinkAccept `mapstructure:"link"`
	// Regions say who stands by whom and who votes. Default: none; no home is taken over.
	Regions []Region `mapstructure:"regions"`
	// Takeover says what happens when the host of a home is gone.
	Takeover Takeover `mapstructure:"takeover"`
	// Backup keeps copies of homes outside of the region.
	Backup Backup `mapstructure:"backup"`
	// Handover says what happens to devices that roam between regions.
	Handover Handover `mapstructure:"handover"`
	// Admin is the HTTP API that `causeway ctl` speaks to.
	Admin Admin `mapstructure:"admin"`
	// Metrics is the Prometheus endpoint.
	Metrics Metrics `mapstructure:"metrics"`
	// StopNotice is for how long a node that was asked to stop says so on /readyz before it takes no
	// connections any more: as long as its load balancer needs to notice. Default 500ms where
	// /readyz is served over TCP, otherwise 0.
	StopNotice time.Duration `mapstructure:"stop_notice"`
	// Log is what goes to stderr.
	Log Log `mapstructure:"log"`
}

// Role is what a node does for its region.
type Role string

// The roles of a node.
const (
	RoleCore      Role = "core"      // keeps a copy of the home on its disk and votes
	RoleReplicant Role = "replicant" // has connections only: it follows a core, and its loss loses nothing
)

// Identity names the PEM files of the node's certificate. The first three are set, or none is.
type Identity struct {
	// Cert is the node's certificate file.
	Cert string `mapstructure:"cert"`
	// Key is the node's private key file, readable by its owner only.
	Key string `mapstructure:"key"`
	// CA is the certificate file of the authority that issues to all nodes of all regions.
	CA string `mapstructure:"ca"`
	// CRL lists files and http or https URLs of revoked identities, PEM or DER, signed by the authorities of CA or by those
	// below them. Nodes and regions with one of them are refused, and their connections closed.
	CRL []string `mapstructure:"crl"`
	// CRLRefresh is how often URLs of CRL are fetched; files are read every half minute. Default 15m.
	CRLRefresh time.Duration `mapstructure:"crl_refresh"`
	// CRLStale says what a list does that ended without a newer one, or is not there. Default CRLAlarm.
	CRLStale CRLStale `mapstructure:"crl_stale"`
}

// Configured reports whether any of the three files is named.
func (i Identity) Configured() bool { return i.Cert != "" || i.Key != "" || i.CA != "" }

// CRLStale is what happens to certificates whose authority has no revocation list in date.
type CRLStale string

// What happens to them.
const (
	CRLAlarm  CRLStale = "alarm"  // they are taken unless the last list revokes them, and readiness fails
	CRLRefuse CRLStale = "refuse" // new connections with one are refused
)

// Cluster connects the nodes of a region.
type Cluster struct {
	// Voters is how many core nodes the region's home is founded with, and never goes below: 1, 3, 5
	// or 7. Default 3 with a cluster, 1 without.
	Voters int `mapstructure:"voters"`
	// Listen is the host:port of gossip, TCP and UDP. Default "0.0.0.0:7946".
	Listen string `mapstructure:"listen"`
	// Streams is the host:port of the streams between nodes, TCP. Default "0.0.0.0:7947".
	Streams string `mapstructure:"streams"`
	// Advertise is the host by which the other nodes reach this one. Default: the host of Listen and
	// Streams, or this machine's address.
	Advertise string `mapstructure:"advertise"`
	// Join says where other nodes are found.
	Join Join `mapstructure:"join"`
	// GossipKey refers to the file of the key that gossip is encrypted with, the same on all nodes of
	// the region; `causeway ca gossip-key` makes one.
	GossipKey SecretRef `mapstructure:"gossip_key"`
}

// Configured reports whether the node is one of several.
func (c Cluster) Configured() bool { return c.Join.Name != "" || len(c.Join.Nodes) > 0 }

// Join says where other nodes are found.
type Join struct {
	// Method is JoinStatic or JoinDNS. Default: JoinDNS with a name, otherwise JoinStatic.
	Method JoinMethod `mapstructure:"method"`
	// Nodes are the gossip addresses of core nodes, host or host:port, this node's among them.
	Nodes []string `mapstructure:"nodes"`
	// Name is a DNS name with the address of every core node, as host or host:port.
	Name string `mapstructure:"name"`
}

// JoinMethod is a way to find other nodes.
type JoinMethod string

// The ways to find other nodes.
const (
	JoinStatic JoinMethod = "static"
	JoinDNS    JoinMethod = "dns"
)

// ProxyProtocol says whether connections begin with a PROXY header.
type ProxyProtocol string

// What a listener expects of a load balancer.
const (
	ProxyOff ProxyProtocol = "off"
	ProxyV2  ProxyProtocol = "v2" // every connection begins with a header of version 2
)

// ListenerType is the transport of a device listener.
type ListenerType string

// The transports of a device listener.
const (
	ListenerMQTT  ListenerType = "mqtt"  // MQTT over TCP
	ListenerMQTTS ListenerType = "mqtts" // MQTT over TLS
	ListenerWS    ListenerType = "ws"    // MQTT over WebSocket
	ListenerWSS   ListenerType = "wss"   // MQTT over WebSocket over TLS
)

// Secure reports whether the transport is TLS.
func (t ListenerType) Secure() bool { return t == ListenerMQTTS || t == ListenerWSS }

// WebSocket reports whether MQTT is spoken inside WebSocket frames.
func (t ListenerType) WebSocket() bool { return t == ListenerWS || t == ListenerWSS }

// AuthMethod is one way a device may prove who it is.
type AuthMethod string

// The ways a device may prove who it is.
const (
	AuthAnonymous AuthMethod = "anonymous" // no credentials asked for
	AuthPassword  AuthMethod = "password"  // user and password, from auth.password_file
	AuthCert      AuthMethod = "cert"      // client certificate, verified against tls.client_ca
)

// Listener is one address devices connect to.
type Listener struct {
	// Name is the listener's label in logs and metrics; unique. Default: the type.
	Name string `mapstructure:"name"`
	// Type is the transport. Default ListenerMQTT.
	Type ListenerType `mapstructure:"type"`
	// Listen is host:port; an empty host means every address.
	Listen string `mapstructure:"listen"`
	// Namespace is the tenant whose sessions and topics devices of this listener use. Default
	// "default".
	Namespace string `mapstructure:"namespace"`
	// Auth lists the methods of which a device must satisfy one. Default: anonymous on a loopback
	// address, otherwise none is assumed and Validate asks for one.
	Auth []AuthMethod `mapstructure:"auth"`
	// AnonymousBeyondLoopback says that anonymous devices are wanted although Listen can be
	// reached from other machines. Without it Validate refuses the combination.
	AnonymousBeyondLoopback bool `mapstructure:"anonymous_beyond_loopback"`
	// Versions are those of MQTT that are spoken: "3.1", "3.1.1" and "5". Default: all.
	Versions []string `mapstructure:"versions"`
	// TLS holds the server certificate (mqtts and wss only).
	TLS ListenerTLS `mapstructure:"tls"`
	// Path is the HTTP path of the WebSocket (ws and wss only). Default "/mqtt" for those.
	Path string `mapstructure:"path"`
	// MaxConnections is the number of connections open at once; 0 means no bound of its own.
	MaxConnections int `mapstructure:"max_connections"`
	// ConnectTimeout is how long a connection may take from accept to a complete CONNECT. Default
	// 10s.
	ConnectTimeout time.Duration `mapstructure:"connect_timeout"`
	// ConnectRate is how many connections are accepted a second; more wait, before TLS. 0: no bound.
	ConnectRate Rate `mapstructure:"connect_rate"`
	// ProxyProtocol says whether a load balancer in front tells where a connection comes from. Default
	// ProxyOff.
	ProxyProtocol ProxyProtocol `mapstructure:"proxy_protocol"`
	// ServerReference is told to MQTT 5 devices that an evacuation closes (DISCONNECT 0x9C): where they should go, as
	// HOST or HOST:PORT. Few clients follow it, and some give up at a DISCONNECT. Empty: they are closed without a word.
	ServerReference string `mapstructure:"server_reference"`
}

// Allows reports whether method is one of the listener's.
func (l Listener) Allows(method AuthMethod) bool {
	for _, m := range l.Auth {
		if m == method {
			return true
		}
	}
	return false
}

// ListenerTLS is the TLS of one device listener; all files are PEM.
type ListenerTLS struct {
	// Cert is the server certificate with its intermediates.
	Cert string `mapstructure:"cert"`
	// Key is the private key of Cert.
	Key string `mapstructure:"key"`
	// ClientCA lists the authorities whose device certificates are accepted.
	ClientCA []string `mapstructure:"client_ca"`
	// CRL lists files and http or https URLs of revoked device certificates, PEM or DER, signed by the authorities of ClientCA
	// or by those below them. Devices with one of them are refused, and their connections closed.
	CRL []string `mapstructure:"crl"`
	// CRLRefresh is how often URLs of CRL are fetched; files are read every half minute. Default 15m.
	CRLRefresh time.Duration `mapstructure:"crl_refresh"`
	// CRLStale says what a list does that ended without a newer one, or is not there. Default CRLAlarm.
	CRLStale CRLStale `mapstructure:"crl_stale"`
	// MinVersion is "1.2" or "1.3". Default "1.2".
	MinVersion string `mapstructure:"min_version"`
	// TicketKeys says where a device may resume a TLS session. Default TicketsNode.
	TicketKeys TicketKeys `mapstructure:"ticket_keys"`
}

// TicketKeys is who understands the session tickets of a listener.
type TicketKeys string

// Who understands them.
const (
	TicketsNode TicketKeys = "node" // the node that gave them, until it stops
	// TicketsRegion: every node with a listener of the same name and private key, for a day or two. The keys are derived from
	// that private key: who steals it can read what was recorded of resumed sessions of TLS 1.2.
	TicketsRegion TicketKeys = "region"
)

// Auth says where users and their rights come from. Empty files mean that method is off.
type Auth struct {
	// PasswordFile holds user:bcrypt lines; `causeway passwd` writes it.
	PasswordFile string `mapstructure:"password_file"`
	// ACLFile holds who may publish and subscribe to what. Empty: everybody may do everything.
	ACLFile string `mapstructure:"acl_file"`
	// Cert says what a device is called that comes with a certificate.
	Cert AuthCertNames `mapstructure:"cert"`
}

// AuthCertNames are names in a device's certificate.
type AuthCertNames struct {
	// Username is the one that is its user name. Default CertCN.
	Username CertName `mapstructure:"username"`
	// ClientID is the one that is its client id, given to a device that comes without. Default: that of Username with
	// BindClientID, otherwise none.
	ClientID CertName `mapstructure:"client_id"`
	// BindClientID refuses a device whose client id is not ClientID, so that none takes the session of another. Default false.
	BindClientID bool `mapstructure:"bind_client_id"`
}

// CertName is a name in a certificate.
type CertName string

// The names in a certificate.
const (
	CertCN  CertName = "${cn}"      // the common name
	CertURI CertName = "${san.uri}" // the first URI among the subject's alternative names
	CertDNS CertName = "${san.dns}" // the first DNS name
)

// Limits bound one session and one packet. They enter the home's log as an entry, so that every
// copy of the home applies the same ones.
type Limits struct {
	// SessionExpiryMax caps the Session Expiry Interval a device asks for. Default 14d.
	SessionExpiryMax time.Duration `mapstructure:"session_expiry_max"`
	// QueueMessages is how many messages one session's queue holds. Default 100000.
	QueueMessages int `mapstructure:"queue_messages"`
	// QueueBytes is how many payload bytes one session's queue refers to. Default 256MiB.
	QueueBytes ByteSize `mapstructure:"queue_bytes"`
	// Inflight is how many QoS 1 and 2 messages are sent to one device and not yet acknowledged,
	// when its own Receive Maximum is not smaller. Default 1024.
	Inflight int `mapstructure:"inflight"`
	// Packet is the largest MQTT packet taken or sent. Default 2MiB.
	Packet ByteSize `mapstructure:"packet"`
	// Subscriptions is how many filters one session may hold. Default 1000.
	Subscriptions int `mapstructure:"subscriptions"`
	// KeepaliveMax caps the keep-alive of a device (MQTT 5 devices are told, [MQTT-3.2.2-21]); 0
	// leaves it to the device. Default 0.
	KeepaliveMax time.Duration `mapstructure:"keepalive_max"`
	// WillGrace is for how long the will of a device waits that lost its connection by the region's
	// doing: its node is gone, or stops. A device that is back by then takes the will along. 0: it
	// does not wait. Default 30s.
	WillGrace time.Duration `mapstructure:"will_grace"`
	// TopicAliasMax is how many topic aliases a device may use towards us; 0 forbids them. Default
	// 32.
	TopicAliasMax int `mapstructure:"topic_alias_max"`
	// ReceiveMaximum is how many unacknowledged QoS 1 and 2 PUBLISH we accept from one device.
	// Default 1024.
	ReceiveMaximum int `mapstructure:"receive_maximum"`
}

// AckPolicy is what a PUBACK or PUBREC waits for.
type AckPolicy string

// The ack policies.
const (
	AckRegion AckPolicy = "region" // fsynced by a majority of the home's core nodes
	AckMemory AckPolicy = "memory" // taken by this node only
	// AckStandby waits, beyond AckRegion, until the standby has it too.
	AckStandby AckPolicy = "standby"
)

// AckRule gives the topics of one filter their ack policy.
type AckRule struct {
	// Filter is an MQTT topic filter.
	Filter string `mapstructure:"filter"`
	// Policy is what is promised for it. Default AckRegion.
	Policy AckPolicy `mapstructure:"policy"`
	// Replay is what becomes of what a lost region had acknowledged, and who took over had not, once
	// its disks are back and are reconciled. Default ReplayDeliver.
	Replay Replay `mapstructure:"replay"`
	// MaxReplayAge bounds how old such a message may be to be delivered; an older one is only
	// reported. Default 0: no bound.
	MaxReplayAge time.Duration `mapstructure:"max_replay_age"`
}

// Replay is what becomes of messages that come late out of a lost region's disks.
type Replay string

// What becomes of them.
const (
	ReplayDeliver Replay = "deliver"
	ReplayReport  Replay = "report" // they are counted and not delivered
)

// ResidencyRule keeps the topics of one filter in some regions: no link takes them elsewhere, and
// a region that is not named does not take them from devices either.
type ResidencyRule struct {
	// Namespace is the one of the publishers. Default: every namespace.
	Namespace string `mapstructure:"namespace"`
	// Filter is an MQTT topic filter; a wildcard in its first level matches topics that begin with "$",
	// too.
	Filter string `mapstructure:"filter"`
	// Regions are the only ones that may store them: names of regions, as in links[].peer, and of
	// foreign links.
	Regions []string `mapstructure:"regions"`
}

// SharedGroup declares that the members of a shared subscription are one group over several regions:
// each message goes to one member over all of them.
type SharedGroup struct {
	// Namespace is the tenant of the group. Default "default".
	Namespace string `mapstructure:"namespace"`
	// Group is the name in $share/GROUP/FILTER; the declaration is about all its filters.
	Group string `mapstructure:"group"`
	// Regions are the regions whose members are one group. While nothing else tells them apart, the
	// first is chosen first.
	Regions []string `mapstructure:"regions"`
}

// Compression is the codec of the frames a link sends.
type Compression string

// The codecs of a link.
const (
	CompressionZstd Compression = "zstd" // smallest on the wire
	CompressionS2   Compression = "s2"   // a fraction of the CPU
	CompressionNone Compression = "none"
)

// Link is the relation to one peer region. What the peer wants crosses, if the filters let it. With Kind LinkMQTT it is a
// link to a broker of another make.
type Link struct {
	// Name is the link's label in logs and metrics; unique. Default: the peer.
	Name string `mapstructure:"name"`
	// Peer is the region at the other end, as named in its certificate; one link a peer.
	Peer string `mapstructure:"peer"`
	// Dial lists the addresses of the peer's nodes, "udp://host:port" and "tcp://host:port", tried
	// all at once; TCP only where UDP does not get through. "relay://REGION" is another peer of
	// this region that relays to this one where nothing else gets through; see link.relay there.
	// Empty: this region waits for the peer to dial link.listen or link.listen_tcp.
	Dial []string `mapstructure:"dial"`
	// In are the filters this region takes from the peer. Default "#".
	In []string `mapstructure:"in"`
	// Out are the filters this region sends to the peer. Default "#".
	Out []string `mapstructure:"out"`
	// Never are filters that cross in neither direction, whatever In and Out say.
	Never []string `mapstructure:"never"`
	// Retained says whether retained messages cross. Default true.
	Retained bool `mapstructure:"retained"`
	// InPrefix is put before the topics of what comes from the peer, as in "eu/". In and Never name
	// topics as the peer does. Default "".
	InPrefix string `mapstructure:"in_prefix"`
	// Rate bounds what is sent to the peer, in bytes on the wire; 0 is no bound. Default 0.
	Rate Bandwidth `mapstructure:"rate"`
	// QoSMax is the QoS at which messages cross at most: 1 or 2. Default 2.
	QoSMax int `mapstructure:"qos_max"`
	// Compression is the codec of sent frames. Default CompressionZstd.
	Compression Compression `mapstructure:"compression"`
	// Spool bounds what is kept for the peer while it cannot be reached.
	Spool Spool `mapstructure:"spool"`

	// Kind is LinkRegion or LinkMQTT. Default LinkRegion. The keys below belong to LinkMQTT, which has no peer, dial and
	// compression, and whose in and out are filters that are asked for and sent whoever wants them.
	Kind LinkKind `mapstructure:"kind"`
	// Address lists mqtt://host:port and mqtts://host:port of one broker or cluster; the next is tried when one does not
	// answer.
	Address []string `mapstructure:"address"`
	// Direction is which way messages cross. No default.
	Direction Direction `mapstructure:"direction"`
	// Filters are what crosses; in and out, where set, stand for one direction each. Default "#".
	Filters []string `mapstructure:"filters"`
	// Namespace is the tenant whose topics cross. Default "default".
	Namespace string `mapstructure:"namespace"`
	// Connections share what goes out, each publisher's messages in their order on one. Default 8.
	Connections int `mapstructure:"connections"`
	// Inflight is how many messages each connection has unacknowledged at most. Default 0: what the broker takes, 20 where it
	// speaks 3.1.1 and cannot say.
	Inflight int `mapstructure:"inflight"`
	// Version is VersionAuto, Version311 or Version5. Default VersionAuto.
	Version string `mapstructure:"version"`
	// ClientID is what the broker knows the connections by, with -0, -1, … added. Default: causeway-REGION-NAME.
	ClientID string `mapstructure:"client_id"`
	// Username is shown to the broker.
	Username string `mapstructure:"username"`
	// Password refers to the file of the password; it is read at each dial.
	Password SecretRef `mapstructure:"password"`
	// TLS is used for mqtts addresses.
	TLS LinkTLS `mapstructure:"tls"`
	// Keepalive is the keep-alive offered to the broker. Default 30s.
	Keepalive time.Duration `mapstructure:"keepalive"`
	// Canary is the topic of the message that shows whether messages cross, or CanaryOff. Default:
	// causeway/canary/REGION/NAME.
	Canary string `mapstructure:"canary"`
}

// SpoolLimit is what happens when a spool is full.
type SpoolLimit string

// What happens when a spool is full.
const (
	SpoolDropOldest SpoolLimit = "drop-oldest" // the oldest of the lowest class goes, counted
	SpoolRefuse     SpoolLimit = "refuse"      // publishers of what the peer wants get Quota exceeded
)

// SpoolClass is a lane of a spool with an order of its own.
type SpoolClass struct {
	// Name is the class in status and metrics; unique in its link.
	Name string `mapstructure:"name"`
	// Filters say which topics are of the class; the first class that matches takes a message.
	Filters []string `mapstructure:"filters"`
}

// Spool bounds what is kept for one peer; what becomes older than Age is dropped and counted.
type Spool struct {
	// Bytes is the most the spool holds. Default 10GiB.
	Bytes ByteSize `mapstructure:"bytes"`
	// Age is the oldest a spooled message may become. Default 3d.
	Age time.Duration `mapstructure:"age"`
	// AtLimit is what happens when Bytes are spooled. Default SpoolDropOldest.
	AtLimit SpoolLimit `mapstructure:"at_limit"`
	// Classes are sent side by side, each in its own order, and dropped at the limit from the last to
	// the first; before all of them what no class names. Default: none.
	Classes []SpoolClass `mapstructure:"classes"`
}

// LinkAccept is the side of the links that accepts tunnels.
type LinkAccept struct {
	// Listen is the UDP host:port where peers dial; empty accepts none. It is bound only when
	// links are configured. Default "127.0.0.1:7444".
	Listen string `mapstructure:"listen"`
	// ListenTCP is the TCP host:port where peers dial whose UDP does not get through; empty accepts
	// none. Default: port 7445 of the host of Listen if that has port 7444, otherwise "".
	ListenTCP string `mapstructure:"listen_tcp"`
	// Relay lists the regions between which this one relays encrypted tunnels. Default: none.
	Relay []RelayRule `mapstructure:"relay"`
}

// RelayRule lets some peers of this region reach each other through it. Their messages pass
// encrypted from end to end; this region can neither read nor keep them.
type RelayRule struct {
	// Between are two peers or more; each may be relayed to each other one.
	Between []string `mapstructure:"between"`
	// Rate bounds what is passed on between them, all together and both ways. Default 0, no bound.
	Rate Bandwidth `mapstructure:"rate"`
}

// Admin is the HTTP API.
type Admin struct {
	// Socket is the path of its Unix socket. Default: admin.sock in the data directory.
	Socket string `mapstructure:"socket"`
	// Listen is a TCP host:port beside it; empty is off. It needs Tokens. Default "".
	Listen string `mapstructure:"listen"`
	// Tokens refers to the file of bearer tokens TCP callers must present.
	Tokens SecretRef `mapstructure:"tokens"`
	// BreakGlass refers to a file of tokens in the same form, of users who are admitted over TCP whatever is
	// the matter with the region. Each use is an alarm and is audited. Default: none.
	BreakGlass SecretRef `mapstructure:"break_glass"`
}

// Metrics is the Prometheus endpoint.
type Metrics struct {
	// Listen is the host:port it is served at; empty is off. Default "".
	Listen string `mapstructure:"listen"`
}

// Log is what goes to stderr.
type Log struct {
	// Level is LogDebug, LogInfo, LogWarn or LogError. Default LogInfo.
	Level LogLevel `mapstructure:"level"`
	// Format is LogText or LogJSON. Default LogText.
	Format LogFormat `mapstructure:"format"`
}

// LogLevel is the least important line that is written.
type LogLevel string

// The log levels.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// LogFormat is the form of a log line.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)
