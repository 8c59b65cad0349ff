package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"causeway/internal/admin"
	"causeway/internal/backup"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/store"
)

// A namespace is restored in two steps (ADR 43). All of the backup is read and checked, and what it
// holds of the namespace is put into a store of its own beside the home's. Then that is given to the
// home, part by part. The home keeps how far it is: whoever begins again goes on from there.

// spillDir is where what is read of a backup lies meanwhile.
func spillDir(cfg *config.Config) string { return filepath.Join(tempDir(cfg), "restore") }

const (
	// restorePart is about how much goes into the log at once.
	restorePart = 256 << 10
	// restoreStands is for how long the home keeps what it has of an order that nobody goes on with.
	// Of a session that is half there, too: its device waits.
	restoreStands = time.Minute
	// restoreTries is how often a part is proposed in a row that does not get in.
	restoreTries = 30
	// spillRoom is what has to be free on the disk beside the backup's size and the reserve.
	spillRoom = 256 << 20
)

// planRestore checks what can be checked before the backup is read.
func (b *backups) planRestore(ctx context.Context, job *admin.BackupJob, o admin.BackupOrder, place backup.Place, key backup.Key) (backupWork, error) {
	h, r, err := b.hosted(home.ID(job.Home))
	if err != nil {
		return nil, err
	}
	if level := r.State().Level(); level < home.LevelOf(home.KindRestore) {
		return nil, admin.Refuse("feature_level", fmt.Sprintf("home %s is at feature level %d, and a namespace is restored from level %d on", h.id, level, home.LevelOf(home.KindRestore)), "raise it: causeway ctl upgrade finalize")
	}
	if o.Namespace == home.LinkSpace {
		return nil, admin.Refuse("namespace", o.Namespace+" is not one of devices", "name the namespace of a listener")
	}
	looking, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	m, err := backup.Find(looking, place, o.Name)
	switch {
	case errors.Is(err, backup.ErrNoBackup):
		return nil, fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	case m.Home != job.Home:
		return nil, admin.Refuse("home", fmt.Sprintf("backup %s is of home %s", m.Name, m.Home), fmt.Sprintf("give --home %s where that is served; a session has one home", m.Home))
	case m.Level > home.MaxLevel:
		return nil, admin.Refuse("feature_level", fmt.Sprintf("backup %s is at feature level %d, this build supports up to %d", m.Name, m.Level, home.MaxLevel), "run a newer version")
	case m.Sealed != "" && !key.Opens():
		return nil, admin.Refuse("key", "backup "+m.Name+" is encrypted, and this node has the public key only", "give the file with the secret key: --key FILE. It stays where you are")
	}
	if s, ok := b.a.measure(); ok && s.free < s.reserve+uint64(m.Bytes)+spillRoom {
		return nil, admin.Refuse("disk", fmt.Sprintf("%s of the disk are free; the backup has %s, which are read beside the home for a while, and %s are kept in reserve",
			admin.FormatBytes(int64(s.free)), admin.FormatBytes(m.Bytes), admin.FormatBytes(int64(s.reserve))), "ask a node with more room")
	}
	job.Total, job.Restored = m.Bytes, &admin.Restored{Replace: o.Replace}
	job.Effects = []string{fmt.Sprintf("%s of %s is read by this node and checked", m.Name, place)}
	x := &restoring{b: b, h: h, o: o, job: job, m: m, place: place, key: key}
	return func(ctx context.Context, progress func(int64)) (*admin.Backup, []string, error) {
		err := x.run(ctx, progress)
		return backupOf(&m, place), x.effects(), err
	}, nil
}

// restoring is a restore of a namespace at work.
type restoring struct {
	b     *backups
	h     *homeService
	o     admin.BackupOrder
	job   *admin.BackupJob
	m     backup.Manifest
	place backup.Place
	key   backup.Key
	began time.Time // of giving
}

func (x *restoring) run(ctx context.Context, progress func(int64)) (err error) {
	fs, dir := x.b.a.opts.FS, spillDir(x.b.a.cfg)
	if err := fs.RemoveAll(dir); err != nil {
		return err
	}
	spill, err := store.Open(fs, dir, store.Options{Logger: x.b.a.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spill.Close(), fs.RemoveAll(dir)) }()
	picked, err := x.read(ctx, spill, progress)
	if err != nil {
		return err
	}
	x.report(func(r *admin.Restored) {
		r.TotalSessions, r.TotalMessages, r.TotalRetained = picked.Sessions, picked.References, picked.Retained
	})
	if picked.Sessions+picked.Retained == 0 {
		return fmt.Errorf("backup %s holds nothing of namespace %q", x.m.Name, x.o.Namespace)
	}
	e, err := home.OpenExcerpt(spill, x.o.Namespace)
	if err != nil {
		return err
	}
	if x.job.DryRun {
		return x.count(ctx, e)
	}
	return x.give(ctx, e)
}

