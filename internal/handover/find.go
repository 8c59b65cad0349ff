package handover

import (
	"context"
	"errors"

	"causeway/internal/home"
)

// Finder looks for a session that is not here before one is created. A directory is behind
// the home that it is of, the more so when a session moves from one peer to another, or when
// this home has just begun; so all peers are asked. A home that gave a session away says where
// to: the session is not overlooked though it moves while it is looked for.
type Finder struct {
	Home  Home
	Ask   Asker
	Peers []home.ID
	// Create says that a home which does not answer is not waited for, whatever others say that it has.
	Create bool
}

// askedMost is how often a peer is asked because others say that it has a session.
const askedMost = 3

// Find asks all peers whether they have a session, and puts the one that does into its
// directory; also one that could not be asked, if another one says that it has it. The error says
// who could not be asked.
func (f *Finder) Find(ctx context.Context, k home.SessionKey) (found bool, err error) {
	var away []error
	asked, silent, said := map[home.ID]int{}, map[home.ID]bool{}, map[home.ID]bool{}
	for next := f.Peers; len(next) > 0; next = next[1:] {
		peer := next[0]
		asked[peer]++
		a, err := f.Ask.Ask(ctx, &Ask{What: WhatWho, From: f.Home.State().ID(), To: peer, Session: k})
		switch {
		case err != nil:
			away, silent[peer] = append(away, err), true
		case a.Verdict == Refused: // it keeps its sessions, and its devices theirs
		case a.Verdict != Unknown:
			return f.has(ctx, peer, k)
		case a.Home != "" && asked[a.Home] < askedMost:
			said[a.Home] = true
			next = append(next[:len(next):len(next)], a.Home)
		}
	}
	for _, peer := range f.Peers {
		if silent[peer] && said[peer] && !f.Create {
			return f.has(ctx, peer, k)
		}
	}
	return false, errors.Join(away...)
}

func (f *Finder) has(ctx context.Context, peer home.ID, k home.SessionKey) (found bool, err error) {
	_, err = f.Home.Do(ctx, &home.Directory{Peer: peer, Add: []uint64{k.Hash()}})
	return err == nil, err
}
