package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/internal/audit"
	"causeway/internal/backup"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/store"
)

// RestoreOptions say from what a region is founded.
type RestoreOptions struct {
	FS     store.FS // default the real one
	Config *config.Config
	From   backup.Place
	Name   string // of the backup; "" is the newest of the region's home
	Key    backup.Key
	Epoch  uint64 // number of the epoch that begins; 0: above all that may have been used since the backup
	DryRun bool   // read and check everything, and write nothing
	By     string // who asked
	// Progress is told what is done, and how much of keys and values.
	Progress func(step string, done, total int64)
}

// Restored is what was restored, or would be.
type Restored struct {
	Backup   backup.Manifest
	Epoch    home.Epoch
	Sessions int
	Messages int // that wait for sessions
	Retained int
}

// BackupPlace is where a configuration keeps backups, or another place that it can reach.
func BackupPlace(cfg *config.Config, to string) (backup.Place, error) {
	if to == "" {
		to = cfg.Backup.To
	}
	if to == "" {
		return nil, errors.New("no place is configured: set backup.to, or name one")
	}
	if err := config.CheckBackupPlace(to); err != nil {
		return nil, err
	}
	if !config.IsBackupURL(to) {
		return backup.Dir(to), nil
	}
	hook := cfg.Backup.Hook
	if hook == "" {
		hook = config.DefaultBackupHook
	}
	return &backup.Hook{Program: hook, To: to, Temp: tempDir(cfg)}, nil
}

// ErrRestoreRefused: what is there would be lost, or the backup is not this region's.
var ErrRestoreRefused = errors.New("refused")

// Restore founds a region from a backup, on this node's empty disk, before its first start. All of the
// backup is read and opened before anything is written. The home's epoch is raised, so that what is left of its former
// life elsewhere is fenced.
func Restore(ctx context.Context, o RestoreOptions) (out Restored, err error) {
	if o.FS == nil {
		o.FS = store.DiskFS()
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Config.Role == config.RoleReplicant {
		return out, fmt.Errorf("%w: node %s is a replicant, which keeps nothing: restore on a core node", ErrRestoreRefused, o.Config.Node)
	}
	m, err := chooseBackup(ctx, o.From, o.Name, o.Config.Region)
	if err != nil {
		return out, err
	}
	out.Backup = m
	if m.Home != o.Config.Region {
		return out, fmt.Errorf("%w: backup %s is of home %s, and the file is of region %s: give the new region the old one's name", ErrRestoreRefused, m.Name, m.Home, o.Config.Region)
	}
	if m.Level > home.MaxLevel {
		return out, fmt.Errorf("%w: backup %s is at feature level %d, this build supports up to %d: run a newer version", ErrRestoreRefused, m.Name, m.Level, home.MaxLevel)
	}
	out.Epoch = home.Epoch{Number: o.Epoch, Host: o.Config.Region}
	if o.Epoch == 0 {
		out.Epoch.Number = epochAfter(&m, time.Now())
	}
	if o.Epoch != 0 && o.Epoch <= m.Epoch {
		return out, fmt.Errorf("%w: epoch %d is not above %d, at which the backup was made", ErrRestoreRefused, o.Epoch, m.Epoch)
	}
	if err := emptyDisk(o.FS, o.Config.DataDir, o.Config.Region); err != nil {
		return out, err
	}
	o.Progress("verify", 0, m.Bytes)
	found, err := backup.Verify(ctx, o.From, &m, o.Key)
	if err != nil {
		return out, err
	}
	status := found.State.Status()
	out.Sessions, out.Messages, out.Retained = found.Sessions, status.Queued, status.Retained
	found.State = nil
	if o.DryRun {
		return out, nil
	}
	return out, o.found(ctx, &out)
}

// epochsBeside is what a restore leaves room for beside one epoch a second.
const epochsBeside = 1000

// epochAfter is an epoch above all that regions may have given the home since a backup was written: a failover begins the
// one after the last, and the copy of the backup knows nothing of those. Promotions take longer than a second, so their
// number stays below that of the seconds, also from one restore of the backup to the next: no epoch is used twice.
func epochAfter(m *backup.Manifest, now time.Time) uint64 {
	return m.Epoch + epochsBeside + uint64(max(0, now.Sub(m.Time))/time.Second)
}

func chooseBackup(ctx context.Context, from backup.Place, name, region string) (backup.Manifest, error) {
	if name != "" {
		return backup.Find(ctx, from, name)
	}
	list, err := backup.List(ctx, from, region)
	if len(list) == 0 {
		return backup.Manifest{}, errors.Join(err, fmt.Errorf("%w: of home %s in %s", backup.ErrNoBackup, region, from))
	}
	return list[len(list)-1], nil
}

// emptyDisk refuses a data directory with a copy of the home.
func emptyDisk(fs store.FS, dir, region string) error {
	names, err := store.List(fs, fs.PathJoin(dir, homeFolder(home.ID(region))))
	switch {
	case store.IsNotExist(err):
		return nil
	case err != nil:
		return err
	case len(names) > 0 && !replica.FoundingCutShort(fs, fs.PathJoin(dir, homeFolder(home.ID(region)))):
		return fmt.Errorf("%w: %s holds a copy of home %s: a region is restored onto empty disks only; move the directory away on every node", ErrRestoreRefused, dir, region)
	}
	return nil
}

// homeFolder is a home's in the data directory.
func homeFolder(id home.ID) string { return "home-" + string(id) }

func (o *RestoreOptions) found(ctx context.Context, out *Restored) (err error) {
	cfg := o.Config
	dir, err := store.OpenDir(o.FS, cfg.DataDir, store.Identity{Region: cfg.Region, Node: cfg.Node})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	at, err := dir.Home(homeFolder(home.ID(cfg.Region)))
	if err != nil {
		return err
	}
	log := audit.New(o.FS, o.FS.PathJoin(cfg.DataDir, store.AuditDir), audit.Options{})
	defer func() { err = errors.Join(err, log.Close()) }()
	m := &out.Backup
	act := audit.Act{State: audit.Asked, Who: o.By, Role: "admin", Action: "restore the region from a backup", Target: cfg.Region,
		Request: fmt.Sprintf("backup %s of %s: epoch %d@%s, record %d, written %s, begins as epoch %s", m.Name, o.From, m.Epoch, m.Host, m.Record, m.Time.Format(time.RFC3339), out.Epoch)}
	asked, err := log.Add(act)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	f := replica.Founding{FS: o.FS, Dir: at, Node: home.NodeID(cfg.Node), Disk: string(dir.DiskUUID()), Home: home.ID(cfg.Region), Epoch: out.Epoch,
		Grace: uint32((cfg.Takeover.WillGrace + time.Second - 1) / time.Second), Now: home.Time(time.Now().UnixNano())}
	done := int64(0)
	_, err = replica.FoundFrom(f, func(put func(key, value []byte) error) error {
		return backup.Read(ctx, o.From, m, o.Key, func(key, value []byte) error {
			done += int64(len(key) + len(value))
			o.Progress("restore", done, m.Bytes)
			return put(key, value)
		})
	})
	act.State, act.Of, act.Request = audit.Done, asked.N, ""
	if err != nil {
		act.State, act.Reason = audit.Failed, err.Error()
	}
	if _, aerr := log.Add(act); aerr != nil {
		err = errors.Join(err, fmt.Errorf("audit log: %w", aerr))
	}
	return err
}
