//go:build !linux

package link

import "net"

func tuneTCP(net.Conn) {}

func hasBBR() bool { return false }

// readTCPInfo leaves the multiplexer's round trip; losses are not known here.
func readTCPInfo(net.Conn, *connStats) {}
