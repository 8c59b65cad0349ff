package lab

import (
	"net"
	"net/netip"
)

// ListenUDP opens a UDP socket on the host, for programs that run outside of it.
func (s *Site) ListenUDP(port int) (c net.PacketConn, err error) {
	err = s.host.do(func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(s.at(port)))
		return err
	})
	return c, err
}

// ListenTCP listens on the host, for programs that run outside of it.
func (s *Site) ListenTCP(port int) (l net.Listener, err error) {
	err = s.host.do(func() (err error) {
		l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(s.at(port)))
		return err
	})
	return l, err
}

func (s *Site) at(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(s.Address()), uint16(port))
}
