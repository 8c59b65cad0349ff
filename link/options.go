package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/trace"
	"causeway/link/wire"
)

// Home is what a link needs of the home it works for. All methods may be called
// concurrently.
type Home interface {
	// Propose asks for an operation. It never blocks. It fails with Options.Full
	// when there is no room, otherwise for good. done is called exactly once if it
	// does not fail, in the order of proposals, and must not block.
	Propose(op home.Op, done func(home.Outcome, error)) error
	// Room waits until Propose has room. It fails when the home has stopped.
	Room(ctx context.Context) error
	// State is for queries. A home that was opened anew has another one; without a
	// home it is one that has no ID.
	State() *home.State
	// Body reads a message that the state has only on disk.
	Body(seq home.Seq) (home.Message, error)
	// SpoolRun reads a run of a spool that the state has only on disk.
	SpoolRun(key []byte) ([]home.Spooled, error)
}

// Local is where messages go that came by a link and are in no log.
type Local interface {
	// DeliverFromPeer hands over a message for sessions connected here, and what it
	// came for. It must
	// not block; the message belongs to the callee. It must not be given to
	// Forward, which refuses it.
	DeliverFromPeer(m *home.Message, c home.Claim)
}

// Identity gives the TLS configurations of this region. They are asked for at
// every dial and at every start of Run, so that certificates may be replaced.
type Identity interface {
	ServerTLS() *tls.Config
	// ClientTLS accepts a peer of wantRegion only.
	ClientTLS(wantRegion string) *tls.Config
	// PeerRegion reads the region from a verified certificate.
	PeerRegion(tls.ConnectionState) (string, error)
}

// Answerer answers calls of other regions, which are named by their certificates.
type Answerer func(ctx context.Context, region string, kind byte, request []byte) ([]byte, error)

// Peer is how a link to another region is made. What may cross it is the policy
// that our home has for the peer.
type Peer struct {
	ID       home.ID  // the peer region's home; also its name here
	Region   string   // in the peer's certificate; empty means ID
	Calls    bool     // for calls alone, while no other tunnel to the region is up; ID is empty
	Dial     []string // "udp://host:port", "tcp://host:port", "relay://region" or "host:port", which is UDP; empty means the peer dials
	Compress wire.Codec
}

// RelayRule lets regions meet here.
type RelayRule struct {
	Between []string // each may be relayed to each other one
	Rate    uint64   // bytes a second that are passed on between them, all together; 0: no bound
}

// EndpointOptions are what the tunnels of a node have in common, whichever home they
// are for. Zero durations and sizes mean their defaults.
type EndpointOptions struct {
	Region   string // ours, as in our certificate
	Software string // version of the program, told to peers
	Leaf     bool   // our region is a leaf; told to peers
	Identity Identity

	// Hosts lists the regions that may host a home beside the one it is named for: its
	// standbys, as configured here. Their certificates speak for it, too. It must not
	// block. Nil means none.
	Hosts func(id home.ID) []string
	// Addresses are where a region is dialled of which a Manager has no Peer with
	// addresses, in the form of Peer.Dial. Our own region is one: two of its nodes may
	// have a home each, and those a link. It must not block. Nil means nowhere; our own
	// region then is this node's own sockets.
	Addresses func(region string) []string

	// Relay lists the regions between which this one passes tunnels on that go from
	// end to end.
	Relay []RelayRule

	// Listen opens the UDP socket, at every start of Run, which closes it.
	Listen func() (net.PacketConn, error)
	// ListenTCP opens the TCP listener for peers whose UDP does not get through, at
	// every start of Run, which closes it. Nil means none.
	ListenTCP func() (net.Listener, error)
	// DialTCP connects to a host:port. Nil means the system's way.
	DialTCP func(ctx context.Context, address string) (net.Conn, error)
	// ResetKey makes the resets by which a peer learns at once that this node
	// was restarted. It must survive restarts.
	ResetKey [32]byte

	KeepAlive    time.Duration // default 1 s; below the mapping life of a NAT
	IdleTimeout  time.Duration // default 4 s: a silent peer is gone
	DialTimeout  time.Duration // default 5 s; one round of all addresses
	HeadStart    time.Duration // of UDP before TCP; default 1.5 s
	ProbeFirst   time.Duration // when a tunnel on TCP tries UDP first; default 2 s, later each time
	ProbeMost    time.Duration // and how long it waits at most; default 1 min
	StreamWindow int           // bytes a peer may send ahead on a stream; default 16 MiB: twice the bandwidth-delay product
	ConnWindow   int           // and on a tunnel; default 48 MiB
	Connections  int           // of a tunnel over QUIC at most; default 32

	Logger *slog.Logger

	fastTCP func() bool // TCP has BBR here
}

