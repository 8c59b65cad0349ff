package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// LogProtocol is the stream protocol of what nodes say to each other about the
// log. The first byte of a stream says what it is for.
const LogProtocol = "causeway-log/1"

const (
	purposeEntries = 'e' // entries of the dialling node for the leader; see forwarder
	purposeAsk     = 'q' // what is committed? see asker
	purposeControl = 'c' // one request and its answer, in JSON
)

// dialLog opens a stream for a purpose.
func (r *Replica) dialLog(ctx context.Context, node home.NodeID, purpose byte) (*cluster.Stream, error) {
	st, err := r.opts.Cluster.Dial(ctx, string(node), "", r.protocol(LogProtocol))
	if err != nil {
		return nil, err
	}
	r.wallOf(st.Peer)
	if deadline, ok := ctx.Deadline(); ok {
		_ = st.SetDeadline(deadline)
	}
	if _, err := st.Write([]byte{purpose}); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	_ = st.SetDeadline(time.Time{})
	return st, nil
}

// purposeTimeout is how long a stream may take to say what it is for.
const purposeTimeout = 5 * time.Second

// serveLog serves one stream of LogProtocol.
func (r *core) serveLog(ctx context.Context, st *cluster.Stream) {
	r.wallOf(st.Peer)
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	defer st.Close()
	_ = st.SetDeadline(time.Now().Add(purposeTimeout))
	var purpose [1]byte
	if _, err := io.ReadFull(st, purpose[:]); err != nil {
		return
	}
	_ = st.SetDeadline(time.Time{})
	stop := r.trackStream(st, purpose[0])
	defer stop()
	var err error
	switch purpose := purpose[0]; {
	case purpose == purposeControl:
		err = r.serveControl(ctx, st)
	case !r.up.Load():
		return // not yet: the other side tries again
	case purpose == purposeEntries:
		err = r.takeEntries(st)
	case purpose == purposeAsk:
		err = r.answerAsks(st)
	default:
		err = fmt.Errorf("a stream for purpose %q, which this version does not know", purpose)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Warn("a stream from another node of the region was closed", "peer", st.Peer.Node, "reason", err)
	}
}

// control is a request about the group, and answer its answer.
type control struct {
	Kind string      `json:"kind"` // who, group, intake, join, leave, force-leave, transfer
	Last uint64      `json:"last,omitempty"`
	Node home.NodeID `json:"node,omitempty"`
	Dry  bool        `json:"dry,omitempty"`
}

type answer struct {
	Error   string   `json:"error,omitempty"`
	Refused []string `json:"refused,omitempty"`
	// who: what the asked node knows.
	Holds  bool        `json:"holds,omitempty"` // it has a copy, with log or state
	Leader home.NodeID `json:"leader,omitempty"`
	// join: the answer of the leader.
	Lost string `json:"lost,omitempty"` // the asking disk has lost what it held: this
	// Both: the first index of its log, and the highest run of the asking node that
	// the home knows.
	First       uint64           `json:"first,omitempty"`
	Incarnation home.Incarnation `json:"incarnation,omitempty"`
	// intake: what the asked node has of a copy that is coming in; nil if it missed a part.
	Intake *came `json:"intake,omitempty"`
	// group: the copies of the home.
	Term    uint64   `json:"term,omitempty"`
	Servers []Server `json:"servers,omitempty"`
}

const (
	maxControl     = 64 << 10 // bytes of a request or answer
	controlTimeout = 3 * time.Second
	changeTimeout  = 15 * time.Second // for changes of the group to commit
)

func (q *control) timeout() time.Duration {
	switch q.Kind {
	case "who", "join", "group", "intake":
		return controlTimeout
	}
	return changeTimeout
}

// ask makes one request of a node.
func (r *Replica) ask(ctx context.Context, node home.NodeID, q control) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout())
	defer cancel()
	st, err := r.dialLog(ctx, node, purposeControl)
	if err != nil {
		return answer{}, err
	}
	defer st.Close()
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	if err := json.NewEncoder(st).Encode(q); err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.NewDecoder(io.LimitReader(st, maxControl)).Decode(&a); err != nil {
		return answer{}, err
	}
	if len(a.Refused) > 0 {
		return a, &RefusedError{Reasons: a.Refused}
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", node, a.Error)
	}
	return a, nil
}

