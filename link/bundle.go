package link

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// A bundle is a tunnel's connection over QUIC that may consist of several: on a long
// path that loses packets, each carries little, and together they carry much. The
// first one, which has the opening and the control stream, is embedded. The
// unidirectional streams are cut into chunks, which go by whichever connection can
// take one [striped] and are put in order again at the other end [reorder].
//
// The end of a connection that carries a stream, or of the first one, is the end of
// the bundle: what was on its way is asked for again by the next tunnel, from the
// cursors. Of one that carries nothing it is not: the dialling side closes those that
// are not needed. If the peer had just begun to use it, the peer ends the bundle.
type bundle struct {
	conn
	token  wire.JoinToken // who knows it may join
	ctx    context.Context
	cancel context.CancelFunc
	fresh  chan receiveStream
	gone   chan struct{} // closed when it has ended
	err    error         // why; once gone is closed
	end    sync.Once
	broke  error // why it ended by itself; once gone is closed
	order  *reorder
	held   holdup
	handed atomic.Uint64 // bytes that connections took

	mu      sync.Mutex
	strands []*strand // in use; the first is conn
	width   int       // how many of them carry what we send, at most
	sending map[*striped]bool
	number  uint64    // of the last stream that we opened
	former  connStats // of connections that left
}

// strand is a connection of a bundle.
type strand struct {
	c       conn
	stripes int       // open, both ways; guarded by the bundle's mu
	quiet   time.Time // since when there are none
}

// newBundle begins with one connection. room bounds the bytes that wait for others
// on the receiving side.
func newBundle(first conn, token wire.JoinToken, room int) *bundle {
	b := &bundle{conn: first, token: token, fresh: make(chan receiveStream), gone: make(chan struct{}),
		order: newReorder(room), width: 1, sending: map[*striped]bool{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.add(first)
	return b
}

// joinLabel makes the token of a tunnel different from all else that its keys are for.
const joinLabel = "EXPORTER-causeway-link-join"

// joinToken is known to the two ends of a connection, and to nobody else: it comes of
// the keys of its TLS session and crosses the network only inside another one.
func joinToken(c conn) (token wire.JoinToken, err error) {
	state := c.tls()
	key, err := state.ExportKeyingMaterial(joinLabel, nil, len(token))
	if err != nil {
		return token, fmt.Errorf("derive the token of a tunnel: %w", err)
	}
	copy(token[:], key)
	return token, nil
}

// fitting makes c a connection of which can be found how it carries the most, where
// both sides know of that: over QUIC the first one of a bundle.
func fitting(c conn, agreed wire.Agreement, room int) conn {
	switch {
	case agreed.Features&wire.FeatureBundle == 0:
		return c
	case c.network() == overTCP:
		return &metered{conn: c}
	case c.network() != overUDP:
		return c
	}
	token, err := joinToken(c)
	if err != nil { // then nobody can join
		_, _ = rand.Read(token[:])
	}
	return newBundle(c, token, room)
}

// knows says whether a token is this bundle's.
func (b *bundle) knows(token wire.JoinToken) bool {
	return subtle.ConstantTimeCompare(b.token[:], token[:]) == 1
}

var (
	errBundleFull = errors.New("the tunnel has as many connections as it may have")
	errBundleGone = errors.New("the tunnel has ended")
)

// join takes another connection, which belongs to the bundle from then on.
func (b *bundle) join(c conn) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.gone:
		return errBundleGone
	default:
	}
	if len(b.strands) >= wire.MaxConnections {
		return errBundleFull
	}
	b.addLocked(c)
	b.spread()
	return nil
}

func (b *bundle) add(c conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addLocked(c)
}

func (b *bundle) addLocked(c conn) {
	m := &strand{c: c, quiet: time.Now()}
	b.strands = append(b.strands, m)
	go func() {
		if err := group.Protect(func() error { b.serve(m); return nil }); err != nil {
			b.fail(err)
		}
	}()
}

// serve takes the streams of one connection until that ends.
func (b *bundle) serve(m *strand) {
	for {
		s, err := m.c.receive(b.ctx)
		if err != nil {
			if !b.left(m) {
				b.fail(err)
			}
			return
		}
		b.opened(m)
		go func() {
			defer b.closed(m)
			if err := group.Protect(func() error { return b.order.read(s, b.begun) }); err != nil {
				b.fail(err)
			}
		}()
	}
}

