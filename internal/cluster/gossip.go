package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// tag is what gossip carries of a node, in JSON within memberlist's 512 bytes.
type tag struct {
	Role        Role   `json:"r"`
	Streams     string `json:"s"`
	Disk        string `json:"d,omitempty"`
	Incarnation uint64 `json:"i,omitempty"`
	Features    uint64 `json:"f,omitempty"`
	Software    string `json:"v,omitempty"`
}

// delegate is what memberlist asks and tells. It holds no lock while it calls
// out, and never blocks: memberlist does nothing else meanwhile.
type delegate struct{ c *Cluster }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(limit int) []byte {
	c := d.c
	t := tag{Role: c.o.Role, Streams: c.advertised, Software: c.o.Software}
	if self, err := c.o.Self(); err == nil {
		t.Disk, t.Incarnation, t.Features = self.Disk, self.Incarnation, self.Features
	}
	b, err := json.Marshal(t)
	if err != nil || len(b) > limit {
		t.Software = ""
		b, _ = json.Marshal(t) // plain fields
	}
	return b[:min(len(b), limit)]
}

// NotifyMsg implements memberlist.Delegate.
func (delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.c.saw(n, true) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.c.saw(n, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (d delegate) NotifyLeave(n *memberlist.Node) { d.c.saw(n, false) }

// NotifyConflict implements memberlist.ConflictDelegate.
func (d delegate) NotifyConflict(have, other *memberlist.Node) {
	d.c.log.Error("two processes have one node name; give each node a name of its own", "peer", have.Name,
		"here", have.Address(), "there", other.Address())
}

// saw notes what gossip says of a node.
func (c *Cluster) saw(n *memberlist.Node, alive bool) {
	var t tag
	if err := json.Unmarshal(n.Meta, &t); err != nil {
		c.log.Warn("a member's metadata cannot be read; is it of another version?", "peer", n.Name, "error", err)
		return
	}
	m := Member{Node: n.Name, Role: t.Role, Streams: t.Streams, Disk: t.Disk, Incarnation: t.Incarnation, Features: t.Features,
		Software: t.Software, Alive: alive}
	c.mu.Lock()
	if len(c.members) >= maxMembers && c.members[n.Name] == (Member{}) {
		c.mu.Unlock()
		return
	}
	changed := c.members[n.Name] != m
	c.members[n.Name] = m
	watchers := slices.Clone(c.watchers)
	c.mu.Unlock()
	if !changed {
		return
	}
	for _, w := range watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

const maxMembers = 1024

// startGossip begins to talk to others.
func (c *Cluster) startGossip() error {
	tr, err := c.net.Gossip()
	if err != nil {
		return err
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name = c.o.Node
	conf.Transport = tr
	conf.SecretKey = c.o.GossipKey
	conf.Label = "causeway/" + c.o.Region
	conf.Delegate, conf.Events, conf.Conflict = delegate{c}, delegate{c}, delegate{c}
	conf.Logger = quiet(c.log)
	conf.DeadNodeReclaimTime = time.Second // a node comes back at another address
	conf.PushPullInterval = 10 * time.Second
	if c.o.Network == nil {
		host, port, err := splitAddr(c.o.Listen, GossipPort)
		if err != nil {
			return err
		}
		conf.BindPort, conf.AdvertisePort = port, port
		if host != "" {
			conf.BindAddr = host
		}
		if ip := c.advertiseIP(); ip != "" {
			conf.AdvertiseAddr = ip
		}
	}
	c.list, err = memberlist.Create(conf)
	if err != nil {
		return errors.Join(fmt.Errorf("start gossip: %w", err), tr.Shutdown())
	}
	c.gossip = c.list.LocalNode().Address() // read once: memberlist writes to it later
	return nil
}

// advertiseIP is the address that gossip tells others, "" for its own choice.
func (c *Cluster) advertiseIP() string {
	host := c.o.Advertise
	if host == "" {
		return ""
	}
	if net.ParseIP(host) != nil {
		return host
	}
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		c.log.Warn("cluster.advertise cannot be resolved; the listen address is told", "host", host, "error", err)
		return ""
	}
	return ips[0].String()
}

// keepJoined looks for others until ctx ends: at once, and again and again, since
// gossip alone does not bring together what was apart for long.
func (c *Cluster) keepJoined(ctx context.Context) error {
	wait := 200 * time.Millisecond
	for {
		if err := c.joinOnce(ctx); err != nil {
			c.log.Debug("look for other nodes", "error", err)
		}
		if c.allHere() {
			wait = c.o.Join.Every
		} else {
			wait = min(2*wait, c.o.Join.Every)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// allHere says that gossip sees as many others as there are addresses to join.
func (c *Cluster) allHere() bool {
	n := 0
	for _, m := range c.Members() {
		if m.Alive {
			n++
		}
	}
	return n >= len(c.o.Join.Nodes) && n > 1
}

func (c *Cluster) joinOnce(ctx context.Context) error {
	addrs, err := c.seeds(ctx)
	if err != nil || len(addrs) == 0 {
		return err
	}
	_, err = c.JoinNow(ctx, addrs)
	return err
}

// JoinNow contacts nodes at gossip addresses and returns how many answered.
func (c *Cluster) JoinNow(ctx context.Context, addrs []string) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	c.all.Go(func() {
		n, err := c.list.Join(addrs)
		done <- result{n, err}
	})
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// seeds are the addresses to join, without our own.
func (c *Cluster) seeds(ctx context.Context) ([]string, error) {
	nodes := c.o.Join.Nodes
	if c.o.Join.Method == DNS {
		host, port, err := splitAddr(c.o.Join.Name, GossipPort)
		if err != nil {
			return nil, err
		}
		ips, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("cluster.join.name %q: %w", c.o.Join.Name, err)
		}
		nodes = nil
		for _, ip := range ips {
			nodes = append(nodes, net.JoinHostPort(ip, strconv.Itoa(port)))
		}
	}
	var list []string
	for _, n := range nodes {
		if c.o.Network == nil {
			host, port, err := splitAddr(n, GossipPort)
			if err != nil {
				return nil, fmt.Errorf("cluster.join.nodes %q: %w", n, err)
			}
			n = net.JoinHostPort(host, strconv.Itoa(port))
		}
		if n != c.gossip {
			list = append(list, n)
		}
	}
	return list, nil
}

// splitAddr splits host[:port].
func splitAddr(addr string, port int) (string, int, error) {
	if !strings.Contains(addr, ":") {
		return addr, port, nil
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.Atoi(p)
	if err != nil || n < 1 || n > 65535 {
		return "", 0, fmt.Errorf("port %q: use 1 to 65535", p)
	}
	return host, n, nil
}

// quiet passes memberlist's talk on at debug level.
func quiet(to *slog.Logger) *log.Logger { return log.New(talk{to}, "", 0) }

type talk struct{ to *slog.Logger }

// Write implements io.Writer.
func (t talk) Write(b []byte) (int, error) {
	t.to.Debug("gossip: " + string(bytes.TrimSpace(b)))
	return len(b), nil
}
