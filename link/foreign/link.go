package foreign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link"
)

// How often a node looks whether it still has the links, and for how long it may be unsure.
const (
	gatewayPoll  = 100 * time.Millisecond
	gatewayLapse = time.Second
)

// linkTo is a link to one broker.
type linkTo struct {
	m       *Manager
	cfg     Link // fixed
	log     *slog.Logger
	counts  counters
	spooled chan struct{} // the spool grew
	term    atomic.Pointer[term]

	known atomic.Bool // a broker has accepted the dialect in use

	mu       sync.Mutex
	dialects []dialect
	at       int // of dialects, in use
	state    link.State
	reason   string
	since    time.Time
	part     string // why a part does not work, while up
	canaries canaries
}

func newLink(m *Manager, cfg Link) *linkTo {
	return &linkTo{m: m, cfg: cfg, log: m.o.Logger.With("peer", cfg.Name), spooled: make(chan struct{}, 1), dialects: dialects(cfg.Version),
		state: link.Down, reason: "not started", since: time.Now()}
}

func (l *linkTo) peer() home.ID { return l.cfg.peer() }

func (l *linkTo) dialect() dialect {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialects[l.at]
}

// nextDialect goes on to the one after d, unless somebody did already. It reports whether there was one; then all are
// tried again from the first.
func (l *linkTo) nextDialect(d dialect) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dialects[l.at] != d {
		return true
	}
	l.at++
	if l.at < len(l.dialects) {
		return true
	}
	l.at = 0
	l.known.Store(false)
	return false
}

var (
	errNoHome      = errors.New("the home is not open")
	errHomeChanged = errors.New("the home was opened anew")
	errNotSet      = errors.New("the home does not know the link yet")
	errDialectNow  = errors.New("the broker speaks another version now")
	errPaused      = errors.New("the link is paused")
)

func errNotGateway(region string) error {
	return fmt.Errorf("this node of region %s does not have the links", region)
}

// run keeps the link up until ctx ends, term after term, or a panic in it ends it.
func (l *linkTo) run(ctx context.Context) error {
	wait := group.Backoff{Least: 200 * time.Millisecond, Most: 5 * time.Second}
	for ctx.Err() == nil {
		if !l.m.o.Gateway() {
			l.setIdle(errNotGateway(l.m.o.Region).Error())
			_ = group.Pause(ctx, gatewayPoll)
			continue
		}
		if l.paused() {
			l.setIdle(errPaused.Error())
			_ = group.Pause(ctx, gatewayPoll)
			continue
		}
		began := time.Now()
		err := group.Protect(func() error { return l.serve(ctx) })
		if ctx.Err() != nil {
			break
		}
		if group.Panicked(err) != nil {
			l.setDown("the link failed: " + oneLine(err))
			return err
		}
		switch {
		case errors.Is(err, errNoHome), errors.Is(err, errHomeChanged), errors.Is(err, errNotSet), errors.Is(err, errPaused):
			l.setIdle(oneLine(err))
		default:
			l.setDown(oneLine(err))
		}
		if time.Since(began) > time.Minute {
			wait.Reset()
		}
		_ = group.Pause(ctx, wait.Wait())
	}
	l.setIdle("stopped")
	return nil
}

// paused says that an operator paused the link. Then it has no connection, since a broker cannot be told to wait: it keeps
// what it has for our session.
func (l *linkTo) paused() bool {
	policy := l.m.o.Home.State().LinkPolicy(l.peer())
	return policy != nil && policy.Pause.On
}

// serve runs a term: this node is the gateway, and its home is the same.
func (l *linkTo) serve(ctx context.Context) error {
	st := l.m.o.Home.State()
	if st.ID() == "" {
		return errNoHome
	}
	if _, ok := st.Peer(l.peer()); !ok && len(l.cfg.Out) > 0 {
		return errNotSet
	}
	t := newTerm(l, st)
	l.term.Store(t)
	defer l.term.Store(nil)
	g := group.New(ctx)
	g.Do(t.watch)
	g.Do(t.runLanes)
	if len(l.cfg.Out) > 0 {
		g.Do(t.feed)
		g.Do(t.runTrims)
		g.Do(t.runReceipts)
		g.Do(t.sendCanaries)
	}
	return g.Wait()
}

// forward takes a message that is in no log.
func (l *linkTo) forward(m *home.Message) {
	t, policy := l.term.Load(), l.policy()
	switch {
	case m.Seq == link.ViaLink:
		l.counts.drop(DropLoop, 1)
	case m.Namespace != l.cfg.Namespace || !l.mayGo(policy, m.Topic):
		l.counts.drop(DropPolicyOut, 1)
	case t != nil && !t.st.MayLeave(m.Namespace, m.Topic, string(l.peer())):
		l.counts.drop(DropResidency, 1)
	case hops(m.Trail) >= maxHops:
		l.counts.drop(DropLoop, 1)
	case t == nil || !t.first.connected.Load():
		l.counts.drop(DropLinkDown, 1)
	case !t.first.enqueueLive(&flight{msg: *m}):
		l.counts.drop(DropLiveFull, 1)
	}
}

func oneLine(err error) string {
	if err == nil {
		return "closed"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
