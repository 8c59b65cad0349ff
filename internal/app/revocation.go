package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/readiness"
	"causeway/internal/store"
	meshtls "causeway/tls"
)

// listCheck is how often it is looked whether a list is due to be fetched, and whether a peer that was let in in the moment in
// which a list came is on it.
const listCheck = 10 * time.Second

func (a *App) meshLists(cfg *config.Config) meshtls.RevocationOptions {
	id := &cfg.Identity
	return meshtls.RevocationOptions{Lists: id.CRL, Refresh: id.CRLRefresh, Stale: meshtls.Stale(id.CRLStale), Cache: filepath.Join(cfg.DataDir, store.ListsDir)}
}

func (a *App) deviceLists(l *config.Listener) meshtls.RevocationOptions {
	return meshtls.RevocationOptions{Lists: l.TLS.CRL, Refresh: l.TLS.CRLRefresh, Stale: meshtls.Stale(l.TLS.CRLStale), Cache: filepath.Join(a.cfg.DataDir, store.ListsDir)}
}

// usedLists are the lists of one use of certificates.
type usedLists struct {
	use string // identity, or the listener
	*meshtls.Revocations
}

func (i *identities) lists() (all []usedLists) {
	if i.mesh != nil {
		all = append(all, usedLists{"identity", i.mesh.Revocations()})
	}
	for _, d := range i.devices {
		all = append(all, usedLists{"listener " + d.name, d.Revocations()})
	}
	return all
}

// setLists takes over which lists there are. After an error some may be those of before.
func (i *identities) setLists(cfg *config.Config) error {
	if i.mesh != nil {
		if err := i.mesh.Revocations().Set(i.a.meshLists(cfg)); err != nil {
			return fmt.Errorf("identity.crl: %w", err)
		}
	}
	for _, d := range i.devices {
		for n := range cfg.Listeners {
			if cfg.Listeners[n].Name != d.name {
				continue
			}
			if err := d.Revocations().Set(i.a.deviceLists(&cfg.Listeners[n])); err != nil {
				return fmt.Errorf("listeners[%d].tls.crl: %w", n, err)
			}
		}
	}
	return nil
}

// fetch fetches the lists that are due, or all. What gives nothing leaves what was before in force.
func (i *identities) fetch(ctx context.Context, all bool) (changed bool, err error) {
	for _, l := range i.lists() {
		one, e := l.Fetch(ctx, all)
		changed = changed || one
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", l.use, e))
		}
	}
	return changed, err
}

// work fetches lists, and closes who is revoked, until ctx ends.
func (i *identities) work(ctx context.Context) error {
	tick := time.NewTicker(listCheck)
	defer tick.Stop()
	said := ""
	for changed := true; ; {
		one, _ := i.fetch(ctx, false) // Status says what went wrong, also later
		if ctx.Err() != nil {
			return nil
		}
		said = i.sayProblems(said)
		i.closeRevoked(ctx, changed || one)
		select {
		case <-ctx.Done():
			return nil
		case <-i.looked:
			changed = true
		case <-tick.C:
			changed = false
		}
	}
}

// sayProblems logs what is wrong with lists when that is not what was said last.
func (i *identities) sayProblems(said string) string {
	var all []string
	for _, l := range i.lists() {
		for _, s := range l.Status() {
			if s.Problem != "" {
				all = append(all, l.use+": "+s.Problem)
			}
		}
	}
	now := strings.Join(slices.Compact(all), "; ")
	switch {
	case now == said:
	case now == "":
		i.a.log.Info("all lists of revoked certificates are well again")
	default:
		i.a.log.Warn("lists of revoked certificates; the last ones hold", "problem", now)
	}
	return now
}

// closeRevoked closes the connections of nodes and regions whose certificates are revoked, and if lists changed those of
// devices.
func (i *identities) closeRevoked(ctx context.Context, changed bool) {
	a := i.a
	if i.mesh != nil {
		if a.cluster != nil {
			a.cluster.Recheck(i.mesh.Recheck)
		}
		if a.endpoint != nil {
			a.endpoint.Recheck(i.mesh.Recheck)
		}
	}
	if !changed || a.broker == nil {
		return
	}
	if n := a.broker.CloseRevoked(ctx, a.evacuating.departRate()); n > 0 {
		a.log.Warn("connections of devices whose certificates are revoked are closed", "connections", n)
	}
}

