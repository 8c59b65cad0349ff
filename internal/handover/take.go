package handover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/home"
)

// Taker brings one session here. What it remembers saves questions, nothing else: a Taker
// that begins anew goes on from the log.
type Taker struct {
	Home    Home
	Ask     Asker
	Session home.SessionKey
	// Sources are the homes from which messages come here by links.
	Sources func() []home.ID
	// Clean says that the device begins anew: the session is to end where it is.
	Clean func() bool
	// Create says that homes which do not answer are not waited for.
	Create bool

	of claimed
}

// claimed is what is known of one claim. A session may go on and come again.
type claimed struct {
	from  home.ID
	claim uint64
	epoch home.Epoch // of from
	marks map[home.ID]*mark
	told  bool
}

// mark is what is known of a home whose messages are held.
type mark struct {
	epoch   home.Epoch
	to      home.Seq
	applied bool
	drained bool
	aimed   bool
	goal    uint64 // what came where the session was is needed up to this one
	asked   int
}

// Progress is what came of a step.
type Progress struct {
	Done        bool          // nothing is left to do
	Wait        time.Duration // before the next step
	Why         string        // why it does not go on; ""
	Unreachable bool          // the home that has the session does not answer
	Refused     bool          // it keeps it
}

const (
	soon      = 20 * time.Millisecond
	later     = 200 * time.Millisecond
	muchLater = 2 * time.Second
)

// Step does one thing. An error is one of this home: it may be tried again.
func (t *Taker) Step(ctx context.Context) (Progress, error) {
	in, ok := t.Home.State().ArrivalOf(t.Session)
	if in.From != t.of.from || in.Claim != t.of.claim {
		t.of = claimed{from: in.From, claim: in.Claim, epoch: in.Epoch, marks: map[home.ID]*mark{}}
	}
	if t.of.epoch != in.Epoch { // another copy numbers references in its own way
		for _, m := range t.of.marks {
			m.aimed = false
		}
		t.of.epoch = in.Epoch
	}
	switch {
	case !ok:
		return Progress{Done: true}, nil
	case in.From == "":
		return t.find(ctx, &in)
	case in.Over:
		return t.finish(ctx, &in, WhatDone)
	case !in.Begun && t.Home.Now() > in.Until:
		return t.finish(ctx, &in, WhatBack)
	case !in.Begun && t.Clean != nil && t.Clean():
		return t.endThere(ctx, &in)
	case !in.Complete:
		return t.pull(ctx, &in)
	}
	return t.settle(ctx, &in)
}

// A peer that does not answer, and of which nobody says that it has a session, is waited for so long.
const (
	findFor   = 2 * time.Second
	findAgain = 250 * time.Millisecond
)

// find asks peers for a session. Once the wish is over it is listed, or may be created.
func (t *Taker) find(ctx context.Context, in *home.Arrival) (Progress, error) {
	found, err := (&Finder{Home: t.Home, Ask: t.Ask, Peers: t.Sources(), Create: t.Create}).Find(ctx, t.Session)
	if !found && err != nil && t.Home.Now().Sub(in.Since) < findFor {
		return Progress{Wait: findAgain, Why: err.Error()}, nil
	}
	_, err = t.Home.Do(ctx, t.op(in, home.AdoptOver))
	return Progress{Done: err == nil}, err
}

func (t *Taker) question(in *home.Arrival, what int) *Ask {
	return &Ask{What: what, From: t.Home.State().ID(), To: in.From, Session: t.Session.Device(), Claim: in.Claim}
}

func (t *Taker) op(in *home.Arrival, step home.AdoptStep) *home.Adopt {
	return &home.Adopt{Step: step, Session: t.Session, From: in.From, Claim: in.Claim}
}

// failed says what a question that got no answer means.
func failed(err error) Progress {
	return Progress{Wait: later, Why: err.Error(), Unreachable: errors.Is(err, ErrUnreachable)}
}

// kept waits until the standby has all that is here as well: what the other home is told makes it
// forget what it has of that.
func (t *Taker) kept(ctx context.Context) error {
	return t.Home.Shipped(ctx, t.Home.State().Position().Records)
}

// finish ends a claim: the other home is told, then this one forgets it.
func (t *Taker) finish(ctx context.Context, in *home.Arrival, what int) (Progress, error) {
	if err := t.kept(ctx); err != nil {
		return Progress{Wait: later, Why: err.Error()}, nil
	}
	a, err := t.Ask.Ask(ctx, t.question(in, what))
	switch {
	case err != nil:
		p := failed(err)
		p.Wait = muchLater
		return p, nil
	case a.Verdict != OK && a.Verdict != Unknown:
		return Progress{Wait: later, Why: a.Why}, nil
	}
	_, err = t.Home.Do(ctx, t.op(in, home.AdoptOver))
	return Progress{Done: err == nil}, err
}

