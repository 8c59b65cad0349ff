package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"causeway/internal/store"
)

// Options of a Log. Zero fields are their defaults.
type Options struct {
	FileBytes int64 // size at which a file is full; default 4 MiB
	KeepBytes int64 // of all files; the oldest are removed beyond it; default 64 MiB
}

// Log is an open audit log. Its methods may be called from any goroutine.
type Log struct {
	fs   store.FS
	dir  string
	opts Options

	mu    sync.Mutex // guards what follows
	found bool       // open was done
	files []file     // oldest first
	out   store.File // the newest, for writing; nil: none is open
	size  int64      // of the newest
	torn  bool       // the newest has something behind size
	n     uint64
	head  string
}

// file is one of the log's; its name is the number of its first record.
type file struct {
	first uint64
	size  int64
}

const suffix = ".log"

func (f file) name() string { return fmt.Sprintf("%020d%s", f.first, suffix) }

// New is the log in a directory, which is made if need be. It does not touch the disk before it is used, and then
// belongs to this process.
func New(fs store.FS, dir string, o Options) *Log {
	if o.FileBytes == 0 {
		o.FileBytes = 4 << 20
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 64 << 20
	}
	return &Log{fs: fs, dir: dir, opts: o, head: noHash}
}

// open reads where the log ends, the first time it is used. A record that a crash cut short is dropped: nobody was told
// that it is there. It does not verify the log. The caller holds mu.
func (l *Log) open() error {
	if l.found {
		return nil
	}
	l.files = nil
	if err := l.find(); err != nil {
		return fmt.Errorf("audit log %s: %w", l.dir, err)
	}
	l.found = true
	return nil
}

func (l *Log) find() error {
	if err := store.MkdirAll(l.fs, l.dir); err != nil {
		return err
	}
	names, err := store.List(l.fs, l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 10, 64)
		if err != nil || !strings.HasSuffix(name, suffix) {
			continue
		}
		info, err := l.fs.Stat(l.fs.PathJoin(l.dir, name))
		if err != nil {
			return err
		}
		l.files = append(l.files, file{first, info.Size()})
	}
	slices.SortFunc(l.files, func(a, b file) int { return cmp.Compare(a.first, b.first) })
	return l.resume()
}

// resume finds the end of the newest file that has a record, and cuts off what a crash left behind it.
func (l *Log) resume() error {
	for len(l.files) > 0 {
		last := &l.files[len(l.files)-1]
		data, err := l.read(*last)
		if err != nil {
			return err
		}
		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		if len(whole) == 0 { // cut short in its first record
			if err := l.fs.Remove(l.fs.PathJoin(l.dir, last.name())); err != nil {
				return err
			}
			l.files = l.files[:len(l.files)-1]
			continue
		}
		if len(whole) < len(data) {
			if err := store.WriteFileAtomic(l.fs, l.dir, last.name(), whole); err != nil {
				return err
			}
			last.size = int64(len(whole))
		}
		lines := bytes.TrimSuffix(whole, []byte{'\n'})
		r, _, err := parseLine(lines[bytes.LastIndexByte(lines, '\n')+1:])
		if err != nil {
			return fmt.Errorf("%w: the last line of %s: %w; move the file away to begin a new log", ErrAltered, last.name(), err)
		}
		l.n, l.head = r.N, r.Hash
		return nil
	}
	return nil
}

func (l *Log) read(f file) ([]byte, error) {
	return store.ReadFile(l.fs, l.fs.PathJoin(l.dir, f.name()), l.opts.FileBytes+maxLine)
}

// Add appends an act and returns its record. It is on the disk when it returns. After an error the log goes on at the
// next call with another file.
func (l *Log) Add(a Act) (Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return Record{}, err
	}
	a.bound()
	r := Record{N: l.n + 1, Time: time.Now().UTC().Truncate(time.Millisecond), Act: a}
	line, err := r.appendLine(nil, l.head)
	if err != nil {
		return Record{}, err
	}
	if err := l.write(line, r.N); err != nil {
		return Record{}, fmt.Errorf("audit log %s: %w", l.dir, errors.Join(err, l.giveUp()))
	}
	l.n, l.head = r.N, r.Hash
	return r, nil
}

