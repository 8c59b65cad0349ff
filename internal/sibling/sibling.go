package sibling

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/group"
	"causeway/internal/home"
)

// Protocol is the stream protocol between siblings, for the home of their region.
// For another home that the region has a copy of, "/" and the home's name follow:
// what is said of one home is never heard by the other's.
const Protocol = "causeway-node/1"

func protocol(h home.ID) string {
	if h == "" {
		return Protocol
	}
	return Protocol + "/" + string(h)
}

// Streams connects the nodes of the region. *cluster.Cluster is one.
type Streams interface {
	// Dial opens a stream; its error says with cluster.Dead that nobody listens
	// there any more.
	Dial(ctx context.Context, node, disk, protocol string) (*cluster.Stream, error)
	// Handle says who serves streams of the protocol, in a goroutine each; nil:
	// nobody does.
	Handle(protocol string, serve func(context.Context, *cluster.Stream))
	// Members are the nodes of the region, this one among them or not.
	Members() []cluster.Member
	// Watch gives a token after a change of Members, until stop is called.
	Watch() (changed <-chan struct{}, stop func())
}

// Edge is where messages go that came from another node. Its methods are called
// from many goroutines. The deliveries must not block: they hold up what the
// sibling says next.
type Edge interface {
	// DeliverFromSibling hands a message to this node's devices.
	DeliverFromSibling(m *home.Message)
	// DeliverToSession hands a message to one of them.
	DeliverToSession(d home.Delivery)
	// Yield returns when nothing is sent any more for a session at an epoch below
	// this. It may take a while, but it is bounded.
	Yield(k home.SessionKey, epoch home.SessionEpoch)
}

// Log is what is applied here.
type Log interface {
	Applied() uint64
	// WaitApplied returns nil once an index is applied here.
	WaitApplied(ctx context.Context, index uint64) error
	Owner() home.Owner
	// Alive are the runs of nodes that are registered and not declared dead, this
	// one among them or not.
	Alive() []home.Owner
}

// Options of Siblings.
type Options struct {
	Home    home.ID // of what is said; empty: the region's own
	Node    home.NodeID
	Streams Streams
	Log     Log
	Edge    Edge
	// Forward hands a message to the link to a peer region; nil: there are none.
	// It must not block.
	Forward func(peer home.ID, m *home.Message, c home.Claim)
	Logger  *slog.Logger
	Lapse   time.Duration // 1 s; see the package's comment
	// QueueBytes bounds the messages that wait for one sibling; 4 MiB. What does
	// not fit is dropped. One message alone always fits.
	QueueBytes int
	// MaxMessage bounds a message, in bytes; 9 MiB. A longer one is dropped here,
	// and ends its stream when it comes from a sibling.
	MaxMessage int
}

func (o Options) withDefaults() Options {
	if o.Lapse == 0 {
		o.Lapse = time.Second
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 4 << 20
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 9 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Forward == nil {
		o.Forward = func(home.ID, *home.Message, home.Claim) {}
	}
	return o
}

// Siblings are the other nodes of the region. Run serves; the other methods may
// be called from any goroutine.
type Siblings struct {
	o     Options // fixed
	log   *slog.Logger
	known known

	mu    sync.Mutex
	nodes map[home.NodeID]*node
	ctx   context.Context // while Run runs
	all   *sync.WaitGroup
	crash chan error // what something beside Run panicked with, which ends Run
}

// New returns Siblings that hear and say nothing before Run.
func New(o Options) *Siblings {
	o = o.withDefaults()
	s := &Siblings{o: o, log: o.Logger, nodes: map[home.NodeID]*node{}}
	s.known.s, s.known.wake = s, make(chan struct{}, 1)
	return s
}

// Run serves until ctx ends.
func (s *Siblings) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	s.mu.Lock()
	crash := make(chan error, 1)
	s.ctx, s.all, s.crash = ctx, &all, crash
	s.mu.Unlock()
	defer func() {
		s.o.Streams.Handle(protocol(s.o.Home), nil)
		s.mu.Lock()
		s.ctx = nil // nothing starts any more
		clear(s.nodes)
		s.mu.Unlock()
		cancel()
		all.Wait()
	}()
	changed, stop := s.o.Streams.Watch()
	defer stop()
	s.known.open()
	all.Go(func() { protect(crash, func() { s.known.run(ctx) }) })
	s.o.Streams.Handle(protocol(s.o.Home), s.serve)
	for {
		for _, m := range s.o.Streams.Members() {
			if n := s.node(home.NodeID(m.Node)); n != nil {
				n.hurry()
			}
		}
		select {
		case <-changed:
		case err := <-crash:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// protect makes a panic of something that runs beside Run the end of Run.
func protect(crash chan<- error, f func()) {
	if err := group.Protect(func() error { f(); return nil }); err != nil {
		select {
		case crash <- err:
		default:
		}
	}
}

// node returns the sibling of that name, whose stream is dialled; nil while
// nothing runs, and for this node itself.
func (s *Siblings) node(id home.NodeID) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || id == s.o.Node {
		return nil
	}
	n := s.nodes[id]
	if n == nil {
		n = newNode(s, id)
		s.nodes[id] = n
		ctx := s.ctx
		n.crash = s.crash
		s.all.Go(func() { protect(n.crash, func() { n.run(ctx) }) })
	}
	return n
}

func (s *Siblings) others() []*node {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		list = append(list, n)
	}
	return list
}

// Deliver hands a message that is in no log to another node, for its devices. At
// most once; it never blocks. The message must not be written afterwards.
func (s *Siblings) Deliver(to home.NodeID, m *home.Message) {
	s.send(to, &frame{kind: kindDeliver, message: m})
}

// DeliverTo is Deliver for one session.
func (s *Siblings) DeliverTo(to home.NodeID, d home.Delivery) {
	s.send(to, &frame{kind: kindDirect, session: d.Session, epoch: d.Epoch, qos: d.QoS, retain: d.Retain, subIDs: d.SubIDs, message: d.Message})
}

// Forward hands a message to another node, for its link to a peer region.
func (s *Siblings) Forward(to home.NodeID, peer home.ID, m *home.Message, c home.Claim) {
	f := &frame{kind: kindForward, peer: peer, claim: c, message: m}
	if len(c.Groups) > 0 {
		f.kind = kindClaimed
	}
	s.send(to, f)
}

func (s *Siblings) send(to home.NodeID, f *frame) {
	if n := s.node(to); n != nil {
		n.send(f)
	}
}

// Status is what there is to see of a sibling. The counters begin with this run.
type Status struct {
	Node      home.NodeID
	Connected bool
	Since     time.Time // Connected is so; zero: it never was otherwise
	Streams   uint64    // dialled
	Queued    int       // bytes of messages
	Sent      uint64    // messages written to a stream
	Dropped   uint64    // messages that were not: no stream, no room, or too long
	Received  uint64    // messages that came from it
	Malformed uint64    // streams of its that were ended because of what came
	Yields    Yields
}

// Yields counts how former owners' silence was found out.
type Yields struct {
	Asked    uint64
	Answered uint64
	Gone     uint64 // its process is
	Lapsed   uint64 // its freshness has
}

// Status describes all siblings, by name.
func (s *Siblings) Status() []Status {
	var list []Status
	for _, n := range s.others() {
		list = append(list, n.status())
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return list
}
