package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"causeway/internal/admin"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/takeover/agent"
)

// What a copy that was set aside went on to goes to the home's host when an operator
// says so, part by part; each part is an entry of the home, so it may be cut short and
// done again. [E6] When the copy that follows here says that the host has it all, the
// one that was set aside is removed, on each node.

// Kinds of the calls between regions beside the votes'.
const (
	kindLineage byte = 2 // of a home, as its host has it
	kindPart    byte = 3 // of what a copy that was set aside has more
)

const (
	partBytes  = 1 << 20   // about what one entry takes in
	chunkBytes = 128 << 10 // of it that one call carries
)

// lineageAnswer is what a host says of a home.
type lineageAnswer struct {
	Lineage    []home.Span
	Reconciled home.Reconciliation // of the epoch that was asked about
}

type lineageRequest struct {
	Home home.ID
	From home.Epoch
}

// partRequest is a piece of a part.
type partRequest struct {
	Home home.ID
	From home.Epoch
	At   int // of Data in the part
	Last bool
	Data []byte // of a record with the operation
}

// assembly puts the pieces of parts together at the host.
type assembly struct {
	mu    sync.Mutex
	parts map[home.ID][]byte // one at a time a home
}

// hostOf is the home, if this node leads it and its region hosts it, for a region that
// may have hosted it.
func (a *App) hostOf(id home.ID, region string) (*homeService, *replica.Replica, error) {
	for _, h := range a.homes {
		if r := h.opened.Load(); h.id == id && r != nil && r.Leads() && r.Hosting() && slices.Contains(a.cfg.Hosts(string(id)), region) {
			return h, r, nil
		}
	}
	return nil, nil, fmt.Errorf("home %s is not served by this node, or not to be asked about by region %s", id, region)
}

func (a *App) answerLineage(region string, request []byte) ([]byte, error) {
	var q lineageRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	_, r, err := a.hostOf(q.Home, region)
	if err != nil {
		return nil, err
	}
	return json.Marshal(lineageAnswer{Lineage: r.State().Lineage(), Reconciled: r.State().Reconciled(q.From)})
}

// answerPart takes a piece of a part, and with the last one enters the part.
func (a *App) answerPart(ctx context.Context, region string, request []byte) ([]byte, error) {
	var q partRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	_, r, err := a.hostOf(q.Home, region)
	if err != nil {
		return nil, err
	}
	whole, err := a.assembly.add(&q, maxOpBytes(int(a.cfg.Limits.Packet)))
	if err != nil || !q.Last {
		return nil, err
	}
	record, err := home.DecodeRecord(whole)
	if err != nil || len(record.Entries) != 1 || len(record.Entries[0].Ops) != 1 {
		return nil, fmt.Errorf("a part of home %s is malformed: %w", q.Home, errors.Join(err))
	}
	op, ok := record.Entries[0].Ops[0].(*home.Reconcile)
	if !ok || op.Fork.From != q.From || op.Fork.From.Host != region {
		return nil, fmt.Errorf("what came for home %s is no part of an epoch of region %s", q.Home, region)
	}
	o, err := outcomeOf(ctx, r, op)
	if err == nil && o.Code != home.CodeOK {
		err = fmt.Errorf("part %d of epoch %s is refused with code %d", op.Part, q.From, o.Code)
	}
	return nil, err
}

func (a *assembly) add(q *partRequest, most int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts == nil {
		a.parts = map[home.ID][]byte{}
	}
	have := a.parts[q.Home]
	if q.At == 0 {
		have = nil
	}
	if q.At != len(have) || len(have)+len(q.Data) > most {
		delete(a.parts, q.Home)
		return nil, fmt.Errorf("a piece of a part at %d does not follow, or the part is above %d bytes", q.At, most)
	}
	have = append(have, q.Data...)
	if a.parts[q.Home] = have; q.Last {
		delete(a.parts, q.Home)
	}
	return have, nil
}

// asideCopies are what was set aside here. It implements aside.
type asideCopies struct {
	a    *App
	busy sync.Mutex // one reconciliation at a time
}

// oldest is the home's oldest copy that was set aside here.
func (s *asideCopies) oldest(id home.ID) (*homeService, replica.RetiredCopy, error) {
	for _, h := range s.a.homes {
		if h.id != id {
			continue
		}
		list, err := s.a.retired(h)
		if err != nil {
			return nil, replica.RetiredCopy{}, err
		}
		if len(list) > 0 {
			return h, list[0], nil
		}
	}
	return nil, replica.RetiredCopy{}, fmt.Errorf("%w: no copy of home %s was set aside on this node", admin.ErrNotFound, id)
}

