package broker

import "golang.org/x/sys/unix"

// closedByPeer says that a FIN or a reset has come.
func closedByPeer(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents != 0
}
