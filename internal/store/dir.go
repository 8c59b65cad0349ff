package store

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Names in the data directory. FORMAT and INCARNATION are replaced whole, never edited.
const (
	formatFile      = "FORMAT"
	incarnationFile = "INCARNATION"
	homesFile       = "HOMES"
	lockFile        = "LOCK"
	// maxSmallFile bounds what is read of FORMAT and INCARNATION.
	maxSmallFile = 64 << 10
)

// Identity is whose data directory it is.
type Identity struct {
	Region, Node string
}

func (id Identity) String() string { return id.Region + "/" + id.Node }

// Dir is an open data directory: checked, locked, and counted as one more start of its node.
// Its methods may be called from many goroutines; Close once.
type Dir struct {
	// Set by OpenDir.
	fs          FS
	path        string
	format      format
	incarnation uint64
	lock        io.Closer
}

// OpenDir opens the data directory at path for id, making it if it is new. It takes an exclusive
// lock, refuses what is foreign, newer or damaged (ErrForeignDir, ErrNewerFormat, ErrDamagedDir,
// ErrDirInUse), and raises the node's incarnation, durably, before it returns.
func OpenDir(fs FS, path string, id Identity) (_ *Dir, err error) {
	if id.Region == "" || id.Node == "" {
		return nil, fmt.Errorf("open data directory %s: region and node must be set, got %q", path, id)
	}
	defer func() { err = ExplainDiskError(fs, path, err) }()
	if err := MkdirAll(fs, path); err != nil {
		return nil, err
	}
	d := &Dir{fs: fs, path: path}
	if d.lock, err = fs.Lock(fs.PathJoin(path, lockFile)); err != nil {
		return nil, lockError(path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.lock.Close())
		}
	}()
	if err := d.load(id); err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	if err := d.bump(); err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	return d, nil
}

// lockError tells a held lock from a directory that cannot be written.
func lockError(path string, err error) error {
	if lockHeld(err) {
		return fmt.Errorf("%w: another process uses %s; stop it, or give this node a data_dir of its own: %w",
			ErrDirInUse, path, err)
	}
	return fmt.Errorf("lock data directory %s: %w", path, err)
}

// load reads FORMAT, or writes it in a directory that has nothing in it yet.
func (d *Dir) load(id Identity) error {
	data, err := ReadFile(d.fs, d.fs.PathJoin(d.path, formatFile), maxSmallFile)
	if IsNotExist(err) {
		return d.initialise(id)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamagedDir, err)
	}
	f, err := decodeFormat(data)
	if err != nil {
		return err
	}
	if own := (Identity{f.Region, f.Node}); own != id {
		return fmt.Errorf("%w: it is node %s's, this is %s; point data_dir at this node's own directory",
			ErrForeignDir, own, id)
	}
	d.format = f
	return nil
}

// initialise makes a new data directory. INCARNATION comes first, so that FORMAT without it can
// only mean damage, and never a first start that was cut short.
func (d *Dir) initialise(id Identity) error {
	names, err := List(d.fs, d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !mayPrecedeFormat(name) {
			return fmt.Errorf("%w: it holds %q but no FORMAT file; point data_dir at an empty directory, or restore FORMAT from a backup",
				ErrForeignDir, name)
		}
	}
	if err := d.writeIncarnation(0); err != nil {
		return err
	}
	f := format{
		Version: FormatVersion, Region: id.Region, Node: id.Node,
		DiskUUID: newDiskUUID(), Created: time.Now().UTC().Truncate(time.Second),
	}
	if err := WriteFileAtomic(d.fs, d.path, formatFile, f.encode()); err != nil {
		return err
	}
	f.CRC32C = f.sum()
	d.format = f
	return nil
}

// adminSocket is bound before the directory is opened, so that a node can say why it is not.
const adminSocket = "admin.sock"

// AuditDir is where the node keeps its audit log.
const AuditDir = "audit"

// ListsDir is where the node keeps what URLs of revocation lists gave last.
const ListsDir = "crl"

// mayPrecedeFormat says which names a directory without FORMAT may hold: what a first start leaves
// when it is cut short, and what file systems and administrators put into an empty mount.
func mayPrecedeFormat(name string) bool {
	switch name {
	case lockFile, incarnationFile, incarnationFile + tmpSuffix, formatFile + tmpSuffix, adminSocket, AuditDir, ListsDir, "lost+found":
		return true
	}
	return strings.HasPrefix(name, ".")
}

// Path is where the directory is.
func (d *Dir) Path() string { return d.path }

// FS is the file system it is on.
func (d *Dir) FS() FS { return d.fs }

