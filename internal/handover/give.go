package handover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/home"
)

// Giver answers for a home that is served here.
type Giver struct {
	Home Home
	// MinDwell is for how long a session that moved here stays while its device is connected.
	MinDwell time.Duration
	// Stays says that a namespace's sessions do not move. Nil: all may.
	Stays func(namespace string) bool
	// Off says that no session begins to move. What was begun comes to its end.
	Off bool
}

// Answer answers a question of a region that may speak for the home that asks. An error says
// that there is no answer now.
func (g *Giver) Answer(ctx context.Context, region string, q *Ask) (*Answer, error) {
	st := g.Home.State()
	switch {
	case st.ID() != q.To:
		return nil, fmt.Errorf("home %s is not served here", q.To)
	case g.Off && !g.begun(q):
		return g.stay(q, "sessions do not move there: handover.enabled is not set")
	case st.Level() < home.LevelOf(home.KindMove):
		return g.stay(q, fmt.Sprintf("sessions do not move there: home %s is at feature level %d", q.To, st.Level()))
	}
	switch q.What {
	case WhatTake:
		return g.take(ctx, region, q)
	case WhatTaken, WhatDone, WhatBack:
		return g.move(ctx, q)
	case WhatClaim:
		return g.claim(ctx, q)
	case WhatReaches:
		return g.reaches(ctx, q)
	case WhatWho:
		return g.who(ctx, q)
	case WhatEnd:
		return g.end(ctx, q)
	case WhatFetch:
		return g.fetch(ctx, q)
	case WhatNews:
		return g.news(q)
	case WhatParts:
		a := &Answer{}
		for _, part := range q.Parts {
			if len(a.Add) > maxNews {
				break
			}
			a.Add, a.Parts = append(a.Add, st.DirectoryParts([]byte{part})...), append(a.Parts, part)
		}
		return a, nil
	}
	return nil, fmt.Errorf("this version does not know question %d about sessions", q.What)
}

// stay says that sessions do not move; directories are not told of them.
func (g *Giver) stay(q *Ask, why string) (*Answer, error) {
	if q.What == WhatNews || q.What == WhatParts {
		return nil, errors.New(why)
	}
	return &Answer{Verdict: Refused, Why: why}, nil
}

// begun says that a question is part of a move that was begun.
func (g *Giver) begun(q *Ask) bool {
	switch q.What {
	case WhatTake:
		_, ok := g.Home.State().DepartureFor(q.Session, q.From, q.Claim)
		return ok
	case WhatTaken, WhatDone, WhatBack, WhatClaim, WhatReaches:
		return true
	}
	return false
}

// take begins to give a session, or gives more of it.
func (g *Giver) take(ctx context.Context, region string, q *Ask) (*Answer, error) {
	st := g.Home.State()
	if _, begun := st.DepartureFor(q.Session, q.From, q.Claim); begun {
		return g.give(region, q)
	}
	d, leaving := st.DepartureOf(q.Session)
	switch {
	case leaving:
		return &Answer{Verdict: Busy, Why: "it is on its way to home " + string(d.To)}, nil
	case q.After > 0 || q.Epoch != home.Epoch{}:
		return &Answer{Verdict: Unknown, Why: "nothing is given to that claim"}, nil
	}
	x, ok := st.Session(q.Session)
	if !ok {
		return g.unknown(q), nil
	}
	if a, coming := st.ArrivalOf(q.Session); coming && !a.Complete {
		return &Answer{Verdict: Busy, Why: "it is on its way from home " + string(a.From)}, nil
	}
	if x.Transient || x.Expiry == 0 {
		return g.end(ctx, q)
	}
	if why := g.Refuses(&x); why != "" && !q.Merge {
		return &Answer{Verdict: Refused, Why: why}, nil
	}
	if _, a, err := g.stop(ctx, home.MoveBegin, q, &x); a != nil || err != nil {
		return a, err
	}
	return g.give(region, q)
}

