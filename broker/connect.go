package broker

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// connecting brings a connection from accept to its session. It has a goroutine of its own, whose stack grows with TLS,
// bcrypt and the home; the one that then waits for packets for days is a fresh one.
type connecting struct {
	s        *Server
	l        *listener
	nc       net.Conn
	sock     net.Conn
	from     string // the device's address
	in       input
	deadline time.Time
	read     int64           // bytes
	hello    *packet.Connect // once it was understood
}

// refusal ends a connection before it has a session: with a CONNACK if code says so, and a closed socket.
type refusal struct {
	result ConnectResult
	code   packet.Code // 0: no CONNACK
	v      packet.Version
	reason string // in words; for the log, and for an MQTT 5 device
	most   uint32 // bytes the device takes in one packet; 0: no limit
}

// establish is the connecting goroutine.
func (s *Server) establish(l *listener, nc, sock net.Conn) {
	defer s.guard()
	k := &connecting{s: s, l: l, nc: nc, sock: sock, from: remote(nc), deadline: time.Now().Add(l.ConnectTimeout)}
	c, err := k.connect()
	s.notConnecting(sock)
	if err == nil {
		l.stats.Connects[ConnectOK].Add(1)
		l.stats.Connected[c.v].Add(1)
		go c.serve() // has this goroutine's place in s.conns
		return
	}
	defer s.conns.Done()
	defer l.closed()
	defer sock.Close()
	giveBack(k.in.buf)
	l.stats.Connects[err.result].Add(1)
	k.told(err)
	k.traceRefused(err)
	if err.result != ConnectGone {
		s.quiet.warn("connection refused", "listener", l.Name, "remote", k.from, "result", err.result.String(),
			"reason", err.reason)
	}
	k.refuse(err)
}

func remote(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// connect does all the steps. A panic in one of them is a refusal too.
func (k *connecting) connect() (c *conn, refused *refusal) {
	defer func() {
		if p := recover(); p != nil {
			k.s.panicked(p)
			c, refused = nil, &refusal{result: ConnectInternal, reason: "panic"}
		}
	}()
	_ = k.sock.SetDeadline(k.deadline)
	at := k.s.now()
	if refused := k.readProxy(); refused != nil {
		return nil, refused
	}
	if reason := k.s.opt.Gate.Address(k.from); reason != "" {
		return nil, &refusal{result: ConnectBanned, reason: reason}
	}
	if t, ok := k.nc.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			if result, refused := certificateResult(err); refused {
				return nil, &refusal{result: result, reason: err.Error()}
			}
			return nil, k.gone("TLS", err)
		}
	}
	at = k.s.stage(StageTLS, at)
	p, refused := k.readConnect()
	if refused != nil {
		return nil, refused
	}
	at = k.s.stage(StageConnect, at)
	k.hello = p
	c = k.newConn(p)
	assigned, refused := k.admit(c, p)
	if refused != nil {
		refused.most = p.MaximumPacketSize
		return nil, refused
	}
	leave, refused := k.seat(c, p.Version)
	if refused != nil {
		refused.most = p.MaximumPacketSize
		return nil, refused
	}
	at = k.s.stage(StageAuth, at)
	out, refused := k.attach(c, p)
	leave()
	if refused != nil {
		refused.most = p.MaximumPacketSize
		return nil, refused
	}
	k.s.stage(StageAttach, at)
	c.welcome(p, out, assigned)
	tookOver := c.tookOver || len(out.Formers) > 0
	k.s.opt.Watcher.Connected(c.info(), out.SessionPresent, tookOver)
	c.traceConnect(out.SessionPresent, tookOver)
	c.recheck() // a list may have come between the handshake and when CloseRevoked could see it
	return c, nil
}

func (k *connecting) gone(doing string, err error) *refusal {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &refusal{result: ConnectTimeout, reason: "no complete CONNECT in time"}
	}
	return &refusal{result: ConnectGone, reason: doing + ": " + err.Error()}
}

