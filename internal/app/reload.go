package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/group"
)

// Reload reads again what may change while the node runs: certificates, the password file and the access rules, and
// what of the node file can be taken over. Of a node file that cannot be taken over whole nothing is: the error names
// each key and why. What cannot be read stays as it was.
func (a *App) Reload() error {
	_, err := a.reload(context.Background(), false)
	return err
}

// reload returns what changes in words.
func (a *App) reload(ctx context.Context, dryRun bool) (effects []string, err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	have := a.nodeConfig()
	next, sources := have, a.opts.Sources
	if a.opts.Load != nil {
		if next, sources, err = a.opts.Load(); err != nil {
			return nil, admin.Refuse("invalid", err.Error(), "correct the node file; what was loaded before holds")
		}
	}
	now, later := config.Reload(have, next)
	if len(later) > 0 {
		refused := &admin.Refused{}
		for _, k := range later {
			refused.Reasons = append(refused.Reasons, admin.Refusal{Condition: "restart", Reason: fmt.Sprintf("%s is %s and would be %s: %s", k.Key, k.From, k.To, k.Reason),
				Fix: "start the node again for it, or take it out of the file to have the rest taken over"})
		}
		return nil, refused
	}
	for _, d := range now {
		effects = append(effects, diffLine(d))
	}
	if dryRun {
		return effects, nil
	}
	if a.certs != nil {
		changed, err := a.certs.reload()
		if err == nil {
			err = a.certs.setLists(next)
		}
		defer func() {
			if a.nodeConfig() == have && have != next { // it was not taken over
				_ = a.certs.setLists(have)
			}
		}()
		if err != nil {
			return nil, err
		}
		if changed {
			effects = append(effects, "certificates and lists of revoked ones are replaced by what their files hold now")
		}
	}
	if err := a.auth.ReloadFiles(next.Auth.PasswordFile, next.Auth.ACLFile); err != nil {
		return nil, fmt.Errorf("reload users and rules, keeping those loaded before: %w", err)
	}
	if a.opts.LogLevel != nil {
		a.opts.LogLevel.Set(LogLevel(next.Log.Level))
	}
	for _, l := range next.Listeners {
		a.broker.SetListener(l.Name, l.MaxConnections, float64(l.ConnectRate))
	}
	a.file.Store(next)
	a.sources.Store(sources)
	for _, h := range a.homes {
		h.objects.read()
		h.documents.change()
	}
	a.follow()
	return append(effects, a.refetchLists(ctx)...), nil
}

// refetchLists fetches all lists of revoked certificates, and says what came of it. One that is not there is a matter of its
// authority's: it holds up nothing else.
func (a *App) refetchLists(ctx context.Context) (effects []string) {
	if a.certs == nil {
		return nil
	}
	changed, err := a.certs.fetch(ctx, true)
	if changed {
		effects = append(effects, "lists of revoked certificates are replaced by what their URLs gave now")
	}
	if err != nil {
		effects = append(effects, "some lists of revoked certificates were not had, and the last ones hold: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	group.Wake(a.certs.looked)
	return effects
}

// LogLevel is slog's level of a configured one.
func LogLevel(l config.LogLevel) slog.Level {
	switch l {
	case config.LogDebug:
		return slog.LevelDebug
	case config.LogWarn:
		return slog.LevelWarn
	case config.LogError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Reload implements admin.Configuration.
func (n node) Reload(ctx context.Context, dryRun bool) ([]string, error) {
	effects, err := n.a.reload(ctx, dryRun)
	var refused *admin.Refused
	if err != nil && !errors.As(err, &refused) {
		err = admin.Refuse("files", err.Error(), "correct the files; what was loaded before holds")
	}
	if err == nil && len(effects) == 0 {
		effects = []string{"nothing in the node file is another one than now; users and access rules are read again"}
	}
	return effects, err
}
