package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// RaftProtocol is the stream protocol of raft's requests.
const RaftProtocol = "causeway-raft/1"

// serverID names a copy of the home in raft's configuration: the node, and the
// disk it is on. A node that lost its disk comes back as another server, and a
// request meant for the disk that voted never reaches it: the address is the
// same pair, and the hello of a stream names the disk. [B1]
func serverID(node home.NodeID, disk string) raft.ServerID {
	return raft.ServerID(string(node) + "@" + disk)
}

func splitID(id string) (node home.NodeID, disk string) {
	i := strings.LastIndexByte(id, '@')
	if i < 0 {
		return home.NodeID(id), ""
	}
	return home.NodeID(id[:i]), id[i+1:]
}

// streams is raft's way to the other copies: one stream a connection.
type streams struct {
	net      Cluster
	protocol string
	self     raft.ServerID
	// restored says that a node's data directory was taken back to an earlier time:
	// neither its votes nor its requests count.
	restored func(cluster.Peer) bool

	ctx context.Context
	end context.CancelFunc
	in  chan net.Conn
}

func newStreams(c Cluster, protocol string, self raft.ServerID, restored func(cluster.Peer) bool) *streams {
	s := &streams{net: c, protocol: protocol, self: self, restored: restored, in: make(chan net.Conn)}
	s.ctx, s.end = context.WithCancel(context.Background())
	c.Handle(protocol, s.take)
	return s
}

// take hands an accepted stream to raft and stays until one of the two is done
// with it.
func (s *streams) take(ctx context.Context, st *cluster.Stream) {
	if s.restored(st.Peer) {
		_ = st.Close()
		return
	}
	c := &raftConn{Conn: st, closed: make(chan struct{})}
	defer c.Close()
	select {
	case s.in <- c:
	case <-s.ctx.Done():
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-c.closed:
	case <-s.ctx.Done():
	case <-ctx.Done():
	}
}

// raftConn tells when raft closed it.
type raftConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (c *raftConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.in:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *streams) Close() error {
	s.net.Handle(s.protocol, nil)
	s.end()
	return nil
}

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return serverAddr(s.self) }

type serverAddr raft.ServerID

func (serverAddr) Network() string  { return "causeway" }
func (a serverAddr) String() string { return string(a) }

// dialMost bounds a dial: a host that is gone must not hold up an election.
const dialMost = time.Second

// Dial implements raft.StreamLayer.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, disk := splitID(string(to))
	ctx, cancel := context.WithTimeout(s.ctx, min(timeout, dialMost))
	defer cancel()
	st, err := s.net.Dial(ctx, string(node), disk, s.protocol)
	if err != nil {
		return nil, err
	}
	if s.restored(st.Peer) {
		return nil, errors.Join(fmt.Errorf("the data directory of %s was restored", node), st.Close())
	}
	return st, nil
}

// rpcTimeout bounds the writing and the answer of one request. A follower may
// sync up to maxAppendEntries full entries in it.
const rpcTimeout = 3 * time.Second

// transport is raft's NetworkTransport with six things added: it notes who
// answered, it tells followers at once what was committed, its heartbeats keep
// the beat, it goes on at once with a copy that comes back, it falls silent when
// the disk hangs, and it takes no snapshots.
type transport struct {
	*raft.NetworkTransport
	self       raft.ServerID
	contacts   *contacts
	hung       func() bool               // the disk has been hanging too long for a leader
	fellBehind func()                    // the leader's log does not reach back to ours
	holds      func(index uint64) bool   // what was committed up to there is applied, and raft's log goes on from there
	raft       atomic.Pointer[raft.Raft] // once it was made

	handing atomic.Int32 // hand-overs of the leadership that are under way: nothing may wait

	unheard atomic.Bool // the leader was sent back to its newest entry

	hearts *hearts
	beats  chan struct{} // holds one token: a heartbeat came

	in   chan raft.RPC
	stop chan struct{}
	once sync.Once

	mu    sync.Mutex
	pipes map[*pipe]struct{}
	taken map[raft.ServerID]raft.AppendEntriesRequest // what a copy took last that was sent by no pipe; without entries
	away  map[raft.ServerID]chan struct{}             // copies that could not be reached; closed when they answer a heartbeat
}

func newTransport(s *streams, r *core) *transport {
	t := &transport{self: s.self, contacts: r.contacts, in: make(chan raft.RPC), stop: make(chan struct{}),
		pipes: map[*pipe]struct{}{}, taken: map[raft.ServerID]raft.AppendEntriesRequest{},
		away: map[raft.ServerID]chan struct{}{}, hung: r.hung, fellBehind: r.fallBehind,
		hearts: &hearts{beats: r.beats(), last: map[raft.ServerID]time.Time{}}, beats: r.beatCame}
	t.holds = func(i uint64) bool {
		raft := t.raft.Load()
		return raft != nil && r.fsm.index.Load() >= i && raft.LastIndex() >= i
	}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: s, MaxPool: 3,
		MaxRPCsInFlight: 2, Timeout: rpcTimeout, Logger: raftLogger(r.log)})
	go t.receive()
	return t
}

