package link

import (
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// unsentMost is what the kernel may hold of a connection that was not sent yet. What
// waits there is overtaken by nothing: acks and pings would stand behind megabytes.
const unsentMost = 128 << 10

// congestion is the algorithm of links where the kernel has and allows it: at 80 ms
// and 1% loss it carries a hundred times what CUBIC does.
const congestion = "bbr"

func tuneTCP(c net.Conn) {
	onSocket(c, func(fd int) {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentMost)
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion) // otherwise the system's
	})
}

// hasBBR says whether sockets of this process get that algorithm.
var hasBBR = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion) == nil
})

// readTCPInfo takes the kernel's figures, which are of the path alone.
func readTCPInfo(c net.Conn, s *connStats) {
	onSocket(c, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		s.rtt = time.Duration(info.Rtt) * time.Microsecond
		s.packets, s.packetsLost = uint64(info.Segs_out), uint64(info.Total_retrans)
	})
}

func onSocket(c net.Conn, do func(fd int)) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