// retired lists the copies of a home that were set aside on this node.
func (a *App) retired(h *homeService) ([]replica.RetiredCopy, error) {
	at, err := a.dir.path(homeFolder(h.id))
	if err != nil {
		return nil, err
	}
	return replica.Retired(a.opts.FS, at)
}

// open opens a copy and finds where it and the home in force went apart.
func (s *asideCopies) open(ctx context.Context, id home.ID) (*replica.Replica, home.Fork, home.Reconciliation, error) {
	if d := s.a.deciding; !d.AtWork() {
		if at := d.at(); at != "" && at != s.a.cfg.Node {
			return nil, home.Fork{}, home.Reconciliation{}, &admin.Elsewhere{Node: at}
		}
	}
	h, c, err := s.oldest(id)
	if err != nil {
		return nil, home.Fork{}, home.Reconciliation{}, err
	}
	said, err := s.lineage(ctx, h, c)
	if err != nil {
		return nil, home.Fork{}, home.Reconciliation{}, fmt.Errorf("%w: ask the host of home %s where the copies went apart: %w", admin.ErrUnavailable, id, err)
	}
	r, err := replica.OpenRetired(replica.Options{Home: id, Node: home.NodeID(s.a.cfg.Node), FS: s.a.opts.FS, Logger: s.a.log}, c)
	if err != nil {
		return nil, home.Fork{}, home.Reconciliation{}, err
	}
	fork, diverged := r.State().ForkFrom(said.Lineage)
	if !diverged {
		fork.Void = true
	}
	return r, fork, said.Reconciled, nil
}

// lineage asks the host of a home.
func (s *asideCopies) lineage(ctx context.Context, h *homeService, c replica.RetiredCopy) (answer lineageAnswer, err error) {
	q, err := json.Marshal(lineageRequest{Home: h.id, From: c.Position.Epoch})
	if err != nil {
		return answer, err
	}
	b, err := s.call(ctx, h, c, kindLineage, q)
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(b, &answer)
}

// call asks the region that hosts the home now, as far as is known here.
func (s *asideCopies) call(ctx context.Context, h *homeService, c replica.RetiredCopy, kind byte, q []byte) ([]byte, error) {
	host := c.By.Host
	if e := h.State().Epoch(); e.Compare(c.By) > 0 {
		host = e.Host
	}
	return caller{s.a}.Call(ctx, host, kind, q)
}

// Divergence implements aside.
func (s *asideCopies) Divergence(ctx context.Context, id string) (admin.Divergence, error) {
	r, fork, known, err := s.open(ctx, home.ID(id))
	if err != nil {
		return admin.Divergence{}, err
	}
	defer func() { _ = r.Close() }()
	at := r.State().Position()
	d := admin.Divergence{Home: id, State: "pending", Epoch: at.Epoch.Number, Host: at.Epoch.Host}
	switch {
	case known.Done:
		d.State = "done"
	case known.Part > 0:
		d.State = "running"
	}
	if fork.Void {
		return d, nil
	}
	x := r.State().Divergence(fork)
	d.Records, d.Messages, d.Bytes = at.Records-fork.After, x.Messages, int64(x.Bytes)
	d.Retained, d.Wills = x.Retained, x.Wills
	for _, name := range slices.Sorted(maps.Keys(x.ByClass)) {
		d.Classes = append(d.Classes, admin.DivergenceCount{Name: name, Count: x.ByClass[name]})
	}
	for i, name := range []string{"up to a minute", "up to ten minutes", "up to an hour", "up to a day", "older"} {
		d.Ages = append(d.Ages, admin.DivergenceCount{Name: name, Count: x.ByAge[i]})
	}
	d.Sessions = []admin.DivergenceCount{{Name: "created only here", Count: x.Sessions}, {Name: "references of devices that were connected at the end", Count: x.Attached}}
	if x.Oldest != 0 {
		d.Oldest = s.a.wallOf(home.ID(id), x.Oldest)
	}
	return d, nil
}

// wallOf turns a time of a home into one on the wall, as its copy in force counts.
func (a *App) wallOf(id home.ID, t home.Time) *time.Time {
	for _, h := range a.homes {
		if now := h.Now(); h.id == id && now != 0 {
			at := time.Now().Add(t.Sub(now)).UTC()
			return &at
		}
	}
	return nil
}

