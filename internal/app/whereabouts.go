package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/admin"
	"causeway/internal/handover"
	"causeway/internal/home"
)

// askWithin bounds a question to a peer about one session.
const askWithin = 3 * time.Second

func (m *roaming) question(ctx context.Context, what int, to home.ID, k home.SessionKey) (*handover.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return m.Ask(ctx, &handover.Ask{What: what, From: m.a.home.id, To: to, Session: k})
}

// Whereabouts asks the homes of all linked regions for a session.
func (n node) Whereabouts(ctx context.Context, k admin.Key) (admin.Whereabouts, error) {
	s, err := n.state()
	if err != nil {
		return admin.Whereabouts{}, err
	}
	if err := n.a.roaming.atLeader(); err != nil {
		return admin.Whereabouts{}, err
	}
	key := sessionKey(k)
	w := admin.Whereabouts{Namespace: k.Namespace, ClientID: k.Name, Homes: []admin.WhereaboutsAt{hereabouts(s, key)}}
	listed := map[home.ID]bool{}
	for _, id := range s.Listed(key) {
		listed[id] = true
	}
	for _, id := range n.a.roaming.peers() {
		at := admin.WhereaboutsAt{Home: string(id), Listed: listed[id], State: "absent"}
		switch a, err := n.a.roaming.question(ctx, handover.WhatWho, id, key); {
		case err != nil:
			at.State, at.Why = "unreachable", err.Error()
		case a.Verdict == handover.OK:
			at.State, at.Epoch, at.Queued = "present", uint64(a.Session), a.Queued
		case a.Verdict == handover.Pending:
			at.State, at.Why = "arriving", "it is on its way there, or from there"
		case a.Verdict == handover.Refused:
			at.State, at.Why = "stays", a.Why
		}
		w.Homes = append(w.Homes, at)
	}
	return w, nil
}

// atLeader refuses what only the node that leads can do: it has the links.
func (m *roaming) atLeader() error {
	r := m.a.home.current()
	if r == nil || r.Leads() {
		return nil
	}
	leader, _ := r.Leader()
	return admin.Refuse("leader", "another node has the links to other regions", fmt.Sprintf("ask node %s, which leads home %s", leader, m.a.home.id))
}

// hereabouts is what this region's home says of a session.
func hereabouts(s *home.State, k home.SessionKey) admin.WhereaboutsAt {
	at := admin.WhereaboutsAt{Home: string(s.ID()), State: "absent"}
	if in, ok := s.ArrivalOf(k); ok && !in.Complete {
		at.State, at.Why = "arriving", "from home "+string(in.From)
	} else if d, ok := s.DepartureOf(k); ok {
		at.State, at.Why = "leaving", "to home "+string(d.To)
	} else if x, ok := s.Session(k); ok {
		at.State, at.Epoch, at.Queued = "present", uint64(x.Epoch), x.Queued
	}
	return at
}

// MoveSession brings a session to the home of another region.
func (n node) MoveSession(ctx context.Context, k admin.Key, to string, dryRun bool) ([]string, error) {
	key, m := sessionKey(k), n.a.roaming
	h, s, err := n.homeOf(k)
	switch {
	case err != nil:
		return nil, err
	case !m.on():
		return nil, admin.Refuse("handover", "handover.enabled is not set in this region", "set it in the node files of both regions")
	case !h.own():
		return nil, admin.Refuse("home", "the session is in home "+string(h.id)+", which this region serves for another", "fail that home back first")
	case !slices.Contains(m.peers(), home.ID(to)):
		return nil, admin.Refuse("to", fmt.Sprintf("this region has no link with a region %q", to), "ctl link show lists the peers")
	}
	if err := m.atLeader(); err != nil {
		return nil, err
	}
	x, _ := s.Session(key)
	if at := hereabouts(s, key); at.State != "present" {
		return nil, admin.Refuse("session", "it is "+at.State+": "+at.Why, "wait until it has come, and see ctl sessions where")
	}
	g := handover.Giver{Home: roamHome{h, h.current()}, MinDwell: n.a.region().Handover.MinDwell}
	if why := g.Refuses(&x); why != "" {
		return nil, admin.Refuse("session", why, "wait until handover.min_dwell is over, or kick its client")
	}
	switch a, err := m.question(ctx, handover.WhatWho, home.ID(to), key); {
	case err != nil:
		return nil, admin.Refuse("to", fmt.Sprintf("home %s: %v", to, err), "see ctl links")
	case a.Verdict == handover.Refused:
		return nil, admin.Refuse("to", a.Why, "set handover.enabled there")
	}
	effects := moves(&x, to)
	if dryRun {
		return effects, nil
	}
	return effects, m.send(ctx, home.ID(to), key)
}

func moves(x *home.SessionInfo, to string) []string {
	effects := []string{fmt.Sprintf("%d subscriptions and %d queued messages (%d bytes) go to home %s", len(x.Subscriptions), x.Queued, x.QueuedBytes, to)}
	if x.Owner != (home.Owner{}) {
		effects = append(effects, "its connection on node "+string(x.Owner.Node)+" closes; if the device comes back here, so does its session")
	}
	return effects
}

// send has another home ask for a session, and returns once that has it.
func (m *roaming) send(ctx context.Context, to home.ID, k home.SessionKey) error {
	changed := m.wait(k, false).done
	a, err := m.question(ctx, handover.WhatFetch, to, k)
	if err == nil && a.Verdict != handover.OK {
		err = errors.New(a.Why)
	}
	if err != nil {
		return fmt.Errorf("home %s is to ask for it: %w", to, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wishFor)
	defer cancel()
	for {
		if _, here := m.a.home.State().EpochOf(k); !here {
			return nil
		}
		select {
		case <-changed:
			changed = m.wait(k, false).done
		case <-ctx.Done():
			return fmt.Errorf("home %s has not got it after %v: see ctl sessions where", to, wishFor)
		}
	}
}
