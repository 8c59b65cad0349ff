package drill

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Manifest lists the files of a drill. Each link of its chain is over the one before, the file's name
// and what it holds; the last, the head, stands for all of them and is kept by the regions.
type Manifest struct {
	ID    string       `json:"id"`
	Files []SealedFile `json:"files"`
	Head  string       `json:"head"`
}

// SealedFile is a file of a drill.
type SealedFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Link   string `json:"link"`
}

// Seal writes the report, its page and the manifest into the drill's directory, and returns the head.
func Seal(dir string, rep *Report) (head string, err error) {
	b, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	if err := writeFile(filepath.Join(dir, ReportJSON), b); err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	sum := sha256.Sum256(b)
	var html strings.Builder
	if err := rep.HTML(&html, hex.EncodeToString(sum[:])); err != nil {
		return "", fmt.Errorf("write the report's page: %w", err)
	}
	if err := writeFile(filepath.Join(dir, ReportHTML), []byte(html.String())); err != nil {
		return "", fmt.Errorf("write the report's page: %w", err)
	}
	m, err := manifestOf(dir, rep.ID)
	if err != nil {
		return "", err
	}
	if b, err = json.MarshalIndent(m, "", "  "); err != nil {
		return "", fmt.Errorf("write the manifest: %w", err)
	}
	return m.Head, writeFile(filepath.Join(dir, ManifestFile), b)
}

// writeFile writes a file as a whole, or not at all.
func writeFile(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// manifestOf reads what is in the directory now.
func manifestOf(dir, id string) (Manifest, error) {
	m := Manifest{ID: id}
	list, err := os.ReadDir(dir)
	if err != nil {
		return m, fmt.Errorf("list the drill's files: %w", err)
	}
	link := sha256.Sum256([]byte("causeway drill " + id))
	for _, e := range list { // by name
		if e.IsDir() || e.Name() == ManifestFile || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return m, fmt.Errorf("read the drill's files: %w", err)
		}
		sum := sha256.Sum256(b)
		f := SealedFile{Name: e.Name(), Bytes: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
		link = sha256.Sum256([]byte(hex.EncodeToString(link[:]) + "\n" + f.Name + "\n" + f.SHA256 + "\n"))
		f.Link = hex.EncodeToString(link[:])
		m.Files = append(m.Files, f)
	}
	m.Head = hex.EncodeToString(link[:])
	return m, nil
}

// Verified is what a look at a drill's files found.
type Verified struct {
	ID      string   `json:"id"`
	Intact  bool     `json:"intact"`
	Head    string   `json:"head"`
	Files   int      `json:"files"`
	Reasons []string `json:"reasons"`
	Report  *Report  `json:"-"`
}

// Verify checks a drill's directory: each file is as the manifest says and none is there beside, the
// journal follows line by line, and the ledgers give the figures that the report has.
func Verify(dir string) (Verified, error) {
	v := Verified{Reasons: []string{}}
	var said Manifest
	if err := readJSON(filepath.Join(dir, ManifestFile), &said); err != nil {
		return v, err
	}
	wrong := func(format string, args ...any) { v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...)) }
	is, err := manifestOf(dir, said.ID)
	if err != nil {
		return v, err
	}
	v.ID, v.Head, v.Files = said.ID, is.Head, len(is.Files)
	of := func(m Manifest, name string) *SealedFile {
		i := slices.IndexFunc(m.Files, func(f SealedFile) bool { return f.Name == name })
		if i < 0 {
			return nil
		}
		return &m.Files[i]
	}
	for _, f := range said.Files {
		switch x := of(is, f.Name); {
		case x == nil:
			wrong("%s is missing", f.Name)
		case x.SHA256 != f.SHA256:
			wrong("%s is not what it was", f.Name)
		}
	}
	for _, f := range is.Files {
		if of(said, f.Name) == nil {
			wrong("%s was not there", f.Name)
		}
	}
	if !reflect.DeepEqual(is, said) && len(v.Reasons) == 0 {
		wrong("the chain of %s does not follow", ManifestFile)
	}
	v.Report = &Report{}
	if err := readJSON(filepath.Join(dir, ReportJSON), v.Report); err != nil {
		wrong("%v", err)
	} else if again, err := Rejudge(dir, v.Report); err != nil {
		wrong("%v", err)
	} else if !reflect.DeepEqual(figures(again), figures(v.Report)) {
		wrong("%s does not say what the journal and the ledgers do", ReportJSON)
	}
	v.Intact = len(v.Reasons) == 0
	return v, nil
}

// figures are what a report says that follows from journal, plan and ledgers alone.
func figures(r *Report) any {
	type phase struct {
		Name   string
		Values map[string]float64
	}
	var list []phase
	for _, p := range r.Phases {
		x := phase{p.Name, map[string]float64{}}
		for _, row := range p.Rows {
			x.Values[row.Metric] = row.Measured
		}
		list = append(list, x)
	}
	return []any{r.Outcome, r.Why, r.PlanHash, r.Journal, list, r.Clients, r.Stranded}
}

func readJSON(name string, into any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the drill's files: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Rejudge makes the report anew from what is in the directory; what the regions said is taken from
// the one that is there.
func Rejudge(dir string, rep *Report) (*Report, error) {
	r, events, err := Load(dir)
	if err != nil {
		return nil, err
	}
	spans, _ := r.Spans()
	v, err := JudgeDir(dir, spans)
	if err != nil {
		return nil, err
	}
	return NewReport(r, events, Facts{ID: rep.ID, By: rep.By, Tool: rep.Tool, Regions: rep.Regions, Share: rep.Share, Verdict: v}), nil
}

// Load reads the plan and the journal of a drill.
func Load(dir string) (*Run, []Event, error) {
	text, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read the drill's plan: %w", err)
	}
	p, err := Parse(PlanFile, text)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(filepath.Join(dir, JournalFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read the drill's journal: %w", err)
	}
	defer f.Close()
	events, _, err := ReadJournal(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", JournalFile, err)
	}
	r := NewRun(Compile(p))
	for _, e := range events {
		if err := r.Apply(e); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", JournalFile, err)
		}
	}
	return r, events, nil
}

// JudgeDir judges all ledgers of a drill.
func JudgeDir(dir string, spans []Span) (Verdict, error) {
	names, err := filepath.Glob(filepath.Join(dir, LedgerPrefix+"*.jsonl"))
	if err != nil {
		return Verdict{}, err
	}
	slices.Sort(names)
	j := NewJudge()
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return Verdict{}, fmt.Errorf("read a ledger: %w", err)
		}
		j.Begin()
		err = ReadLedger(f, j.Add)
		f.Close()
		if err != nil {
			return Verdict{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return j.Verdict(spans), nil
}
