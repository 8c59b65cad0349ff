package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"causeway/internal/admin"
	"causeway/internal/handover"
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
	Reconciled home.Reconciliation // of the region's copy of the epoch that was asked about
	Level      uint32              // feature level of the home
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
	parts map[partOf][]byte // one at a time
}

// partOf is whose part is put together.
type partOf struct {
	home   home.ID
	region string
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
	return json.Marshal(lineageAnswer{Lineage: r.State().Lineage(), Reconciled: r.State().Reconciled(q.From, region), Level: r.State().Level()})
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
	whole, err := a.assembly.add(region, &q, maxOpBytes(int(a.cfg.Limits.Packet)))
	if err != nil || !q.Last {
		return nil, err
	}
	record, err := home.DecodeRecord(whole)
	if err != nil || len(record.Entries) != 1 || len(record.Entries[0].Ops) != 1 {
		return nil, fmt.Errorf("a part of home %s is malformed: %w", q.Home, errors.Join(err))
	}
	op, ok := record.Entries[0].Ops[0].(*home.Reconcile)
	if !ok || op.Fork.From != q.From || cmp.Or(op.Copy, q.From.Host) != region {
		return nil, fmt.Errorf("what came for home %s is no part of an epoch of region %s", q.Home, region)
	}
	if have, want := r.State().Level(), home.LevelOf(op.Kind()); have < want { // it would stop every copy
		return nil, fmt.Errorf("home %s is at feature level %d, and a part of that kind needs %d", q.Home, have, want)
	}
	o, err := outcomeOf(ctx, r, op)
	if err == nil && o.Code != home.CodeOK {
		err = fmt.Errorf("part %d of epoch %s is refused with code %d", op.Part, q.From, o.Code)
	}
	return nil, err
}

