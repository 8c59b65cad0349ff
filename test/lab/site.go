package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Gateway is what stands between a site's host and the network.
type Gateway string

// Kinds of gateways.
const (
	// Router lets everything through; the host has an address of the network.
	Router Gateway = "router"
	// PortRestrictedNAT keeps the host's port and lets in what answers only.
	PortRestrictedNAT Gateway = "port-restricted NAT"
	// SymmetricNAT also takes a port by chance for each destination.
	SymmetricNAT Gateway = "symmetric NAT"
)

// Site is a host behind a gateway.
type Site struct {
	n       *Network
	name    string
	kind    Gateway
	inside  netip.Prefix // of the host's network
	outside netip.Prefix // of the gateway's address in the wide-area network
	host    *agent
	gateway *agent
	tun     *os.File
	read    chan struct{} // closed when nobody reads tun any more
}

const prefix = "cwlab-"

// Site adds a site; name is short.
func (n *Network) Site(name string, kind Gateway) *Site {
	n.t.Helper()
	number := len(n.sites) + 1
	s := &Site{n: n, name: fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), name), kind: kind, read: make(chan struct{}),
		inside:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 81, byte(number), 0}), 24),
		outside: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 82, byte(number), 0}), 24)}
	n.t.Cleanup(s.remove)
	host, gate := s.name, s.gate()
	for _, ns := range []string{host, gate} {
		n.command("ip", "netns", "add", ns)
		n.command("ip", "-n", ns, "link", "set", "lo", "up")
	}
	n.command("ip", "-n", host, "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", gate)
	n.command("ip", "-n", host, "addr", "add", s.Address()+"/24", "dev", "lan0")
	n.command("ip", "-n", gate, "addr", "add", s.inside.Addr().Next().String()+"/24", "dev", "lan0")
	for _, ns := range []string{host, gate} {
		n.command("ip", "-n", ns, "link", "set", "lan0", "up")
	}
	n.command("ip", "-n", host, "route", "add", "default", "via", s.inside.Addr().Next().String())
	s.host, s.gateway = newAgent(n.t, host), newAgent(n.t, gate)
	var err error
	if s.tun, err = openTUN(s.gateway); err != nil {
		n.t.Fatalf("a TUN device in %s: %v", gate, err)
	}
	n.command("ip", "-n", gate, "addr", "add", s.outsideAddress()+"/24", "dev", "wan0")
	n.command("ip", "-n", gate, "link", "set", "wan0", "up")
	n.command("ip", "-n", gate, "route", "add", "default", "dev", "wan0")
	n.command(append(s.atGate(), "sysctl", "-qw", "net.ipv4.ip_forward=1")...)
	s.rules()
	n.connect(s)
	go s.forward()
	return s
}

func (s *Site) gate() string           { return s.name + "-gw" }
func (s *Site) atGate() []string       { return []string{"ip", "netns", "exec", s.gate()} }
func (s *Site) outsideAddress() string { return s.outside.Addr().Next().String() }

func (s *Site) has(a netip.Addr) bool {
	return s.outside.Contains(a) || s.kind == Router && s.inside.Contains(a)
}

// Address is the host's.
func (s *Site) Address() string { return s.inside.Addr().Next().Next().String() }

// Exec is what a command line begins with to run on the host.
func (s *Site) Exec() []string { return []string{"ip", "netns", "exec", s.name} }

// rules loads the gateway's: NAT, and an empty place for BlockUDP.
func (s *Site) rules() {
	text := "table ip lab {\n chain blocked { }\n chain pass { type filter hook forward priority 0; jump blocked;"
	if s.kind != Router {
		text += " iifname \"wan0\" ct state established,related accept; iifname \"wan0\" drop;"
	}
	text += " }\n"
	if s.kind != Router {
		to := s.outsideAddress()
		if s.kind == SymmetricNAT {
			to += ":10000-60000 fully-random"
		}
		// What comes unasked must not reach the gateway itself: it would claim the
		// mapping that the host is about to have.
		text += " chain unasked { type filter hook input priority 0; iifname \"wan0\" ct state new drop; }\n"
		text += " chain translate { type nat hook postrouting priority 100; oifname \"wan0\" meta l4proto { tcp, udp } snat to " + to + "; }\n"
	}
	s.nft(text + "}\n")
}

