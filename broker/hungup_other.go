//go:build !linux

package broker

import (
	"errors"
	"syscall"
)

// closedByPeer says that a FIN or a reset has come. One behind something that was not read is not seen here.
func closedByPeer(fd int) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
}