var errHung = errors.New("the disk of this node hangs")

// AppendEntries implements raft.Transport. It carries heartbeats, too.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	heartbeat := isHeartbeat(q)
	if heartbeat && !t.pause(t.hearts.wait(id, time.Now())) {
		return raft.ErrTransportShutdown
	}
	if !heartbeat {
		if err := t.reach(id, q.Term); err != nil {
			return err
		}
	}
	if t.hung() {
		return errHung
	}
	sent := time.Now()
	err := t.NetworkTransport.AppendEntries(id, to, q, a)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.lose(id)
		return err
	case a.Term > q.Term:
		return nil
	}
	t.contacts.answered(id, sent, reached(q, a))
	if heartbeat {
		t.find(id)
	} else if a.Success {
		t.taken[id] = behind(q)
	}
	return nil
}

// lose notes that a copy could not be reached, find that it answers. Guarded by
// mu.
func (t *transport) lose(id raft.ServerID) {
	if t.away[id] == nil {
		t.away[id] = make(chan struct{})
	}
}

func (t *transport) find(id raft.ServerID) {
	if came := t.away[id]; came != nil {
		close(came)
		delete(t.away, id)
	}
}

// awayLook is how often a request that waits for a copy looks whether it is
// still wanted.
const awayLook = 250 * time.Millisecond

// reach waits while a copy cannot be reached. Raft itself waits longer after each
// failure, in the end 10 s, and would leave a copy that came back to itself for as
// long. Heartbeats do not wait: they find out. A request that waited is not sent,
// since what it says may be long overtaken; raft makes another.
func (t *transport) reach(id raft.ServerID, term uint64) error {
	t.mu.Lock()
	came := t.away[id]
	t.mu.Unlock()
	if came == nil {
		return nil
	}
	if t.handing.Load() > 0 {
		return errAway
	}
	look := time.NewTicker(awayLook)
	defer look.Stop()
	for {
		select {
		case <-came:
			return errAway
		case <-look.C:
			if t.handing.Load() > 0 || !t.serves(id, term) {
				return errAway
			}
		case <-t.stop:
			return raft.ErrTransportShutdown
		}
	}
}

var errAway = errors.New("the copy could not be reached")

// serves says that this node leads in a term and a copy belongs to the group.
func (t *transport) serves(id raft.ServerID, term uint64) bool {
	r := t.raft.Load()
	return r != nil && r.State() == raft.Leader && r.CurrentTerm() == term &&
		slices.ContainsFunc(r.GetConfiguration().Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
}

// isHeartbeat tells heartbeats as raft's own transport does.
func isHeartbeat(q *raft.AppendEntriesRequest) bool {
	return q.PrevLogEntry == 0 && q.PrevLogTerm == 0 && len(q.Entries) == 0 && q.LeaderCommitIndex == 0
}

// pause reports false if the transport was closed meanwhile.
func (t *transport) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.stop:
		return false
	}
}

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(take func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		take(rpc)
		nudge(t.beats)
	})
}

// behind is the empty request that follows q.
func behind(q *raft.AppendEntriesRequest) raft.AppendEntriesRequest {
	next := *q
	if n := len(q.Entries); n > 0 {
		next.PrevLogEntry, next.PrevLogTerm = q.Entries[n-1].Index, q.Entries[n-1].Term
	}
	next.Entries = nil
	return next
}

// reached is the last index of a copy's log that the answer proves. Heartbeats
// prove none: they do not look at the log.
func reached(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) uint64 {
	switch n := len(q.Entries); {
	case !a.Success:
		return 0
	case n > 0:
		return q.Entries[n-1].Index
	default:
		return q.PrevLogEntry
	}
}

// InstallSnapshot implements raft.Transport. A snapshot here is a marker; the
// copy that needs one is told, and fetches the state in its own way.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, _ io.Reader) error {
	if err := t.reach(id, q.Term); err != nil {
		return err
	}
	tell := *q
	tell.Size = 0
	err := t.NetworkTransport.InstallSnapshot(id, to, &tell, a, strings.NewReader(""))
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.lose(id)
	}
	return err
}

// errBehind is the answer to a leader that would send a snapshot.
var errBehind = errors.New("this copy is behind the leader's log and will fetch the state")

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.in }