func (r *core) serveControl(ctx context.Context, st *cluster.Stream) error {
	_ = st.SetDeadline(time.Now().Add(controlTimeout))
	var q control
	if err := json.NewDecoder(io.LimitReader(st, maxControl)).Decode(&q); err != nil {
		return ignoreEnd(err)
	}
	var a answer
	switch q.Kind {
	case "who":
		a = r.who(home.NodeID(st.Peer.Node))
	case "group":
		if !r.up.Load() {
			a.Error = "the home is not open"
			break
		}
		a.Term, a.Servers, _ = r.group(ctx)
	case "intake":
		if r.up.Load() {
			a.Intake = r.showIntake(ctx, q.Last)
		}
	case "join":
		var err error
		if a, err = r.admit(ctx, st.Peer, q.Last); err != nil {
			a.Error = err.Error()
		}
	case "leave", "force-leave", "transfer":
		_ = st.SetDeadline(time.Now().Add(q.timeout()))
		var no *RefusedError
		if err := r.change(ctx, q.Kind, q.Node, q.Dry); errors.As(err, &no) {
			a.Refused = no.Reasons
		} else if err != nil {
			a.Error = err.Error()
		}
	default:
		a.Error = fmt.Sprintf("request %q is not known to this version", q.Kind)
	}
	return json.NewEncoder(st).Encode(a)
}

// who says what this node knows of the group.
func (r *core) who(asks home.NodeID) answer {
	a := answer{Holds: r.holds.Load()}
	if r.up.Load() { // from then on the state stays the same one
		a.Incarnation = r.knows(asks)
		a.First, _ = r.guard.FirstIndex() // 0, if it cannot be read, says nothing
	}
	a.Leader, _ = r.Leader()
	return a
}

// A question asks the leader what is committed, an asking node's digest with it;
// the answer carries the question's number.
const (
	questionBytes = 8 + 8 + 8 // number, digest's index, digest
	askTimeout    = 2 * time.Second
	askEvery      = 100 * time.Millisecond
)

const (
	answerNot      = 0 // this node cannot say: it does not lead, or is not sure that it does
	answerIs       = 1
	answerDiverged = 2 // and the asking node's copy differs from the others
	answerHush     = 5 // nobody shall speak for sessions now
	answerShipped  = 3 // to no question: how many records the standby has applied; number 1: nobody waits for it any more
	// answerElsewhere comes behind another answer to the same question: another region is known to host the home.
	// A node that does not know it does without.
	answerElsewhere = 4
)

// answerAsks is the leader's end of an asker's stream.
func (r *core) answerAsks(st *cluster.Stream) error {
	in := bufio.NewReader(st)
	tell := &teller{r: r, w: st, waits: make(chan bool)}
	stop, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		r.protect(func() { tell.run(stop) })
	}()
	defer func() {
		close(stop)
		_ = st.Close()
		<-told
	}()
	waited := false
	var q [questionBytes]byte
	for {
		_ = st.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadFull(in, q[:]); err != nil {
			return ignoreEnd(err)
		}
		number := binary.BigEndian.Uint64(q[:]) &^ awaits
		if waits := q[0]&0x80 != 0; waits != waited {
			waited = waits
			select {
			case tell.waits <- waits:
			case <-told:
				return nil
			}
		}
		d := digest{index: binary.BigEndian.Uint64(q[8:]), sum: binary.BigEndian.Uint64(q[16:])}
		what, commit := byte(answerNot), uint64(0)
		r.silence.heard(home.NodeID(st.Peer.Node), time.Now()) // whatever the answer: a region that waits for a lease is not dead
		if r.hushed() && r.inOffice() {
			what = answerHush
		} else if c, _, ok := r.sure(time.Now()); ok {
			what, commit = answerIs, c
			if r.digests.compare(home.NodeID(st.Peer.Node), d, st.Peer.Role == cluster.Core) {
				what = answerDiverged
			}
		}
		b := binary.BigEndian.AppendUint64(nil, number)
		b = append(b, what)
		b = binary.BigEndian.AppendUint64(b, commit)
		if what == answerIs {
			b = r.appendElsewhere(b, number)
		}
		if err := tell.answer(b); err != nil {
			return ignoreEnd(err)
		}
	}
}

const answerBytes = 8 + 1 + 8

