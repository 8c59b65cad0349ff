package handover

import (
	"cmp"
	"context"
	"errors"
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
	// Create says that a home which does not answer is not waited for: a session that it has not said to
	// have goes on here. If it has it, the two are merged later.
	Create bool
}

// Every is how often a departure is to be looked into, at least.
const Every = claimAfter / 4

// Step looks into one departure. It returns what it did, in a word, "" if nothing.
func (k *Keeper) Step(ctx context.Context, d *home.Departure) (string, error) {
	age := k.Home.Now().Sub(d.Since)
	if age < claimAfter || d.Taken && age < takenAfter {
		return "", nil
	}
	a, err := k.Ask.Ask(ctx, &Ask{What: WhatClaim, From: k.Home.State().ID(), To: d.To, Session: d.Session, Claim: d.Claim})
	away := k.Create && errors.Is(err, ErrUnreachable) && !d.Taken
	if err != nil && !away {
		return "", nil // it is asked again
	}
	op := &home.Move{Session: d.Session, To: d.To, Claim: d.Claim}
	switch {
	case away, a.Verdict == Unknown && !d.Taken:
		op.Step = home.MoveBack
	case a.Verdict == Unknown:
		op.Step = home.MoveRegain
	case a.Verdict == OK && !d.Taken:
		op.Step = home.MoveTaken
	default:
		return "", nil
	}
	if o, err := k.Home.Do(ctx, op); err != nil || o.Code != home.CodeOK {
		return "", err
	}
	if op.Step == home.MoveTaken {
		return "taken", nil
	}
	return "back", nil
}

// Judge decides which of two sessions of one device counts. The higher session epoch does;
// of equal ones that of the home whose name is greater. Both homes decide alike. The home that
// has it takes in what the other one had, unless its device began anew after it was in the other
// one for the last time: then the other home ends its own.
type Judge struct {
	Home Home
	Ask  Asker
}

// Verdicts of a Judge.
const (
	JudgedNone = ""     // there is only one, or the other home acts
	JudgedWon  = "won"  // the other session is brought here
	JudgedLost = "lost" // the session here was ended
)

// Judged is what a Judge found.
type Judged struct {
	Result string
	Home   home.ID // that has the other session
	Lost   int     // messages that waited for the session that was ended
}

// mergeFor is how long a wish for another session of a device stands.
const mergeFor = 30 * time.Second

// Step looks into one suspect. An error means that it is to be looked into again.
func (j *Judge) Step(ctx context.Context, k home.SessionKey) (Judged, error) {
	st := j.Home.State()
	both := false
	for _, peer := range st.Listed(k) {
		a, err := j.Ask.Ask(ctx, &Ask{What: WhatWho, From: st.ID(), To: peer, Session: k, Both: true})
		if err != nil {
			return Judged{}, err
		}
		if a.Verdict == Unknown {
			if _, err := j.Home.Do(ctx, &home.Directory{Peer: peer, Remove: []uint64{k.Hash()}}); err != nil {
				return Judged{}, err
			}
			continue
		}
		both = both || a.Verdict != Refused
		ours, _ := st.Session(k)
		if _, rests := st.Attachable(k); a.Verdict != OK || !rests {
			continue
		}
		if v, err := j.between(ctx, &ours, peer, a); v.Result != JudgedNone || err != nil {
			return v, err
		}
	}
	if !both {
		st.Unsuspect(k)
	}
	return Judged{}, nil
}

// between decides about the session here and that of a peer.
func (j *Judge) between(ctx context.Context, ours *home.SessionInfo, peer home.ID, a *Answer) (Judged, error) {
	id := j.Home.State().ID()
	switch won := cmp.Or(cmp.Compare(ours.Epoch, a.Session), cmp.Compare(id, peer)) > 0; {
	case won && ours.Fresh > a.Session, !won && a.Fresh <= ours.Epoch: // the other home ends its own, or takes this one
		return Judged{}, nil
	case won:
		o, err := j.Home.Do(ctx, &home.Adopt{Step: home.AdoptMerge, Session: ours.Key, From: peer, For: mergeFor})
		if err != nil || o.Code != home.CodeOK {
			return Judged{}, err
		}
		return Judged{JudgedWon, peer, 0}, nil
	}
	o, err := j.Home.Do(ctx, &home.Move{Step: home.MoveEnd, Session: ours.Key, To: peer, Seen: ours.Epoch})
	if err != nil || o.Code != home.CodeOK {
		return Judged{}, err
	}
	return Judged{JudgedLost, peer, o.Count}, nil
}
