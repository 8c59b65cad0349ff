package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// Joining: the side that dialled a tunnel dials further connections to the same
// address. Each shows the certificate of its region again and says the token of the
// tunnel that it joins.

// fit keeps the number of the tunnel's connections and its network right, for what
// both sides send.
func (t *tunnel) fit(ctx context.Context) error {
	switch c := t.c.(type) {
	case *bundle:
		return t.fitBundle(ctx, c)
	case *metered:
		return t.fitDetour(ctx, c)
	}
	return nil
}

func (t *tunnel) fitBundle(ctx context.Context, b *bundle) error {
	w := width{most: t.p.m.ep.o.Connections}
	w.start(time.Now(), t.p.lastWidth)
	defer func() { t.p.lastWidth = lastWidth{w.n, time.Now()} }()
	eye := observer{held: &b.held, handed: &b.handed, stats: b.stats, size: b.size, at: time.Now()}
	told := 1
	for group.Pause(ctx, lookEvery) == nil {
		n := w.look(time.Now(), eye.look())
		if n != told && !t.dialled {
			t.out.connections(n, false)
		}
		told = n
		b.widen(n)
		if t.dialled {
			t.provide(ctx, b, max(n, min(int(t.wanted.Load()), w.most)))
		}
		t.noteWidth(b.size(), &w)
		t.considerDetour(&w, eye.last.rtt, n)
	}
	return nil
}

// noteWidth notes why there are so many connections.
func (t *tunnel) noteWidth(have int, w *width) {
	why := ""
	if have > 1 {
		why = w.why()
	}
	t.why.Store(&why)
}

// connections says how many there are, and why if there are several.
func (t *tunnel) connections() (n int, why string) {
	if b, ok := t.c.(*bundle); ok {
		return b.size(), t.said()
	}
	return 1, ""
}

// said is why a bundle is as wide as it is, or why the tunnel is on a detour.
func (t *tunnel) said() string {
	if why := t.why.Load(); why != nil {
		return *why
	}
	return ""
}

// observer looks at what a connection sends.
type observer struct {
	held   *holdup
	handed *atomic.Uint64
	stats  func() connStats
	size   func() int

	at    time.Time
	waits time.Duration
	bytes uint64
	last  connStats
}

// look returns what happened since the last look.
func (o *observer) look() glance {
	now, waits, bytes, last := time.Now(), o.held.sum(), o.handed.Load(), o.stats()
	g := glance{over: now.Sub(o.at), held: waits - o.waits, bytes: bytes - o.bytes,
		packets: last.packets - o.last.packets, lost: last.packetsLost - o.last.packetsLost, have: o.size()}
	o.at, o.waits, o.bytes, o.last = now, waits, bytes, last
	return g
}

// provide dials what is missing of n connections, all at once, and closes what is
// not needed any more.
func (t *tunnel) provide(ctx context.Context, b *bundle, n int) {
	b.thin(n)
	missing := n - b.size()
	if missing <= 0 || time.Since(t.joinFailed) < joinPause {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, t.p.m.ep.o.DialTimeout)
	defer cancel()
	errs := make([]error, missing)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = group.Protect(func() error { return t.join(ctx, b) }) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		t.joinFailed = time.Now()
		t.p.log.Warn("the tunnel has fewer connections than it needs", "wanted", n, "has", b.size(), "reason", oneLine(err))
	}
}

// joinPause is the wait after a connection could not join.
const joinPause = 10 * time.Second

// join dials one connection and adds it to the tunnel.
func (t *tunnel) join(ctx context.Context, b *bundle) error {
	tr := t.p.m.ep.transport.Load()
	if tr == nil {
		return errBundleGone
	}
	c, err := tr.join(ctx, b.remote(), t.p.m.ep.o.Identity.ClientTLS(t.remote.Region))
	if err != nil {
		return err
	}
	if err = askToJoin(ctx, c, b.token); err == nil {
		err = b.join(c)
	}
	if err != nil {
		c.close(wire.GoodbyeShutdown, "the connection does not join its tunnel")
	}
	return err
}

// askToJoin says the token and waits for the answer.
func askToJoin(ctx context.Context, c conn, token wire.JoinToken) error {
	stop := context.AfterFunc(ctx, func() { c.close(wire.GoodbyeShutdown, "joining took too long") })
	defer stop()
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Write(wire.AppendControl(nil, &wire.Join{Token: token})); err != nil {
		return fmt.Errorf("ask to join: %w", err)
	}
	answer, err := wire.ReadControl(bufio.NewReader(s))
	if err != nil {
		return opened(err)
	}
	if _, ok := answer.(*wire.Welcome); !ok {
		return protocolError("an answer to Join that is none")
	}
	return nil
}

// serveJoin takes a connection into the tunnel that it asks for, or closes it.
func (e *Endpoint) serveJoin(ctx context.Context, c conn) {
	ctx, cancel := context.WithTimeout(ctx, e.o.DialTimeout)
	defer cancel()
	err := group.Protect(func() error { return e.acceptJoin(ctx, c) })
	e.panicked(err)
	if err == nil {
		return
	}
	code := wire.GoodbyeProtocol
	var no *refusal
	if errors.As(err, &no) {
		code = no.code
		e.stranger(fmt.Errorf("%s: %w", c.remote(), err))
	}
	c.close(code, err.Error())
}

func (e *Endpoint) acceptJoin(ctx context.Context, c conn) error {
	stop := context.AfterFunc(ctx, func() { c.close(wire.GoodbyeFailed, "joining took too long") })
	defer stop()
	s, err := c.accept(ctx)
	if err != nil {
		return err
	}
	ask, err := wire.ReadControl(bufio.NewReader(s))
	if err != nil {
		return err
	}
	join, ok := ask.(*wire.Join)
	if !ok {
		return protocolError("a connection that joins a tunnel does not begin with Join")
	}
	b, err := e.joinable(c, join.Token)
	if err != nil {
		return err
	}
	if err := b.join(c); err != nil {
		return refuse(wire.GoodbyeFailed, "%v", err)
	}
	_, err = s.Write(wire.AppendControl(nil, &wire.Welcome{}))
	return err
}

// joinable finds the tunnel that a token is of, among those with the region that the
// connection's certificate is of.
func (e *Endpoint) joinable(c conn, token wire.JoinToken) (*bundle, error) {
	region, err := e.o.Identity.PeerRegion(c.tls())
	if err != nil {
		return nil, refuse(wire.GoodbyeIdentity, "identity: %v", err)
	}
	for t := range e.tunnels(region) {
		if b, ok := t.c.(*bundle); ok && !t.dialled && b.knows(token) {
			return b, nil
		}
	}
	return nil, refuse(wire.GoodbyeIdentity, "no tunnel with region %q has the token of the connection that wants to join", region)
}
