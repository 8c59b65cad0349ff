package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"causeway/internal/admin"
	"causeway/internal/audit"
	"causeway/internal/backup"
	"causeway/internal/cluster"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
)

// backups makes, checks and lists copies of homes outside of the region. One thing is done at a time on
// a node.
type backups struct {
	a *App

	mu   sync.Mutex
	jobs []*admin.BackupJob // guarded by mu, as what they point to: the last ones
	next uint64             // guarded by mu

	busy sync.Mutex     // held by the job under way, which has tempDir's spill
	all  sync.WaitGroup // jobs
	end  chan struct{}  // closed when the node stops
	stop sync.Once
}

// keptJobs bounds what is remembered of jobs.
const keptJobs = 32

// tempDir is for files on their way to and from a place that is no directory.
func tempDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "backup-temp") }

func newBackups(a *App) *backups { return &backups{a: a, end: make(chan struct{})} }

// backupEvery is how often is looked whether a backup is due.
const backupEvery = 5 * time.Second

// run makes the backups that are due until ctx ends, then ends what is under way.
func (b *backups) run(ctx context.Context) error {
	if b.a.cfg.Backup.Every > 0 && b.a.cfg.Backup.Key.Path() == "" {
		b.a.log.Warn("backups are not encrypted, and hold the password hashes of users and what devices sent", "place", b.a.cfg.Backup.To, "fix", "set backup.key: causeway backup key")
	}
	b.tidy()
	for wait(ctx, backupEvery) {
		if b.a.cfg.Backup.Every <= 0 {
			continue
		}
		for _, h := range b.a.homes {
			b.due(ctx, h)
		}
	}
	b.stop.Do(func() { close(b.end) })
	b.all.Wait()
	return nil
}

// tidy removes what a restore left that was cut short.
func (b *backups) tidy() {
	if !b.busy.TryLock() {
		return
	}
	defer b.busy.Unlock()
	if err := b.a.opts.FS.RemoveAll(spillDir(b.a.cfg)); err != nil {
		b.a.log.Warn("remove what a restore left", "error", err)
	}
}

// due makes a backup of a home that is hosted here, if it is time and this node's turn.
func (b *backups) due(ctx context.Context, h *homeService) {
	r := h.opened.Load()
	if r == nil || !r.Hosting() || b.running() || !b.turn(r) || time.Since(b.lastTry(h.id)) < min(b.a.cfg.Backup.Every, retryBackup) {
		return
	}
	looking, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	last, err := b.newest(looking, h.id)
	if err != nil {
		b.a.log.Warn("look for the last backup", "home", string(h.id), "place", b.a.cfg.Backup.To, "error", err)
	}
	if err == nil && time.Since(last) < b.a.cfg.Backup.Every {
		return
	}
	if _, err := b.begin(ctx, admin.BackupOrder{Act: admin.BackupCreate, Home: string(h.id), By: "schedule"}, false); err != nil && ctx.Err() == nil {
		b.a.log.Warn("begin a backup", "home", string(h.id), "error", err)
	}
}

// retryBackup is how long a node waits after it tried, whatever came of it.
const retryBackup = 10 * time.Minute

// lastTry is when this node began a backup of a home last.
func (b *backups) lastTry(id home.ID) (at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.jobs {
		if j.Act == admin.BackupCreate && j.Home == string(id) && j.Began.After(at) {
			at = j.Began
		}
	}
	return at
}

func (b *backups) running() bool {
	if !b.busy.TryLock() {
		return true
	}
	b.busy.Unlock()
	return false
}

// newest is when the last backup of a home began.
func (b *backups) newest(ctx context.Context, id home.ID) (time.Time, error) {
	place, err := BackupPlace(b.a.cfg, "")
	if err != nil {
		return time.Time{}, err
	}
	return backup.Newest(ctx, place, id)
}

// turn says that this node makes the backups of a home: a core that follows, so that the leader is not
// slowed, the first by name that is there. Should two take it for their turn there are two backups.
func (b *backups) turn(r *replica.Replica) bool {
	leader, ok := r.Leader()
	if b.a.cluster == nil {
		return true
	}
	var names []string
	for _, m := range b.a.cluster.Members() {
		if m.Alive && m.Role == cluster.Core {
			names = append(names, m.Node)
		}
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(n string) bool { return n == string(leader) })
	if len(names) == 0 {
		return ok && string(leader) == b.a.cfg.Node
	}
	return ok && names[0] == b.a.cfg.Node && r.Fresh()
}