// receive passes requests on to raft.
func (t *transport) receive() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if q, snapshot := rpc.Command.(*raft.InstallSnapshotRequest); snapshot {
				t.offered(rpc, q)
				continue
			}
			select {
			case t.in <- rpc:
			case <-t.stop:
				return
			}
		case <-t.stop:
			return
		}
	}
}

// offered answers a leader that would send a snapshot. One who has fetched the
// state since holds all that the snapshot stands for, which the leader cannot
// know: it is told so, and goes on from there. One whose last answers were lost may
// hold more than the leader knows and less than the snapshot, and have cut its log
// behind what the leader would begin with: it says yes once, upon which the leader
// begins at the other end, where its log may reach back to the copy's. What it
// counts by that is committed anyway. Who holds less than that will fetch it.
func (t *transport) offered(rpc raft.RPC, q *raft.InstallSnapshotRequest) {
	if t.holds(q.LastLogIndex) || t.unheard.CompareAndSwap(false, true) {
		rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: q.RPCHeader, Term: q.Term, Success: true}, nil)
		return
	}
	rpc.Respond(&raft.InstallSnapshotResponse{}, errBehind)
	t.fellBehind()
}

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.stop) })
	return t.NetworkTransport.Close()
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.hung() {
		return nil, errHung
	}
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	p := &pipe{t: t, id: id, inner: inner, done: make(chan raft.AppendFuture), due: make(chan struct{}, 1),
		stop: make(chan struct{}), mu: newTurn()}
	t.mu.Lock()
	t.pipes[p] = struct{}{}
	if q, ok := t.taken[id]; ok {
		p.last = &q
		nudge(p.due) // what has been committed since then
	}
	t.mu.Unlock()
	go p.answers()
	go p.pushes()
	return p, nil
}

// push tells all copies what is committed, without waiting for the next entry to
// carry it: a follower that proposed waits for nothing else.
func (t *transport) push() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.pipes {
		select {
		case p.due <- struct{}{}:
		default:
		}
	}
}

// pipe is raft's pipeline to one copy, with empty requests of ours in between.
type pipe struct {
	t     *transport
	id    raft.ServerID
	inner raft.AppendPipeline
	done  chan raft.AppendFuture
	due   chan struct{} // holds one token: something was committed
	stop  chan struct{}
	once  sync.Once

	mu   turn // one sender at a time, in the order of the log
	last *raft.AppendEntriesRequest
}

// AppendEntries implements raft.AppendPipeline.
func (p *pipe) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.t.hung() {
		return nil, errHung
	}
	p.mu.lock()
	defer p.mu.unlock()
	f, err := p.inner.AppendEntries(q, a)
	if err == nil {
		p.last = q
	}
	return f, err
}

// Consumer implements raft.AppendPipeline.
func (p *pipe) Consumer() <-chan raft.AppendFuture { return p.done }

// Close implements raft.AppendPipeline.
func (p *pipe) Close() error {
	p.once.Do(func() {
		close(p.stop)
		p.t.mu.Lock()
		delete(p.t.pipes, p)
		p.t.mu.Unlock()
	})
	return p.inner.Close()
}

// answers notes who answered and passes the answer on.
func (p *pipe) answers() {
	for {
		select {
		case f := <-p.inner.Consumer():
			if f.Error() == nil && f.Response().Term <= f.Request().Term {
				p.t.contacts.answered(p.id, f.Start(), reached(f.Request(), f.Response()))
			}
			select {
			case p.done <- f:
			case <-p.stop:
				return
			}
		case <-p.stop:
			return
		}
	}
}

func (p *pipe) pushes() {
	for {
		select {
		case <-p.due:
			if p.pushOnce() != nil {
				return // raft finds out with its own next request
			}
		case <-p.stop:
			return
		}
	}
}

// committed is what is committed in a term in which this node leads; 0 if it
// does not, or not in that one. The index is read first: what another leader
// committed must not go out under our term.
func (t *transport) committed(term uint64) uint64 {
	r := t.raft.Load()
	if r == nil {
		return 0
	}
	commit := r.CommitIndex()
	if r.State() != raft.Leader || r.CurrentTerm() != term {
		return 0
	}
	return commit
}

// pushOnce sends an empty request behind the last one, in its term.
func (p *pipe) pushOnce() error {
	p.mu.lock()
	defer p.mu.unlock()
	if p.last == nil || p.t.hung() {
		return nil
	}
	commit := p.t.committed(p.last.Term)
	q := behind(p.last)
	q.LeaderCommitIndex = min(commit, q.PrevLogEntry) // its log equals ours up to there
	if q.LeaderCommitIndex <= p.last.LeaderCommitIndex {
		return nil
	}
	_, err := p.inner.AppendEntries(&q, new(raft.AppendEntriesResponse))
	if err == nil {
		p.last = &q
	}
	return err
}