// Options of a Manager. Zero durations and sizes mean their defaults.
type Options struct {
	// ID is the home that the Manager is for; empty means the region's own, which has
	// its name. A home's copies at different regions have a Manager each.
	ID    home.ID
	Home  Home
	Full  error // what Home.Propose fails with when Room will tell
	Local Local
	Peers []Peer

	// Gateway says that this node has the home's links, as of now: that it leads
	// the home and knows so. Of the nodes of a region one may. It is asked at every
	// opening and every gatewayPoll, must be cheap and must not block. Nil means
	// yes: the region has one node. Of a copy that every node has for itself one node
	// may say yes, too.
	Gateway func() bool
	// Role is what our copy of the home is, as of now. It is asked like Gateway. Nil
	// means RoleHost.
	Role func() Role
	// Heard is told of every epoch of our own home above ours that a region says it has
	// heard of. Whether that region is to be believed is the callee's business; the link
	// itself ends nothing for it. It must not block and may be called more than once.
	Heard func(id home.ID, epoch home.Epoch, from string)

	// Standbys lists the regions that our home is shipped to while our copy hosts, the
	// first healthy one of them counts. It must not block. Nil means none.
	Standbys func() []string
	Source   Source  // what is shipped; nil: nothing is
	Standby  Standby // what is shipped to us while our copy stands by; nil: nothing is taken
	// Diverged is told that what our copy, which stands by, has is not what the host has at
	// the same place: it has records of its own. Nothing is shipped to it, nor replaced in it,
	// until Standby.Position says ErrNeedsCopy. It must not block and may be called more than once.
	Diverged func(id home.ID, host home.CopyPosition)
	// Shipped is told what the standby has, whenever that changes and now and then. It must
	// not block.
	Shipped func(Shipped)
	// AwaitShipped calls done once our standby has applied the record of that number, or
	// need not be waited for. It must not block, and may call done at once. It may forget
	// done for good. Nil means that our home has no standby.
	AwaitShipped func(record uint64, done func())

	// Answer answers calls of other regions. It may block until ctx ends, and be called
	// concurrently. An error is told to the caller as text. Nil means that another Manager's
	// at the Endpoint does, or that calls are refused.
	Answer Answerer

	// Keep runs a part of the Manager until ctx ends, starting it again when it fails: a link
	// that panics costs nobody else anything. The name is one of parts. Nil means a plain loop.
	Keep  func(ctx context.Context, name string, run func(context.Context) error)
	Trace *trace.Book // nil: nobody can ask for a trace

	SendWindow  int           // bytes of frames a class may have unacknowledged, and of records the standby; default 16 MiB
	LiveQueue   int           // messages in no log that may wait for a peer; default 8192
	LiveBytes   int           // and their bytes; default 16 MiB
	MaxMessage  int           // bytes of topic, properties and payload that are taken from a peer; default the format's limit
	DigestEvery time.Duration // how often interest is compared; default 10 s
	CanaryEvery time.Duration // how often a canary is sent; 0: none is

	Logger *slog.Logger
}

// Validate reports what is wrong, naming the field.
func (o *EndpointOptions) Validate() error {
	switch {
	case o.Region == "":
		return errors.New("link: Region is empty: name this region")
	case o.Identity == nil || o.Listen == nil:
		return errors.New("link: Identity and Listen must be set")
	case o.Connections < 0 || o.Connections > wire.MaxConnections:
		return fmt.Errorf("link: Connections %d: use 1 to %d", o.Connections, wire.MaxConnections)
	case o.KeepAlive < 0 || o.KeepAlive > 10*time.Second:
		return fmt.Errorf("link: KeepAlive %s: use at most 10s, since NATs forget a silent mapping soon after", o.KeepAlive)
	case o.HeadStart != 0 && o.DialTimeout != 0 && o.HeadStart >= o.DialTimeout:
		return fmt.Errorf("link: HeadStart %s leaves TCP nothing of DialTimeout %s", o.HeadStart, o.DialTimeout)
	case o.IdleTimeout != 0 && o.IdleTimeout < 2*o.KeepAlive:
		return fmt.Errorf("link: IdleTimeout %s is below twice KeepAlive %s: one lost packet would end a tunnel", o.IdleTimeout, o.KeepAlive)
	}
	for _, r := range o.Relay {
		if len(r.Between) < 2 || slices.Contains(r.Between, o.Region) {
			return fmt.Errorf("link: Relay %q: name two other regions or more", r.Between)
		}
	}
	return nil
}

