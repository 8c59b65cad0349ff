package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
)

// Place is where backups are kept.
type Place interface {
	// Stage makes an empty folder for files before they are put; who asked removes it.
	Stage() (string, error)
	// Put moves or copies a file to a backup. Durable when it returns.
	Put(ctx context.Context, name, file, path string) error
	// Get opens a file of a backup; ErrNoBackup if it is not there.
	Get(ctx context.Context, name, file string) (io.ReadCloser, error)
	// Names lists what has a manifest, in order.
	Names(ctx context.Context) ([]string, error)
	// Remove removes a backup, its manifest first. What is not there is no error.
	Remove(ctx context.Context, name string) error
	// String names the place.
	String() string
}

// Dir is a directory of a file system.
type Dir string

// stagePrefix is of folders with what is being written; a backup's name never begins with a dot.
const stagePrefix = ".writing-"

// staleStage is how old a folder is that nobody can be writing to any more.
const staleStage = 7 * 24 * time.Hour

func (d Dir) String() string { return string(d) }

// Stage implements Place. It is on the same file system, so that Put is a rename.
func (d Dir) Stage() (string, error) {
	if err := os.MkdirAll(string(d), 0o750); err != nil {
		return "", fmt.Errorf("directory of backups: %w", err)
	}
	return os.MkdirTemp(string(d), stagePrefix)
}

// Put implements Place.
func (d Dir) Put(ctx context.Context, name, file, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Join(string(d), name)
	if err := os.Mkdir(dir, 0o750); err == nil {
		if err := syncDir(string(d)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	to := filepath.Join(dir, file)
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already", to)
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements Place.
func (d Dir) Get(_ context.Context, name, file string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(d), name, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s/%s in %s", ErrNoBackup, name, file, d)
	}
	return f, err
}

// Names implements Place.
func (d Dir) Names(context.Context) ([]string, error) {
	list, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range list {
		if !e.IsDir() || !ValidName(e.Name()) {
			continue
		}
		if _, err := os.Stat(filepath.Join(string(d), e.Name(), manifestFile)); err == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Remove implements Place.
func (d Dir) Remove(_ context.Context, name string) error {
	if !ValidName(name) {
		return fmt.Errorf("%w: %q is no name of one", ErrNoBackup, name)
	}
	dir := filepath.Join(string(d), name)
	if err := os.Remove(filepath.Join(dir, manifestFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// Tidy removes what writers that were killed left behind a week ago or more.
func (d Dir) Tidy(now time.Time) error {
	list, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range list {
		info, err := e.Info()
		if err != nil || !e.IsDir() || now.Sub(info.ModTime()) < staleStage {
			continue
		}
		if path := filepath.Join(string(d), e.Name()); strings.HasPrefix(e.Name(), stagePrefix) || partsOnly(path) {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// partsOnly says that a folder holds parts of a backup that was never finished, and nothing else.
func partsOnly(path string) bool {
	list, err := os.ReadDir(path)
	return err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), "part-") })
}

// List reads the manifests of a place, oldest first. What cannot be read is left out and named in the
// error.
func List(ctx context.Context, from Place, id string) (list []Manifest, err error) {
	names, err := from.Names(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		m, err := Find(ctx, from, name)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			errs = append(errs, err)
		case id == "" || m.Home == id:
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b Manifest) int { return a.Time.Compare(b.Time) })
	return list, errors.Join(errs...)
}

// wrongClock is how far ahead of this clock another may be.
const wrongClock = time.Hour

// Newest is when the last backup of a home was begun, by its name; zero if there is none. One of a clock that is far
// ahead does not count: until its time has come there would be no other.
func Newest(ctx context.Context, in Place, id home.ID) (at time.Time, err error) {
	names, err := in.Names(ctx)
	latest := time.Now().Add(wrongClock)
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, string(id)+"-")
		when, _, cut := strings.Cut(rest, "-")
		if !ok || !cut {
			continue
		}
		if t, err := time.Parse(nameTime, when); err == nil && t.After(at) && t.Before(latest) {
			at = t
		}
	}
	return at, err
}

// Prune removes all but the newest backups of a home, and never one whose manifest it cannot read.
func Prune(ctx context.Context, in Place, id string, keep int) (removed []string, err error) {
	list, lerr := List(ctx, in, id)
	if keep <= 0 {
		return nil, lerr
	}
	errs := []error{lerr}
	for _, m := range list[:max(0, len(list)-keep)] {
		if err := in.Remove(ctx, m.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, m.Name)
	}
	return removed, errors.Join(errs...)
}
