package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	meshtls "causeway/tls"
)

// Options of a trial.
type Options struct {
	Dir     string   // everything is kept under it; emptied by New
	Binary  string   // the causeway executable
	Regions []string // names; one node each
	// Ports gives a node's ports. Nil means free ones.
	Ports func(region int) Ports
	// LinkVia, if set, returns the address at which one region dials another, in
	// place of where it listens: a test puts a relay there.
	LinkVia func(from, to, address string) string
	// Extra is appended to a node's configuration file.
	Extra func(region string) string
}

// Ports of a node, on 127.0.0.1.
type Ports struct{ MQTT, WebSocket, Link, Metrics int }

// Trial is a set of linked regions.
type Trial struct {
	Nodes []*Node
	opts  Options
}

// New lays out the files of a trial. Nothing runs yet.
func New(opts Options) (*Trial, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	opts.Dir = dir
	if opts.Ports == nil {
		opts.Ports = freePorts
	}
	if opts.LinkVia == nil {
		opts.LinkVia = func(_, _, address string) string { return address }
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	t := &Trial{opts: opts}
	for i, region := range opts.Regions {
		p := opts.Ports(i)
		n := &Node{Region: region, Name: region + "-1", Dir: filepath.Join(dir, region+"-1"), binary: opts.Binary,
			MQTT: local(p.MQTT), WebSocket: local(p.WebSocket), Link: local(p.Link), Metrics: local(p.Metrics)}
		t.Nodes = append(t.Nodes, n)
		if err := os.MkdirAll(n.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := t.identities(); err != nil {
		return nil, err
	}
	for i := range t.Nodes {
		if err := os.WriteFile(t.Nodes[i].configFile(), []byte(t.config(i)), 0o600); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func freePorts(int) Ports {
	var p [4]int
	for i := range p {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			continue // the node will say that port 0 was not what it wanted
		}
		defer l.Close() // held until all four are known, so that they differ
		p[i] = l.Addr().(*net.TCPAddr).Port
	}
	return Ports{p[0], p[1], p[2], p[3]}
}

// identities makes a CA of the trial's own and a certificate a node.
func (t *Trial) identities() error {
	ca, err := meshtls.CreateCA(filepath.Join(t.opts.Dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		return err
	}
	for _, n := range t.Nodes {
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
func (t *Trial) config(i int) string {
	n := t.Nodes[i]
	var b strings.Builder
	fmt.Fprintf(&b, "region: %s\nnode: %s\ndata_dir: %s\n", n.Region, n.Name, filepath.Join(n.Dir, "data"))
	fmt.Fprintf(&b, "identity: { cert: %s, key: %s, ca: %s }\n", filepath.Join(n.Dir, "node.pem"), filepath.Join(n.Dir, "node-key.pem"), filepath.Join(n.Dir, "ca.pem"))
	fmt.Fprintf(&b, "listeners:\n  - { name: mqtt, type: mqtt, listen: %q, auth: [anonymous] }\n", n.MQTT)
	fmt.Fprintf(&b, "  - { name: web, type: ws, listen: %q, path: /mqtt, auth: [anonymous] }\n", n.WebSocket)
	fmt.Fprintf(&b, "admin: { socket: %s }\nmetrics: { listen: %q }\nlink: { listen: %q }\nlinks:\n", n.Socket(), n.Metrics, n.Link)
	for j, peer := range t.Nodes {
		switch {
		case j == i:
		case i < j:
			fmt.Fprintf(&b, "  - { name: %s, peer: %s, dial: [\"udp://%s\"] }\n", peer.Region, peer.Region, t.opts.LinkVia(n.Region, peer.Region, peer.Link))
		default:
			fmt.Fprintf(&b, "  - { name: %s, peer: %s }\n", peer.Region, peer.Region)
		}
	}
	if t.opts.Extra != nil {
		b.WriteString(t.opts.Extra(n.Region))
	}
	return b.String()
}

// Node returns the node of a region.
func (t *Trial) Node(region string) *Node {
	i := slices.IndexFunc(t.Nodes, func(n *Node) bool { return n.Region == region })
	return t.Nodes[i]
}

// Start starts every node that does not run.
func (t *Trial) Start() error {
	for _, n := range t.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// WaitReady waits until every node is ready and every link is up.
func (t *Trial) WaitReady(ctx context.Context) error {
	for _, n := range t.Nodes {
		if err := n.WaitReady(ctx, len(t.Nodes)-1); err != nil {
			return err
		}
	}
	return nil
}

// Stop asks every node to stop and waits; after ctx it kills what is left.
func (t *Trial) Stop(ctx context.Context) error {
	var errs []error
	for _, n := range t.Nodes {
		n.signalStop()
	}
	for _, n := range t.Nodes {
		errs = append(errs, n.waitStopped(ctx))
	}
	return errors.Join(errs...)
}
