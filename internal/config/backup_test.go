package config

import (
	"strings"
	"testing"
)

func TestBackup_Keys(t *testing.T) {
	for name, c := range map[string]struct{ yaml, problem string }{
		"directory":         {"to: /var/backups/causeway, every: 6h, keep: 30, key: file:/etc/causeway/backup.key", ""},
		"bucket":            {"to: s3://bucket/eu, every: 1d", ""},
		"by order only":     {"keep: 3", ""},
		"relative":          {"to: backups", "backup.to"},
		"the root":          {"to: /", "backup.to"},
		"no host":           {"to: s3://", "backup.to"},
		"a secret in it":    {"to: \"s3://key:secret@bucket/eu\"", "backup.to"},
		"without a place":   {"every: 1h", "backup.every"},
		"too often":         {"to: /b, every: 1s", "backup.every"},
		"a negative number": {"keep: -1", "backup.keep"},
		"the key itself":    {"key: AGE-SECRET-KEY-1ABC", "backup.key"},
		"a relative hook":   {"to: s3://b, hook: hooks/backup", "backup.hook"},
	} {
		cfg, sources := mustLoad(t, Options{File: writeFile(t, "region: eu\nbackup: { "+c.yaml+" }\n")})
		err := sources.Explain(cfg.Validate())
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s: %v", name, err)
		case err != nil && (strings.Contains(err.Error(), "AGE-SECRET") || strings.Contains(err.Error(), "key:secret")):
			t.Errorf("%s: the error tells a secret: %v", name, err)
		case err == nil && (cfg.Backup.URL() != (cfg.Backup.Hook == DefaultBackupHook)):
			t.Errorf("%s: %+v", name, cfg.Backup)
		}
	}
}