// begin plans or begins a job.
func (b *backups) begin(ctx context.Context, o admin.BackupOrder, dryRun bool) (admin.BackupJob, error) {
	cfg := b.a.cfg
	if b.a.replicant() {
		return admin.BackupJob{}, admin.Refuse("replicant", "node "+cfg.Node+" is a replicant, which keeps nothing", "ask a core node: causeway ctl cluster status")
	}
	place, err := BackupPlace(cfg, o.Place)
	if err != nil {
		return admin.BackupJob{}, admin.Refuse("place", err.Error(), "set backup.to in the node file, or give --to DIRECTORY or URL")
	}
	key, err := backup.ReadKey(cfg.Backup.Key.Path())
	if err != nil {
		return admin.BackupJob{}, admin.Refuse("key", err.Error(), "mend the file of backup.key")
	}
	if len(o.Keys) > 0 {
		key = backup.FileKeys(o.Keys)
	}
	job := &admin.BackupJob{Act: o.Act, DryRun: dryRun, Home: cmp.Or(o.Home, cfg.Region), Name: o.Name, Place: place.String(), Namespace: o.Namespace, Node: cfg.Node, By: o.By,
		State: "planned", Began: time.Now().UTC()}
	do, err := b.plan(ctx, job, o, place, key)
	if err != nil || dryRun && o.Act != admin.BackupRestore {
		return *job, err
	}
	select {
	case <-b.end:
		return admin.BackupJob{}, fmt.Errorf("%w: the node stops", admin.ErrUnavailable)
	default:
	}
	if !b.busy.TryLock() {
		return admin.BackupJob{}, admin.Refuse("busy", "another backup, check or restore is under way on this node", "wait for its end: causeway ctl backup jobs")
	}
	b.mu.Lock()
	b.next++
	job.ID, job.State = b.next, "running"
	b.jobs = append(b.jobs, job)
	if len(b.jobs) > keptJobs {
		b.jobs = b.jobs[1:]
	}
	begun := seenNow(job)
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	b.all.Go(func() {
		defer b.busy.Unlock()
		defer cancel()
		b.a.contain("backups", func() { b.work(ctx, job, do) })
	})
	b.all.Go(func() {
		select {
		case <-b.end:
			cancel()
		case <-ctx.Done():
		}
	})
	return begun, nil
}

// work does a job, and notes what came of it.
func (b *backups) work(ctx context.Context, job *admin.BackupJob, do func(ctx context.Context, progress func(int64)) (*admin.Backup, []string, error)) {
	made, effects, err := do(ctx, func(n int64) {
		b.mu.Lock()
		job.Bytes = n
		b.mu.Unlock()
	})
	now := time.Now().UTC()
	b.mu.Lock()
	job.Ended, job.State, job.Backup = &now, "done", made
	if effects != nil {
		job.Effects = effects
	}
	if made != nil {
		job.Name, job.Total = made.Name, made.Bytes
	}
	if err != nil {
		job.State, job.Reason = "failed", err.Error()
	}
	done := seenNow(job)
	b.mu.Unlock()
	act := audit.Act{State: audit.Done, Who: done.By, Action: done.Act + " backup", Target: done.Home, Request: done.Name + " at " + done.Place}
	if done.Act == admin.BackupRestore {
		act.Request += ", namespace " + done.Namespace + ": " + restoredWords(done.Restored)
	}
	if !done.DryRun {
		b.a.note(act, err)
	}
	if done.Act == admin.BackupRestore && !done.DryRun {
		b.a.events.Emit("change", done.Home, fmt.Sprintf("restore of namespace %s from %s %s: %s; by %s", done.Namespace, done.Name, done.State, restoredWords(done.Restored), done.By))
	}
	if err != nil {
		b.a.log.Error("backup", "act", done.Act, "home", done.Home, "name", done.Name, "place", done.Place, "error", err)
		return
	}
	b.a.log.Info("backup", "act", done.Act, "home", done.Home, "name", done.Name, "place", done.Place, "took", now.Sub(done.Began).Round(time.Millisecond))
}

// note keeps in the audit log what the node did.
func (a *App) note(act audit.Act, err error) {
	if a.audit == nil {
		return
	}
	if err != nil {
		act.State, act.Reason = audit.Failed, err.Error()
	}
	if _, err := a.audit.Add(act); err != nil {
		a.log.Error("the audit log cannot be written", "who", act.Who, "action", act.Action, "target", act.Target, "error", err)
	}
}

type backupWork = func(ctx context.Context, progress func(int64)) (*admin.Backup, []string, error)

// plan checks what can be checked, says what will be done, and returns what does it.
func (b *backups) plan(ctx context.Context, job *admin.BackupJob, o admin.BackupOrder, place backup.Place, key backup.Key) (backupWork, error) {
	switch o.Act {
	case admin.BackupRestore:
		return b.planRestore(ctx, job, o, place, key)
	case admin.BackupCreate:
		h, r, err := b.hosted(home.ID(job.Home))
		if err != nil {
			return nil, err
		}
		job.Total = r.Stats().StateBytes
		job.Effects = []string{fmt.Sprintf("home %s, with its sessions, queues and spools, is written to %s by this node", h.id, place), sealedWords(key)}
		return func(ctx context.Context, progress func(int64)) (*admin.Backup, []string, error) {
			m, err := b.create(ctx, h, place, key, progress)
			if err != nil {
				return nil, nil, err
			}
			return backupOf(&m, place), append([]string{sealedWords(key)}, b.prune(ctx, place, m.Home)...), nil
		}, nil
	case admin.BackupVerify:
		job.Effects = []string{"all of " + o.Name + " is read, checked and opened; nothing is changed"}
		return func(ctx context.Context, progress func(int64)) (*admin.Backup, []string, error) {
			m, err := backup.Find(ctx, place, o.Name)
			if err == nil {
				_, err = backup.Verify(ctx, place, &m, key)
			}
			if err != nil {
				return nil, nil, err
			}
			return backupOf(&m, place), []string{fmt.Sprintf("%s is whole: %d sessions at record %d, epoch %d@%s", m.Name, m.Sessions, m.Record, m.Epoch, m.Host)}, nil
		}, nil
	}
	return nil, fmt.Errorf("backups know no %q", o.Act)
}

