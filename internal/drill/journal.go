package drill

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Journal keeps the events of a drill on disk, each before what it says is done. A line has the hash
// of the one before, so that none can be changed or left out unseen.
type Journal struct {
	file *os.File
	n    int
	head string
}

// The files of a drill's directory.
const (
	JournalFile  = "journal.jsonl"
	PlanFile     = "plan.yaml"
	ReportJSON   = "report.json"
	ReportHTML   = "report.html"
	ManifestFile = "manifest.json"
	SamplesFile  = "samples.jsonl"
	LedgerPrefix = "ledger-"
)

// CreateJournal begins one in a directory that has none.
func CreateJournal(dir string) (*Journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, JournalFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin the drill's journal: %w", err)
	}
	return &Journal{file: f}, syncDir(dir)
}

// OpenJournal goes on with one, behind its last whole line, and returns its events.
func OpenJournal(dir string) (*Journal, []Event, error) {
	name := filepath.Join(dir, JournalFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, fmt.Errorf("read the drill's journal: %w", err)
	}
	events, whole, err := ReadJournal(bytes.NewReader(b))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("go on with the drill's journal: %w", err)
	}
	if err := errors.Join(f.Truncate(whole), seekTo(f, whole), f.Sync()); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("go on with the drill's journal: %w", err)
	}
	j := &Journal{file: f, n: len(events)}
	if len(events) > 0 {
		j.head = events[len(events)-1].Hash
	}
	return j, events, nil
}

func seekTo(f *os.File, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	return err
}

// ErrAltered says that what is on disk is not what was written.
var ErrAltered = errors.New("it was altered")

// ReadJournal reads events and checks their chain. A last line that was cut short is left out; whole
// is where it begins.
func ReadJournal(r io.Reader) (events []Event, whole int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	prev := ""
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, whole, nil
		}
		if err != nil {
			return nil, 0, err
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, 0, fmt.Errorf("%w: line %d is no event: %w", ErrAltered, len(events)+1, err)
		}
		if e.Prev != prev || e.N != len(events) || e.Hash != e.sum() {
			return nil, 0, fmt.Errorf("%w: line %d does not follow from the one before", ErrAltered, len(events)+1)
		}
		prev, whole = e.Hash, whole+int64(len(line))
		events = append(events, e)
	}
}

// sum is the hash of an event without its own.
func (e Event) sum() string {
	e.Hash = ""
	b, err := json.Marshal(e)
	if err != nil {
		return ""
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// Add writes an event and waits for the disk. It returns it as it stands there.
func (j *Journal) Add(e Event) (Event, error) {
	e.N, e.Prev, e.At = j.n, j.head, e.At.UTC()
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	e.At = e.At.Round(0)
	e.Hash = e.sum()
	b, err := json.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("write the drill's journal: %w", err)
	}
	if _, err := j.file.Write(append(b, '\n')); err != nil {
		return e, fmt.Errorf("write the drill's journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return e, fmt.Errorf("write the drill's journal: %w", err)
	}
	j.n, j.head = j.n+1, e.Hash
	return e, nil
}

// Head is the hash of the newest line.
func (j *Journal) Head() string { return j.head }

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
