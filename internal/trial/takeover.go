package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// witnesses lays out those that have a vote and no home.
func (t *Trial) witnesses() error {
	if t.opts.Takeover == nil {
		return nil
	}
	for i, name := range t.opts.Takeover.Witnesses {
		p := t.opts.Ports(len(t.opts.Regions)+i, 0)
		n := &Node{Region: name, Name: name, witness: true, Dir: filepath.Join(t.opts.Dir, name), binary: t.opts.Binary,
			Link: local(p.Link), Metrics: local(p.Metrics), linkDial: []string{"udp://" + local(p.Link)}}
		if t.opts.Links != nil {
			l := t.opts.Links(name, 0)
			n.Link, n.linkTCP, n.linkDial = l.Listen, l.ListenTCP, l.Dial
		}
		if t.opts.Within != nil {
			n.within = t.opts.Within(name)
		}
		if err := os.MkdirAll(n.Dir, 0o700); err != nil {
			return err
		}
		t.Witnesses = append(t.Witnesses, n)
	}
	return nil
}

// writeTakeover writes the list that is the same in all files, but for what lies between a region and a witness.
func (t *Trial) writeTakeover(b *strings.Builder, from string) {
	o := t.opts.Takeover
	if o == nil {
		return
	}
	b.WriteString("regions:\n")
	for _, r := range t.opts.Regions {
		fmt.Fprintf(b, "  - { name: %s, standby_of: [%s]", r, strings.Join(o.StandbyOf[r], ", "))
		if t.leaf(r) {
			b.WriteString(", leaf: true")
		}
		b.WriteString(" }\n")
	}
	for _, w := range t.Witnesses {
		var dial []string
		for _, at := range w.linkDial {
			scheme, address, _ := strings.Cut(at, "://")
			dial = append(dial, fmt.Sprintf("%q", scheme+"://"+t.opts.LinkVia(from, w.Name, address)))
		}
		fmt.Fprintf(b, "  - { name: %s, witness: true, dial: [%s] }\n", w.Name, strings.Join(dial, ", "))
	}
	if o.Section != "" {
		fmt.Fprintf(b, "takeover: { %s }\n", o.Section)
	}
}

func (t *Trial) witnessConfig(n *Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "region: %s\nnode: %s\ndata_dir: %s\n", n.Region, n.Name, n.DataDir())
	fmt.Fprintf(&b, "identity: { cert: %s, key: %s, ca: %s }\n", filepath.Join(n.Dir, "node.pem"), filepath.Join(n.Dir, "node-key.pem"), filepath.Join(n.Dir, "ca.pem"))
	fmt.Fprintf(&b, "link: { listen: %q, listen_tcp: %q }\n", n.Link, n.linkTCP)
	t.writeTakeover(&b, n.Region)
	return b.String()
}
