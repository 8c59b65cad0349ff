package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// maxAddresses bounds what one host name may resolve to.
const maxAddresses = 8

// shortStart is the head start of UDP where it did not get through the last time.
const shortStart = 300 * time.Millisecond

// dial tries the peer's addresses and opens a tunnel with the first node that
// answers with the right identity and has its region's links. Those of UDP are
// tried at once, all together; those of TCP follow when UDP had its head start, or
// has failed.
func (p *peer) dial(ctx context.Context) (*tunnel, error) {
	return p.dialAny(ctx, p.config().Dial)
}

// dialUDP tries the addresses of UDP alone.
func (p *peer) dialUDP(ctx context.Context) (*tunnel, error) {
	return p.dialAny(ctx, only(overUDP, p.config().Dial))
}

func (p *peer) dialAny(ctx context.Context, endpoints []string) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.DialTimeout)
	defer cancel()
	st, err := p.m.homeOf()
	if err != nil {
		return nil, err
	}
	addrs, err := resolveAll(ctx, endpoints)
	errs := []error{err}
	r := p.race(ctx, addrs)
	defer r.stop()
	for range addrs {
		a := <-r.answers
		if err = a.err; err == nil {
			var t *tunnel
			t, err = p.dialled(ctx, st, a.c, r.why(errs))
			if err == nil || isReplaced(err) {
				return t, err
			}
		}
		errs = append(errs, err) // the next may be better
		r.failed(a.addr)
	}
	return nil, errors.Join(errs...)
}

// dialled opens a tunnel on a connection, which it closes if it cannot.
func (p *peer) dialled(ctx context.Context, st *home.State, c conn, whyTCP string) (*tunnel, error) {
	t, err := p.dialOpening(ctx, st, c)
	if err == nil {
		t.whyTCP = whyTCP
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
	addr net.Addr
	c    conn
	err  error
}

// race is one round of dials. There will be an answer for each address.
type race struct {
	answers chan answer
	stop    func()        // ends those under way and closes the connections that nobody took
	udp     int           // attempts over UDP that have not failed
	tried   bool          // UDP
	tcp     chan struct{} // closed when UDP has failed
}

func (p *peer) race(ctx context.Context, addrs []net.Addr) *race {
	ctx, cancel := context.WithCancel(ctx)
	r := &race{answers: make(chan answer, len(addrs)), tcp: make(chan struct{})}
	region, head := p.config().region(), p.m.o.HeadStart
	if p.udpBlocked.Load() {
		head = min(head, shortStart)
	}
	var all sync.WaitGroup
	for _, a := range addrs {
		if overUDP.has(a) {
			r.udp++
		}
		all.Go(func() {
			if overTCP.has(a) && !r.turn(ctx, head) {
				r.answers <- answer{addr: a, err: context.Cause(ctx)}
				return
			}
			c, err := p.m.transport.Load().dial(ctx, a, p.m.o.Identity.ClientTLS(region))
			if err != nil {
				err = fmt.Errorf("%s: %w", a, err)
			}
			r.answers <- answer{a, c, err}
		})
	}
	if r.tried = r.udp > 0; !r.tried {
		close(r.tcp)
	}
	r.stop = func() {
		cancel()
		all.Wait()
		close(r.answers)
		for a := range r.answers {
			if a.c != nil {
				a.c.close(wire.GoodbyeReplaced, "another address answered first")
			}
		}
	}
	return r
}

// turn waits for the turn of TCP; false if it did not come.
func (r *race) turn(ctx context.Context, head time.Duration) bool {
	timer := time.NewTimer(head)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.tcp:
	case <-ctx.Done():
		return false
	}
	return true
}

// failed notes that there will be no tunnel to an address.
func (r *race) failed(a net.Addr) {
	if !overUDP.has(a) {
		return
	}
	if r.udp--; r.udp == 0 {
		close(r.tcp)
	}
}

// why says why a tunnel is on TCP, if that is what comes of the race.
func (r *race) why(errs []error) string {
	failed := errors.Join(errs...)
	switch {
	case !r.tried:
		return "the link has no udp:// address"
	case failed != nil:
		return "UDP does not get through: " + oneLine(failed)
	}
	return "UDP does not get through: no answer yet when TCP had one"
}

// oneLine writes what several addresses failed with.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// only returns the endpoints of a network.
func only(n network, endpoints []string) []string {
	return slices.DeleteFunc(slices.Clone(endpoints), func(e string) bool {
		is, _, err := endpoint(e)
		return err != nil || is != n
	})
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
	n, hostPort, err := endpoint(e)
	if err != nil {
		return nil, err
	}
	if ap, err := netip.ParseAddrPort(hostPort); err == nil {
		return []net.Addr{n.addr(ap)}, nil
	}
	host, service, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", e, err)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, string(n), service)
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
		addrs = append(addrs, n.addr(netip.AddrPortFrom(ip.Unmap(), uint16(port))))
	}
	return addrs, nil
}

func (n network) addr(ap netip.AddrPort) net.Addr {
	if n == overTCP {
		return net.TCPAddrFromAddrPort(ap)
	}
	return net.UDPAddrFromAddrPort(ap)
}
