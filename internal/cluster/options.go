package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// Role is what a node does for its region.
type Role string

// The roles. A core node votes and keeps a copy of the home; a replicant only
// has connections.
const (
	Core      Role = "core"
	Replicant Role = "replicant"
)

// Self is what a node says of this run of itself. It is asked for at every hello.
type Self struct {
	Disk        string // UUID of its data directory; "" for a replicant
	Incarnation uint64
	Features    uint64 // highest feature level it supports
}

// Member is a node of the region as gossip tells: a hint, never a verdict.
type Member struct {
	Node        string
	Role        Role
	Streams     string // host:port
	Disk        string
	Incarnation uint64
	Features    uint64
	Software    string
	Alive       bool // gossip's opinion
}

// Identity gives the TLS configurations of this node towards nodes of its region.
type Identity interface {
	// NodeServerTLS asks for and verifies client certificates.
	NodeServerTLS() *tls.Config
	// NodeClientTLS accepts that node of our region only.
	NodeClientTLS(node string) *tls.Config
	// PeerNode reads region and node from a verified certificate.
	PeerNode(tls.ConnectionState) (region, node string, err error)
}

// Network is what lies below. Addresses are opaque strings to the cluster.
type Network interface {
	ListenStreams() (net.Listener, error)
	DialStream(ctx context.Context, addr string) (net.Conn, error)
	// Gossip is memberlist's transport.
	Gossip() (memberlist.NodeAwareTransport, error)
}

// JoinMethod is how the first other nodes are found.
type JoinMethod string

// The ways to find other nodes.
const (
	Static JoinMethod = "static" // Join.Nodes
	DNS    JoinMethod = "dns"    // the addresses of Join.Name
)

// Join says where other nodes of the region are found. It is looked at again and
// again, so that parts that were cut off find each other.
type Join struct {
	Method JoinMethod
	Nodes  []string      // host[:port] of gossip
	Name   string        // DNS name with an address of each node
	Every  time.Duration // 15 s
}

// Options of a Cluster.
type Options struct {
	Region, Node string
	Role         Role
	Software     string
	// Self says who this run is; an error means that the node is not ready, and its
	// hellos are refused with it.
	Self     func() (Self, error)
	Identity Identity
	// GossipKey is 16, 24 or 32 bytes. It must be set unless Network is.
	GossipKey []byte
	Listen    string // gossip, host:port for TCP and UDP
	Streams   string // peer streams, host:port for TCP
	Advertise string // host by which others reach us; default that of Listen
	Join      Join
	Network   Network          // nil: the real one
	Wall      func() time.Time // told in each hello; nil: time.Now
	Logger    *slog.Logger
}

// Default ports.
const (
	GossipPort  = 7946
	StreamsPort = 7947
)

func (o Options) withDefaults() Options {
	if o.Role == "" {
		o.Role = Core
	}
	if o.Join.Method == "" {
		o.Join.Method = Static
	}
	if o.Join.Every == 0 {
		o.Join.Every = 15 * time.Second
	}
	if o.Listen == "" {
		o.Listen = fmt.Sprintf("0.0.0.0:%d", GossipPort)
	}
	if o.Streams == "" {
		o.Streams = fmt.Sprintf("0.0.0.0:%d", StreamsPort)
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o *Options) validate() error {
	switch {
	case o.Region == "" || o.Node == "" || o.Self == nil || o.Identity == nil:
		return errors.New("cluster: Region, Node, Self and Identity must be set")
	case len(o.Node) > maxName || len(o.Region) > maxName:
		return fmt.Errorf("cluster: region %q and node %q: use at most %d bytes each", o.Region, o.Node, maxName)
	case o.Network == nil && len(o.GossipKey) == 0:
		return errors.New("cluster.gossip_key is not set; make one with: causeway ca gossip-key")
	}
	if o.GossipKey != nil {
		if err := memberlist.ValidateKey(o.GossipKey); err != nil {
			return fmt.Errorf("cluster.gossip_key: %w; make one with: causeway ca gossip-key", err)
		}
	}
	return nil
}