// readConnect reads the first packet. Until it is decoded the other side is a stranger: memory follows what it sends,
// up to ConnectPacketMax.
func (k *connecting) readConnect() (*packet.Connect, *refusal) {
	in := &k.in
	in.buf = borrow(0)
	for {
		h, n, err := packet.ReadHeader(in.buf.b, 0)
		if err == nil && n > 0 {
			err = h.CheckSize(n, k.s.opt.ConnectPacketMax)
		}
		if err != nil {
			return nil, k.malformed(0, err)
		}
		if n > 0 && len(in.buf.b) >= n+h.Remaining {
			return k.decodeConnect(in.buf.b[n:n+h.Remaining], n+h.Remaining)
		}
		in.need = n + h.Remaining
		in.makeRoom()
		have := len(in.buf.b)
		m, err := k.nc.Read(in.buf.b[have:cap(in.buf.b)])
		in.buf.b = in.buf.b[:have+m]
		k.s.stats.BytesIn.Add(int64(m))
		k.read += int64(m)
		if err != nil && m == 0 {
			return nil, k.gone("read CONNECT", err)
		}
	}
}

func (k *connecting) decodeConnect(body []byte, size int) (*packet.Connect, *refusal) {
	p, err := packet.DecodeConnect(body)
	if err != nil {
		return nil, k.malformed(p.Version, err)
	}
	k.in.off = size
	if size == len(k.in.buf.b) {
		giveBack(k.in.buf)
		k.in = input{}
	}
	return p, nil
}

func (k *connecting) malformed(v packet.Version, err error) *refusal {
	k.s.stats.Malformed.Add(1)
	r := &refusal{result: ConnectMalformed, code: packet.MalformedPacket, v: v, reason: err.Error()}
	var refused *packet.Error
	if errors.As(err, &refused) {
		r.code, r.reason = refused.Code, refused.Reason
	}
	switch r.code {
	case packet.UnsupportedProtocolVersion, packet.ClientIdentifierNotValid:
		r.result = ConnectUnsupported
	}
	return r
}

func (k *connecting) newConn(p *packet.Connect) *conn {
	s := k.s
	c := &conn{
		s: s, l: k.l, nc: k.nc, sock: k.sock, in: k.in, v: p.Version, sendMax: int(p.MaximumPacketSize),
		window: min(int(p.ReceiveMaximum), s.limits.Load().Inflight), connectedAt: time.Now(), cleanStart: p.CleanStart,
		noExpiry: p.SessionExpiry == 0, aliasMax: min(p.TopicAliasMaximum, uint16(s.opt.TopicAliasMax)),
	}
	k.in = input{}
	c.bytesIn.Store(k.read)
	if t, ok := k.nc.(*net.TCPConn); ok {
		c.raw, _ = t.SyscallConn()
	}
	return c
}

