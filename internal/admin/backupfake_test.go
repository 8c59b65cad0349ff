package admin

import "context"

var aBackup = Backup{Name: "eu-20260301T120000Z-900", Home: "eu", Epoch: 3, Host: "eu", Record: 900, At: noon, Node: "eu-2", Version: "v1", Level: 2, Sessions: 12, Bytes: 9000, Stored: 900, Encrypted: true, Place: "/b"}

func (f *fake) Backups(context.Context, string) ([]Backup, error) { return []Backup{aBackup}, f.down }

func (f *fake) BackupLocks(context.Context, string, string) ([]BackupLock, error) {
	return []BackupLock{{Part: "part-00001", Stanzas: []BackupStanza{{Type: "X25519", Args: []string{"a"}, Body: []byte("b")}}}, {Part: "part-00002"}}, f.down
}

func (f *fake) BackupJobs() []BackupJob {
	return []BackupJob{{ID: 1, Act: BackupCreate, Home: "eu", Place: "/b", Node: "eu-2", By: "schedule", State: "done", Began: noon, Ended: &noon, Backup: &aBackup},
		{ID: 2, Act: BackupVerify, Home: "eu", State: "running", Began: noon},
		{ID: 3, Act: BackupRestore, Home: "eu", Namespace: "cars", State: "running", Began: noon, Restored: &Restored{Begun: true, TotalSessions: 12, Sessions: 3}}}
}

func (f *fake) BeginBackup(_ context.Context, o BackupOrder, dryRun bool) (BackupJob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return BackupJob{}, f.refuse
	}
	f.do("backup %s %s place=%s home=%s namespace=%s replace=%v keys=%d dry=%v", o.Act, o.Name, o.Place, o.Home, o.Namespace, o.Replace, len(o.Keys), dryRun)
	return BackupJob{ID: 3, Act: o.Act, Home: "eu", Name: o.Name, Place: "/b", Namespace: o.Namespace, Node: "eu-1", By: o.By, State: "planned", Began: noon, Effects: []string{"an effect"}}, f.down
}

func (f *fake) Upgrade(_ context.Context, to string) (Upgrade, error) {
	return Upgrade{To: to, Level: 2, Supports: 3, State: "mixed", Steps: []UpgradeStep{{Kind: "standby", Name: "us", Role: "standby", Version: "v2", Supports: 3, Done: true}, {Kind: "node", Name: "eu-1", Role: "leader", Version: "v1", Supports: 2, Reason: "it is not seen"}},
		Refused: []Refusal{{Condition: "votes", Reason: "2 of 3", Fix: "wait"}}, Next: "wait"}, f.down
}

func (f *fake) FinalizeUpgrade(_ context.Context, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.do("finalize dry=%v", dryRun)
	return []string{"home eu goes to level 3"}, f.down
}