// read puts what the backup holds of the namespace into the spill. It returns nil once all of the
// backup is checked.
func (x *restoring) read(ctx context.Context, spill *store.Store, progress func(int64)) (*home.Picker, error) {
	p := &home.Picker{Namespace: x.o.Namespace}
	batch, done := spill.NewBatch(), int64(0)
	defer func() { batch.Discard() }()
	err := backup.Read(ctx, x.place, &x.m, x.key, func(key, value []byte) error {
		done += int64(len(key) + len(value))
		progress(done)
		of, err := p.Picks(key, value)
		if err != nil || !of {
			return err
		}
		if batch.Set(key, value); batch.Bytes() < 1<<20 {
			return nil
		}
		err = batch.Commit(1, 1)
		batch = spill.NewBatch()
		return err
	})
	if err == nil {
		err = batch.Commit(1, 1)
	}
	return p, err
}

// report changes what the job says.
func (x *restoring) report(fn func(*admin.Restored)) {
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	fn(x.job.Restored)
}

// count finds out what would become of everything.
func (x *restoring) count(ctx context.Context, e *home.Excerpt) error {
	st := x.h.State()
	for after := ""; ctx.Err() == nil; {
		list, last, err := e.Retained(after, restorePart)
		if err != nil {
			return err
		}
		if after = last; last == "" {
			break
		}
		x.report(func(r *admin.Restored) {
			for i := range list {
				switch st.RetainedFate(x.o.Namespace, &list[i], x.o.Replace) {
				case home.FateKeep:
					r.RetainedKept++
				case home.FateOld:
					r.RetainedOld++
				case home.FateFull, home.FateAside:
					r.RetainedRefused++
				default:
					r.Retained++
				}
			}
		})
	}
	for after := ""; ctx.Err() == nil; {
		list, last, err := e.Sessions(after, 1<<14)
		if err != nil {
			return err
		}
		if after = last; last == "" {
			break
		}
		x.report(func(r *admin.Restored) {
			for i := range list {
				switch st.SessionFate(&list[i], x.o.Replace) {
				case home.FateKeep:
					r.Kept++
				case home.FateElsewhere:
					r.Elsewhere++
				case home.FateOld:
					r.Old++
				case home.FateFull:
					r.Refused++
				case home.FateReplace:
					r.Replaced++
					fallthrough
				default:
					r.Sessions++
					r.Messages += uint64(len(list[i].Refs))
				}
			}
		})
	}
	return ctx.Err()
}

// give gives it to the home.
func (x *restoring) give(ctx context.Context, e *home.Excerpt) error {
	r := x.h.opened.Load()
	if r == nil {
		return fmt.Errorf("%w: %s", admin.ErrUnavailable, x.h.reason())
	}
	begin := &home.Restore{Step: home.RestoreBegin, Namespace: x.o.Namespace, Backup: x.m.Name, Replace: x.o.Replace, For: restoreStands}
	o, err := x.do(ctx, r, begin)
	switch {
	case err != nil:
		return err
	case o.Code != home.CodeOK:
		return fmt.Errorf("another restore of namespace %s is under way: wait for its end, or a minute after its node is gone", x.o.Namespace)
	}
	x.began = time.Now()
	x.report(func(r *admin.Restored) { r.Begun = true })
	order, parts := uint64(o.Seq), home.NewRestoreParts(e, restorePart)
	for stuck := 0; stuck < restoreTries; {
		at, ok := r.State().RestorationOf(x.o.Namespace)
		if !ok || at.Order != order {
			return errors.New("another restore of the namespace took its place")
		}
		x.noteCounts(&at)
		op, err := parts.Next(&at)
		if err != nil {
			return err
		}
		if op == nil {
			return x.finish(ctx, r, order)
		}
		began := time.Now()
		o, err := x.do(ctx, r, op)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // a leader is elected, say
			stuck++
			if x.b.a.log.Debug("give a part to the home", "namespace", x.o.Namespace, "error", err); !wait(ctx, time.Second) {
				return ctx.Err()
			}
			continue
		case o.Code == home.CodeUnknown:
			parts.Forget()
			stuck++
			continue
		case o.Code == home.CodeGap:
			stuck++
			continue
		case o.Code != home.CodeOK:
			return fmt.Errorf("the home does not take it: code %#x", byte(o.Code))
		}
		stuck = 0
		// Devices have as much of the log as the restore.
		if !wait(ctx, min(time.Since(began), time.Second)) {
			return ctx.Err()
		}
	}
	return errors.New("the home takes no part of it")
}