// admit checks who the device is and what it asks for, and gives it a client id if it has none.
func (k *connecting) admit(c *conn, p *packet.Connect) (assigned string, refused *refusal) {
	refuse := func(r ConnectResult, code packet.Code, reason string) (string, *refusal) {
		return "", &refusal{result: r, code: code, v: p.Version, reason: reason}
	}
	if v := k.l.Versions; len(v) > 0 && !slices.Contains(v, p.Version) { // [MQTT-3.1.2-2]
		return refuse(ConnectUnsupported, packet.UnsupportedProtocolVersion, "this listener does not speak that version of MQTT")
	}
	if p.AuthMethod != "" { // [MQTT-4.12.0-1]
		return refuse(ConnectUnsupported, packet.BadAuthenticationMethod, "enhanced authentication is not supported")
	}
	if p.ClientID == "" {
		if p.Version == packet.V31 || (p.Version == packet.V311 && !p.CleanStart) { // [MQTT-3.1.3-8] of 3.1.1
			return refuse(ConnectUnsupported, packet.ClientIdentifierNotValid, "the client id is empty")
		}
		assigned = newClientID() // [MQTT-3.1.3-6]
	}
	info := &ConnectInfo{
		Listener: k.l.Name, Namespace: k.l.Namespace, Methods: k.l.Methods, Remote: k.from, ClientID: p.ClientID,
		HasUsername: p.HasUsername, Username: p.Username, HasPassword: p.HasPassword, Password: p.Password,
		Certificate: certificate(k.nc), Deadline: k.deadline,
	}
	who, code := k.s.opt.Authenticator.Authenticate(info)
	switch {
	case code == packet.ServerUnavailable:
		return refuse(ConnectParkedOut, 0, "nobody could tell in time who may connect")
	case code == packet.NotAuthorized:
		return refuse(ConnectNotAuthorized, code, "not authorized")
	case code.Failed():
		return refuse(ConnectBadLogin, code, "bad user name, password or certificate")
	}
	switch {
	case who.ClientID == "":
		who.ClientID = p.ClientID + assigned
	case p.ClientID == "":
		assigned = who.ClientID
	}
	c.who, c.key = who, home.SessionKey{Namespace: who.Namespace, ClientID: who.ClientID}
	if p.Will != nil {
		c.who.Home, _ = k.s.opt.Where.Of(c.key)
	}
	if p.Will != nil && !c.mayPublish(p.Will.Topic) {
		return refuse(ConnectNotAuthorized, packet.NotAuthorized, "the will's topic is not authorized")
	}
	if r := k.banned(c, p.Version); r != nil {
		return "", r
	}
	return assigned, nil
}

func newClientID() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("auto-%x", b)
}

// welcome queues CONNACK, and with it whatever waits for the session.
func (c *conn) welcome(p *packet.Connect, out home.Outcome, assigned string) {
	ack := packet.Connack{SessionPresent: out.SessionPresent}
	var tell packet.Optional[uint16]
	c.keepAlive, tell = c.s.chooseKeepAlive(p)
	if p.Version == packet.V5 {
		ack.ReceiveMaximum = uint16(c.s.opt.ReceiveMaximum)
		ack.MaximumPacketSize = uint32(c.s.opt.PacketMax)
		ack.TopicAliasMaximum = uint16(c.s.opt.TopicAliasMax)
		ack.AssignedClientID, ack.ServerKeepAlive = assigned, tell
		if out.Expiry != p.SessionExpiry { // [MQTT-3.2.2-21]
			ack.SessionExpiry = packet.Some(out.Expiry)
		}
	}
	c.startKeepAlive()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiry = out.Expiry
	c.control(func(b []byte) []byte { return packet.AppendConnack(b, c.v, &ack) })
	c.ready = true
	c.wake()
}

// refuse answers, and waits a moment for the other side to read it.
func (k *connecting) refuse(r *refusal) {
	if !r.code.Failed() {
		return
	}
	ack := packet.Connack{Code: r.code}
	if r.v == packet.V5 {
		ack.ReasonString = r.reason
	}
	b := packet.AppendConnack(nil, max(r.v, packet.V31), &ack)
	if r.most > 0 && len(b) > int(r.most) { // [MQTT-3.2.2-19]
		ack.ReasonString = ""
		b = packet.AppendConnack(nil, r.v, &ack)
	}
	if len(b) == 0 {
		return
	}
	_ = k.nc.SetDeadline(time.Now().Add(lingerTime))
	if _, err := k.nc.Write(b); err != nil {
		return
	}
	h, ok := k.nc.(interface{ CloseWrite() error })
	if !ok || h.CloseWrite() != nil {
		return
	}
	rest := borrow(0)
	defer giveBack(rest)
	for {
		if _, err := k.nc.Read(rest.b[:cap(rest.b)]); err != nil {
			return
		}
	}
}
