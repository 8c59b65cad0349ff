package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"sync"

	"causeway/internal/home"
	"causeway/internal/store"
	"causeway/internal/takeover/agent"
)

// Names in the data directory.
const (
	folder = "promises"
	suffix = ".promise"
	known  = "KNOWN" // the homes that have a file
	node   = "witness"
)

// maxFile bounds what is read of a file, in bytes.
const maxFile = 64 << 10

// ErrEmpty: nothing was begun in the directory, or all of it is gone.
var ErrEmpty = errors.New("there are no promises here")

// Ledger is an open directory. It implements agent.Book.
type Ledger struct {
	fs   store.FS
	dir  *store.Dir
	path string // of the promises

	mu   sync.Mutex
	kept map[home.ID]agent.Kept // guarded by mu
}

var _ agent.Book = (*Ledger)(nil)

// Init begins a directory for the witness of a name. It refuses one that has anything
// in it.
func Init(fs store.FS, path, name string) error {
	there, err := store.Exists(fs, fs.PathJoin(path, "FORMAT"))
	switch {
	case err != nil:
		return err
	case there:
		return fmt.Errorf("%s belongs to a witness or a node already; start it with: causeway witness", path)
	}
	dir, err := store.OpenDir(fs, path, store.Identity{Region: name, Node: node})
	if err != nil {
		return err
	}
	at, err := dir.Home(folder)
	if err == nil {
		err = store.WriteFileAtomic(fs, at, known, nil)
	}
	return errors.Join(err, dir.Close())
}

// Open opens what Init began, and reads all of it. Close it.
func Open(fs store.FS, path, name string) (*Ledger, error) {
	there, err := store.Exists(fs, fs.PathJoin(path, "FORMAT"))
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("%w: %s is empty or not of a witness. A new witness begins with: causeway witness init. "+
			"If this one had promised before, its disk is lost: wait until no failover is under way and every region has its lease from the other voters, then do the same", ErrEmpty, path)
	}
	dir, err := store.OpenDir(fs, path, store.Identity{Region: name, Node: node})
	if err != nil {
		return nil, err
	}
	l := &Ledger{fs: fs, dir: dir, kept: map[home.ID]agent.Kept{}}
	if err := l.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("the promises in %s: %w", path, err), dir.Close())
	}
	return l, nil
}

// read reads every file. One that is known and not there was lost.
func (l *Ledger) read() (err error) {
	if l.path, err = l.dir.Home(folder); err != nil {
		return err
	}
	list, err := store.ReadFile(l.fs, l.fs.PathJoin(l.path, known), maxFile)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrDamagedDir, err)
	}
	for _, name := range strings.Fields(string(list)) {
		data, err := store.ReadFile(l.fs, l.fs.PathJoin(l.path, name+suffix), maxFile)
		if err != nil {
			return fmt.Errorf("%w: what was promised about %s is gone: %w", store.ErrDamagedDir, name, err)
		}
		if l.kept[home.ID(name)], err = decode(home.ID(name), data); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the directory up.
func (l *Ledger) Close() error { return l.dir.Close() }

// Disk identifies the directory.
func (l *Ledger) Disk() store.DiskUUID { return l.dir.DiskUUID() }

// Load implements agent.Book.
func (l *Ledger) Load(context.Context) (map[home.ID]agent.Kept, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.kept), nil
}

// Keep implements agent.Book. After an error the disk may hold either.
func (l *Ledger) Keep(_ context.Context, id home.ID, k agent.Kept) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !nameable(id) {
		return fmt.Errorf("%q is not the name of a region", id)
	}
	if err := store.WriteFileAtomic(l.fs, l.path, string(id)+suffix, encode(id, k)); err != nil {
		return err
	}
	if _, before := l.kept[id]; !before { // the file first: the list must not name one that is not there
		if err := l.list(id); err != nil {
			return err
		}
	}
	l.kept[id] = k
	return nil
}

// list adds a home to those that have a file.
func (l *Ledger) list(id home.ID) error {
	names := []string{string(id)}
	for other := range l.kept {
		names = append(names, string(other))
	}
	slices.Sort(names)
	return store.WriteFileAtomic(l.fs, l.path, known, []byte(strings.Join(names, "\n")+"\n"))
}

// Sure implements agent.Book: the directory is locked, so there is no other.
func (l *Ledger) Sure(context.Context) error { return nil }

// nameable says whether a file may be named so: what config allows regions to be called.
func nameable(id home.ID) bool {
	ok := id != "" && len(id) <= 63 && id[0] != '.' && string(id) != known
	for _, c := range id {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	return ok
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode writes a file: a checksum, the home and what is kept, and the same for people.
func encode(id home.ID, k agent.Kept) []byte {
	line := string(id) + " " + base64.RawStdEncoding.EncodeToString(k.Encode())
	return fmt.Appendf(nil, "%08x %s\n# promised %s, in force %s, the host falls short: %v\n", crc32.Checksum([]byte(line), castagnoli), line, k.Promised, k.InForce, k.Short.On)
}

func decode(id home.ID, data []byte) (agent.Kept, error) {
	first, _, _ := strings.Cut(string(data), "\n")
	sum, line, _ := strings.Cut(first, " ")
	name, text, _ := strings.Cut(line, " ")
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || name != string(id) || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(line), castagnoli)) {
		return agent.Kept{}, fmt.Errorf("%w: what was promised about %s fails its checksum", store.ErrDamagedDir, id)
	}
	k, err := agent.DecodeKept(b)
	if err != nil {
		return agent.Kept{}, fmt.Errorf("%w: what was promised about %s: %w", store.ErrDamagedDir, id, err)
	}
	return k, nil
}