// revocationLists are how the lists stand.
func (a *App) revocationLists() (list []admin.CRL) {
	for _, l := range a.certs.lists() {
		for _, s := range l.Status() {
			x := admin.CRL{Use: l.use, Issuer: s.Issuer, Source: s.Source, Number: s.Number, Revoked: s.Revoked, Stale: string(l.Policy()), Problem: s.Problem, State: admin.CRLCurrent}
			now := time.Now()
			switch {
			case s.ThisUpdate.IsZero():
				x.State = admin.CRLMissing
			case !s.NextUpdate.IsZero() && now.After(s.NextUpdate):
				x.State = admin.CRLStale
			}
			if !s.ThisUpdate.IsZero() {
				x.ThisUpdate = utc(s.ThisUpdate)
			}
			if !s.NextUpdate.IsZero() {
				x.NextUpdate = utc(s.NextUpdate)
			}
			list = append(list, x)
		}
	}
	return list
}

func utc(t time.Time) *time.Time {
	t = t.UTC()
	return &t
}

// readyCRL looks at the lists of revoked certificates, and whether this node is on one.
func (n node) readyCRL(context.Context) readiness.Result {
	lists := n.a.revocationLists()
	if len(lists) == 0 {
		return readiness.Skip("no list of revoked certificates is configured")
	}
	const renew = "publish the authority's newest list (causeway ca revoke writes one): docs/runbooks/revoke.md"
	found := []readiness.Result{}
	if n.a.certs.mesh != nil {
		if err := n.a.certs.mesh.Revoked(); err != nil {
			found = append(found, readiness.Fail("issue it anew: docs/runbooks/revoke.md", "others with this list refuse this node: %v", err))
		}
	}
	revoked := 0
	for _, l := range lists {
		revoked += l.Revoked
		found = append(found, judgeCRL(&l, renew, time.Now()))
	}
	if worst := readiness.Worst(found...); worst.State != readiness.StateOK {
		return worst
	}
	return readiness.OK("%d lists are in date, %d certificates are revoked", len(lists), revoked)
}

// judgeCRL is the word about one list.
func judgeCRL(l *admin.CRL, renew string, now time.Time) readiness.Result {
	does := "certificates that it does not revoke are taken all the same (crl_stale: alarm)"
	if l.Stale == string(meshtls.StaleRefuse) {
		does = "its new connections are refused (crl_stale: refuse)"
	}
	switch {
	case l.State == admin.CRLStale:
		return readiness.Fail(renew, "%s: the list of %q ended %s ago; %s%s", l.Use, l.Issuer, admin.FormatDuration(now.Sub(*l.NextUpdate)), does, because(l.Problem))
	case l.State == admin.CRLMissing && l.Source != "":
		return readiness.Fail(renew, "%s: %s gave no list yet; %s%s", l.Use, l.Source, does, because(l.Problem))
	case l.State == admin.CRLMissing && l.Stale == string(meshtls.StaleRefuse):
		return readiness.Fail("name its list in crl, or take it out of the CA files", "%s: the authority %q has no list; %s", l.Use, l.Issuer, does)
	case l.State == admin.CRLMissing:
		return readiness.Warn("name its list in crl", "%s: the authority %q has no list", l.Use, l.Issuer)
	case l.Problem != "":
		return readiness.Warn(renew, "%s: the last list of %q holds%s", l.Use, l.Issuer, because(l.Problem))
	case l.NextUpdate != nil && l.NextUpdate.Sub(now) < l.NextUpdate.Sub(*l.ThisUpdate)/10:
		return readiness.Warn(renew, "%s: the list of %q ends in %s", l.Use, l.Issuer, admin.FormatDuration(l.NextUpdate.Sub(now)))
	}
	return readiness.OK("%s: the list of %q is in date", l.Use, l.Issuer)
}

func because(problem string) string {
	if problem == "" {
		return ""
	}
	return ": " + strings.ReplaceAll(problem, "\n", "; ")
}
