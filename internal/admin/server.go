package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"causeway/internal/audit"
	"causeway/internal/group"
	"causeway/internal/health"
	"causeway/internal/readiness"
	"causeway/internal/supervise"
)

// Build names the program.
type Build struct {
	Version  string
	Revision string // of the source; "" when unknown
}

// Options configure a Server.
type Options struct {
	Node    Node         // required
	Name    string       // of the node
	Peers   Peers        // nil: the node is its region's only one
	Health  *health.Node // required
	Metrics *Metrics     // required; it belongs to this server from now on
	Build   Build
	// Services are the supervised parts, if there are any.
	Services func() []supervise.Status
	// Restart starts one that failed now, with supervise's errors. nil: there is none.
	Restart func(name string) error
	// Crashed hears of a panic that cost a request. nil: it is logged.
	Crashed func(part string, p *group.Panic)
	Logger  *slog.Logger // default slog.Default()

	// Socket is the path of the Unix socket; "" is none. Whoever may open it is admin.
	Socket string
	// Listen is a TCP host:port; "" is none. It needs Tokens, and TLS unless it is a loopback
	// address.
	Listen string
	TLS    *tls.Config
	// Tokens is the path of the token file.
	Tokens string
	// BreakGlass is the path of a file like that of tokens, of users who are admitted over TCP whatever is the matter with
	// the region; "" is none.
	BreakGlass string
	// Audit keeps who changed what; nil keeps nothing. Its owner closes it after Run returned.
	Audit *audit.Log
	// Readiness has the checks whether the region could stand a disaster; nil is none.
	Readiness *readiness.Registry
	// Facts are what other nodes compare with theirs; nil is none.
	Facts func() ReadinessFacts
	// Events takes what the node's parts tell; nil: only what the server sees itself.
	Events *Events
	// MetricsListen is the host:port of /metrics, /healthz and /readyz without tokens; "" is none.
	MetricsListen string
}

// Server serves the API, the health pages and the metrics of one node.
type Server struct {
	// fixed after New
	node       Node
	name       string
	peers      Peers
	api        *api
	health     *health.Node
	metrics    *Metrics
	supervised func() []supervise.Status
	restart    func(name string) error
	crashed    func(part string, p *group.Panic)
	build      Build
	audit      *audit.Log // nil: none
	tokens     *tokens    // nil without TCP
	glass      *glass     // nil: none
	ready      *readiness.Registry
	events     *Events
	streams    streams
	facts      func() ReadinessFacts
	log        *slog.Logger
	endpoints  []*endpoint

	mu sync.Mutex // guards the endpoints' listeners
}

// endpoint is one address with what is served there.
type endpoint struct {
	name    string
	listen  func() (net.Listener, error)
	handler http.Handler
	open    net.Listener // guarded by Server.mu; nil while not bound
}

// The names of the endpoints, for Addr.
const (
	EndpointSocket  = "socket"
	EndpointTCP     = "tcp"
	EndpointMetrics = "metrics"
)

// New checks the options and reads the token file. It binds nothing.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{node: o.Node, name: o.Name, peers: o.Peers, health: o.Health, metrics: o.Metrics, supervised: o.Services, crashed: o.Crashed, restart: o.Restart, build: o.Build, audit: o.Audit, ready: o.Readiness, facts: o.Facts, log: o.Logger}
	if s.crashed == nil {
		s.crashed = func(part string, p *group.Panic) {
			s.log.Error("panic", "part", part, "panic", p, "stack", string(p.Stack))
		}
	}
	if s.ready == nil {
		s.ready = &readiness.Registry{}
	}
	if s.events = o.Events; s.events == nil {
		s.events = &Events{}
	}
	if s.facts == nil {
		s.facts = func() ReadinessFacts { return ReadinessFacts{} }
	}
	if s.node == nil || s.health == nil || s.metrics == nil {
		return nil, errors.New("admin: Options.Node, Health and Metrics must be set")
	}
	if err := s.metrics.attach(s); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	a := newAPI(s)
	s.api = a
	if o.Socket != "" {
		s.add(EndpointSocket, func() (net.Listener, error) { return listenSocket(o.Socket) }, a.handler(viaSocket))
	}
	if o.Listen != "" {
		if err := checkTCP(o); err != nil {
			return nil, err
		}
		t, err := openTokens("admin.tokens", o.Tokens)
		if err != nil {
			return nil, err
		}
		s.tokens = t
		if o.BreakGlass != "" {
			if s.glass, err = openGlass(o.BreakGlass, o.Health); err != nil {
				return nil, err
			}
		}
		s.add(EndpointTCP, func() (net.Listener, error) { return listenTCP("admin.listen", o.Listen, o.TLS) }, a.handler(s.viaToken(t)))
	}
	if o.MetricsListen != "" {
		s.add(EndpointMetrics, func() (net.Listener, error) { return listenTCP("metrics.listen", o.MetricsListen, nil) }, a.pages())
	}
	return s, nil
}

