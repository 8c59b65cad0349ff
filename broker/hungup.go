package broker

import (
	"net"
	"syscall"
)

// hungUp says that the other end of a socket closed it, whether or not it left something to be read. Nobody reads while a
// CONNECT is parked: a device that went elsewhere meanwhile must not be attached here, whose session would be taken from
// where it is now, and whose will would be published although it is well.
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
	err = raw.Control(func(fd uintptr) { gone = closedByPeer(int(fd)) })
	return gone || err != nil
}
