package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// maxOpenings bounds the connections whose opening is not done, and those over TCP
// whose handshake is not: anyone may hold one of these up, so they have slots of
// their own.
const maxOpenings = 64

// accepting takes tunnels that peers dial.
type accepting struct {
	e        *Endpoint
	over     *tcpTransport
	all      *group.Group  // what relayed tunnels run in
	openings chan struct{} // under way
	shakes   chan struct{} // handshakes over TCP under way
}

// take takes a slot, or says that there is none.
func take(slots chan<- struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (a *accepting) opened() { <-a.openings }

// guard ends only the connection that fn serves, should that panic.
func (a *accepting) guard(c conn, fn func()) {
	if err := group.Protect(func() error { fn(); return nil }); err != nil {
		a.e.panicked(err)
		c.close(wire.GoodbyeFailed, "the connection failed")
	}
}

// serve serves a connection whose handshake is done.
func (a *accepting) serve(ctx context.Context, c conn) {
	if !take(a.openings) {
		c.close(wire.GoodbyeFailed, "too many tunnels are being opened")
		return
	}
	if c.tls().NegotiatedProtocol == wire.ALPNJoin {
		defer a.opened()
		a.e.serveJoin(ctx, c)
		return
	}
	a.e.serveAccepted(ctx, c, a.opened)
}

func (a *accepting) quic(ctx context.Context, tr *quicTransport) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		c, err := tr.accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		all.Go(func() { a.guard(c, func() { a.serve(ctx, c) }) })
	}
}

func (a *accepting) tcp(ctx context.Context, tr *tcpTransport) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = tr.listener.Close() })()
	for {
		raw, err := tr.accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a link over TCP: %w", err)
		}
		if !take(a.shakes) {
			_ = raw.Close()
			continue
		}
		all.Go(func() {
			shakeCtx, done := context.WithTimeout(ctx, a.e.o.DialTimeout)
			c, err := tr.welcome(shakeCtx, raw)
			done()
			<-a.shakes
			if err == nil { // a refused certificate was told; the rest is scanners and health checks
				a.guard(c, func() { a.serve(ctx, c) })
			}
		})
	}
}

// serveAccepted opens and serves one tunnel. Its failure is nobody else's.
func (e *Endpoint) serveAccepted(ctx context.Context, c conn, opened func()) {
	openCtx, cancel := context.WithTimeout(ctx, e.o.DialTimeout)
	var t *tunnel
	err := group.Protect(func() (err error) {
		t, err = e.acceptOpening(openCtx, c)
		return err
	})
	cancel()
	opened()
	e.panicked(err)
	if err == nil {
		t.p.serve(ctx, t)
		return
	}
	if !expected(err) {
		e.stranger(fmt.Errorf("%s: %w", c.remote(), err))
	}
	code := wire.GoodbyeProtocol
	var no *refusal
	if errors.As(err, &no) {
		code = no.code
		timer := time.NewTimer(refuseWait)
		defer timer.Stop()
		select {
		case <-c.done():
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	c.close(code, err.Error())
}