// endThere ends the session where it is, since its device begins anew.
func (t *Taker) endThere(ctx context.Context, in *home.Arrival) (Progress, error) {
	a, err := t.Ask.Ask(ctx, t.question(in, WhatEnd))
	switch {
	case err != nil:
		return failed(err), nil
	case a.Verdict == Ended, a.Verdict == Unknown:
		return t.notThere(ctx, in, a)
	}
	return Progress{Wait: later, Why: a.Why}, nil
}

// notThere ends a claim of a session that the other home has not, or has no more.
func (t *Taker) notThere(ctx context.Context, in *home.Arrival, a *Answer) (Progress, error) {
	has := []uint64{t.Session.Hash()}
	if _, err := t.Home.Do(ctx, &home.Directory{Peer: in.From, Remove: has}); err != nil {
		return Progress{}, err
	}
	if a.Home != "" && a.Home != t.Home.State().ID() {
		if _, err := t.Home.Do(ctx, &home.Directory{Peer: a.Home, Add: has}); err != nil {
			return Progress{}, err
		}
	}
	_, err := t.Home.Do(ctx, t.op(in, home.AdoptOver))
	return Progress{Done: err == nil}, err
}

// pull takes the session, or more of it.
func (t *Taker) pull(ctx context.Context, in *home.Arrival) (Progress, error) {
	q := t.question(in, WhatTake)
	q.After, q.Epoch, q.Merge = in.Got, in.Epoch, in.Merges
	a, op, err := fetch(ctx, t.Ask, q)
	switch {
	case err != nil:
		return failed(err), nil
	case a.Verdict == Unknown, a.Verdict == Ended:
		return t.notThere(ctx, in, a)
	case a.Verdict != OK:
		return Progress{Wait: later, Why: a.Why, Refused: a.Verdict == Refused}, nil
	}
	return t.enter(ctx, in, op)
}

// GiveUp ends a claim to a session whose home does not answer, as if that did not have it. If it
// gave the session already, it finds out that it was not taken.
func (t *Taker) GiveUp(ctx context.Context, in *home.Arrival) error {
	_, err := t.notThere(ctx, in, &Answer{Verdict: Unknown})
	return err
}

// enter puts a part into the log.
func (t *Taker) enter(ctx context.Context, in *home.Arrival, op *home.Adopt) (Progress, error) {
	op.Session, op.From, op.Claim = t.Session, in.From, in.Claim
	if op.Step != home.AdoptBegin && op.Step != home.AdoptPart && op.Step != home.AdoptAnew {
		return Progress{}, fmt.Errorf("home %s gives step %d of session %s", in.From, op.Step, t.Session)
	}
	if op.Step == home.AdoptBegin {
		op.Sources = t.Sources()
	}
	o, err := t.Home.Do(ctx, op)
	switch {
	case err != nil:
		return Progress{}, err
	case o.Code == home.CodeQuota:
		return t.finish(ctx, in, WhatBack)
	case o.Code != home.CodeOK:
		return Progress{Wait: soon}, nil
	}
	return Progress{}, nil
}

// settle finds out from which number on each home's messages come by their own way. Once
// that is known of all, nothing more is needed of where the session was.
func (t *Taker) settle(ctx context.Context, in *home.Arrival) (Progress, error) {
	settled := t.settledOf(in)
	if !t.of.told {
		return t.tell(ctx, in, settled)
	}
	if len(in.Waits) == 0 {
		return t.finish(ctx, in, WhatDone)
	}
	asked, cuts := t.look(ctx, in)
	if len(cuts) > 0 {
		op := t.op(in, home.AdoptCut)
		op.Settled = cuts
		_, err := t.Home.Do(ctx, op)
		return Progress{}, err
	}
	if t.known(in) || t.idle(in)%8 == 0 {
		if p, err := t.strays(ctx, in); p != nil || err != nil {
			return *p, err
		}
	}
	ready := t.ready(in)
	if len(ready) == 0 {
		return Progress{Wait: t.pause(in), Why: asked}, nil
	}
	op := t.op(in, home.AdoptSettle)
	for _, id := range ready {
		op.Settled = append(op.Settled, home.Settled{Home: id})
		delete(t.of.marks, id)
	}
	t.of.told = len(ready) == len(in.Waits) // else the other home need not keep theirs any more
	_, err := t.Home.Do(ctx, op)
	return Progress{}, err
}

