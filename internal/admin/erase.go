package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"causeway/routing"
)

// Forgetting is what a node drops of a client that is in its memory only.
type Forgetting interface {
	// ForgetClient drops what this node remembers of a client's connections, counts of it and lines of traces, and says
	// how much that is. With dryRun it only says so.
	ForgetClient(k Key, dryRun bool) int
}

// Erased is what was removed of a client, or would be, and where copies remain.
type Erased struct {
	Action     string       `json:"action"`
	Target     string       `json:"target"` // a hash: who it was is nowhere kept
	DryRun     bool         `json:"dry_run"`
	Effects    []string     `json:"effects"` // what was removed
	Remains    []string     `json:"remains"` // what this cannot reach
	Remembered int          `json:"remembered"`
	Unanswered []Unanswered `json:"unanswered"` // nodes that may remember it yet
}

// eraseMark names a client in what is kept of an erasure.
func eraseMark(k Key) string {
	sum := sha256.Sum256([]byte(k.Namespace + "\x00" + k.Name))
	return "client sha256:" + hex.EncodeToString(sum[:])
}

func (a *api) eraseClient(r *http.Request, q *query) (any, error) {
	k, dry := clientKey(r), q.flag("dry_run")
	filters := r.URL.Query()["retained"]
	if len(filters) == 1 {
		filters = splitList(filters[0])
	}
	for _, f := range filters {
		if routing.ValidFilter(f) != nil {
			q.wrong("retained", "as topic filters with commas between")
		}
	}
	if q.err != nil {
		return nil, q.err
	}
	e := &Erased{Action: "erase", Target: eraseMark(k), DryRun: dry, Effects: []string{}, Remains: []string{}, Unanswered: []Unanswered{}}
	if a.alone(r) && a.peers != nil { // another node does the rest
		e.Remembered = a.node.ForgetClient(k, dry)
		return *e, nil
	}
	for _, step := range []func(*http.Request, Key, []string, *Erased) error{a.eraseSession, a.eraseRetained, a.eraseBans, a.eraseMemory} {
		if err := step(r, k, filters, e); err != nil {
			return nil, fmt.Errorf("erase the client: %w", err)
		}
	}
	if len(e.Effects) == 0 {
		e.Effects = append(e.Effects, "nothing of it is here")
	}
	e.Remains = a.remains(r.Context())
	return *e, nil
}

// eraseSession ends the session without its will: that is the client's own.
func (a *api) eraseSession(r *http.Request, k Key, _ []string, e *Erased) error {
	s, err := a.node.Session(k)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && !e.DryRun {
		err = a.node.DeleteSession(r.Context(), k, false)
	}
	if err != nil {
		return err
	}
	e.Effects = append(e.Effects, fmt.Sprintf("its session of home %s, with %d subscriptions and %d messages that wait (%s)", s.Session.Home, len(s.Subscriptions), s.Session.Queued, FormatBytes(s.Session.QueuedBytes)))
	if s.Session.Will {
		e.Effects = append(e.Effects, "its will, which is not published")
	}
	if s.Session.State == "attached" {
		e.Effects = append(e.Effects, "its connection, which is closed: keep it out with causeway ctl ban, or it comes back")
	}
	return nil
}

// eraseRetained deletes what the operator says that the client published: the home does not keep who did.
func (a *api) eraseRetained(r *http.Request, k Key, filters []string, e *Erased) error {
	if len(filters) == 0 {
		return nil
	}
	removed, after := 0, Key{}
	for {
		page, err := collect(after, maxLimit, func(x Retained) bool {
			return x.Namespace == k.Namespace && slices.ContainsFunc(filters, func(f string) bool { return routing.Matches(f, x.Topic) })
		}, a.node.RetainedAfter)
		if err != nil {
			return err
		}
		for _, x := range page.Items {
			if !e.DryRun {
				if err := a.node.DeleteRetained(r.Context(), x.Key()); err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
			}
			removed++
		}
		if page.Next == "" {
			break
		}
		after, _ = parseCursor(page.Next)
	}
	if removed > 0 {
		e.Effects = append(e.Effects, fmt.Sprintf("%d retained messages that --retained names; who subscribes there hears that they are deleted", removed))
	}
	return nil
}

func (a *api) eraseBans(r *http.Request, k Key, _ []string, e *Erased) error {
	bans, err := a.node.Bans()
	if err != nil {
		return err
	}
	for _, b := range bans {
		if b.Kind != "client" || b.Namespace != k.Namespace || b.Value != k.Name {
			continue
		}
		_, err := a.node.DeleteBan(r.Context(), b.ID, a.caller(r), e.DryRun)
		var refused *Refused
		switch {
		case errors.As(err, &refused):
			continue // of another region, which remains says
		case err != nil:
			return err
		}
		e.Effects = append(e.Effects, "the ban of its client id: it is let in again")
	}
	return nil
}

func (a *api) eraseMemory(r *http.Request, k Key, _ []string, e *Erased) error {
	e.Remembered = a.node.ForgetClient(k, e.DryRun)
	if a.peers != nil {
		params := url.Values{}
		if e.DryRun {
			params.Set("dry_run", "true")
		}
		others, unanswered, err := askAll[Erased](r.Context(), a, http.MethodPost, Path("erase", k.Namespace, k.Name), params)
		if err != nil {
			return err
		}
		for _, o := range others {
			e.Remembered += o.Remembered
		}
		e.Unanswered = list(unanswered)
	}
	if e.Remembered > 0 {
		e.Effects = append(e.Effects, fmt.Sprintf("%d events, counts and lines of traces that nodes remember", e.Remembered))
	}
	return nil
}

// remains says where copies may be that no node of this region can remove.
func (a *api) remains(ctx context.Context) []string {
	list := []string{"messages that it published, in the queues of other sessions and what they retain elsewhere: those are not marked with who sent them"}
	for _, h := range a.node.Status().Homes {
		for _, s := range h.Standbys {
			list = append(list, fmt.Sprintf("region %s, the standby of home %s: it follows with the log, and is %d records behind", s.Region, h.ID, s.LagRecords))
		}
	}
	for _, l := range a.node.Links() {
		if l.SpoolMessages > 0 {
			list = append(list, fmt.Sprintf("the spool for %s: %d messages of all clients wait there; what %s has taken is there", l.Peer, l.SpoolMessages, l.Peer))
		} else {
			list = append(list, "what "+l.Peer+" has taken of its messages")
		}
	}
	switch all, err := a.node.Backups(ctx, ""); {
	case err != nil:
		list = append(list, "backups, which cannot be listed from here: "+err.Error())
	case len(all) > 0:
		list = append(list, fmt.Sprintf("%d backups, the oldest of %s: each holds the client until it is removed (backup.keep)", len(all), all[0].At.Format("2006-01-02")))
	}
	return append(list, "records of the audit log, and of the nodes' logs, that named it before; the record of this act has a hash only")
}