// finish ends the order, and returns once the standby has it: it must not have half of what devices are told here.
func (x *restoring) finish(ctx context.Context, r *replica.Replica, order uint64) error {
	for tries := 0; ; {
		o, err := x.do(ctx, r, &home.Restore{Step: home.RestoreDone, Namespace: x.o.Namespace, Order: order})
		if err == nil && o.Count == 0 {
			at, _ := r.State().RestorationOf(x.o.Namespace)
			x.noteCounts(&at)
			return roamHome{x.h, r}.Shipped(ctx, o.Record)
		}
		if err != nil {
			if tries++; tries == restoreTries || !wait(ctx, time.Second) {
				return err
			}
		}
	}
}

// do proposes an operation and waits for what comes of it.
func (x *restoring) do(ctx context.Context, r *replica.Replica, op home.Op) (home.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return outcomeOf(ctx, r, op)
}

func (x *restoring) noteCounts(at *home.Restoration) {
	c := &at.Counts
	x.report(func(r *admin.Restored) {
		r.Sessions, r.Replaced, r.Kept, r.Elsewhere, r.Old, r.Refused = c.Sessions, c.Replaced, c.Kept, c.Elsewhere, c.Old, c.Refused
		r.Messages, r.Bytes, r.MessagesOld, r.MessagesRefused, r.Shared, r.SharedKept = c.Messages, c.Bytes, c.MessagesOld, c.MessagesFull, c.Grouped, c.GroupedKept
		r.Retained, r.RetainedKept, r.RetainedOld, r.RetainedRefused = c.Retained, c.RetainedKept, c.RetainedOld, c.RetainedFull+c.RetainedAside
		done := r.Sessions + r.Kept + r.Elsewhere + r.Old + r.Refused + r.Retained + r.RetainedKept + r.RetainedOld + r.RetainedRefused
		if r.Seconds = 0; done > 0 && !at.Done {
			left := float64(r.TotalSessions+r.TotalRetained) - float64(done)
			r.Seconds = max(0, time.Since(x.began).Seconds()*left/float64(done))
		}
	})
}

// effects says what came of it, or would.
func (x *restoring) effects() []string {
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	return restoredList(x.job.Restored)
}

func restoredList(r *admin.Restored) (list []string) {
	say := func(n uint64, text string) {
		if n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, text))
		}
	}
	say(r.Sessions-r.Replaced, "sessions come back, which are not there today")
	say(r.Replaced, "sessions take the place of today's, whose device is closed and whose queue is destroyed")
	say(r.Kept, "sessions stay as they are today")
	say(r.Elsewhere, "sessions are in another region, and stay there")
	say(r.Old, "sessions would have ended meanwhile, and do not come back")
	say(r.Refused, "sessions have no room in the home (limits.sessions)")
	say(r.Messages, "messages wait in queues again")
	say(r.MessagesOld, "messages expired")
	say(r.MessagesRefused, "messages have no room in their queue or the quota of the namespace")
	say(r.Shared, "messages wait in shared subscriptions again")
	say(r.SharedKept, "messages of shared subscriptions do not: those have other members by now")
	say(r.Retained, "retained messages are published again")
	say(r.RetainedKept, "retained messages stay as they are today")
	say(r.RetainedOld, "retained messages expired")
	say(r.RetainedRefused, "retained messages have no room, or may not be stored here")
	if len(list) == 0 {
		list = append(list, "nothing is changed")
	}
	return list
}

// restoredWords is it in a line, for the audit log.
func restoredWords(r *admin.Restored) string {
	return fmt.Sprintf("%d sessions (%d replaced, %d kept, %d refused), %d messages, %d retained", r.Sessions, r.Replaced, r.Kept, r.Elsewhere+r.Old+r.Refused, r.Messages, r.Retained)
}

// BackupLocks implements admin.Backups.
func (n node) BackupLocks(ctx context.Context, name, to string) ([]admin.BackupLock, error) {
	place, err := BackupPlace(n.a.cfg, to)
	if err != nil {
		return nil, admin.Refuse("place", err.Error(), "set backup.to in the node file, or give --from DIRECTORY or URL")
	}
	m, err := backup.Find(ctx, place, name)
	if errors.Is(err, backup.ErrNoBackup) {
		return nil, fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	locks, err := backup.Locks(ctx, place, &m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	var out []admin.BackupLock
	for _, l := range locks {
		x := admin.BackupLock{Part: l.Part}
		for _, s := range l.Stanzas {
			x.Stanzas = append(x.Stanzas, admin.BackupStanza(s))
		}
		out = append(out, x)
	}
	return out, nil
}