// stop begins to give a session, or ends it, and returns once nobody sends for it any more. An
// answer says why not.
func (g *Giver) stop(ctx context.Context, step home.MoveStep, q *Ask, x *home.SessionInfo) (home.Outcome, *Answer, error) {
	o, err := g.Home.Do(ctx, &home.Move{Step: step, Session: q.Session, To: q.From, Claim: q.Claim, Seen: x.Epoch})
	switch {
	case err != nil:
		return o, nil, err
	case o.Code == home.CodeUnknown:
		return o, &Answer{Verdict: Unknown}, nil
	case o.Code != home.CodeOK:
		return o, &Answer{Verdict: Busy, Why: "its device was connected there a moment ago"}, nil
	}
	if err := g.Home.Silence(ctx, q.Session, x.Epoch+1, o.Formers); err != nil {
		return o, nil, fmt.Errorf("wait until nobody sends for session %s any more: %w", q.Session, err)
	}
	if err := g.Home.Shipped(ctx, o.Record); err != nil {
		return o, nil, fmt.Errorf("wait until the standby knows that session %s moves: %w", q.Session, err)
	}
	return o, nil, nil
}

// Refuses says why a session stays.
func (g *Giver) Refuses(x *home.SessionInfo) string {
	if g.Stays != nil && g.Stays(x.Key.Namespace) {
		return fmt.Sprintf("sessions of namespace %q stay in their home", x.Key.Namespace)
	}
	since := g.Home.State().Adopted(x.Key)
	if age := g.Home.Now().Sub(since); since != 0 && x.Owner != (home.Owner{}) && age < g.MinDwell {
		return fmt.Sprintf("it moved there %s ago, and a device is connected with it", age.Round(time.Second))
	}
	return ""
}

// give encodes what is asked of a session that stands still.
func (g *Giver) give(region string, q *Ask) (*Answer, error) {
	st := g.Home.State()
	l, ok := st.Leaving(q.Session, q.From, q.Claim, q.Epoch)
	if !ok {
		return &Answer{Verdict: Unknown}, nil
	}
	op := &home.Adopt{Step: home.AdoptPart, Session: q.Session, From: q.To, Claim: q.Claim}
	after := q.After
	a := &Answer{Last: l.Last, Epoch: l.Epoch, Waits: l.Waits}
	switch {
	case q.Epoch != l.Epoch && q.Whole:
		op.Step, op.Epoch, op.Until = home.AdoptAnew, l.Epoch, min(after, l.Common)
		a.cut(home.AppendOp(nil, op), q.Offset)
		return a, nil
	case q.Epoch != l.Epoch:
		op.Step, op.Epoch, op.Export, op.Stale, op.WillIn = home.AdoptBegin, l.Epoch, l.Session, l.Stale, l.WillIn
		after = 0
	}
	if w := op.Export.Will; w != nil && !st.MayLeave(q.Session.Namespace, w.Topic, region) {
		op.Export.Will = nil
	}
	var err error
	if op.Messages, op.Until, ok, err = st.Gone(q.Session, q.From, q.Claim, after, partBytes, region, g.Home.Body); err != nil {
		return nil, err
	}
	if !ok {
		return &Answer{Verdict: Unknown}, nil
	}
	a.cut(home.AppendOp(nil, op), q.Offset)
	return a, nil
}

// move enters a step of a session that was given.
func (g *Giver) move(ctx context.Context, q *Ask) (*Answer, error) {
	op := &home.Move{Step: home.MoveTaken, Session: q.Session, To: q.From, Claim: q.Claim, Settled: q.Settled}
	switch q.What {
	case WhatDone:
		op.Step = home.MoveDone
	case WhatBack:
		op.Step = home.MoveBack
	}
	if _, ok := g.Home.State().DepartureFor(q.Session, q.From, q.Claim); !ok {
		return &Answer{Verdict: Unknown}, nil
	}
	o, err := g.Home.Do(ctx, op)
	switch {
	case err != nil:
		return nil, err
	case o.Code == home.CodeUnknown:
		return &Answer{Verdict: Unknown}, nil
	case o.Code != home.CodeOK:
		return &Answer{Verdict: Refused, Why: "it counts as taken"}, nil
	}
	// Who asked forgets the claim then; a copy that takes over must not bring it up again.
	if err := g.Home.Shipped(ctx, o.Record); err != nil {
		return nil, err
	}
	return &Answer{}, nil
}

// claim says what became of a claim of this home. That the session is here its standby will know as well.
func (g *Giver) claim(ctx context.Context, q *Ask) (*Answer, error) {
	a, ok := g.Home.State().ArrivalFor(q.Session, q.From, q.Claim)
	switch {
	case !ok:
		return &Answer{Verdict: Unknown}, nil
	case a.Over || a.Complete:
		return &Answer{}, g.Home.Shipped(ctx, g.Home.State().Position().Records)
	}
	return &Answer{Verdict: Pending}, nil
}

