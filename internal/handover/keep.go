package handover

import (
	"cmp"
	"context"
	"time"

	"causeway/internal/home"
)

// A claim is looked into when the other home has not said anything of it for so long.
const (
	claimAfter = 10 * time.Second
	takenAfter = time.Minute
)

// Keeper finds out what became of sessions that were given away, should the other home not
// say it by itself.
type Keeper struct {
	Home Home
	Ask  Asker
}

// Step looks into one departure. It returns what it did, in a word, "" if nothing.
func (k *Keeper) Step(ctx context.Context, d *home.Departure) (string, error) {
	age := k.Home.Now().Sub(d.Since)
	if age < claimAfter || d.Taken && age < takenAfter {
		return "", nil
	}
	a, err := k.Ask.Ask(ctx, &Ask{What: WhatClaim, From: k.Home.State().ID(), To: d.To, Session: d.Session, Claim: d.Claim})
	if err != nil {
		return "", nil // it is asked again
	}
	op := &home.Move{Session: d.Session, To: d.To, Claim: d.Claim}
	switch {
	case a.Verdict == Unknown && !d.Taken:
		op.Step = home.MoveBack
	case a.Verdict == OK && !d.Taken:
		op.Step = home.MoveTaken
	default:
		return "", nil
	}
	if o, err := k.Home.Do(ctx, op); err != nil || o.Code != home.CodeOK {
		return "", err
	}
	if op.Step == home.MoveBack {
		return "back", nil
	}
	return "taken", nil
}

// Judge decides which of two sessions of one device counts. The higher session epoch does;
// of equal ones that of the home whose name is greater. Both homes decide alike.
type Judge struct {
	Home Home
	Ask  Asker
}

// Verdicts of a Judge.
const (
	JudgedNone = ""     // there is only one
	JudgedWon  = "won"  // the other home ends its session
	JudgedLost = "lost" // the session here was ended
)

// Judged is what a Judge found.
type Judged struct {
	Result string
	Home   home.ID // that has the other session
	Lost   int     // messages that waited for the session that was ended
}

// Step looks into one suspect. An error means that it is to be looked into again.
func (j *Judge) Step(ctx context.Context, k home.SessionKey) (Judged, error) {
	st := j.Home.State()
	for _, peer := range st.Listed(k) {
		a, err := j.Ask.Ask(ctx, &Ask{What: WhatWho, From: st.ID(), To: peer, Session: k})
		if err != nil {
			return Judged{}, err
		}
		if a.Verdict == Unknown {
			if _, err := j.Home.Do(ctx, &home.Directory{Peer: peer, Remove: []uint64{k.Hash()}}); err != nil {
				return Judged{}, err
			}
		}
		ours, here := st.Attachable(k)
		if a.Verdict != OK || !here {
			continue
		}
		if cmp.Or(cmp.Compare(ours, a.Session), cmp.Compare(st.ID(), peer)) > 0 {
			st.Unsuspect(k)
			return Judged{JudgedWon, peer, a.Queued}, nil
		}
		o, err := j.Home.Do(ctx, &home.Move{Step: home.MoveEnd, Session: k, To: peer, Seen: ours})
		if err != nil {
			return Judged{}, err
		}
		if o.Code == home.CodeOK {
			return Judged{JudgedLost, peer, o.Count}, nil
		}
	}
	st.Unsuspect(k)
	return Judged{}, nil
}
