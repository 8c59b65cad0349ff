package trial

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	meshtls "causeway/tls"
)

// Options of a trial.
type Options struct {
	Dir     string   // everything is kept under it; emptied by New
	Binary  string   // the causeway executable
	Regions []string // names
	Nodes   int      // core nodes a region; 1
	// Alone are regions of one node, however many the others have.
	Alone  []string
	Spares int // more of them, laid out but not started: an operator adds them
	// Replicants a region has beside its core nodes, of which there are several then.
	Replicants int
	// Balance puts a HAProxy in front of each region, as deployed; the haproxy
	// binary must be there.
	Balance bool
	// Ports gives a node's ports, of region and node by number. Nil means free ones.
	Ports func(region, node int) Ports
	// Front gives the MQTT port of a region's HAProxy. Nil means a free one.
	Front func(region int) int
	// Hub, if set, is the region that all others are leaves of: they link with it
	// alone.
	Hub string
	// LinkVia, if set, returns the address at which one region dials another, in
	// place of where it listens: a test puts a relay there.
	LinkVia func(from, to, address string) string
	// Links, if set, returns where a node's links listen and where they are dialled, in
	// place of UDP at Ports.Link.
	Links func(region string, node int) Links
	// Relay names the regions between which a region relays. Nil means none.
	Relay func(region string) []string
	// Linked says which regions have a link; it is asked with them in the order of Regions.
	// Nil means all.
	Linked func(a, b string) bool
	// Link is what the entry of each link in a configuration ends with, as "spool: { bytes: 1MiB }".
	Link string
	// Within, if set, returns what the command line of a region's nodes begins with.
	Within func(region string) []string
	// Admin, if set, returns what the section admin of a node has beside its socket, as
	// "listen: 127.0.0.1:18083, tokens: file:/x"; "" is nothing.
	Admin func(node string) string
	// Takeover, if set, says who stands by whom.
	Takeover *Takeover
	// Extra is appended to a node's configuration file.
	Extra func(region string) string
}

// Takeover is what all regions' files say of the failure of one.
type Takeover struct {
	StandbyOf map[string][]string // by region
	Witnesses []string            // names; each is a process, at a port of Options.Ports
	Section   string              // of takeover, as "mode: auto, down_after: 5s"
}

// Ports of a node, on 127.0.0.1.
type Ports struct{ MQTT, WebSocket, Link, Metrics, Gossip, Streams, Balanced int }

// Links is where the links of a node are reached.
type Links struct {
	Listen, ListenTCP string
	Dial              []string // by other regions
}

// Trial is a set of linked regions.
type Trial struct {
	Nodes     []*Node
	Spares    []*Node
	Witnesses []*Node
	Fronts    []*Front // of each region, if Balance
	opts      Options
}

