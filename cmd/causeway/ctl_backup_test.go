package main

import (
	"path/filepath"
	"strings"
	"testing"

	"causeway/internal/admin"
)

// A restore that was cut short says that it can go on, one that never began that it failed, and a dry run shows what it counted.
func TestCtlBackupRestore_ExitCodes(t *testing.T) {
	counted := &admin.Restored{Begun: true, TotalSessions: 9, Sessions: 4, Kept: 2}
	job := func(id uint64, state string, dry bool, r *admin.Restored) admin.BackupJob {
		return admin.BackupJob{ID: id, Act: admin.BackupRestore, Home: "eu", Name: "b", Namespace: "cars", State: state, DryRun: dry, Reason: map[string]string{"failed": "the node stops"}[state], Effects: []string{"4 sessions come back"}, Restored: r}
	}
	post := "POST /v1/backups/b/restore?namespace=cars"
	for name, tt := range map[string]struct {
		args  []string
		begun admin.BackupJob
		ends  []admin.BackupJob
		code  int
		says  string
	}{
		"done":          {[]string{"--yes"}, job(1, "running", false, nil), []admin.BackupJob{job(1, "done", false, counted)}, exitOK, "restore backup of namespace cars of eu: done"},
		"cut short":     {[]string{"--yes"}, job(1, "running", false, nil), []admin.BackupJob{job(1, "failed", false, counted)}, exitPartly, "do it again, which goes on from there"},
		"never begun":   {[]string{"--yes"}, job(1, "running", false, nil), []admin.BackupJob{job(1, "failed", false, &admin.Restored{})}, exitFailed, "the node stops"},
		"started again": {[]string{"--yes"}, job(1, "running", false, nil), nil, exitPartly, "started again meanwhile"},
		"dry run":       {[]string{"--dry-run"}, job(2, "running", true, nil), []admin.BackupJob{job(2, "done", true, counted)}, exitOK, "namespace cars of eu: would be done\n  4 sessions come back"},
	} {
		t.Run(name, func(t *testing.T) {
			call := post
			if tt.args[0] == "--dry-run" {
				call = strings.Replace(post, "?", "?dry_run=true&", 1)
			}
			f := &fakeAPI{answers: map[string]any{call: tt.begun, "GET /v1/backups/jobs": admin.Page[admin.BackupJob]{Items: tt.ends}}}
			dir := t.TempDir()
			f.serve(t, filepath.Join(dir, "data"))
			run := ctlRun{dir: dir, env: []string{"CAUSEWAY_DATA_DIR=" + filepath.Join(dir, "data")}}
			out, errs, code := run.run(t.Context(), append([]string{"backup", "restore", "b", "--namespace", "cars"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out+errs, tt.says) {
				t.Errorf("%d: %q, %q", code, out, errs)
			}
		})
	}
}