// Reconcile implements aside.
func (s *asideCopies) Reconcile(ctx context.Context, o admin.ReconcileOrder, dryRun bool) ([]string, error) {
	if !s.busy.TryLock() {
		return nil, admin.Refuse("busy", "a reconciliation is under way", "wait for its end: causeway ctl reconcile show "+o.Home)
	}
	defer s.busy.Unlock()
	r, fork, known, err := s.open(ctx, home.ID(o.Home))
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	h, c, err := s.oldest(home.ID(o.Home))
	if err != nil {
		return nil, err
	}
	x := home.Divergence{}
	if !fork.Void {
		x = r.State().Divergence(fork)
	}
	effects := []string{fmt.Sprintf("%d messages of epoch %s go to the host of %s, as the rules of replay say", x.Messages, c.Position.Epoch, o.Home)}
	if o.Discard {
		effects = []string{fmt.Sprintf("%d messages of epoch %s are given up for good", x.Messages, c.Position.Epoch)}
	}
	if dryRun || known.Done {
		return effects, nil
	}
	if fork.Void {
		return []string{"the copy has nothing more than the host; it is removed"}, s.a.removeRetired(c)
	}
	if err := s.send(ctx, h, c, r, fork, known.Part, o); err != nil {
		return nil, err
	}
	return append(effects, "the copy that was set aside is removed once the one that follows says that it is all there"), nil
}

// send exports and sends all parts; the host skips those it has, which go up to known.
func (s *asideCopies) send(ctx context.Context, h *homeService, c replica.RetiredCopy, r *replica.Replica, fork home.Fork, known uint64, o admin.ReconcileOrder) error {
	if o.Discard {
		return s.sendPart(ctx, h, c, &home.Reconcile{Fork: fork, Part: known + 1, Done: true})
	}
	end := r.State().Now()
	for e := r.State().Export(fork, r.Body); ; {
		op, err := e.Next(partBytes)
		if err != nil {
			return err
		}
		op.Messages = slices.DeleteFunc(op.Messages, func(m home.MessageExport) bool {
			return o.Replay == "report" || o.MaxAge > 0 && m.At != 0 && end.Sub(m.At) > o.MaxAge
		})
		if err := s.sendPart(ctx, h, c, op); err != nil {
			return err
		}
		if op.Done {
			return nil
		}
	}
}

func (s *asideCopies) sendPart(ctx context.Context, h *homeService, c replica.RetiredCopy, op *home.Reconcile) error {
	record := home.Record{Home: h.id, Entries: []home.Entry{{Owner: home.Owner{Node: home.NodeID(s.a.cfg.Node), Incarnation: 1}, N: 1, Ops: []home.Op{op}}}}
	b := record.Append(nil)
	for at := 0; at < len(b); at += chunkBytes {
		piece := b[at:min(at+chunkBytes, len(b))]
		q, err := json.Marshal(partRequest{Home: h.id, From: c.Position.Epoch, At: at, Last: at+len(piece) == len(b), Data: piece})
		if err != nil {
			return err
		}
		if _, err := s.call(ctx, h, c, kindPart, q); err != nil {
			return fmt.Errorf("%w: send part %d to the host of %s; what it has it keeps, so do it again: %w", admin.ErrUnavailable, op.Part, h.id, err)
		}
	}
	return nil
}

// retiredEvery is how often a node looks whether what it set aside is still needed, and
// whether its copy is to be set aside.
const retiredEvery = 5 * time.Second

// watchRetired sets the copy aside that went another way than its host's, and removes those
// whose difference the home in force has taken in.
func (h *homeService) watchRetired(ctx context.Context) error {
	for wait(ctx, retiredEvery) {
		r := h.opened.Load()
		if r == nil || superseded(r, h.a.cfg.Region) {
			continue
		}
		h.setAside(ctx, r)
		list, err := h.a.retired(h)
		if err != nil {
			continue
		}
		for _, c := range list {
			if !r.State().Reconciled(c.Position.Epoch).Done {
				continue
			}
			if err := h.a.removeRetired(c); err != nil {
				h.a.log.Warn("remove a copy that was reconciled", "home", string(h.id), "epoch", c.Position.Epoch.String(), "error", err)
				continue
			}
			h.a.log.Info("the copy that was set aside is reconciled and removed", "home", string(h.id), "epoch", c.Position.Epoch.String())
		}
	}
	return nil
}

func (a *App) removeRetired(c replica.RetiredCopy) error {
	return replica.RemoveRetired(a.opts.FS, c)
}

var _ aside = (*asideCopies)(nil)

// errUnknownKind is what a region of an older version says.
var errUnknownKind = errors.New("this version does not know that kind of question")

// answer answers other regions and witnesses.
func (a *App) answer(ctx context.Context, region string, kind byte, request []byte) ([]byte, error) {
	switch kind {
	case agent.Kind:
		return a.votes.Answer(region, kind, request)
	case kindLineage:
		return a.answerLineage(region, request)
	case kindPart:
		return a.answerPart(ctx, region, request)
	case kindFacts:
		return json.Marshal(a.facts())
	}
	return nil, errUnknownKind
}