func (t *Taker) settledOf(in *home.Arrival) (list []home.ID) {
	for _, id := range append([]home.ID{in.From, t.Home.State().ID()}, t.Sources()...) {
		if !slices.Contains(in.Waits, id) && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

// tell says that the session is here.
func (t *Taker) tell(ctx context.Context, in *home.Arrival, settled []home.ID) (Progress, error) {
	if err := t.kept(ctx); err != nil {
		return Progress{Wait: later, Why: err.Error()}, nil
	}
	q := t.question(in, WhatTaken)
	q.Settled = settled
	a, err := t.Ask.Ask(ctx, q)
	switch {
	case err != nil:
		p := failed(err)
		p.Unreachable = false // the session is here
		return p, nil
	case a.Verdict == Unknown: // it has forgotten: nothing is to come
		_, err := t.Home.Do(ctx, t.op(in, home.AdoptOver))
		return Progress{Done: err == nil}, err
	}
	t.of.told = true
	return Progress{}, nil
}

// look asks the homes of which something is not known yet. It returns from which numbers on
// messages reach the session by their own way, as far as that was not known before.
func (t *Taker) look(ctx context.Context, in *home.Arrival) (why string, cuts []home.Settled) {
	st := t.Home.State()
	for _, id := range in.Waits {
		m := t.of.marks[id]
		if m == nil {
			m = &mark{}
			t.of.marks[id] = m
			for _, c := range in.Cuts { // by a Taker before
				if c.Home == id && c.Epoch.Compare(m.epoch) > 0 {
					m.epoch, m.to, m.applied, m.drained = c.Epoch, c.To, true, id == in.From
				}
			}
		}
		if m.asked++; m.applied && m.drained || m.asked > 64 && m.asked%16 != 0 {
			continue
		}
		if id == st.ID() {
			m.applied, m.drained = true, st.Drained(in.From, in.Began)
			continue
		}
		q := &Ask{What: WhatReaches, From: st.ID(), To: id, Session: t.Session.Device(), Epoch: st.Epoch(), Version: in.Version}
		if id != in.From {
			q.Drain, q.UpTo = in.From, m.to
		}
		a, err := t.Ask.Ask(ctx, q)
		switch {
		case err != nil:
			why = fmt.Sprintf("home %s: %v", id, err)
		case m.applied:
			m.drained = a.Drained
		case a.Applied:
			m.epoch, m.to, m.applied, m.drained = a.Epoch, a.High, true, id == in.From
			cuts = append(append(cuts, a.Before...), home.Settled{Home: id, Epoch: m.epoch, To: m.to})
		}
	}
	return why, cuts
}

// known says that it remains to bring what came where the session was.
func (t *Taker) known(in *home.Arrival) bool {
	return slices.ContainsFunc(in.Waits, func(id home.ID) bool {
		m := t.of.marks[id]
		return m != nil && m.applied && m.drained
	})
}

// ready are the homes of which all that comes by the other home is here.
func (t *Taker) ready(in *home.Arrival) (list []home.ID) {
	for _, id := range in.Waits {
		if m := t.of.marks[id]; m != nil && m.applied && m.drained && m.aimed && in.Got >= m.goal {
			list = append(list, id)
		}
	}
	return list
}

// idle is how often was looked without success, at the home that was looked at least.
func (t *Taker) idle(in *home.Arrival) int {
	n := 1 << 20
	for _, id := range in.Waits {
		if m := t.of.marks[id]; m != nil {
			n = min(n, m.asked)
		}
	}
	return n
}

func (t *Taker) pause(in *home.Arrival) time.Duration {
	switch n := t.idle(in); {
	case n < 50:
		return soon
	case n < 64:
		return later
	}
	return muchLater / 4
}

// strays brings what came for the session where it was, and notes up to where that is
// needed: all that was there when a home's messages were known to have arrived. It returns
// nil when nothing more came.
func (t *Taker) strays(ctx context.Context, in *home.Arrival) (*Progress, error) {
	q := t.question(in, WhatTake)
	q.After, q.Epoch, q.Whole = in.Got, in.Epoch, true
	a, op, err := fetch(ctx, t.Ask, q)
	switch {
	case err != nil:
		p := failed(err)
		p.Unreachable = false // the session is here
		return &p, nil
	case a.Verdict == Unknown:
		_, err := t.Home.Do(ctx, t.op(in, home.AdoptOver))
		return &Progress{Done: err == nil}, err
	case a.Verdict != OK:
		return &Progress{Wait: later, Why: a.Why}, nil
	}
	for id, m := range t.of.marks {
		switch {
		case !m.applied || !m.drained || slices.Contains(a.Waits, id): // it may still come by way of a home before that one
			m.aimed = false
		case !m.aimed:
			m.goal, m.aimed = a.Last, true
		}
	}
	if op.Step == home.AdoptPart && len(op.Messages) == 0 && op.Until <= in.Got {
		return nil, nil
	}
	p, err := t.enter(ctx, in, op)
	return &p, err
}
