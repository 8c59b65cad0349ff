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
}

// askedMost is how often a peer is asked because others say that it has a session.
const askedMost = 3

// Find asks all peers whether they have a session, and puts the one that does into its
// directory. The error says who could not be asked.
func (f *Finder) Find(ctx context.Context, k home.SessionKey) (found bool, err error) {
	var away []error
	asked := map[home.ID]int{}
	for next := f.Peers; len(next) > 0; next = next[1:] {
		peer := next[0]
		asked[peer]++
		a, err := f.Ask.Ask(ctx, &Ask{What: WhatWho, From: f.Home.State().ID(), To: peer, Session: k})
		switch {
		case err != nil:
			away = append(away, err)
		case a.Verdict == Refused: // it keeps its sessions, and its devices theirs
		case a.Verdict != Unknown:
			_, err := f.Home.Do(ctx, &home.Directory{Peer: peer, Add: []uint64{k.Hash()}})
			return err == nil, err
		case a.Home != "" && asked[a.Home] < askedMost:
			next = append(next[:len(next):len(next)], a.Home)
		}
	}
	return false, errors.Join(away...)
}