// New lays out the files of a trial. Nothing runs yet.
func New(opts Options) (*Trial, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	opts.Dir = dir
	opts.Nodes = max(opts.Nodes, 1)
	if opts.Ports == nil {
		opts.Ports = freePorts
	}
	if opts.Front == nil {
		opts.Front = func(int) int { return freePorts(0, 0).MQTT }
	}
	if opts.LinkVia == nil {
		opts.LinkVia = func(_, _, address string) string { return address }
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	t := &Trial{opts: opts}
	for i, region := range opts.Regions {
		nodes := t.nodes(region)
		cores := nodes + opts.Spares
		for j := range cores + opts.Replicants {
			p := opts.Ports(i, j)
			name := fmt.Sprintf("%s-%d", region, j+1)
			if j >= cores {
				name = fmt.Sprintf("%s-r%d", region, j-cores+1)
			}
			n := &Node{Region: region, Name: name, Replicant: j >= cores, Dir: filepath.Join(dir, name), binary: opts.Binary,
				MQTT: local(p.MQTT), WebSocket: local(p.WebSocket), Link: local(p.Link), Metrics: local(p.Metrics),
				linkDial: []string{"udp://" + local(p.Link)}, gossip: local(p.Gossip), streams: local(p.Streams), balanced: local(p.Balanced)}
			if opts.Links != nil {
				l := opts.Links(region, j)
				n.Link, n.linkTCP, n.linkDial = l.Listen, l.ListenTCP, l.Dial
			}
			if opts.Within != nil {
				n.within = opts.Within(region)
			}
			if j < nodes || n.Replicant {
				t.Nodes = append(t.Nodes, n)
			} else {
				t.Spares = append(t.Spares, n)
			}
			if err := os.MkdirAll(n.Dir, 0o700); err != nil {
				return nil, err
			}
		}
		if err := writeGossipKey(filepath.Join(dir, region+".gossip")); err != nil {
			return nil, err
		}
	}
	if err := t.witnesses(); err != nil {
		return nil, err
	}
	if err := t.fronts(); err != nil {
		return nil, err
	}
	if err := t.identities(); err != nil {
		return nil, err
	}
	for _, n := range t.all() {
		write := t.config
		if n.witness {
			write = t.witnessConfig
		}
		text := write(n)
		if err := os.WriteFile(n.ConfigFile(), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Trial) all() []*Node { return slices.Concat(t.Nodes, t.Spares, t.Witnesses) }

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func freePorts(int, int) Ports {
	var p [7]int
	for i := range p {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			continue // the node will say that port 0 was not what it wanted
		}
		defer l.Close() // held until all are known, so that they differ
		p[i] = l.Addr().(*net.TCPAddr).Port
	}
	return Ports{p[0], p[1], p[2], p[3], p[4], p[5], p[6]}
}

// identities makes a CA of the trial's own and a certificate a node.
func (t *Trial) identities() error {
	ca, err := meshtls.CreateCA(filepath.Join(t.opts.Dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		return err
	}
	for _, n := range t.all() {
		id := meshtls.Identity{Region: n.Region, Node: n.Name, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
		issued, err := meshtls.Issue(ca, id, 24*time.Hour)
		if err != nil {
			return err
		}
		if _, err := issued.Write(n.Dir, "node", false); err != nil {
			return err
		}
	}
	return nil
}

// config writes a node's file. Of two regions the first dials the other.
func (t *Trial) config(n *Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "region: %s\nnode: %s\ndata_dir: %s\n", n.Region, n.Name, filepath.Join(n.Dir, "data"))
	fmt.Fprintf(&b, "identity: { cert: %s, key: %s, ca: %s }\n", filepath.Join(n.Dir, "node.pem"), filepath.Join(n.Dir, "node-key.pem"), filepath.Join(n.Dir, "ca.pem"))
	proxy := "off"
	if t.opts.Balance {
		proxy = "v2"
	}
	fmt.Fprintf(&b, "listeners:\n  - { name: mqtt, type: mqtt, listen: %q, auth: [anonymous] }\n", n.MQTT)
	if t.opts.Balance {
		fmt.Fprintf(&b, "  - { name: balanced, type: mqtt, listen: %q, auth: [anonymous], proxy_protocol: %s }\n", n.balanced, proxy)
	}
	fmt.Fprintf(&b, "  - { name: web, type: ws, listen: %q, path: /mqtt, auth: [anonymous] }\n", n.WebSocket)
	more := ""
	if t.opts.Admin != nil {
		if more = t.opts.Admin(n.Name); more != "" {
			more = ", " + more
		}
	}
	fmt.Fprintf(&b, "admin: { socket: %s%s }\nmetrics: { listen: %q }\n", n.Socket(), more, n.Metrics)
	if !t.leaf(n.Region) {
		fmt.Fprintf(&b, "link: { listen: %q, listen_tcp: %q%s }\n", n.Link, n.linkTCP, t.relay(n.Region))
	}
	b.WriteString("links:\n")
	for _, peer := range t.peers(n.Region) {
		fmt.Fprintf(&b, "  - { name: %s, peer: %s", peer, peer)
		first := slices.Index(t.opts.Regions, n.Region) < slices.Index(t.opts.Regions, peer)
		if t.leaf(n.Region) || first && !t.leaf(peer) {
			fmt.Fprintf(&b, ", dial: [%s]", strings.Join(t.linksOf(n.Region, peer), ", "))
		}
		if t.opts.Link != "" {
			fmt.Fprintf(&b, ", %s", t.opts.Link)
		}
		b.WriteString(" }\n")
	}
	t.writeCluster(&b, n)
	if t.leaf(n.Region) {
		b.WriteString("leaf: true\n")
	}
	t.writeTakeover(&b, n.Region)
	if t.opts.Extra != nil {
		b.WriteString(t.opts.Extra(n.Region))
	}
	return b.String()
}

// leaf says that a region is one.
func (t *Trial) leaf(region string) bool { return t.opts.Hub != "" && region != t.opts.Hub }

// peers are the regions that a region has links to.
func (t *Trial) peers(region string) (list []string) {
	mine := slices.Index(t.opts.Regions, region)
	for i, o := range t.opts.Regions {
		a, b := t.opts.Regions[min(i, mine)], t.opts.Regions[max(i, mine)]
		if i != mine && (t.opts.Linked == nil || t.opts.Linked(a, b)) && !(t.leaf(a) && t.leaf(b)) {
			list = append(list, o)
		}
	}
	return list
}

// relay is what a region's link section says of relaying.
func (t *Trial) relay(region string) string {
	if t.opts.Relay == nil || len(t.opts.Relay(region)) == 0 {
		return ""
	}
	return fmt.Sprintf(", relay: [{ between: [%s] }]", strings.Join(t.opts.Relay(region), ", "))
}

// linksOf are the addresses at which a region's nodes dial another region.
func (t *Trial) linksOf(from, to string) (list []string) {
	for _, peer := range t.Region(to) {
		if peer.Replicant {
			continue // it has no links
		}
		for _, at := range peer.linkDial {
			scheme, address, _ := strings.Cut(at, "://")
			list = append(list, fmt.Sprintf("%q", scheme+"://"+t.opts.LinkVia(from, to, address)))
		}
	}
	return list
}

// writeCluster connects a node with the others of its region.
func (t *Trial) writeCluster(b *strings.Builder, n *Node) {
	if t.nodes(n.Region) == 1 {
		return
	}
	var nodes []string
	for _, o := range t.Region(n.Region) {
		if !o.Replicant {
			nodes = append(nodes, fmt.Sprintf("%q", o.gossip))
		}
	}
	if n.Replicant {
		b.WriteString("role: replicant\n")
	}
	fmt.Fprintf(b, "cluster: { voters: %d, listen: %q, streams: %q, advertise: 127.0.0.1, join: { nodes: [%s] }, gossip_key: \"file:%s\" }\n",
		min(t.nodes(n.Region), 3), n.gossip, n.streams, strings.Join(nodes, ", "), filepath.Join(t.opts.Dir, n.Region+".gossip"))
}

func writeGossipKey(file string) error {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(b)+"\n"), 0o600)
}

// nodes is how many core nodes a region has.
func (t *Trial) nodes(region string) int {
	if slices.Contains(t.opts.Alone, region) {
		return 1
	}
	return t.opts.Nodes
}

// Region returns the nodes of a region.
func (t *Trial) Region(region string) (list []*Node) {
	for _, n := range t.Nodes {
		if n.Region == region {
			list = append(list, n)
		}
	}
	return list
}

// Node returns the first node of a region.
func (t *Trial) Node(region string) *Node { return t.Region(region)[0] }

// Kill ends all of a region without warning: its nodes, in one moment, and its load balancer.
func (t *Trial) Kill(region string) {
	for _, n := range t.Region(region) {
		n.signal(syscall.SIGKILL)
	}
	if f := t.Front(region); f != nil {
		f.Kill()
	}
	for _, n := range t.Region(region) {
		n.Kill()
	}
}

// StartRegion starts what does not run of a region, its load balancer too.
func (t *Trial) StartRegion(region string) error {
	if f := t.Front(region); f != nil {
		if err := f.Start(); err != nil {
			return err
		}
	}
	for _, n := range t.Region(region) {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Start starts every node that does not run, and what is in front of them.
func (t *Trial) Start() error {
	for _, f := range t.Fronts {
		if err := f.Start(); err != nil {
			return err
		}
	}
	for _, n := range t.Witnesses {
		if err := n.begin(); err != nil {
			return err
		}
	}
	for _, n := range slices.Concat(t.Witnesses, t.Nodes) {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// WaitReady waits until every node is ready and every link is up, at the node
// that has the region's links.
func (t *Trial) WaitReady(ctx context.Context) error {
	for _, n := range t.Nodes {
		alone := 0
		if t.nodes(n.Region) == 1 {
			alone = len(t.peers(n.Region))
		}
		if err := n.WaitReady(ctx, alone); err != nil {
			return err
		}
	}
	if t.opts.Nodes == 1 {
		return nil
	}
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for _, region := range t.opts.Regions {
		for !t.linked(ctx, region, len(t.peers(region))) {
			select {
			case <-every.C:
			case <-ctx.Done():
				return fmt.Errorf("the links of region %s are not up: %w", region, ctx.Err())
			}
		}
	}
	return nil
}

func (t *Trial) linked(ctx context.Context, region string, links int) bool {
	for _, n := range t.Region(region) {
		if n.notReady(ctx, links) == nil {
			return true
		}
	}
	return false
}

// Stop asks every node to stop and waits; after ctx it kills what is left.
func (t *Trial) Stop(ctx context.Context) error {
	var errs []error
	for _, n := range t.all() {
		n.signal(syscall.SIGTERM)
	}
	for _, n := range t.all() {
		errs = append(errs, n.waitStopped(ctx))
	}
	for _, f := range t.Fronts {
		f.Kill()
	}
	return errors.Join(errs...)
}
