package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Backup says where copies of the homes that this region serves are kept outside of it, and when they are made.
type Backup struct {
	// To is the place: a directory, by its whole path, or a URL that Hook knows, such as
	// s3://bucket/eu, gs://bucket/eu or azblob://account/container/eu. Empty: no place; ctl backup create
	// has to name one.
	To string `mapstructure:"to"`
	// Every is how often a backup is made. Default 0: by order only.
	Every time.Duration `mapstructure:"every"`
	// Keep is how many of a home stay; older ones are removed after each that succeeded. 0: all of
	// them, or until the bucket's own rules remove them. Default 14.
	Keep int `mapstructure:"keep"`
	// MaxAge is how old the newest backup of a home may be until readiness blocks. Default: twice Every,
	// without Every a week.
	MaxAge time.Duration `mapstructure:"max_age"`
	// Key refers to a file of age keys: backups are encrypted for each of them. With public keys only
	// (age1…) this node cannot read what it wrote. Empty: they are not encrypted.
	Key SecretRef `mapstructure:"key"`
	// Hook is the program that reaches a place that is a URL. Default /usr/lib/causeway/backup-hook.
	Hook string `mapstructure:"hook"`
	// Region is the one whose residency holds at the place: what rules keep from it is in no backup.
	// Default: this region.
	Region string `mapstructure:"region"`
}

// URL says that the place is no directory.
func (b *Backup) URL() bool { return IsBackupURL(b.To) }

// IsBackupURL says whether a place is one that a hook has to reach.
func IsBackupURL(to string) bool { return strings.Contains(to, "://") }

// DefaultBackupHook is what the packages install.
const DefaultBackupHook = "/usr/lib/causeway/backup-hook"

func (c *Config) fillBackup(unset func(string) bool) {
	b := &c.Backup
	if unset("backup.hook") && b.URL() {
		b.Hook = DefaultBackupHook
	}
	if unset("backup.max_age") {
		b.MaxAge = defaultBackupAge
		if b.Every > 0 {
			b.MaxAge = 2 * b.Every
		}
	}
}

const defaultBackupAge = 7 * 24 * time.Hour

// leastBackup bounds how often: one has to end before the next begins.
const leastBackup = time.Minute

func (v *validator) backup(c *Config) {
	b := &c.Backup
	if b.To != "" {
		if err := CheckBackupPlace(b.To); err != nil {
			v.add("backup.to", err.Error(), backupWant)
		}
	}
	if b.Every != 0 {
		v.duration("backup.every", b.Every, leastBackup, 366*24*time.Hour)
		v.check(b.To != "", "backup.every", "is set, and there is no place", "set backup.to")
	}
	v.duration("backup.max_age", b.MaxAge, leastBackup, 10*366*24*time.Hour)
	v.count("backup.keep", b.Keep, 0, 100_000)
	v.check(b.Key == "" || b.Key.Path() != "", "backup.key", "is no reference", "want "+secretWant)
	v.check(b.Hook == "" || filepath.IsAbs(b.Hook), "backup.hook", fmt.Sprintf("%q is no whole path", b.Hook), "begin it with /")
	if b.Region != "" {
		v.name("backup.region", b.Region)
	}
}

const backupWant = "want a directory by its whole path, or a URL such as s3://bucket/eu"

// CheckBackupPlace says what is wrong with the name of a place.
func CheckBackupPlace(to string) error {
	if !IsBackupURL(to) {
		if !filepath.IsAbs(to) || filepath.Clean(to) == "/" {
			return fmt.Errorf("%q is no directory by its whole path", to)
		}
		return nil
	}
	u, err := url.Parse(to)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("%q is no URL of a place", to)
	}
	if u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("the URL of a place has a user or a query: the hook has credentials of its own")
	}
	return nil
}