// write appends a line to the newest file, or to a new one.
func (l *Log) write(line []byte, n uint64) error {
	if l.torn {
		if err := l.mend(); err != nil {
			return err
		}
	}
	if l.out == nil || l.size+int64(len(line)) > l.opts.FileBytes {
		if err := l.roll(n); err != nil {
			return err
		}
	}
	if _, err := l.out.Write(line); err != nil {
		return err
	}
	if err := l.out.Sync(); err != nil {
		return err
	}
	l.size += int64(len(line))
	l.files[len(l.files)-1].size = l.size
	return nil
}

// roll begins a file with record n, and removes the oldest ones beyond what is kept.
func (l *Log) roll(n uint64) (err error) {
	if l.out != nil {
		if err := l.out.Close(); err != nil {
			return err
		}
		l.out = nil
	}
	f := file{first: n}
	if l.out, err = store.Create(l.fs, l.fs.PathJoin(l.dir, f.name())); err != nil {
		return err
	}
	l.files, l.size = append(l.files, f), 0
	total := l.opts.FileBytes
	for _, f := range l.files {
		total += f.size
	}
	for len(l.files) > 1 && total > l.opts.KeepBytes {
		if err := l.fs.Remove(l.fs.PathJoin(l.dir, l.files[0].name())); err != nil {
			return err
		}
		total -= l.files[0].size
		l.files = l.files[1:]
	}
	return store.SyncDir(l.fs, l.dir)
}

// giveUp leaves a file that could not be written. What is not whole of it goes before anything else is written.
func (l *Log) giveUp() error {
	if l.out == nil {
		return nil
	}
	err := l.out.Close()
	l.out, l.torn = nil, true
	return err
}

// mend takes out of the newest file what could not be written.
func (l *Log) mend() error {
	last := l.files[len(l.files)-1]
	if last.size == 0 {
		if err := l.fs.Remove(l.fs.PathJoin(l.dir, last.name())); err != nil && !store.IsNotExist(err) {
			return err
		}
		l.files = l.files[:len(l.files)-1]
	} else {
		data, err := l.read(last)
		if err != nil {
			return err
		}
		if err := store.WriteFileAtomic(l.fs, l.dir, last.name(), data[:last.size]); err != nil {
			return err
		}
	}
	l.torn = false
	return nil
}

// After returns up to max records behind number n, oldest first.
func (l *Log) After(n uint64, max int) (out []Record, err error) {
	files, err := l.list()
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		if i+1 < len(files) && files[i+1].first <= n+1 {
			continue
		}
		data, err := l.read(f)
		if err != nil {
			return out, fmt.Errorf("audit log %s: %w", l.dir, err)
		}
		for line := range bytes.Lines(data[:min(int64(len(data)), f.size)]) {
			r, _, err := parseLine(bytes.TrimSuffix(line, []byte{'\n'}))
			if err != nil {
				return out, fmt.Errorf("%w: after record %d: %w", ErrAltered, n, err)
			}
			if r.N <= n {
				continue
			}
			if len(out) == max {
				return out, nil
			}
			out, n = append(out, r), r.N
		}
	}
	return out, nil
}

func (l *Log) list() ([]file, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return nil, err
	}
	return slices.Clone(l.files), nil
}

// Export writes the log as it is kept, for Verify.
func (l *Log) Export(w io.Writer) error {
	files, err := l.list()
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := l.read(f)
		if err != nil {
			return fmt.Errorf("audit log %s: %w", l.dir, err)
		}
		if _, err := w.Write(data[:min(int64(len(data)), f.size)]); err != nil {
			return err
		}
	}
	return nil
}

// Verify checks the log as it is kept.
func (l *Log) Verify() (Verified, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(l.Export(w)) }()
	defer r.Close()
	return Verify(r)
}

// Close closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil
	}
	err := l.out.Close()
	l.out = nil
	return err
}