// DiskUUID identifies this directory for its whole life; a wiped disk has another.
func (d *Dir) DiskUUID() DiskUUID { return d.format.DiskUUID }

// Created is when the directory was initialised.
func (d *Dir) Created() time.Time { return d.format.Created }

// Incarnation counts the starts of this node on this disk, from 1. It is durable before OpenDir
// returns, so no two processes ever use the same one with the same DiskUUID. A wiped disk starts at
// 1 again: whoever compares incarnations of a node compares its DiskUUID first.
func (d *Dir) Incarnation() uint64 { return d.incarnation }

// Sub makes sure of a folder in the directory, durably, and returns its path. name is one path
// element of letters, digits, '-', '_' and '.', not beginning with '.'.
func (d *Dir) Sub(name string) (string, error) {
	if !validName(name) {
		return "", fmt.Errorf("data directory %s: folder name %q: use letters, digits, '-', '_' and '.'", d.path, name)
	}
	path := d.fs.PathJoin(d.path, name)
	if err := MkdirAll(d.fs, path); err != nil {
		return "", ExplainDiskError(d.fs, d.path, err)
	}
	return path, nil
}

// Home makes sure of the folder of a home's copy, as Sub does, and remembers that there is one: the
// disk's UUID stands for the votes that were given on it [B1], so a folder that is gone is an error,
// and not a new copy. A home that was never here is remembered only once its folder is durable.
func (d *Dir) Home(name string) (string, error) {
	homes, err := d.homes()
	if err != nil {
		return "", err
	}
	if slices.Contains(homes, name) {
		there, err := Exists(d.fs, d.fs.PathJoin(d.path, name))
		if err != nil {
			return "", err
		}
		if !there {
			return "", fmt.Errorf("%w: the folder %s was removed from %s, and its votes went with it: "+
				"remove all of the directory, and the node rejoins as one with a new disk", ErrDamagedDir, name, d.path)
		}
		return d.Sub(name)
	}
	path, err := d.Sub(name)
	if err != nil {
		return "", err
	}
	return path, ExplainDiskError(d.fs, d.path, d.writeHomes(append(homes, name)))
}

// homes are the homes that have had a copy here.
func (d *Dir) homes() ([]string, error) {
	b, err := ReadFile(d.fs, d.fs.PathJoin(d.path, homesFile), maxSmallFile)
	if err != nil && !IsNotExist(err) {
		return nil, fmt.Errorf("%w: %w", ErrDamagedDir, err)
	}
	return strings.Fields(string(b)), nil
}

func (d *Dir) writeHomes(homes []string) error {
	return WriteFileAtomic(d.fs, d.path, homesFile, []byte(strings.Join(homes, "\n")+"\n"))
}

// asideSuffix is added to the name of a home's folder that was set aside.
const asideSuffix = ".aside"

// SetAside makes the disk count as wiped: the copy of a home has lost something that others were told
// it holds, so its votes must not count any more [B1]. The directory gets another UUID, and the copy's
// folder, with why in it, is kept under another name for who wants to look into it; one set aside
// earlier goes. Stores and logs in the folder must be closed. Cut short, it may be called again: the
// UUID goes first.
func (d *Dir) SetAside(home, why string) error {
	return ExplainDiskError(d.fs, d.path, d.setAside(home, why))
}

func (d *Dir) setAside(home, why string) error {
	f := d.format
	f.DiskUUID = newDiskUUID()
	if err := WriteFileAtomic(d.fs, d.path, formatFile, f.encode()); err != nil {
		return err
	}
	was := d.format.DiskUUID
	f.CRC32C = f.sum()
	d.format = f
	from, to := d.fs.PathJoin(d.path, home), d.fs.PathJoin(d.path, home+asideSuffix)
	if err := WriteFileAtomic(d.fs, from, "WHY", fmt.Appendf(nil, "disk %s: %s\n", was, why)); err != nil {
		return err
	}
	homes, err := d.homes()
	if err != nil {
		return err
	}
	if err := d.writeHomes(slices.DeleteFunc(homes, func(name string) bool { return name == home })); err != nil {
		return err
	}
	if err := d.fs.RemoveAll(to); err != nil {
		return err
	}
	if err := d.fs.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(d.fs, d.path)
}

func validName(name string) bool {
	switch name {
	case "", formatFile, incarnationFile, homesFile, lockFile:
		return false
	}
	for i, r := range name {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("-_.", r)) {
			return false
		}
	}
	return len(name) <= 200
}

// Close gives the lock back. Stores and logs inside must be closed before.
func (d *Dir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("unlock data directory %s: %w", d.path, err)
	}
	return nil
}