func sealedWords(key backup.Key) string {
	if key.Seals() {
		return "it is encrypted for the keys of backup.key"
	}
	return "WARNING: it is not encrypted, and holds the password hashes of users and what devices sent: set backup.key (causeway backup key)"
}

// hosted is a home that this region serves, of which this node has a copy.
func (b *backups) hosted(id home.ID) (*homeService, *replica.Replica, error) {
	for _, h := range b.a.homes {
		if h.id != id {
			continue
		}
		r := h.opened.Load()
		switch {
		case r == nil:
			return nil, nil, fmt.Errorf("%w: %s", admin.ErrUnavailable, h.reason())
		case !r.Hosting():
			return nil, nil, admin.Refuse("standby", fmt.Sprintf("home %s is served by another region", id), "make the backup where it is served: causeway ctl region status")
		}
		return h, r, nil
	}
	return nil, nil, fmt.Errorf("%w: home %s has no copy here", admin.ErrNotFound, id)
}

// create writes a backup.
func (b *backups) create(ctx context.Context, h *homeService, place backup.Place, key backup.Key, progress func(int64)) (m backup.Manifest, err error) {
	_, r, err := b.hosted(h.id)
	if err != nil {
		return m, err
	}
	cfg := b.a.cfg
	c, err := r.Backup(ctx, cmp.Or(cfg.Backup.Region, cfg.Region))
	if err != nil {
		return m, err
	}
	defer c.Close()
	about := backup.About{Home: h.id, Level: r.State().Level(), Version: b.a.opts.Build.Version, Region: cfg.Region, Node: cfg.Node, Place: cmp.Or(cfg.Backup.Region, cfg.Region)}
	return backup.Write(ctx, c, about, place, backup.Options{Key: key, Progress: progress})
}

// prune removes what is beyond the number to keep, from the configured place only.
func (b *backups) prune(ctx context.Context, place backup.Place, id string) []string {
	if place.String() != b.a.cfg.Backup.To {
		return nil
	}
	removed, err := backup.Prune(ctx, place, id, b.a.cfg.Backup.Keep)
	if dir, ok := place.(backup.Dir); ok {
		err = errors.Join(err, dir.Tidy(time.Now()))
	} else {
		err = errors.Join(err, backup.Dir(tempDir(b.a.cfg)).Tidy(time.Now()))
	}
	if err != nil {
		b.a.log.Warn("remove old backups", "place", place.String(), "error", err)
	}
	var effects []string
	for _, name := range removed {
		effects = append(effects, name+" is removed: it is older than the newest that are kept")
	}
	return effects
}

func backupOf(m *backup.Manifest, place backup.Place) *admin.Backup {
	return &admin.Backup{Name: m.Name, Home: m.Home, Epoch: m.Epoch, Host: m.Host, Record: m.Record, At: m.Time, Node: m.Node, Version: m.Version, Level: m.Level,
		Sessions: m.Sessions, Bytes: m.Bytes, Stored: m.Stored(), Encrypted: m.Sealed != "", Place: place.String()}
}

// Backups implements admin.Backups.
func (n node) Backups(ctx context.Context, to string) ([]admin.Backup, error) {
	place, err := BackupPlace(n.a.cfg, to)
	if err != nil {
		return nil, admin.Refuse("place", err.Error(), "set backup.to in the node file, or give --from DIRECTORY or URL")
	}
	list, err := backup.List(ctx, place, "")
	if err != nil {
		n.a.log.Warn("list backups", "place", place.String(), "error", err)
		if len(list) == 0 {
			return nil, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
		}
	}
	var out []admin.Backup
	for i := range list {
		out = append(out, *backupOf(&list[i], place))
	}
	return out, nil
}

// BackupJobs implements admin.Backups.
func (n node) BackupJobs() []admin.BackupJob {
	b := n.a.backups
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []admin.BackupJob
	for _, j := range b.jobs {
		out = append(out, seenNow(j))
	}
	return out
}

// seenNow is a job as it is. The caller has the lock.
func seenNow(j *admin.BackupJob) admin.BackupJob {
	out := *j
	if j.Restored != nil {
		now := *j.Restored
		out.Restored = &now
	}
	return out
}

// BeginBackup implements admin.Backups.
func (n node) BeginBackup(ctx context.Context, o admin.BackupOrder, dryRun bool) (admin.BackupJob, error) {
	if o.Act != admin.BackupCreate && !backup.ValidName(o.Name) {
		return admin.BackupJob{}, fmt.Errorf("%w: %q is no name of a backup", admin.ErrNotFound, o.Name)
	}
	return n.a.backups.begin(ctx, o, dryRun)
}
