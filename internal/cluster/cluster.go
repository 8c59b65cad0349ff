package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"causeway/internal/group"
)

// Cluster is this node among those of its region. New binds its ports, Run
// serves. The other methods may be called from any goroutine.
type Cluster struct {
	o          Options // fixed after New
	log        *slog.Logger
	net        Network
	listener   net.Listener
	list       *memberlist.Memberlist
	advertised string // of streams, host:port
	gossip     string // host:port
	opening    chan struct{}
	stats      stats
	all        sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]func(context.Context, *Stream)
	members  map[string]Member
	watchers []chan struct{}
	streams  map[net.Conn]*tls.Conn // that others opened; nil while they are being opened
	dialled  map[*tls.Conn]net.Conn
	stopped  bool
}

type stats struct{ dialled, dialFailures, accepted, refused atomic.Uint64 }

// Stats are a cluster's counters.
type Stats struct{ Dialled, DialFailures, Accepted, Refused uint64 }

// New checks the options and binds both ports. Run must follow, or Close.
func New(o Options) (*Cluster, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Cluster{o: o, log: o.Logger, net: o.Network, opening: make(chan struct{}, maxOpening),
		handlers: map[string]func(context.Context, *Stream){}, members: map[string]Member{}, streams: map[net.Conn]*tls.Conn{}, dialled: map[*tls.Conn]net.Conn{}}
	if c.net == nil {
		c.net = real{&c.o}
	}
	var err error
	if c.listener, err = c.net.ListenStreams(); err != nil {
		return nil, err
	}
	c.advertised = c.streamsAddr()
	if err := c.startGossip(); err != nil {
		_ = c.listener.Close()
		return nil, err
	}
	return c, nil
}

// streamsAddr is where others reach our streams.
func (c *Cluster) streamsAddr() string {
	addr := c.listener.Addr().String()
	if c.o.Network != nil {
		return addr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if c.o.Advertise != "" {
		host = c.o.Advertise
	} else if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "" // gossip knows our address
		if ip, err := privateIP(); err == nil {
			host = ip
		}
	}
	return net.JoinHostPort(host, port)
}

// privateIP is the address of this machine that others most likely reach.
func privateIP() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return "127.0.0.1", nil
}

// leaveIn bounds the goodbye.
const leaveIn = time.Second

// Run serves until ctx ends, then says goodbye and closes everything.
func (c *Cluster) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.listener.Close() })
	defer stop()
	c.all.Go(func() { group.Keep(ctx, "join", c.keepJoined) })
	err := c.accept(ctx, c.listener)
	cancel()
	return c.shut(err)
}

// Close ends a cluster that Run was never called for.
func (c *Cluster) Close() error {
	_ = c.listener.Close()
	return c.shut(nil)
}

func (c *Cluster) shut(err error) error {
	if lerr := c.list.Leave(leaveIn); lerr != nil {
		c.log.Debug("leave gossip", "error", lerr)
	}
	c.closeStreams()
	if serr := c.list.Shutdown(); serr != nil && err == nil {
		err = fmt.Errorf("stop gossip: %w", serr)
	}
	c.all.Wait()
	return err
}

// Members are all nodes that gossip has told of, with this one, by name.
func (c *Cluster) Members() []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Member, 0, len(c.members))
	for _, m := range c.members {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	return list
}

func (c *Cluster) member(node string) (Member, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.members[node]
	return m, ok
}

// Watch gives a token after every change of Members, until stop is called.
func (c *Cluster) Watch() (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, ch)
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers = slices.DeleteFunc(c.watchers, func(o chan struct{}) bool { return o == ch })
	}
}

// Refresh tells the others that Self has changed. It does not wait for them.
func (c *Cluster) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	c.all.Go(func() {
		if err := c.list.UpdateNode(leaveIn); err != nil {
			c.log.Debug("tell who this run is", "error", err)
		}
	})
}

// Addr is where gossip and streams listen.
func (c *Cluster) Addr() (gossip, streams string) { return c.gossip, c.advertised }

// Stats reads the counters.
func (c *Cluster) Stats() Stats {
	return Stats{c.stats.dialled.Load(), c.stats.dialFailures.Load(), c.stats.accepted.Load(), c.stats.refused.Load()}
}
