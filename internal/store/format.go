package store

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"time"
)

// FormatVersion is the layout of the data directory that this program writes, and the newest it
// reads. It changes when an older program would misread the directory.
const FormatVersion = 1

// Errors of OpenDir. Each comes wrapped in words that name the directory and the fix.
var (
	// ErrForeignDir: the directory belongs to another region or node, or to something else.
	ErrForeignDir = errors.New("data directory belongs to someone else")
	// ErrNewerFormat: a newer program wrote the directory.
	ErrNewerFormat = errors.New("data directory has a newer format")
	// ErrDamagedDir: a file of the directory is missing or fails its checksum.
	ErrDamagedDir = errors.New("data directory is damaged")
	// ErrDirInUse: another process has the directory open.
	ErrDirInUse = errors.New("data directory is in use")
)

// DiskUUID identifies one initialised data directory. A wiped disk gets a new one, and its node must
// be let back in by the group before it answers for it [B1].
type DiskUUID string

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Valid says whether u is a version 4 UUID in lower case.
func (u DiskUUID) Valid() bool { return uuidPattern.MatchString(string(u)) }

func newDiskUUID() DiskUUID {
	var b [16]byte
	rand.Read(b[:])         // does not fail: crypto/rand ends the process instead
	b[6] = b[6]&0x0f | 0x40 // RFC 9562 section 5.4: version 4,
	b[8] = b[8]&0x3f | 0x80 // variant 10
	return DiskUUID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// format is the content of the FORMAT file.
type format struct {
	Version  int       `json:"version"`
	Region   string    `json:"region"`
	Node     string    `json:"node"`
	DiskUUID DiskUUID  `json:"disk_uuid"`
	Created  time.Time `json:"created"`
	// CRC32C of the other fields in this encoding, with CRC32C itself empty: a flipped bit in the
	// UUID must not look like another disk.
	CRC32C string `json:"crc32c"`
}

func (f format) sum() string {
	f.CRC32C = ""
	b, err := json.Marshal(f)
	if err != nil {
		panic("store: FORMAT does not marshal: " + err.Error()) // strings, ints and a time always do
	}
	return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli))
}

func (f format) encode() []byte {
	f.CRC32C = f.sum()
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		panic("store: FORMAT does not marshal: " + err.Error())
	}
	return append(b, '\n')
}

// decodeFormat reads a FORMAT file. The version is looked at first: a newer file may have any shape.
func decodeFormat(data []byte) (format, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return format{}, fmt.Errorf("%w: FORMAT is not JSON: %w", ErrDamagedDir, err)
	}
	if v.Version > FormatVersion {
		return format{}, fmt.Errorf("%w: version %d, this program reads up to %d", ErrNewerFormat, v.Version, FormatVersion)
	}
	if v.Version < 1 {
		return format{}, fmt.Errorf("%w: FORMAT has version %d", ErrDamagedDir, v.Version)
	}
	var f format
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return format{}, fmt.Errorf("%w: FORMAT: %w", ErrDamagedDir, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return format{}, fmt.Errorf("%w: FORMAT has bytes after its end", ErrDamagedDir)
	}
	switch {
	case f.CRC32C != f.sum():
		return format{}, fmt.Errorf("%w: FORMAT fails its checksum", ErrDamagedDir)
	case !f.DiskUUID.Valid():
		return format{}, fmt.Errorf("%w: FORMAT has disk_uuid %q", ErrDamagedDir, f.DiskUUID)
	case f.Region == "" || f.Node == "":
		return format{}, fmt.Errorf("%w: FORMAT names no region or node", ErrDamagedDir)
	}
	return f, nil
}