// begun hands a stream to whom calls receive.
func (b *bundle) begun(s receiveStream) {
	select {
	case b.fresh <- s:
	case <-b.gone:
	}
}

func (b *bundle) opened(m *strand) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.stripes++
}

func (b *bundle) closed(m *strand) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.stripes--; m.stripes == 0 {
		m.quiet = time.Now()
	}
}

// left takes a connection out that ended and was not needed.
func (b *bundle) left(m *strand) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.strands, m)
	if i < 0 { // we closed it
		return true
	}
	if i == 0 || m.stripes > 0 {
		return false
	}
	b.remove(i)
	return true
}

func (b *bundle) remove(i int) {
	b.former = b.former.plus(b.strands[i].c.stats())
	b.strands = slices.Delete(b.strands, i, i+1)
}

// quietFor is how long a connection carries nothing before it is closed: longer than
// the peer takes to say that it needs it again.
const quietFor = 10 * time.Second

// thin closes connections beyond keep that carry nothing. Only the side that dialled
// them calls it.
func (b *bundle) thin(keep int) {
	b.mu.Lock()
	var spare []conn
	for i := len(b.strands) - 1; i >= max(keep, 1); i-- {
		if m := b.strands[i]; m.stripes == 0 && time.Since(m.quiet) >= quietFor {
			spare = append(spare, m.c)
			b.remove(i)
		}
	}
	b.mu.Unlock()
	for _, c := range spare {
		c.close(wire.GoodbyeShutdown, "the tunnel needs fewer connections")
	}
}

// widen makes what we send go by up to n connections, as far as there are so many.
func (b *bundle) widen(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.width = max(n, 1)
	b.spread()
}

// spread gives each stream a stripe on each connection it may use, and ends others.
// It is called with mu held.
func (b *bundle) spread() {
	for s := range b.sending {
		s.spread(b.strands, b.width)
	}
}

// size is how many connections there are.
func (b *bundle) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.strands)
}

func (b *bundle) send(ctx context.Context) (sendStream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.gone:
		return nil, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	b.number++
	s := newStriped(b, b.number)
	b.sending[s] = true
	s.spread(b.strands, b.width)
	return s, nil
}

// sent forgets a stream that is not written to any more.
func (b *bundle) sent(s *striped) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sending, s)
}

func (b *bundle) receive(ctx context.Context) (receiveStream, error) {
	select {
	case s := <-b.fresh:
		return s, nil
	case <-b.gone:
		return nil, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *bundle) done() <-chan struct{} { return b.gone }

// fail ends the bundle for a reason of its own.
func (b *bundle) fail(err error) {
	code := wire.GoodbyeFailed
	if isBreach(err) {
		code = wire.GoodbyeProtocol
	}
	b.end.Do(func() {
		b.err, b.broke = err, err
		close(b.gone)
	})
	b.finish(code, err.Error())
}

func (b *bundle) close(code uint64, reason string) {
	b.end.Do(func() {
		b.err = fmt.Errorf("closed: %s", reason)
		close(b.gone)
	})
	b.finish(code, reason)
}

// because returns why the bundle ended by itself, or else why its tunnel ended.
func (b *bundle) because(err error) error {
	select {
	case <-b.gone:
		if b.broke != nil {
			return b.broke
		}
	default:
	}
	return err
}

func (b *bundle) finish(code uint64, reason string) {
	b.cancel()
	b.order.close()
	b.mu.Lock()
	strands := slices.Clone(b.strands)
	b.mu.Unlock()
	for _, m := range strands {
		m.c.close(code, reason)
	}
}

// stats adds up what the connections count; the round trip is the first one's.
func (b *bundle) stats() connStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := b.former
	for _, m := range slices.Backward(b.strands) {
		sum = sum.plus(m.c.stats())
	}
	return sum
}

// holdup measures for how long somebody had something to send that no connection
// could take.
type holdup struct {
	mu      sync.Mutex
	waiting int
	since   time.Time // while somebody waits
	total   time.Duration
}

func (h *holdup) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting++; h.waiting == 1 {
		h.since = time.Now()
	}
}

func (h *holdup) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting--; h.waiting == 0 {
		h.total += time.Since(h.since)
	}
}

func (h *holdup) sum() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting > 0 {
		return h.total + time.Since(h.since)
	}
	return h.total
}