func (s *Site) nft(script string) {
	s.n.t.Helper()
	args := append(s.atGate(), "nft", "-f", "-")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.n.t.Fatalf("nft at %s: %v: %s\n%s", s.name, err, out, script)
	}
}

// BlockUDP makes the gateway drop UDP, both ways, or let it pass again.
func (s *Site) BlockUDP(on bool) {
	script := "flush chain ip lab blocked\n"
	if on {
		script += "add rule ip lab blocked meta l4proto udp drop\n"
	}
	s.nft(script)
}

// ForgetAfter sets how long the NAT keeps a mapping of UDP without traffic.
func (s *Site) ForgetAfter(d time.Duration) {
	for _, key := range []string{"nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"} {
		s.n.command(append(s.atGate(), "sysctl", "-qw", fmt.Sprintf("net.netfilter.%s=%d", key, int(d.Seconds())))...)
	}
}

// Forget makes the NAT forget its mappings, as a reboot would. A SymmetricNAT then
// gives other ports.
func (s *Site) Forget() {
	if err := s.gateway.do(flushConntrack); err != nil {
		s.n.t.Fatalf("flush the mappings of %s: %v", s.name, err)
	}
}

// flushConntrack removes all entries of the namespace it runs in (ctnetlink's
// DELETE without a tuple).
func flushConntrack() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const subsysConntrack, msgDelete = 1, 2
	msg := []byte{20, 0, 0, 0, msgDelete, subsysConntrack, unix.NLM_F_REQUEST | unix.NLM_F_ACK, 0, 1, 0, 0, 0, 0, 0, 0, 0, unix.AF_INET, 0, 0, 0}
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return err
	}
	if n < 20 {
		return errors.New("a short answer")
	}
	if code := int32(uint32(b[16]) | uint32(b[17])<<8 | uint32(b[18])<<16 | uint32(b[19])<<24); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// Dial connects to an IP and port over TCP as a program on the host would.
func (s *Site) Dial(ctx context.Context, address string) (c net.Conn, err error) {
	err = s.host.do(func() (err error) {
		var d net.Dialer // for one literal address it dials in this thread
		c, err = d.DialContext(ctx, "tcp4", address)
		return err
	})
	return c, err
}

// openTUN makes the device wan0 in a namespace.
func openTUN(a *agent) (tun *os.File, err error) {
	err = a.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("wan0")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			unix.Close(fd)
			return err
		}
		tun = os.NewFile(uintptr(fd), "wan0")
		return nil
	})
	return tun, err
}

// forward gives the site's packets to the paths that they take.
func (s *Site) forward() {
	defer close(s.read)
	for {
		p := packets.Get().(*packet)
		n, err := s.tun.Read(p.b[:])
		if err != nil { // closed, or removed
			return
		}
		const ipv4, header = 4, 20
		if n < header || p.b[0]>>4 != ipv4 {
			packets.Put(p)
			continue
		}
		p.n = n
		if d := s.n.route(s, netip.AddrFrom4([4]byte(p.b[16:20]))); d != nil {
			d.take(p)
		} else {
			packets.Put(p)
		}
	}
}

// remove deletes the site's namespaces; programs that still run there go on, cut off.
func (s *Site) remove() {
	for _, ns := range []string{s.name, s.gate()} {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

// removeStale deletes namespaces of tests that ended without doing so.
func removeStale() {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return
	}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), prefix+"%d-", &pid); err != nil {
			continue
		}
		if unix.Kill(pid, 0) == unix.ESRCH {
			_ = exec.Command("ip", "netns", "del", e.Name()).Run()
		}
	}
}
