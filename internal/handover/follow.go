package handover

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"causeway/internal/home"
)

const (
	newsEvery   = 250 * time.Millisecond
	newsFailed  = time.Second
	digestEvery = time.Minute
	partsAtOnce = 8
)

// Follower keeps the directory of a peer: what changed, as it changes, and parts of it where
// the digests differ.
type Follower struct {
	Home Home
	Ask  Asker
	Peer home.ID

	instance, at uint64
	state        *home.State // that was told up to at
	checked      home.Time
}

// Step asks once, and returns when to ask again. An error is one of this home; that the peer
// does not answer is why.
func (f *Follower) Step(ctx context.Context) (wait time.Duration, why error, err error) {
	st, now := f.Home.State(), f.Home.Now()
	if st != f.state {
		f.state, f.instance = st, 0
	}
	q := &Ask{What: WhatNews, From: st.ID(), To: f.Peer, Instance: f.instance, Since: f.at, Digest: now.Sub(f.checked) >= digestEvery}
	a, why := f.Ask.Ask(ctx, q)
	if why != nil {
		return newsFailed, why, nil
	}
	if a.Known && (len(a.Add)+len(a.Remove) > 0 || a.Session > st.SessionEpoch()) {
		if err := f.enter(ctx, &home.Directory{High: a.Session, Add: a.Add, Remove: a.Remove}); err != nil {
			return newsFailed, nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.Moved)) { // that home may not be heard now
		if id == st.ID() {
			continue
		}
		if _, err := f.Home.Do(ctx, &home.Directory{Peer: id, Add: a.Moved[id]}); err != nil {
			return newsFailed, nil, err
		}
	}
	if a.Known {
		f.at = a.Position
	}
	if a.Digest != nil {
		if why, err = f.compare(ctx, a); why != nil || err != nil {
			f.instance = 0
			return newsFailed, why, err
		}
		f.instance, f.at, f.checked = a.Instance, a.Position, now
	}
	return newsEvery, nil, nil
}

// compare brings parts that differ from what the peer has to what it has; what changes there
// meanwhile comes as news since the digest.
func (f *Follower) compare(ctx context.Context, a *Answer) (why, err error) {
	st := f.Home.State()
	have, whole := st.PeerDirectory(f.Peer)
	parts := a.Digest.Differing(&have)
	for len(parts) > 0 {
		got, why := f.Ask.Ask(ctx, &Ask{What: WhatParts, From: st.ID(), To: f.Peer, Parts: parts[:min(partsAtOnce, len(parts))]})
		switch {
		case why != nil:
			return why, nil
		case len(got.Parts) == 0 || !bytes.HasPrefix(parts, got.Parts):
			return fmt.Errorf("home %s answers of parts %v, asked of %v", f.Peer, got.Parts, parts), nil
		}
		if err := f.enter(ctx, &home.Directory{Reset: got.Parts, Add: got.Add}); err != nil {
			return nil, err
		}
		parts = parts[len(got.Parts):]
	}
	if !whole {
		return nil, f.enter(ctx, &home.Directory{High: a.Session, Whole: true})
	}
	return nil, nil
}

func (f *Follower) enter(ctx context.Context, op *home.Directory) error {
	op.Peer = f.Peer
	_, err := f.Home.Do(ctx, op)
	return err
}