// validate reports what is wrong, naming the field or the peer.
func (o *Options) validate(region string) error {
	if o.Home == nil || o.Full == nil || o.Local == nil {
		return errors.New("link: Home, Full and Local must be set")
	}
	return validatePeers(region, o.ID, o.Peers)
}

func validatePeers(region string, own home.ID, peers []Peer) error {
	ids, regions, called := map[home.ID]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range peers {
		if err := p.validate(region, own); err != nil {
			return fmt.Errorf("link to %q: %w", p.name(), err)
		}
		if p.Calls && called[p.Region] || !p.Calls && (ids[p.ID] || regions[p.region()]) {
			return fmt.Errorf("link to %q: the peer is configured twice: keep one", p.name())
		}
		if p.Calls {
			called[p.Region] = true
			continue
		}
		ids[p.ID], regions[p.region()] = true, true
	}
	for _, p := range peers {
		for _, e := range p.Dial {
			if n, via, _ := endpoint(e); n == overRelay && (via == p.region() || !regions[via] && !called[via]) {
				return fmt.Errorf("link to %q: address %q: want another region that this one has a link to", p.name(), e)
			}
		}
	}
	return nil
}

func (p *Peer) validate(region string, own home.ID) error {
	switch {
	case p.ID == "" && !p.Calls, p.region() == "":
		return errors.New("ID is empty: name the peer")
	case p.Calls && p.ID != "":
		return errors.New("a peer for calls alone has a Region and no ID")
	case !p.Calls && p.ID == own, p.region() == region && (p.Calls || own == home.ID(region)):
		return errors.New("the peer is this region itself")
	}
	for _, e := range p.Dial {
		if _, _, err := endpoint(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *Peer) region() string {
	if p.Region != "" {
		return p.Region
	}
	return string(p.ID)
}

// name is what the peer is called in the log and in errors.
func (p *Peer) name() string {
	if p.ID != "" {
		return string(p.ID)
	}
	return p.Region
}

// endpoint returns network and host:port, or the relay's region, of an address to dial.
func endpoint(s string) (network, string, error) {
	n, addr := overUDP, s
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		n, addr = network(scheme), rest
	}
	switch n {
	case overUDP, overTCP:
	case overRelay:
		return n, addr, nil
	default:
		return "", "", fmt.Errorf("address %q: %q is not supported, use udp://host:port, tcp://host:port or relay://region", s, n)
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return "", "", fmt.Errorf("address %q: %w; use %s://host:port", s, err, n)
	}
	return n, addr, nil
}

func orDuration(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

func orInt(n *int, v int) {
	if *n == 0 {
		*n = v
	}
}

// withDefaults returns a copy with every zero filled in.
func (o EndpointOptions) withDefaults() EndpointOptions {
	orDuration(&o.KeepAlive, time.Second)
	orDuration(&o.IdleTimeout, 4*time.Second)
	orDuration(&o.DialTimeout, 5*time.Second)
	orDuration(&o.HeadStart, 1500*time.Millisecond)
	orDuration(&o.ProbeFirst, 2*time.Second)
	orDuration(&o.ProbeMost, time.Minute)
	orInt(&o.StreamWindow, 16<<20)
	orInt(&o.ConnWindow, 48<<20)
	orInt(&o.Connections, wire.MaxConnections)
	if o.DialTCP == nil {
		o.DialTCP = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if o.Hosts == nil {
		o.Hosts = func(home.ID) []string { return nil }
	}
	if o.Addresses == nil {
		o.Addresses = func(string) []string { return nil }
	}
	if o.fastTCP == nil {
		o.fastTCP = hasBBR
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// withDefaults returns a copy with every zero filled in.
func (o Options) withDefaults() Options {
	orDuration(&o.DigestEvery, 10*time.Second)
	orInt(&o.SendWindow, 16<<20)
	orInt(&o.LiveQueue, 8192)
	orInt(&o.LiveBytes, 16<<20)
	orInt(&o.MaxMessage, wire.MaxMessageBytes)
	if o.Role == nil {
		o.Role = func() Role { return RoleHost }
	}
	if o.Heard == nil {
		o.Heard = func(home.ID, home.Epoch, string) {}
	}
	if o.Standbys == nil {
		o.Standbys = func() []string { return nil }
	}
	if o.Diverged == nil {
		o.Diverged = func(home.ID, home.CopyPosition) {}
	}
	if o.Shipped == nil {
		o.Shipped = func(Shipped) {}
	}
	if o.Keep == nil {
		o.Keep = group.Keep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
