package simlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/internal/app"
	"causeway/internal/cluster/wires"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/link"
)

// Options of a lab.
type Options struct {
	Seed     uint64
	Regions  []string      // default eu and us
	Nodes    []int         // core nodes of each region; 1 where nothing is said
	OneWay   time.Duration // latency between regions; default 20 ms
	Jitter   time.Duration // on top of it, up to; packets then overtake each other
	OneSided bool          // of two regions only the first dials; otherwise both do
	Expiry   uint32        // of sessions and messages, in seconds; 0: never
	Grace    time.Duration // wills wait for who lost its connection by the region's doing
	Lying    bool          // disks say they synced the homes' logs, and did not
	// Replica changes the sizes of the homes' replicas, after the lab's own.
	Replica func(*app.ReplicaOptions)
	// Config changes a region's configuration.
	Config func(*config.Config)
	// WrongSpeeds has clocks run fast and slow.
	WrongSpeeds bool
	// Takeover makes regions stand by for each other; nil: none does.
	Takeover *Takeover
}

// Lab is several linked regions, the network between them, and their devices.
type Lab struct {
	Net *Network
	log *logbook

	// fixed after New
	opt     Options
	regions []*Region

	witnesses []*Witness

	lives sync.WaitGroup // everything that must end before the bubble does
	end   chan struct{}  // closed by Stop

	mu      sync.Mutex
	rnd     *rand.Rand
	devices []*Device
	doubt   bool // what is sent now may be late, and twice
}

// setDoubt says whether what is sent from now on may be late, and twice: a region may be lost.
func (l *Lab) setDoubt(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt = on
}

func (l *Lab) inDoubt() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doubt
}

func homeID(region string) home.ID { return home.ID(region) }

// New builds the regions, all linked with all, and starts them.
func New(o Options) (*Lab, error) {
	if len(o.Regions) == 0 {
		o.Regions = []string{"eu", "us"}
	}
	if o.OneWay == 0 {
		o.OneWay = 20 * time.Millisecond
	}
	l := &Lab{Net: newNetwork(o.Seed, o.OneWay, o.Jitter), log: newLogbook(), opt: o, end: make(chan struct{}),
		rnd: rand.New(rand.NewPCG(o.Seed, 0x51AB))}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	for i, name := range o.Regions {
		if err := l.newRegion(i, name, ca); err != nil {
			return nil, err
		}
	}
	if t := o.Takeover; t != nil {
		for _, name := range t.Witnesses {
			if err := l.newWitness(name, ca); err != nil {
				return nil, err
			}
		}
	}
	if o.WrongSpeeds {
		l.wrongSpeeds(dice{rand.New(rand.NewPCG(o.Seed, 0xC10C))})
	}
	for i, r := range l.regions {
		for _, n := range r.nodes {
			n.cfg = l.config(i, n)
		}
	}
	for _, w := range l.witnesses {
		if err := w.begin(); err != nil {
			return nil, errors.Join(err, l.Stop())
		}
	}
	for _, r := range l.regions {
		if err := r.Start(); err != nil {
			return nil, errors.Join(err, l.Stop())
		}
		if r.balancer != nil {
			l.lives.Go(r.balancer.run)
		}
	}
	return l, nil
}

func (l *Lab) newRegion(i int, name string, ca *authority) error {
	size := 1
	if i < len(l.opt.Nodes) {
		size = l.opt.Nodes[i]
	}
	r := &Region{Name: name, lab: l, wires: wires.New(l.opt.Seed+uint64(i), wireOneWay, wireJitter), voters: size - (size+1)%2}
	for k := range size {
		addr := &net.UDPAddr{IP: net.IPv4(10, 0, byte(i), byte(k+1)), Port: linkPort}
		l.Net.names[addr.IP.String()] = name
		if err := r.newNode(ca, addr); err != nil {
			return err
		}
	}
	if size > 1 {
		r.balancer = newBalancer(r)
	}
	l.regions = append(l.regions, r)
	return nil
}

