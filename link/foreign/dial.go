package foreign

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"causeway/broker/packet"
)

// dialect is how a broker is spoken to. A bridge of mosquitto's kind is 3.1.1 with a bit set in the version: brokers that
// know it send a connection nothing back of what it published, and leave RETAIN as it was.
type dialect struct {
	version packet.Version
	bridge  bool
}

func (d dialect) String() string {
	switch {
	case d.version == packet.V5:
		return "MQTT 5"
	case d.bridge:
		return "MQTT 3.1.1 as a bridge"
	}
	return "MQTT 3.1.1"
}

// dialects are what a configured version lets a link try, best first.
func dialects(v packet.Version) []dialect {
	all := []dialect{{packet.V5, false}, {packet.V311, true}, {packet.V311, false}}
	switch v {
	case packet.V5:
		return all[:1]
	case packet.V311:
		return all[1:]
	}
	return all
}

// conn is a connection to a broker that has accepted it.
type conn struct {
	net.Conn
	r         *bufio.Reader
	address   string
	dialect   dialect
	present   bool // the broker has our session
	keepAlive time.Duration

	// What the broker takes.
	receiveMax int
	maxPacket  int
	maxQoS     byte
	retain     bool
	expiry     time.Duration // for how long it keeps our session; as asked if it does not say
}

// errDialect says that the broker does not speak a dialect.
var errDialect = errors.New("the broker does not speak it")

// dial tries the addresses from one that worked last, each in the dialects that are left to try.
func (c *lane) dial(ctx context.Context) (*conn, error) {
	var errs []error
	for i := range c.t.l.cfg.Address {
		at := (c.last + i) % len(c.t.l.cfg.Address)
		address := c.t.l.cfg.Address[at]
		s, err := c.dialAt(ctx, address)
		if err == nil {
			c.last = at
			return s, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", address, err))
	}
	return nil, errors.Join(errs...)
}

// dialAt speaks to one address. A broker that refuses a dialect is asked in the next one at once.
func (c *lane) dialAt(ctx context.Context, address string) (*conn, error) {
	for {
		d := c.t.l.dialect()
		s, err := c.open(ctx, address, d)
		switch {
		case err == nil:
			return s, nil
		case errors.Is(err, errDialect) && c.t.l.nextDialect(d):
			continue
		case errors.Is(err, io.EOF) && !c.t.l.known.Load():
			// Some close without a word on a version they do not know; others when they are busy.
			c.t.l.nextDialect(d)
		}
		return nil, err
	}
}

// open dials, and speaks up to the CONNACK.
func (c *lane) open(ctx context.Context, address string, d dialect) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.t.l.m.o.DialTimeout)
	defer cancel()
	hostport, secure, err := endpoint(address)
	if err != nil {
		return nil, err
	}
	nc, err := c.t.l.m.o.Dial(ctx, hostport)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	s, err := c.greet(ctx, nc, address, hostport, secure, d)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return s, nil
}

func (c *lane) greet(ctx context.Context, nc net.Conn, address, hostport string, secure bool, d dialect) (*conn, error) {
	if secure {
		t, err := c.t.l.cfg.secure(ctx, nc, hostport)
		if err != nil {
			return nil, err
		}
		nc = t
	}
	b, err := c.connectPacket(d)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(b); err != nil {
		return nil, err
	}
	s := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 64<<10), address: address, dialect: d}
	h, body, err := readPacket(s.r, d.version, c.t.l.m.o.MaxPacket)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no CONNACK: %w", err)
	case h.Type != packet.CONNACK:
		return nil, fmt.Errorf("%s came in place of CONNACK", h.Type)
	}
	return s, s.accepted(body, c.t.l.cfg.KeepAlive)
}

// secure speaks TLS over nc.
func (l *Link) secure(ctx context.Context, nc net.Conn, hostport string) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.TLS != nil {
		var err error
		if cfg, err = l.TLS(); err != nil {
			return nil, err
		}
		cfg = cfg.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(hostport)
	}
	t := tls.Client(nc, cfg)
	err := t.HandshakeContext(ctx)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case err == nil:
		return t, nil
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("TLS: %w; name the broker's authority in tls.ca", err)
	case errors.As(err, &name):
		return nil, fmt.Errorf("TLS: %w; name what the certificate is for in tls.server_name", err)
	}
	return nil, fmt.Errorf("TLS: %w", err)
}

func (c *lane) connectPacket(d dialect) ([]byte, error) {
	cfg := &c.t.l.cfg
	p := packet.Connect{Version: d.version, KeepAlive: uint16(cfg.KeepAlive / time.Second), ClientID: c.clientID(), RequestProblemInfo: true}
	if cfg.Username != "" {
		p.HasUsername, p.Username = true, cfg.Username
	}
	if cfg.Password != nil {
		secret, err := cfg.Password()
		if err != nil {
			return nil, err
		}
		p.HasPassword, p.Password = true, []byte(secret)
	}
	if d.version == packet.V5 {
		p.SessionExpiry = uint32(min(cfg.SessionExpiry/time.Second, 1<<32-1))
		p.ReceiveMaximum = inboundMax
		p.MaximumPacketSize = uint32(c.t.l.m.o.MaxPacket)
	}
	b := packet.AppendConnect(nil, &p)
	if d.bridge {
		b[bytes.Index(b, []byte("MQTT"))+4] |= 0x80
	}
	return b, nil
}
