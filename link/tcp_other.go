//go:build !linux

package link

import "net"

func tuneTCP(net.Conn) {}

// readTCPInfo leaves the multiplexer's round trip; losses are not known here.
func readTCPInfo(net.Conn, *connStats) {}