// reaches says whether this home knows what another one wants, and whether a third one has
// what was numbered here before. What it says of itself its standby will know as well.
func (g *Giver) reaches(ctx context.Context, q *Ask) (*Answer, error) {
	st := g.Home.State()
	a := &Answer{Epoch: st.Epoch()}
	p, known := st.Peer(q.From)
	if known && p.Epoch == q.Epoch && p.Version >= q.Version {
		a.Applied, a.High = true, st.HighSeq()
		spans := st.Lineage()
		for i := range len(spans) - 1 {
			a.Before = append(a.Before, home.Settled{Home: q.To, Epoch: spans[i].Epoch, To: spans[i+1].First - 1})
		}
		if err := g.Home.Shipped(ctx, st.Position().Records); err != nil {
			return nil, err
		}
	}
	a.Drained = q.Drain == "" || st.Drained(q.Drain, q.UpTo)
	return a, nil
}

// unknown says that a session is not here, and which other home may have it.
func (g *Giver) unknown(q *Ask) *Answer {
	for _, id := range g.Home.State().Listed(q.Session) {
		if id != q.From {
			return &Answer{Verdict: Unknown, Home: id}
		}
	}
	return &Answer{Verdict: Unknown}
}

// who says whether a session is here. Who asks may have one as well, which the directory does not say
// while it was given up that its home answers.
func (g *Giver) who(ctx context.Context, q *Ask) (*Answer, error) {
	st := g.Home.State()
	if _, leaving := st.DepartureOf(q.Session); leaving {
		return &Answer{Verdict: Pending}, nil
	}
	if a, coming := st.ArrivalOf(q.Session); coming && !a.Complete {
		return &Answer{Verdict: Pending, Home: a.From}, nil
	}
	x, ok := st.Session(q.Session)
	if !ok {
		return g.unknown(q), nil
	}
	if q.Both && !slices.Contains(st.Listed(q.Session), q.From) {
		if _, err := g.Home.Do(ctx, &home.Directory{Peer: q.From, Add: []uint64{q.Session.Hash()}}); err != nil {
			return nil, err
		}
	}
	return &Answer{Session: x.Epoch, Queued: x.Queued, Fresh: x.Fresh}, nil
}

// end ends a session whose device began anew in another home, or whose session ends with its
// connection.
func (g *Giver) end(ctx context.Context, q *Ask) (*Answer, error) {
	x, ok := g.Home.State().Session(q.Session)
	if !ok {
		return g.unknown(q), nil
	}
	if why := g.Refuses(&x); why != "" {
		return &Answer{Verdict: Refused, Why: why}, nil
	}
	o, a, err := g.stop(ctx, home.MoveEnd, q, &x)
	if a != nil || err != nil {
		return a, err
	}
	return &Answer{Verdict: Ended, Queued: o.Count}, nil
}

// fetchFor is how long a wish stands that the home which has the session asked for.
const fetchFor = 8 * time.Second

// fetch has a session brought here from the home that asks for that.
func (g *Giver) fetch(ctx context.Context, q *Ask) (*Answer, error) {
	o, err := g.Home.Do(ctx, &home.Adopt{Step: home.AdoptWish, Session: q.Session, From: q.From, For: fetchFor})
	if err != nil {
		return nil, err
	}
	if o.Code != home.CodeOK {
		return &Answer{Verdict: Busy, Why: "it has one of its own, or is told of the end of one"}, nil
	}
	return &Answer{}, nil
}

// maxNews bounds the changes in one answer.
const maxNews = 8192

func (g *Giver) news(q *Ask) (*Answer, error) {
	n, ok := g.Home.State().OwnDirectory(q.Instance, q.Since)
	if !ok {
		return nil, fmt.Errorf("home %s tells nothing of its sessions", q.To)
	}
	a := &Answer{Instance: n.Instance, Position: n.Position, Session: n.High, Known: n.Known, Add: n.Add, Remove: n.Remove}
	for id, list := range n.Moved {
		if a.Moved == nil {
			a.Moved = map[home.ID]hashes{}
		}
		a.Moved[id] = list
	}
	if len(n.Add)+len(n.Remove) > maxNews {
		a.Known, a.Add, a.Remove, a.Moved = false, nil, nil, nil
	}
	if q.Digest || !a.Known {
		a.Digest = &n.Digest
	}
	return a, nil
}
