package sibling

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// Protocol is the stream protocol between siblings.
const Protocol = "causeway-node/1"

// Streams connects the nodes of the region. *cluster.Cluster is one.
type Streams interface {
	Dial(ctx context.Context, node, disk, protocol string) (*cluster.Stream, error)
	Handle(protocol string, serve func(context.Context, *cluster.Stream))
	Members() []cluster.Member
	Watch() (changed <-chan struct{}, stop func())
}

// Edge is where messages go that came from another node.
type Edge interface {
	// DeliverFromSibling hands a message to this node's devices.
	DeliverFromSibling(m *home.Message)
	// DeliverToSession hands a message to one of them.
	DeliverToSession(d home.Delivery)
	// Yield returns when nothing is sent any more for a session at a lower epoch.
	Yield(k home.SessionKey, epoch home.SessionEpoch)
}

// Log is what is applied here.
type Log interface {
	Applied() uint64
	WaitApplied(ctx context.Context, index uint64) error
	Owner() home.Owner
}

// Options of Siblings.
type Options struct {
	Node    home.NodeID
	Streams Streams
	Log     Log
	Edge    Edge
	// Forward hands a message to the link to a peer region.
	Forward func(peer home.ID, m *home.Message)
	Logger  *slog.Logger
	Lapse   time.Duration // 1 s; see the package's comment
	// QueueBytes bounds what waits for one sibling; 4 MiB. What does not fit is
	// dropped.
	QueueBytes int
	// MaxMessage bounds a message; 9 MiB.
	MaxMessage int
}

// Siblings are the other nodes of the region. Run serves; the other methods may
// be called from any goroutine.
type Siblings struct {
	o   Options // fixed
	log *slog.Logger

	mu    sync.Mutex
	nodes map[home.NodeID]*node
	ctx   context.Context // while Run runs
	all   *sync.WaitGroup
	known known
}

// New returns Siblings that hear and say nothing before Run.
func New(o Options) *Siblings {
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
	s := &Siblings{o: o, log: o.Logger, nodes: map[home.NodeID]*node{}}
	s.known.s = s
	return s
}

// Run serves until ctx ends.
func (s *Siblings) Run(ctx context.Context) error {
	var all sync.WaitGroup
	s.mu.Lock()
	s.ctx, s.all = ctx, &all
	s.mu.Unlock()
	s.o.Streams.Handle(Protocol, s.serve)
	changed, stop := s.o.Streams.Watch()
	defer stop()
	all.Go(func() { s.known.run(ctx) })
	for ctx.Err() == nil {
		for _, m := range s.o.Streams.Members() {
			if m.Node != string(s.o.Node) {
				s.node(home.NodeID(m.Node))
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	s.o.Streams.Handle(Protocol, nil)
	s.mu.Lock()
	s.ctx = nil
	clear(s.nodes)
	s.mu.Unlock()
	all.Wait()
	return nil
}

// node returns the sibling of that name, whose stream is dialled; nil while
// nothing runs.
func (s *Siblings) node(id home.NodeID) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return nil
	}
	n := s.nodes[id]
	if n == nil {
		n = newNode(s, id)
		s.nodes[id] = n
		ctx := s.ctx
		s.all.Go(func() { n.run(ctx) })
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
	s.send(to, frame{kind: kindDeliver, message: m})
}

// DeliverTo is Deliver for one session.
func (s *Siblings) DeliverTo(to home.NodeID, d home.Delivery) {
	s.send(to, frame{kind: kindDirect, session: d.Session, epoch: d.Epoch, qos: d.QoS, retain: d.Retain, subIDs: d.SubIDs, message: d.Message})
}

// Forward hands a message to another node, for its link to a peer region.
func (s *Siblings) Forward(to home.NodeID, peer home.ID, m *home.Message) {
	s.send(to, frame{kind: kindForward, peer: peer, message: m})
}

func (s *Siblings) send(to home.NodeID, f frame) {
	if n := s.node(to); n != nil {
		n.send(f)
	}
}

// Status is what there is to see of a sibling.
type Status struct {
	Node        home.NodeID
	Connected   bool
	Queued      int // bytes
	Sent        uint64
	Dropped     uint64
	Reconnected uint64
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
