package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Backups keep copies of homes outside of the region.
type Backups interface {
	// Backups lists those of a place, oldest first; "" is the configured one.
	Backups(ctx context.Context, place string) ([]Backup, error)
	// BackupJobs are what this node does about backups: the one under way, and the last ones.
	BackupJobs() []BackupJob
	// BeginBackup begins one, or says what it would do.
	BeginBackup(ctx context.Context, o BackupOrder, dryRun bool) (BackupJob, error)
}

// What is done about a backup.
const (
	BackupCreate  = "create"
	BackupVerify  = "verify"
	BackupRestore = "restore"
)

// BackupOrder is what an operator wants done.
type BackupOrder struct {
	Act       string // one of the above
	Name      string // of the backup; create: ""
	Place     string // "" is the configured one
	Home      string // create: "" is the region's own
	Namespace string // restore: what is taken from it
	By        string // who asked
}

// Backup is one that exists.
type Backup struct {
	Name      string    `json:"name"`
	Home      string    `json:"home"`
	Epoch     uint64    `json:"epoch"`
	Host      string    `json:"host"`
	Record    uint64    `json:"record"` // of the home's log, the last that is in it
	At        time.Time `json:"at"`
	Node      string    `json:"node"` // that wrote it
	Version   string    `json:"version"`
	Level     uint32    `json:"level"` // feature level of the home
	Sessions  int       `json:"sessions"`
	Bytes     int64     `json:"bytes"`  // of keys and values
	Stored    int64     `json:"stored"` // of its files
	Encrypted bool      `json:"encrypted"`
	Place     string    `json:"place"`
}

// BackupJob is how far something about backups is.
type BackupJob struct {
	ID        uint64     `json:"id"`
	Act       string     `json:"act"`  // create, verify, restore
	Home      string     `json:"home"` // whose
	Name      string     `json:"name"` // of the backup; "" until it is known
	Place     string     `json:"place"`
	Namespace string     `json:"namespace"`
	Node      string     `json:"node"` // that does it
	By        string     `json:"by"`
	State     string     `json:"state"` // planned, running, done, failed
	Began     time.Time  `json:"began"`
	Ended     *time.Time `json:"ended"`
	Bytes     int64      `json:"bytes"` // of keys and values, so far
	Total     int64      `json:"total"` // 0: not known
	Reason    string     `json:"reason"`
	Effects   []string   `json:"effects"`
	Backup    *Backup    `json:"backup"` // that was made or checked
}

func (a *api) listBackups(r *http.Request, q *query) (any, error) {
	place := q.text("place")
	if p := mayGo(r, place); p != nil {
		return nil, p
	}
	all, err := a.node.Backups(r.Context(), place)
	if err != nil {
		return nil, fmt.Errorf("backups: %w", err)
	}
	return Page[Backup]{Items: list(all)}, nil
}

// mayGo says why a caller may not name a place. The node goes there with its own rights, to whatever machine a URL
// leads: that is the admin's. The configured one is the operator's.
func mayGo(r *http.Request, place string) *Problem {
	who, _ := r.Context().Value(callerKey{}).(admitted)
	if place == "" {
		return nil
	}
	return authorize(who, RoleAdmin)
}

func (a *api) listBackupJobs(*http.Request, *query) (any, error) {
	jobs := list(a.node.BackupJobs())
	for i := range jobs {
		jobs[i].Effects = list(jobs[i].Effects)
	}
	return Page[BackupJob]{Items: jobs}, nil
}

// backupAct is the route of what is done about a backup: it begins, and its job says how far it is.
func (a *api) backupAct(act string) func(*http.Request, *query) (any, error) {
	return func(r *http.Request, q *query) (any, error) {
		o := BackupOrder{Act: act, Name: r.PathValue("name"), Place: q.text("place"), Home: q.text("home"), Namespace: q.text("namespace"), By: a.caller(r)}
		dry := q.flag("dry_run")
		if q.err != nil {
			return nil, q.err
		}
		if p := mayGo(r, o.Place); p != nil {
			return nil, p
		}
		if act == BackupRestore {
			if o.Namespace == "" {
				return nil, badRequest("give namespace; a whole region is founded from a backup by causeway restore", "a home that lives takes back one namespace at a time")
			}
			if !dry {
				if err := a.repeated(r, o.Namespace); err != nil {
					return nil, err
				}
			}
		}
		job, err := a.node.BeginBackup(r.Context(), o, dry)
		if err != nil {
			return nil, fmt.Errorf("%s backup %s: %w", act, o.Name, err)
		}
		job.Effects = list(job.Effects)
		return job, nil
	}
}
