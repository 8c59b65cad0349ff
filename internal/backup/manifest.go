package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"causeway/internal/home"
)

// FormatVersion is of the folder and its files.
const FormatVersion = 1

const (
	manifestFile = "MANIFEST.json"
	maxManifest  = 16 << 20
	maxParts     = 100_000
)

// ErrDamaged: what is read is not what was written.
var ErrDamaged = errors.New("the backup is damaged")

// ErrNoBackup: there is none of that name, or it was never finished.
var ErrNoBackup = errors.New("there is no such backup")

// Manifest says what a backup is. Its names are part of the format.
type Manifest struct {
	Format   int       `json:"format"`
	Name     string    `json:"name"`
	Home     string    `json:"home"`
	Epoch    uint64    `json:"epoch"`
	Host     string    `json:"host"`   // of the epoch
	Record   uint64    `json:"record"` // of the home's log, the last that is in it
	Chain    string    `json:"chain"`  // running digest of the log at that record, hex
	Level    uint32    `json:"level"`  // feature level: what a build must support to restore it
	Time     time.Time `json:"time"`   // when it was begun
	Seconds  float64   `json:"seconds"`
	Version  string    `json:"version"` // of the program
	Region   string    `json:"region"`  // and node that wrote it
	Node     string    `json:"node"`
	Place    string    `json:"place"` // the region whose residency it was written for
	Sessions int       `json:"sessions"`
	Keys     uint64    `json:"keys"`
	Bytes    int64     `json:"bytes"`     // of keys and values
	Sealed   string    `json:"encrypted"` // "age", or "" if it is not
	Parts    []Part    `json:"parts"`
	Sum      string    `json:"sum"` // SHA-256 of all the above
}

// Part is a file of a backup.
type Part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Position is the place in the home's log.
func (m *Manifest) Position() (home.CopyPosition, error) {
	b, err := hex.DecodeString(m.Chain)
	if err != nil || len(b) != 8 {
		return home.CopyPosition{}, fmt.Errorf("%w: its manifest has chain %q", ErrDamaged, m.Chain)
	}
	p := home.CopyPosition{Epoch: home.Epoch{Number: m.Epoch, Host: m.Host}, Records: m.Record}
	for _, x := range b {
		p.Chain = p.Chain<<8 | uint64(x)
	}
	return p, nil
}

func (m *Manifest) at(p home.CopyPosition) {
	m.Epoch, m.Host, m.Record, m.Chain = p.Epoch.Number, p.Epoch.Host, p.Records, fmt.Sprintf("%016x", p.Chain)
}

// Stored is how many bytes its files have.
func (m *Manifest) Stored() (n int64) {
	for _, p := range m.Parts {
		n += p.Size
	}
	return n
}

func (m Manifest) sum() (string, error) {
	m.Sum = ""
	b, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:]), nil
}

func (m *Manifest) encode() ([]byte, error) {
	var err error
	if m.Sum, err = m.sum(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(m, "", " ")
	return append(b, '\n'), err
}

// decodeManifest reads a manifest and checks that it is whole and of a format that is known.
func decodeManifest(b []byte, name string) (m Manifest, err error) {
	var v struct{ Format int }
	if err := json.Unmarshal(b, &v); err != nil {
		return m, fmt.Errorf("%w: manifest of %s: %w", ErrDamaged, name, err)
	}
	if v.Format != FormatVersion {
		return m, fmt.Errorf("backup %s is of format %d, this build reads %d: use the version that wrote it, or a newer one", name, v.Format, FormatVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: manifest of %s: %w", ErrDamaged, name, err)
	}
	want, err := m.sum()
	if err != nil {
		return m, err
	}
	switch {
	case m.Sum != want:
		return m, fmt.Errorf("%w: the manifest of %s fails its checksum", ErrDamaged, name)
	case m.Name != name:
		return m, fmt.Errorf("%w: the manifest of %s is of backup %q", ErrDamaged, name, m.Name)
	case len(m.Parts) == 0 || len(m.Parts) > maxParts:
		return m, fmt.Errorf("%w: the manifest of %s has %d parts", ErrDamaged, name, len(m.Parts))
	case m.Home == "" || m.Host == "" || m.Epoch == 0 || m.Record == 0:
		return m, fmt.Errorf("%w: the manifest of %s names no place in a home's log", ErrDamaged, name)
	case m.Sealed != "" && m.Sealed != sealAge:
		return m, fmt.Errorf("backup %s is encrypted by %q, which this build does not know", name, m.Sealed)
	}
	for i, p := range m.Parts {
		if p.Name != partName(i) || p.Size < 0 || len(p.SHA256) != 2*sha256.Size {
			return m, fmt.Errorf("%w: the manifest of %s has a part %q where %q is due", ErrDamaged, name, p.Name, partName(i))
		}
	}
	if whole, err := m.encode(); err != nil || !bytes.Equal(b, whole) {
		return m, fmt.Errorf("%w: the manifest of %s is not as it was written", ErrDamaged, name)
	}
	_, err = m.Position()
	return m, err
}

func partName(i int) string { return fmt.Sprintf("part-%05d", i+1) }

// nameTime is how the time stands in a backup's name.
const nameTime = "20060102T150405Z"

// nameOf names a backup: those of a home are in order of time. Two that were begun within a second at the same record
// are two all the same: the later one must not write into the other, or remove it when it fails.
func nameOf(id home.ID, at time.Time, record uint64) string {
	var tell [3]byte
	_, _ = rand.Read(tell[:]) // never fails
	return fmt.Sprintf("%s-%s-%d-%x", id, at.UTC().Format(nameTime), record, tell)
}

// ValidName says whether a backup may be called so: a name is a folder's, and comes from outside.
func ValidName(name string) bool {
	if name == "" || len(name) > 300 || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}
