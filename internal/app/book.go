package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/takeover/agent"
)

// book keeps what this region promised as a voter. It is a group of its own on the
// core nodes: a home's log takes no entry while the home is fenced, handed over or
// followed in another region, and the vote is needed just then. Its state machine is
// that of a home without sessions, and what is kept of a home is a retained message
// under the home's name. It implements agent.Book.
type book struct {
	a    *App
	live atomic.Pointer[replica.Replica]
	turn turn // one change at a time: it is written over what was read
}

// bookID is no region's name, so that no home is called so.
const bookID home.ID = ".votes"

// bookSpace is the namespace of what is kept.
const bookSpace = "kept"

// bookSegment is the size of a file of its log, which grows by a few entries a day.
const bookSegment = 1 << 20

// run opens and serves the book until ctx ends.
func (b *book) run(ctx context.Context) error {
	err := b.serve(ctx)
	b.live.Store(nil)
	return err
}

func (b *book) serve(ctx context.Context) (err error) {
	a := b.a
	dir, run, err := a.dir.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.dir.close()) }()
	ro := replica.Options{Home: bookID, Epoch: home.Epoch{Number: 1, Host: a.cfg.Region}, Node: home.NodeID(a.cfg.Node), Incarnation: run,
		Sink: quietSink{}, Logger: a.log.With("component", "votes"), Voters: a.cfg.Cluster.Voters, Beside: true, RaiseIncarnation: a.raise,
		SegmentBytes: bookSegment, MemoryBudget: 1 << 20, SnapshotBytes: 1 << 20, OnFatal: func(error) { b.live.Store(nil) }}
	if a.cluster != nil {
		ro.Cluster = a.cluster
		a.cluster.Refresh()
	}
	if change := a.opts.Replica; change != nil {
		change(&ro)
	}
	r, err := a.openCopy(ctx, dir, ro)
	if err != nil {
		return err
	}
	b.live.Store(r)
	return r.Run(ctx)
}

// leads says that this node answers for the region's vote.
func (b *book) leads() bool {
	r := b.live.Load()
	return r != nil && r.Leads()
}

// at is the node that answers for the region's vote, as far as is known.
func (b *book) at() string {
	if r := b.live.Load(); r != nil {
		if leader, ok := r.Leader(); ok {
			return string(leader)
		}
	}
	return ""
}

// leader is the group's, if this node leads it.
func (b *book) leader() (*replica.Replica, error) {
	if r := b.live.Load(); r != nil && r.Leads() {
		return r, nil
	}
	return nil, fmt.Errorf("the region's votes: %w", agent.ErrElsewhere)
}

// Load implements agent.Book.
func (b *book) Load(ctx context.Context) (map[home.ID]agent.Kept, error) {
	if err := b.Sure(ctx); err != nil { // all that an earlier leader kept is applied here
		return nil, err
	}
	r, err := b.leader()
	if err != nil {
		return nil, err
	}
	all := map[home.ID]agent.Kept{}
	for after := ""; ; {
		list := r.State().RetainedAfter(bookSpace, after, 100)
		for _, m := range list {
			k, err := readKept(m.Payload)
			if err != nil {
				return nil, fmt.Errorf("what is kept of home %s: %w", m.Topic, err)
			}
			all[home.ID(m.Topic)] = k
		}
		if len(list) < 100 {
			return all, nil
		}
		after = list[len(list)-1].Topic
	}
}

func readKept(payload []byte) (k agent.Kept, err error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields() // a later version's promise is not to be forgotten
	err = d.Decode(&k)
	return k, err
}

// held says that an operator stopped the home in this region. Any node may be asked.
func (b *book) held(id home.ID) bool {
	r := b.live.Load()
	if r == nil {
		return false
	}
	m, ok := r.State().RetainedMessage(bookSpace, string(id))
	if !ok {
		return false
	}
	k, err := readKept(m.Payload)
	return err == nil && k.Held
}

// Keep implements agent.Book.
func (b *book) Keep(ctx context.Context, id home.ID, k agent.Kept) error {
	payload, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := b.turn.take(ctx); err != nil {
		return err
	}
	defer b.turn.leave()
	return b.commit(ctx, &home.Publish{Session: home.SessionKey{Namespace: bookSpace}, Topic: string(id), Payload: payload, QoS: 1, Retain: true})
}

// drainedSpace is the namespace of what was noted of copies that were set aside.
const drainedSpace = "drained"

func drainedTopic(id home.ID, e home.Epoch) string { return string(id) + "/" + e.String() }

// noteDrained tells all nodes of the region that others have what its copy of a home, which
// was set aside, was to send them: one node has the links.
func (b *book) noteDrained(ctx context.Context, id home.ID, e home.Epoch) error {
	if b == nil || b.a.cluster == nil || b.drained(id, e) {
		return nil
	}
	if err := b.turn.take(ctx); err != nil {
		return err
	}
	defer b.turn.leave()
	return b.commit(ctx, &home.Publish{Session: home.SessionKey{Namespace: drainedSpace}, Topic: drainedTopic(id, e), Payload: []byte{1}, QoS: 1, Retain: true})
}

// drained says whether that was noted.
func (b *book) drained(id home.ID, e home.Epoch) bool {
	if b == nil {
		return false
	}
	r := b.live.Load()
	if r == nil {
		return false
	}
	topic := drainedTopic(id, e)
	list := r.State().RetainedAfter(drainedSpace, topic[:len(topic)-1], 2)
	for i := range list {
		if list[i].Topic == topic {
			return true
		}
	}
	return false
}

// Sure implements agent.Book: an entry of this node's was committed, so at that moment
// a majority took it for their leader.
func (b *book) Sure(ctx context.Context) error { return b.commit(ctx, &home.Tick{}) }

// commit is nil if this node led when the operation was committed. Had another one led
// then, this node would have heard of it with the entry.
func (b *book) commit(ctx context.Context, op home.Op) error {
	r, err := b.leader()
	if err != nil {
		return err
	}
	o, err := outcomeOf(ctx, r, op)
	if err != nil {
		return err
	}
	if o.Code == home.CodeVoid || o.Code >= 0x80 {
		return fmt.Errorf("the region's votes: the entry was refused with code %d", o.Code)
	}
	_, err = b.leader()
	return err
}

// quietSink hears nothing: there are no sessions and no links.
type quietSink struct{}

func (quietSink) Deliver(home.Delivery)                                                {}
func (quietSink) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (quietSink) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (quietSink) Spooled(home.ID)                                                      {}
func (quietSink) Wanted()                                                              {}
func (quietSink) Dropped(string, home.DropReason, int)                                 {}
