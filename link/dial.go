package link

import (
	"cmp"
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

	"causeway/internal/group"
	"causeway/link/wire"
)

// maxAddresses bounds what one host name may resolve to.
const maxAddresses = 8

// shortStart is the head start of a network where UDP did not get through the last time.
const shortStart = 300 * time.Millisecond

// dial tries the peer's addresses and opens a tunnel with the first node that
// answers with the right identity and has its region's links. Those of UDP are
// tried at once, all together; those of TCP follow when UDP had its head start, or
// has failed, and relays when TCP had one as long.
func (p *peer) dial(ctx context.Context) (*tunnel, error) {
	p.round++
	if p.round%2 == 1 {
		return p.dialAny(ctx, p.likely(), "")
	}
	return p.dialAny(ctx, p.candidates(), "")
}

// dialAny tries endpoints as dial does. why says why the tunnel will not be on UDP, if
// that is known.
func (p *peer) dialAny(ctx context.Context, endpoints []candidate, why string) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.ep.o.DialTimeout)
	defer cancel()
	st, err := p.stance()
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
			t, err = p.dialled(ctx, st, a, cmp.Or(why, r.why(a.c.network(), errs)))
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
func (p *peer) dialled(ctx context.Context, st stance, a answer, whyNotUDP string) (*tunnel, error) {
	c := a.c
	t, err := p.dialOpening(ctx, st, c, a.addr.region)
	if err == nil {
		t.whyNotUDP = whyNotUDP
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

// isRefused says that an opening was refused with one of these codes.
func isRefused(err error, codes ...uint64) bool {
	var no *refusal
	return errors.As(err, &no) && slices.Contains(codes, no.code)
}

// isReplaced says that a tunnel was not opened because the pair has one.
func isReplaced(err error) bool {
	return isRefused(err, wire.GoodbyeReplaced)
}

// answer is what became of one address.
type answer struct {
	addr target
	c    conn
	err  error
}

// race is one round of dials. There will be an answer for each address.
type race struct {
	answers chan answer
	stop    func()                    // ends those under way and closes the connections that nobody took
	tried   map[network]int           // attempts; fixed
	left    map[network]int           // of them, that have not failed
	turns   map[network]chan struct{} // closed when all better networks have failed
}

func (p *peer) race(ctx context.Context, addrs []target) *race {
	ctx, cancel := context.WithCancel(ctx)
	r := newRace(addrs)
	head := p.m.ep.o.HeadStart
	if p.udpBlocked.Load() {
		head = min(head, shortStart)
	}
	var all sync.WaitGroup
	for _, a := range addrs {
		all.Go(func() {
			if !r.turn(ctx, network(a.Network()), head) {
				r.answers <- answer{addr: a, err: context.Cause(ctx)}
				return
			}
			var c conn
			err := group.Protect(func() (err error) {
				c, err = p.connect(ctx, a)
				return err
			})
			if err != nil {
				err = fmt.Errorf("%s: %w", a, err)
			}
			r.answers <- answer{a, c, err}
		})
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

func newRace(addrs []target) *race {
	r := &race{answers: make(chan answer, len(addrs)), tried: map[network]int{}, left: map[network]int{}, turns: map[network]chan struct{}{}}
	for _, n := range ranking {
		r.turns[n] = make(chan struct{})
	}
	for _, a := range addrs {
		r.tried[network(a.Network())]++
		r.left[network(a.Network())]++
	}
	r.begin()
	return r
}

// begin begins the turns of the networks that need not wait for a better one.
func (r *race) begin() {
	for _, n := range ranking {
		select {
		case <-r.turns[n]:
		default:
			close(r.turns[n])
		}
		if r.left[n] > 0 {
			return
		}
	}
}

// connect returns a connection to one of the peer's addresses whose handshake is done.
func (p *peer) connect(ctx context.Context, a target) (conn, error) {
	e := p.m.ep
	identity := e.o.Identity.ClientTLS(a.region)
	if via, ok := a.Addr.(relayAddr); ok {
		return e.dialRelay(ctx, via, a.region, identity)
	}
	tr := e.transport.Load()
	if tr == nil {
		return nil, errNoSockets
	}
	return tr.dial(ctx, a.Addr, identity)
}

// errNoSockets is a dial while the Endpoint does not run.
var errNoSockets = errors.New("this node's link sockets are not open")

// turn waits for the turn of a network: for the head start of each better one that is
// tried, or until those have failed. It is false if the turn did not come.
func (r *race) turn(ctx context.Context, n network, head time.Duration) bool {
	var wait time.Duration
	for _, better := range ranking[:slices.Index(ranking, n)] {
		if r.tried[better] > 0 {
			wait += head
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.turns[n]:
	case <-ctx.Done():
		return false
	}
	return true
}

// failed notes that there will be no tunnel to an address.
func (r *race) failed(a target) {
	r.left[network(a.Network())]--
	r.begin()
}

// why says why a tunnel is not on UDP, if one over n is what comes of the race.
func (r *race) why(n network, errs []error) string {
	failed := errors.Join(errs...)
	switch {
	case n == overRelay && r.tried[overUDP]+r.tried[overTCP] == 0:
		return "the link has relay:// addresses alone"
	case n == overRelay && failed != nil:
		return "nothing gets through directly: " + oneLine(failed)
	case n == overRelay:
		return "nothing gets through directly: no answer yet when the relay had one"
	case r.tried[overUDP] == 0:
		return "the link has no udp:// address"
	case failed != nil:
		return "UDP does not get through: " + oneLine(failed)
	}
	return "UDP does not get through: no answer yet when TCP had one"
}

// oneLine writes what several addresses failed with.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// only returns the endpoints of a network.
func only(n network, endpoints []candidate) []candidate {
	return slices.DeleteFunc(slices.Clone(endpoints), func(e candidate) bool {
		is, _, err := endpoint(e.endpoint)
		return err != nil || is != n
	})
}

// better returns the endpoints of networks better than n.
func better(n network, endpoints []candidate) []candidate {
	return slices.DeleteFunc(slices.Clone(endpoints), func(e candidate) bool {
		is, _, err := endpoint(e.endpoint)
		return err != nil || !is.outranks(n)
	})
}

func resolveAll(ctx context.Context, endpoints []candidate) ([]target, error) {
	var addrs []target
	var errs []error
	for _, e := range endpoints {
		list, err := resolve(ctx, e.endpoint)
		if err != nil {
			errs = append(errs, err)
		}
		for _, a := range list {
			addrs = append(addrs, target{a, e.region})
		}
	}
	return addrs, errors.Join(errs...)
}

func resolve(ctx context.Context, e string) ([]net.Addr, error) {
	n, hostPort, err := endpoint(e)
	if err != nil {
		return nil, err
	}
	if n == overRelay {
		return []net.Addr{relayAddr{hostPort}}, nil
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
