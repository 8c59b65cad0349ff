package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"causeway/broker/packet"
)

// A refused certificate is told apart from a handshake that failed otherwise by its error having this method.
type refusedCertificate interface {
	error
	Revoked() bool // false: nobody can say whether it is
}

// tlsConn is the TLS of a connection, nil without.
func tlsConn(nc net.Conn) *tls.Conn {
	if w, ok := nc.(*wsConn); ok {
		nc = w.ws.NetConn()
	}
	t, _ := nc.(*tls.Conn)
	return t
}

// certificateResult says whether a handshake failed because of the device's certificate.
func certificateResult(err error) (ConnectResult, bool) {
	var refused refusedCertificate
	switch {
	case !errors.As(err, &refused):
		return ConnectGone, false
	case refused.Revoked():
		return ConnectRevoked, true
	}
	return ConnectNoCRL, true
}

// recheck closes the connection if the device's certificate has been revoked since the handshake, and says so. It asks again
// what the handshake asked.
func (c *conn) recheck() bool {
	t := tlsConn(c.nc)
	if t == nil || c.l.TLS == nil || c.l.TLS.VerifyConnection == nil {
		return false
	}
	result, _ := certificateResult(c.l.TLS.VerifyConnection(t.ConnectionState()))
	if result != ConnectRevoked {
		return false
	}
	c.shut(EndRevoked, packet.NotAuthorized, "the certificate is revoked")
	return true
}

// CloseRevoked closes the connections of devices whose certificate has been revoked since their handshake, so many a second.
// An MQTT 5 device is told that it is not authorized: it is of no use that it comes back. It returns when it has looked at
// all, or ctx ended, and says how many it closed. Who connects meanwhile looks for itself.
func (s *Server) CloseRevoked(ctx context.Context, perSecond int) (n int) {
	pause := time.Second / time.Duration(max(1, perSecond))
	var open []*conn
	s.each(func(c *conn) { open = append(open, c) })
	budget := time.Duration(0)
	for _, c := range open {
		if ctx.Err() != nil {
			return n
		}
		if c.isClosing() || !c.recheck() {
			continue
		}
		n++
		if budget += pause; budget < evictTick {
			continue
		}
		t := time.NewTimer(budget)
		budget = 0
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	return n
}
