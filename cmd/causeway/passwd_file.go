package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxPasswordFile bounds what is read of a password file: about a million users.
const maxPasswordFile = 256 << 20

// editPasswords sets the user's hash in the file, or takes the user out if hash is "", and says
// which in a word. The folder is locked meanwhile, so that of two edits none is lost.
func editPasswords(path, user, hash string) (done string, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays a link
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer unlock()
	old, info, err := readPasswordFile(path)
	if err != nil {
		return "", err
	}
	next, done, err := editLines(path, string(old), user, hash)
	if err != nil {
		return "", err
	}
	return done, replaceFile(path, []byte(next), info)
}

func lockFolder(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("password file: %w; make the folder, or correct --file", err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		d.Close()
		return nil, fmt.Errorf("lock folder %s: %w", dir, err)
	}
	return func() { d.Close() }, nil // closing gives the lock back
}

// readPasswordFile reads the file; one that is not there yet is empty.
func readPasswordFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("password file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("password file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPasswordFile {
		return nil, nil, fmt.Errorf("password file %s: want a plain file of at most %d bytes", path, maxPasswordFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPasswordFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read password file %s: %w", path, err)
	}
	return data, info, nil
}

// editLines changes the one line of the user and leaves the others as they are.
func editLines(path, text, user, hash string) (next, done string, err error) {
	var out strings.Builder
	found := false
	for line := range strings.Lines(text) {
		if lineUser(line) != user {
			out.WriteString(line)
			if !strings.HasSuffix(line, "\n") {
				out.WriteByte('\n')
			}
			continue
		}
		if hash != "" && !found {
			out.WriteString(user + ":" + hash + "\n")
		}
		found = true
	}
	switch {
	case hash == "" && !found:
		return "", "", &exitError{exitRefused, fmt.Errorf("user %q is not in %s; nothing was changed", user, path)}
	case hash == "":
		return out.String(), "deleted", nil
	case found:
		return out.String(), "changed", nil
	default:
		out.WriteString(user + ":" + hash + "\n")
		return out.String(), "added", nil
	}
}

// lineUser is the user of a line, "" for comments and lines of another form. A user's name may
// hold colons, a hash holds none.
func lineUser(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	return line[:max(strings.LastIndexByte(line, ':'), 0)]
}

// replaceFile writes the new content beside the file, syncs it and renames it into place, with the
// owner and mode of the old one: a node that runs as another user must still be able to read it.
func replaceFile(path string, data []byte, old fs.FileInfo) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write password file: %w", err)
	}
	defer os.Remove(tmp.Name())
	err = errors.Join(likeOld(tmp, old), copyTo(tmp, data))
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write password file %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write password file: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync folder of %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func copyTo(w io.Writer, data []byte) error {
	_, err := io.Copy(w, bytes.NewReader(data))
	return err
}

func likeOld(f *os.File, old fs.FileInfo) error {
	if old == nil {
		return nil
	}
	if stat, ok := old.Sys().(*syscall.Stat_t); ok && (int(stat.Uid) != os.Geteuid() || int(stat.Gid) != os.Getegid()) {
		if err := f.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
			return fmt.Errorf("keep its owner: %w; run this as the file's owner or as root", err)
		}
	}
	return f.Chmod(old.Mode().Perm())
}
