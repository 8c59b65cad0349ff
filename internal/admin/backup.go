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
	// BackupLocks are the heads of an encrypted backup's files, for who has the secret key.
	BackupLocks(ctx context.Context, name, place string) ([]BackupLock, error)
	// BeginBackup begins one, or says what it would do. What a restore would do it has to find out: that is a job.
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
	Act       string            // one of the above
	Name      string            // of the backup; create: ""
	Place     string            // "" is the configured one
	Home      string            // create: "" is the region's own
	Namespace string            // restore: what is taken from it
	Replace   bool              // restore: what is there today goes
	Keys      map[string][]byte // restore: of the backup's files, by their names
	By        string            // who asked
}

// BackupLock is the head of a file of an encrypted backup: its key, sealed. It is no secret.
type BackupLock struct {
	Part    string         `json:"part"`
	Stanzas []BackupStanza `json:"stanzas"`
}

// BackupStanza is the key of a file, sealed for somebody.
type BackupStanza struct {
	Type string   `json:"type"`
	Args []string `json:"args"`
	Body []byte   `json:"body"`
}

// BackupFileKey opens one file of a backup.
type BackupFileKey struct {
	Part string `json:"part"`
	Key  []byte `json:"key"`
}

// RestoreRequest is the body of a restore.
type RestoreRequest struct {
	Confirm string          `json:"confirm"` // the namespace; "" for a dry run
	Keys    []BackupFileKey `json:"keys"`    // of an encrypted backup's files; the node forgets them
}

// Restored is how far a namespace is restored, or what would come of it.
type Restored struct {
	Replace         bool    `json:"replace"`
	Begun           bool    `json:"begun"`            // something may be there
	TotalSessions   uint64  `json:"total_sessions"`   // of the backup
	TotalMessages   uint64  `json:"total_messages"`   // places in queues
	TotalRetained   uint64  `json:"total_retained"`   // deletions among them
	Sessions        uint64  `json:"sessions"`         // that are there again
	Replaced        uint64  `json:"replaced"`         // of them those whose device was closed and had another one
	Kept            uint64  `json:"kept"`             // today's stays
	Elsewhere       uint64  `json:"elsewhere"`        // another region has it
	Old             uint64  `json:"old"`              // it would have ended meanwhile
	Refused         uint64  `json:"refused"`          // the home has no room
	Messages        uint64  `json:"messages"`         // that wait in queues again
	Bytes           uint64  `json:"bytes"`            // of them
	MessagesOld     uint64  `json:"messages_old"`     // expired
	MessagesRefused uint64  `json:"messages_refused"` // queue or quota full
	Shared          uint64  `json:"shared"`           // that wait in shared subscriptions again
	SharedKept      uint64  `json:"shared_kept"`      // that do not: others are members
	Retained        uint64  `json:"retained"`         // retained messages that are there again
	RetainedKept    uint64  `json:"retained_kept"`    // today's stays
	RetainedOld     uint64  `json:"retained_old"`     // expired
	RetainedRefused uint64  `json:"retained_refused"` // no room, or residency keeps them out
	Seconds         float64 `json:"seconds"`          // until it is done, about; 0: not known
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
	DryRun    bool       `json:"dry_run"`
	Backup    *Backup    `json:"backup"`   // that was made, checked or read
	Restored  *Restored  `json:"restored"` // restore
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

func (a *api) listBackupLocks(r *http.Request, q *query) (any, error) {
	locks, err := a.node.BackupLocks(r.Context(), r.PathValue("name"), q.text("place"))
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", r.PathValue("name"), err)
	}
	for i := range locks {
		locks[i].Stanzas = list(locks[i].Stanzas)
		for j := range locks[i].Stanzas {
			locks[i].Stanzas[j].Args = list(locks[i].Stanzas[j].Args)
		}
	}
	return Page[BackupLock]{Items: list(locks)}, nil
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
		if act == BackupRestore {
			o.Replace = q.flag("replace")
		}
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
			var body RestoreRequest
			if err := readBody(r, &body, `send {"confirm": "NAMESPACE"}`); err != nil {
				return nil, err
			}
			if !dry && body.Confirm != o.Namespace {
				return nil, Refuse("confirm", fmt.Sprintf("confirm is %q and not the name of the namespace", body.Confirm), fmt.Sprintf("repeat the name: %q", o.Namespace))
			}
			if len(body.Keys) > 0 {
				o.Keys = map[string][]byte{}
			}
			for _, k := range body.Keys {
				o.Keys[k.Part] = k.Key
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
