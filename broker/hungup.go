package broker

import (
	"errors"
	"net"
	"syscall"
)

// hungUp says that the other end of a socket closed it and left nothing to be read. Nobody reads while a CONNECT is
// parked: a device that went elsewhere meanwhile must not be attached here, whose will would then be published although
// it is well.
func hungUp(sock net.Conn) bool {
	c, ok := sock.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
	return gone || err != nil
}