// sure implements role.
func (r *core) sure(now time.Time) (commit uint64, held time.Time, ok bool) {
	if !r.inOffice() || r.hosting.Load() && !r.leased() {
		return 0, time.Time{}, false
	}
	commit = r.raft.CommitIndex()
	held = r.contacts.held(r.servers(), r.id, now)
	return commit, held, now.Sub(held) <= freshFor && r.inOffice()
}

// keepFresh asks the leader again and again what is committed. The leader asks
// itself.
func (r *Replica) keepFresh(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	var a asker
	defer a.close()
	for {
		asked := time.Now()
		r.freshenOnce(ctx, &a)
		t.Reset(r.nextAsk())
		if !r.untilAsk(ctx, asked, t) {
			return
		}
	}
}

// nextAsk is when to ask again if no heartbeat comes before, which is a little
// later than one should.
func (r *Replica) nextAsk() time.Duration {
	if r.role.leads() {
		return r.beats().until(askEvery)
	}
	return askEvery + beat/2
}

// untilAsk waits until it is time to ask again; false when ctx ended.
func (r *Replica) untilAsk(ctx context.Context, asked time.Time, t *time.Timer) bool {
	for {
		select {
		case <-r.beatCame:
			if time.Since(asked) < askEvery-beat/2 {
				continue
			}
		case <-t.C:
		case <-r.hurry:
		case <-ctx.Done():
			return false
		}
		return true
	}
}

func (r *Replica) freshenOnce(ctx context.Context, a *asker) {
	leader, ok := r.Leader()
	switch {
	case !ok:
	case leader == r.opts.Node && r.hushed():
		r.fresh.hush(time.Now())
	case leader == r.opts.Node:
		if commit, held, ok := r.role.sure(time.Now()); ok {
			r.fresh.hear(heard{at: held, commit: commit}, r.role.reached)
			r.water.raise()
		}
	default:
		r.askLeader(ctx, a, leader)
	}
}

// asker is the stream a node asks its leader on. Answers come in on a goroutine
// of their own, so that one that is lost does not hold up the next question.
type asker struct {
	to     home.NodeID
	stream *cluster.Stream
}

func (a *asker) close() {
	if a.stream != nil {
		_ = a.stream.Close()
	}
	a.stream = nil
}

func (r *Replica) askLeader(ctx context.Context, a *asker, leader home.NodeID) {
	if a.stream == nil || a.to != leader {
		a.close()
		dctx, cancel := context.WithTimeout(ctx, freshFor)
		st, err := r.dialLog(dctx, leader, purposeAsk)
		cancel()
		if err != nil {
			r.log.Debug("ask the leader what is committed", "leader", leader, "error", err)
			return
		}
		a.stream, a.to = st, leader
		go r.protect(func() { r.readAnswers(st) })
	}
	asked := time.Now()
	d := r.digests.newest()
	number := uint64(asked.Sub(r.fresh.started))
	if r.shipped.awaited() {
		number |= awaits
	}
	b := binary.BigEndian.AppendUint64(nil, number)
	b = binary.BigEndian.AppendUint64(b, d.index)
	b = binary.BigEndian.AppendUint64(b, d.sum)
	_ = a.stream.SetWriteDeadline(asked.Add(askTimeout))
	if _, err := a.stream.Write(b); err != nil {
		a.close()
	}
}

// readAnswers takes the leader's answers. A question's number is the time it was
// asked at, by this node's own clock.
func (r *Replica) readAnswers(st *cluster.Stream) {
	defer st.Close()
	in := bufio.NewReader(st)
	var b [answerBytes]byte
	for {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return
		}
		asked := r.fresh.started.Add(time.Duration(binary.BigEndian.Uint64(b[:])))
		switch b[8] {
		case answerDiverged:
			r.fail(errDiverged)
			return
		case answerIs:
			r.fresh.hear(heard{at: asked, commit: binary.BigEndian.Uint64(b[9:])}, r.role.reached)
			r.water.raise()
		case answerElsewhere:
			r.hearOther(asked.Add(freshFor))
		case answerHush:
			r.fresh.hush(asked)
		case answerShipped:
			r.shipped.set(binary.BigEndian.Uint64(b[9:]), binary.BigEndian.Uint64(b[:]) == 1)
		}
	}
}
