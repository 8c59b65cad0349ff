package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// Server is the MQTT edge of a node. Make it with New, bind its listeners with Open, serve with Run. A server that
// stopped is not started again.
type Server struct {
	opt       Options
	start     time.Time
	stats     *Stats
	quiet     *quietLog
	houses    map[home.ID]*House
	listeners map[string]*listener
	admission admission
	parking   parking
	limits    atomic.Pointer[Limits]
	tenants   tenants
	turning   atomic.Bool // new connections are turned away

	ctx      context.Context // ends when everything must end at once
	cancel   context.CancelFunc
	stopping chan struct{} // closed when no new connection is wanted
	stopOnce sync.Once
	conns    sync.WaitGroup // goroutines of connections

	mu         sync.Mutex
	opened     bool
	connecting map[net.Conn]struct{} // sockets that have no session yet
}

// ErrStopped is returned for work that comes after the stop.
var ErrStopped = errors.New("broker: the server is stopping")

// New checks the options. It binds nothing and starts no goroutine.
func New(opt Options) (*Server, error) {
	opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		opt: opt, start: time.Now(), stats: newStats(opt.Listeners), quiet: newQuietLog(opt.Logger),
		houses: map[home.ID]*House{}, listeners: map[string]*listener{}, stopping: make(chan struct{}),
		connecting: map[net.Conn]struct{}{},
	}
	if opt.Panicked == nil {
		s.opt.Panicked = func(p *group.Panic) {
			s.quiet.warn("panic in a connection", "panic", p.Value, "stack", string(p.Stack))
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.SetLimits(Limits{Inflight: opt.Inflight, KeepAliveMax: opt.KeepAliveMax})
	for _, o := range opt.Homes {
		s.houses[o.ID] = newHouse(s, o)
	}
	for i := range opt.Listeners {
		l := &opt.Listeners[i]
		s.listeners[l.Name] = &listener{Listener: *l, s: s, stats: s.stats.Listeners[l.Name], pace: newPace(l.ConnectRate)}
		s.listeners[l.Name].most.Store(int64(l.MaxConnections))
	}
	return s, nil
}

// Open binds the listeners, or none of them. Connections wait in the kernel until Run.
func (s *Server) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened {
		return nil
	}
	for _, o := range s.opt.Listeners {
		if err := s.listeners[o.Name].open(); err != nil {
			s.closeListeners()
			return err
		}
	}
	s.opened = true
	return nil
}

// Addr is where a listener listens, or nil.
func (s *Server) Addr(name string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.listeners[name]; l != nil && l.ln != nil {
		return l.ln.Addr()
	}
	return nil
}

// Stats are the server's counters.
func (s *Server) Stats() *Stats { return s.stats }

// Run serves until ctx ends; then it stops gracefully within DrainTime: listeners close, connections are closed at a
// pace, their sessions detached. It returns when all its goroutines have ended. The home must still run then.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Open(); err != nil {
		return err
	}
	var serving sync.WaitGroup
	for _, l := range s.listeners {
		if l.ln != nil {
			serving.Go(l.serve)
		}
	}
	<-ctx.Done()
	s.stop()
	serving.Wait()
	return nil
}

// ServeConn serves a connection that was accepted elsewhere as if the named listener had: nc speaks MQTT in the clear,
// whatever the listener's transport is. It does not block; the server closes nc.
func (s *Server) ServeConn(nc net.Conn, name string) error {
	l := s.listeners[name]
	if l == nil {
		_ = nc.Close()
		return fmt.Errorf("broker: there is no listener %q", name)
	}
	if !l.admit(nc) {
		return fmt.Errorf("broker: listener %q takes no more connections: it has its bound of %d, or the node is being evacuated", name, l.most.Load())
	}
	return s.begin(l, nc, nc)
}

// begin starts the goroutine that brings a connection from accept to its session. nc is what MQTT is read from, sock
// what is under it. The listener has counted it.
func (s *Server) begin(l *listener, nc, sock net.Conn) error {
	s.mu.Lock()
	select {
	case <-s.stopping:
		s.mu.Unlock()
		_ = sock.Close()
		l.closed()
		return ErrStopped
	default:
	}
	s.connecting[sock] = struct{}{}
	s.conns.Add(1)
	s.mu.Unlock()
	go s.establish(l, nc, sock)
	return nil
}

// spawn runs f in a goroutine that a stop waits for. It reports false when the server stops: f does not run.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopping() {
		return false
	}
	s.conns.Go(func() {
		defer s.guard()
		f()
	})
	return true
}

// notConnecting is called when a connection got its session, or will not.
func (s *Server) notConnecting(sock net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connecting, sock)
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// soon lets many wait for a condition with one goroutine that looks.
type soon struct {
	mu   sync.Mutex
	wait chan struct{} // closed when it holds; nil while nobody waits
}

const soonPoll = 20 * time.Millisecond

// when returns a channel that is closed when ok holds, or the server stops.
func (s *Server) when(w *soon, ok func() bool) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wait == nil {
		w.wait = make(chan struct{})
		s.conns.Add(1)
		go s.poll(w, ok)
	}
	return w.wait
}

func (s *Server) poll(w *soon, ok func() bool) {
	defer s.conns.Done()
	tick := time.NewTicker(soonPoll)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-tick.C:
			done = ok()
		case <-s.stopping:
			<-tick.C
			done = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.wait)
	w.wait = nil
}
