package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"causeway/link/wire"
)

// maxAddresses bounds what one host name may resolve to.
const maxAddresses = 8

// dial tries all of the peer's addresses at once and opens a tunnel on the first
// that answers with the right identity.
func (p *peer) dial(ctx context.Context) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.DialTimeout)
	defer cancel()
	st, err := p.m.homeOf()
	if err != nil {
		return nil, err
	}
	c, err := p.race(ctx)
	if err != nil {
		return nil, err
	}
	t, err := p.dialOpening(ctx, st, c)
	if err == nil {
		err = p.adopt(t)
	}
	if err != nil {
		code := wire.GoodbyeFailed
		var no *refusal
		if errors.As(err, &no) {
			code = no.code
		}
		c.close(code, err.Error())
		return nil, fmt.Errorf("%s: %w", c.remote(), err)
	}
	return t, nil
}

// race returns the first connection; the others are closed as they come.
func (p *peer) race(ctx context.Context) (conn, error) {
	cfg := p.config()
	addrs, err := resolveAll(ctx, cfg.Dial)
	if len(addrs) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	type attempt struct {
		c   conn
		err error
	}
	results := make(chan attempt)
	for _, a := range addrs {
		go func() {
			c, err := p.m.transport.Load().dial(ctx, a, p.m.o.Identity.ClientTLS(cfg.region()))
			if err != nil {
				err = fmt.Errorf("%s: %w", a, err)
			}
			results <- attempt{c, err}
		}()
	}
	var winner conn
	errs := []error{err}
	for range addrs {
		r := <-results
		switch {
		case r.err != nil:
			errs = append(errs, r.err)
		case winner == nil:
			winner = r.c
			cancel()
		default:
			r.c.close(wire.GoodbyeReplaced, "another address answered first")
		}
	}
	cancel()
	if winner == nil {
		return nil, errors.Join(errs...)
	}
	return winner, nil
}

func resolveAll(ctx context.Context, endpoints []string) ([]net.Addr, error) {
	var addrs []net.Addr
	var errs []error
	for _, e := range endpoints {
		list, err := resolve(ctx, e)
		if err != nil {
			errs = append(errs, err)
		}
		addrs = append(addrs, list...)
	}
	return addrs, errors.Join(errs...)
}

func resolve(ctx context.Context, e string) ([]net.Addr, error) {
	hostPort, err := endpoint(e)
	if err != nil {
		return nil, err
	}
	if ap, err := netip.ParseAddrPort(hostPort); err == nil {
		return []net.Addr{net.UDPAddrFromAddrPort(ap)}, nil
	}
	host, service, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", e, err)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", e, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", e, err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("address %q: %s has no address", e, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	var addrs []net.Addr
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		addrs = append(addrs, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port))))
	}
	return addrs, nil
}