func (s *Server) add(name string, listen func() (net.Listener, error), h http.Handler) {
	s.endpoints = append(s.endpoints, &endpoint{name: name, listen: listen, handler: h})
}

// checkTCP refuses an address that would be open to everybody or show tokens to the network.
func checkTCP(o Options) error {
	if o.Tokens == "" {
		return fmt.Errorf("admin.listen %s: callers over TCP must present tokens; set admin.tokens to file:PATH, or use the socket", o.Listen)
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen %s: %w; want host:port", o.Listen, err)
	}
	if ip := net.ParseIP(host); o.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("admin.listen %s: without TLS everybody on the way reads the tokens; configure identity, or listen on 127.0.0.1", o.Listen)
	}
	return nil
}

// viaSocket admits whoever the file's mode let in.
func viaSocket(*http.Request) (caller, *Problem) { return caller{name: "socket", role: RoleAdmin}, nil }

// viaToken admits callers by their bearer token.
func (s *Server) viaToken(t *tokens) func(*http.Request) (caller, *Problem) {
	const fix = "send Authorization: Bearer TOKEN with a token of the file admin.tokens"
	return func(r *http.Request) (caller, *Problem) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return caller{}, problem(http.StatusUnauthorized, ProblemToken, fix, "the request has no bearer token")
		}
		token = strings.TrimSpace(token)
		who, ok, err := t.who(token)
		if err != nil {
			s.log.Error("admin tokens cannot be read; nobody is admitted by them", "error", err)
		}
		if !ok {
			who, ok = s.regionToken(token)
		}
		if !ok && s.glass != nil {
			if who, ok, err = s.glass.admit(token, time.Now()); err != nil {
				s.log.Error("break-glass users cannot be read", "error", err)
			}
			if ok {
				s.log.Warn("a break-glass user calls the admin API", "who", who.name, "method", r.Method, "path", r.URL.EscapedPath(), "remote", r.RemoteAddr)
			}
		}
		if !ok {
			return caller{}, problem(http.StatusUnauthorized, ProblemToken, fix, "the token is not known")
		}
		return who, nil
	}
}

// pages are what load balancers and Prometheus ask for.
func (a *api) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", a.metrics)
	return mux
}

// Listen binds every address that is not bound yet, so that a taken one is an error at the start.
// Run does the same; calling Listen before is for the error.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.endpoints {
		if e.open != nil {
			continue
		}
		l, err := e.listen()
		if err != nil {
			return errors.Join(err, s.close())
		}
		e.open = l
	}
	return nil
}

// Addr is where an endpoint listens, or nil.
func (s *Server) Addr(endpoint string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.endpoints {
		if e.name == endpoint && e.open != nil {
			return e.open.Addr()
		}
	}
	return nil
}

// Close closes the addresses when Run will not be called; Run closes them itself.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

// close closes what is bound; the caller holds mu.
func (s *Server) close() (err error) {
	for _, e := range s.endpoints {
		if e.open != nil {
			err = errors.Join(err, e.open.Close())
			e.open = nil
		}
	}
	return err
}

// stopTime is how long requests may take to end when the server stops.
const stopTime = 2 * time.Second

// Run serves until ctx ends, then lets running requests finish for two seconds and closes the
// addresses.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	failed := make(chan error, len(s.endpoints)+2)
	var servers []*http.Server
	var running sync.WaitGroup
	for _, e := range s.endpoints {
		srv := s.httpServer(e.handler)
		servers = append(servers, srv)
		running.Go(func() { failed <- fmt.Errorf("serve %s: %w", e.name, srv.Serve(e.open)) })
	}
	watching, end := context.WithCancel(ctx)
	running.Go(func() {
		if err := group.Protect(func() error { s.watchEvents(watching); return nil }); err != nil {
			failed <- err
		}
	})
	if s.peers != nil {
		running.Go(func() {
			if err := group.Protect(func() error { s.api.joinTraces(watching); return nil }); err != nil {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	end()
	s.events.close()
	s.shutdown(servers)
	running.Wait()
	if e := s.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// shutdown ends the servers together, so that the last does not wait for the first.
func (s *Server) shutdown(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	var all sync.WaitGroup
	for _, srv := range servers {
		all.Go(func() {
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close() // callers that do not finish are cut off
			}
		})
	}
	all.Wait()
}

// httpServer has a bound for everything a caller can make us hold. Headers may carry a topic of 64
// KiB, percent-encoded, in the path.
func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 256 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}