// config is that of a node: one listener for ServeConn, a link to each other
// region.
func (l *Lab) config(self int, n *Node) *config.Config {
	c := config.Default()
	r := l.regions[self]
	c.Region, c.Node, c.DataDir = r.Name, n.Name, "/data"
	if c.Cluster.Voters = r.voters; len(r.nodes) > 1 {
		for _, o := range r.nodes {
			c.Cluster.Join.Nodes = append(c.Cluster.Join.Nodes, o.port.Addr())
		}
	}
	c.Listeners = []config.Listener{{Name: listener, Type: config.ListenerMQTT, Namespace: "default",
		Auth: []config.AuthMethod{config.AuthAnonymous}, ConnectTimeout: 10 * time.Second}}
	c.Limits.WillGrace = l.opt.Grace
	for i, peer := range l.regions {
		if i == self {
			continue
		}
		k := config.Link{Name: peer.Name, Peer: peer.Name, In: []string{"#"}, Out: []string{"#"}, Retained: true,
			Compression: config.CompressionZstd, Spool: config.Spool{Bytes: 64 << 20, Age: 72 * time.Hour}}
		if !l.opt.OneSided || self < i {
			for _, o := range peer.nodes {
				k.Dial = append(k.Dial, "udp://"+o.addr.String())
			}
		}
		c.Links = append(c.Links, k)
	}
	if l.opt.Takeover != nil {
		l.opt.Takeover.configure(l, c)
	}
	if l.opt.Config != nil {
		l.opt.Config(c)
	}
	return c
}

// sizes makes homes small, so that segments, flushes and snapshots turn over.
func (l *Lab) sizes(o *app.ReplicaOptions) {
	o.SegmentBytes = 256 << 10
	o.SnapshotEntries, o.SnapshotBytes = 200, 1<<20
	o.TrailingEntries = 16
	o.MemoryBudget = 64 << 10
	o.Store.MemTableBytes, o.Store.CacheBytes = 256<<10, 256<<10
	if l.opt.Replica != nil {
		l.opt.Replica(o)
	}
}

// Region is the region of that name.
func (l *Lab) Region(name string) *Region {
	i := slices.IndexFunc(l.regions, func(r *Region) bool { return r.Name == name })
	return l.regions[i]
}

// Node is the node of that name: its region's, a dash and its number.
func (l *Lab) Node(name string) *Node {
	region, _, _ := strings.Cut(name, "-")
	nodes := l.Region(region).nodes
	return nodes[slices.IndexFunc(nodes, func(n *Node) bool { return n.Name == name })]
}

// Nodes are those of all regions.
func (l *Lab) Nodes() (list []*Node) {
	for _, r := range l.regions {
		list = append(list, r.nodes...)
	}
	return list
}

// Regions are all of them.
func (l *Lab) Regions() []*Region { return l.regions }

// Stop takes the devices off, stops all nodes gracefully, and waits for
// everything that ran, former lives too.
func (l *Lab) Stop() error {
	close(l.end)
	l.mu.Lock()
	devices := slices.Clone(l.devices)
	l.mu.Unlock()
	for _, d := range devices {
		d.end()
	}
	for _, r := range l.regions {
		r.Heal()
	}
	var stopping sync.WaitGroup
	nodes := l.Nodes()
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		n.Disk().Heal()
		stopping.Go(func() {
			if err := n.Stop(); err != nil {
				errs[i] = fmt.Errorf("stop node %s: %w", n.Name, err)
			}
		})
	}
	stopping.Wait()
	for _, w := range l.witnesses {
		w.Stop()
	}
	l.lives.Wait()
	time.Sleep(gossipEnds)
	return errors.Join(errs...)
}

// gossipEnds is after how long the last probe of a gossip that was stopped has
// ended by itself.
const gossipEnds = time.Minute

func (l *Lab) stopped() bool {
	select {
	case <-l.end:
		return true
	default:
		return false
	}
}

// How often Await looks, on the virtual clock: looking costs real time, so less
// often the longer it takes.
const (
	pollLeast = 2 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// Await waits for ok, on the virtual clock, and says so if it did not come true.
func (l *Lab) Await(what string, within time.Duration, ok func() bool) error {
	end, wait := time.Now().Add(within), pollLeast
	for !ok() {
		if time.Now().After(end) {
			return fmt.Errorf("waited %s for %s", within, what)
		}
		time.Sleep(wait)
		wait = min(wait+wait/8, pollMost)
	}
	return nil
}

// Linked says whether a region's link to a peer is up.
func (l *Lab) Linked(region, peer string) bool {
	s, ok := l.Link(region, peer)
	return ok && s.State == link.Up
}

// Link is the state of a region's link, at the node that has it; false without a
// leader.
func (l *Lab) Link(region, peer string) (link.Status, bool) {
	n := l.Region(region).Leader()
	if n == nil {
		return link.Status{}, false
	}
	a := n.App()
	if a == nil || a.Links() == nil {
		return link.Status{}, false
	}
	for _, s := range a.Links().Status() {
		if string(s.Peer) == peer {
			return s, true
		}
	}
	return link.Status{}, false
}

// upTo draws a time below d.
func (l *Lab) upTo(d time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.rnd.Int64N(int64(d)))
}

// lineDelay is the time on the wire between a device and its node.
func (l *Lab) lineDelay() time.Duration { return 100*time.Microsecond + l.upTo(4*time.Millisecond) }
