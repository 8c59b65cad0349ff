package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"causeway/internal/home"
	"causeway/link/wire"
)

// maxAddresses bounds what one host name may resolve to.
const maxAddresses = 8

// dial tries all of the peer's addresses at once and opens a tunnel with the
// first node that answers with the right identity and has its region's links.
func (p *peer) dial(ctx context.Context) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.DialTimeout)
	defer cancel()
	st, err := p.m.homeOf()
	if err != nil {
		return nil, err
	}
	addrs, err := resolveAll(ctx, p.config().Dial)
	errs := []error{err}
	answers, stop := p.race(ctx, addrs)
	defer stop()
	for range addrs {
		a := <-answers
		if a.err != nil {
			errs = append(errs, a.err)
			continue
		}
		t, err := p.dialled(ctx, st, a.c)
		if err == nil || isReplaced(err) {
			return t, err
		}
		errs = append(errs, err) // the next may be better
	}
	return nil, errors.Join(errs...)
}

// dialled opens a tunnel on a connection, which it closes if it cannot.
func (p *peer) dialled(ctx context.Context, st *home.State, c conn) (*tunnel, error) {
	t, err := p.dialOpening(ctx, st, c)
	if err == nil {
		err = p.adopt(t)
	}
	if err == nil {
		return t, nil
	}
	code := wire.GoodbyeFailed
	var no *refusal
	if errors.As(err, &no) {
		code = no.code
	}
	c.close(code, err.Error())
	return nil, fmt.Errorf("%s: %w", c.remote(), err)
}

// isReplaced says that a tunnel was not opened because the pair has one.
func isReplaced(err error) bool {
	var no *refusal
	return errors.As(err, &no) && no.code == wire.GoodbyeReplaced
}

// answer is what became of one address.
type answer struct {
	c   conn
	err error
}

// race dials all addresses at once; there will be an answer for each. stop ends
// those under way and closes the connections that nobody took.
func (p *peer) race(ctx context.Context, addrs []net.Addr) (answers <-chan answer, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	region := p.config().region()
	results := make(chan answer, len(addrs))
	var all sync.WaitGroup
	for _, a := range addrs {
		all.Go(func() {
			c, err := p.m.transport.Load().dial(ctx, a, p.m.o.Identity.ClientTLS(region))
			if err != nil {
				err = fmt.Errorf("%s: %w", a, err)
			}
			results <- answer{c, err}
		})
	}
	return results, func() {
		cancel()
		all.Wait()
		close(results)
		for a := range results {
			if a.c != nil {
				a.c.close(wire.GoodbyeReplaced, "another address answered first")
			}
		}
	}
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