func (a *assembly) add(region string, q *partRequest, most int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts == nil {
		a.parts = map[partOf][]byte{}
	}
	of := partOf{q.Home, region}
	have := a.parts[of]
	if q.At == 0 {
		have = nil
	}
	if q.At != len(have) || len(have)+len(q.Data) > most {
		delete(a.parts, of)
		return nil, fmt.Errorf("a piece of a part at %d does not follow, or the part is above %d bytes", q.At, most)
	}
	have = append(have, q.Data...)
	if a.parts[of] = have; q.Last {
		delete(a.parts, of)
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
	return nil, replica.RetiredCopy{}, fmt.Errorf("%w: no copy of home %s was set aside on this node; another node of the region may have one: hand it the lead (causeway ctl cluster transfer NODE) and do this again", admin.ErrNotFound, id)
}

// retired lists the copies of a home that were set aside on this node.
func (a *App) retired(h *homeService) ([]replica.RetiredCopy, error) {
	at, err := a.dir.path(homeFolder(h.id))
	if err != nil {
		return nil, err
	}
	return replica.Retired(a.opts.FS, at)
}

// opened is a copy that was set aside, and where it and the home in force went apart. Nobody
// closes it until it is released.
type opened struct {
	h       *homeService
	c       replica.RetiredCopy
	r       *replica.Replica
	fork    home.Fork
	known   home.Reconciliation
	level   uint32 // of the home in force
	empty   bool   // others have all that it was to send them
	release func()
}

// open opens a home's oldest copy.
func (s *asideCopies) open(ctx context.Context, id home.ID) (*opened, error) {
	if d := s.a.deciding; !d.AtWork() {
		if at := d.at(); at != "" && at != s.a.cfg.Node {
			return nil, &admin.Elsewhere{Node: at}
		}
	}
	h, c, err := s.oldest(id)
	if err != nil {
		return nil, err
	}
	said, err := s.lineage(ctx, h, c)
	if err != nil {
		return nil, fmt.Errorf("%w: ask the host of home %s where the copies went apart: %w", admin.ErrUnavailable, id, err)
	}
	if err := h.formers.turn.take(ctx); err != nil {
		return nil, err
	}
	f, err := h.former(c)
	if err != nil {
		h.formers.turn.leave()
		return nil, err
	}
	o := &opened{h: h, c: c, r: f.r, known: said.Reconciled, level: said.Level, release: h.formers.turn.leave}
	o.empty, _ = f.drained()
	diverged := false
	if o.fork, diverged = f.r.State().ForkFrom(said.Lineage); !diverged {
		o.fork.Void = true
	}
	return o, nil
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

// host is the region that hosts a home now, as far as is known here.
func (s *asideCopies) host(h *homeService, c replica.RetiredCopy) string {
	if e := h.State().Epoch(); e.Compare(c.By) > 0 {
		return e.Host
	}
	return c.By.Host
}

// call asks the region that hosts the home now, as far as is known here.
func (s *asideCopies) call(ctx context.Context, h *homeService, c replica.RetiredCopy, kind byte, q []byte) ([]byte, error) {
	host := s.host(h, c)
	if host == s.a.cfg.Region { // the home came back here
		return s.a.answer(ctx, host, kind, q)
	}
	return caller{s.a}.Call(ctx, host, kind, q)
}

// Divergence implements aside.
func (s *asideCopies) Divergence(ctx context.Context, id string) (admin.Divergence, error) {
	o, err := s.open(ctx, home.ID(id))
	if err != nil {
		return admin.Divergence{}, err
	}
	defer o.release()
	r, fork, known := o.r, o.fork, o.known
	at := r.State().Position()
	d := admin.Divergence{Home: id, State: "pending", Epoch: at.Epoch.Number, Host: at.Epoch.Host}
	switch {
	case known.Done:
		if d.State = "done"; !o.empty {
			d.State = "draining"
		} else if o.h.keeps(o) {
			d.State = "kept"
		}
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
	open, err := s.open(ctx, home.ID(o.Home))
	if err != nil {
		return nil, err
	}
	defer open.release()
	h, c, r, fork, known := open.h, open.c, open.r, open.fork, open.known
	x := home.Divergence{}
	if !fork.Void {
		x = r.State().Divergence(fork)
	}
	effects := []string{fmt.Sprintf("%d messages of epoch %s go to the host of %s, as the rules of replay say", x.Messages, c.Position.Epoch, o.Home)}
	if o.Discard {
		effects = []string{fmt.Sprintf("%d messages of epoch %s are given up for good", x.Messages, c.Position.Epoch)}
	}
	if o.Discard && known.Done && h.keeps(open) {
		effects = []string{"messages that the region that served may not store, and that only this copy has, are given up for good"}
	}
	if known.Done && !dryRun {
		h.isTakenIn(c)
		if o.Discard {
			note(&h.formers.gone, c)
		}
	}
	if dryRun || known.Done {
		return effects, nil
	}
	if fork.Void {
		note(&h.formers.void, c)
		if !o.Discard && h.keeps(open) {
			note(&h.formers.done, c)
			return []string{"the copy has nothing more than the host, and is kept for messages that the region that serves may not store"}, nil
		}
		h.shutFormer(c.Dir)
		return []string{"the copy has nothing more than the host; it is removed"}, s.a.removeRetired(c)
	}
	if err := s.send(ctx, open, o); err != nil {
		return nil, err
	}
	if h.isTakenIn(c); o.Discard {
		note(&h.formers.gone, c)
	}
	return append(effects, "the copy that was set aside is removed once the one that follows says that it is all there"), nil
}

// isTakenIn notes that the host has all that a copy had. The copy that follows here will say so,
// too, but another region may be the one that is shipped to. The caller has the turn.
func (h *homeService) isTakenIn(c replica.RetiredCopy) {
	note(&h.formers.done, c)
}

func note(of *map[string]bool, c replica.RetiredCopy) {
	if *of == nil {
		*of = map[string]bool{}
	}
	(*of)[c.Dir] = true
}

// keeps says that a copy whose difference was taken in is kept for what the home owes.
func (h *homeService) keeps(o *opened) bool {
	r, f := h.opened.Load(), h.formers.open[o.c.Dir]
	return r != nil && f != nil && !h.formers.gone[o.c.Dir] && h.wanted(r, f)
}

// send exports and sends all parts; the host skips those it has, which go up to known.
func (s *asideCopies) send(ctx context.Context, x *opened, o admin.ReconcileOrder) error {
	h, c, r := x.h, x.c, x.r
	name := s.a.cfg.Region
	if x.level < home.LevelOf(home.KindTakeIn) {
		if name = ""; c.Position.Epoch.Host != s.a.cfg.Region {
			return admin.Refuse("feature_level", fmt.Sprintf("home %s is at feature level %d, and a copy of an epoch of another region is taken in from level %d on", h.id, x.level, home.LevelOf(home.KindTakeIn)),
				"raise it where the home is served: causeway ctl upgrade finalize")
		}
	}
	if o.Discard {
		return s.sendPart(ctx, h, c, &home.Reconcile{Fork: x.fork, Part: x.known.Part + 1, Done: true, Copy: name})
	}
	host := s.host(h, c)
	end, e := r.State().Now(), r.State().Export(x.fork, r.Body).For(func(ns, topic string) bool {
		return r.State().MayLeave(ns, topic, host) && h.State().MayLeave(ns, topic, host)
	})
	if name != "" {
		e.As(name)
	}
	for {
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

// watchRetired sets the copy aside that went another way than its host's, and tends those that
// were.
func (h *homeService) watchRetired(ctx context.Context) error {
	defer h.shutFormers()
	for wait(ctx, retiredEvery) {
		r := h.opened.Load()
		if r == nil {
			continue
		}
		if !superseded(r, h.a.cfg.Region) {
			h.setAside(ctx, r)
		}
		h.tend(ctx, r)
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
	switch {
	case kind == handover.Kind:
		return a.roaming.answerCall(ctx, region, request)
	case a.votes == nil:
		return nil, errUnknownKind
	}
	switch kind {
	case agent.Kind:
		return a.votes.Answer(region, kind, request)
	case kindLineage:
		return a.answerLineage(region, request)
	case kindPart:
		return a.answerPart(ctx, region, request)
	case kindBuild:
		return a.answerBuild()
	case kindJudge:
		return a.answerJudge(region, request)
	case kindFacts:
		return json.Marshal(a.facts())
	}
	return nil, errUnknownKind
}
