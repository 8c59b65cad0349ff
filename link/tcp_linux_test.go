package link

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A link's socket has the options that it asks for, on this kernel.
func TestTCP_SocketOptions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want, allowed := "", "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	if os.Geteuid() == 0 {
		allowed = "/proc/sys/net/ipv4/tcp_available_congestion_control"
	}
	b, err := os.ReadFile(allowed)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(b)), congestion) {
		want = congestion
	}
	tuneTCP(c)
	onSocket(c, func(fd int) {
		if got, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil || got != unsentMost {
			t.Errorf("unsent bytes %d, %v", got, err)
		}
		if got, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); err != nil || want != "" && strings.TrimRight(got, "\x00") != want {
			t.Errorf("congestion control %q, %v; want %q", got, err, want)
		}
	})
	var s connStats
	if readTCPInfo(c, &s); s.rtt <= 0 || s.packets == 0 {
		t.Errorf("the kernel's figures: %+v", s)
	}
}
