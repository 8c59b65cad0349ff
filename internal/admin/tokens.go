package admin

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Role is what a caller may do; each role may do what the ones before it may.
type Role int

// The roles.
const (
	RoleNone     Role = iota // no token needed: health and version
	RoleViewer               // look, but not into payloads
	RoleOperator             // maintain: move devices and links about, look into payloads; nothing is lost by it
	RoleAdmin                // change what the region is, and destroy
)

var roleNames = []string{"none", "viewer", "operator", "admin"}

func (r Role) String() string { return roleNames[r] }

// parseRole reads the role of a token; nobody has a token for RoleNone.
func parseRole(s string) (Role, error) {
	for r, name := range roleNames {
		if s == name && Role(r) != RoleNone {
			return Role(r), nil
		}
	}
	return 0, fmt.Errorf("%q is not a role; use viewer, operator or admin", s)
}

// NewToken makes a token and the line of the token file that admits it. The token itself is kept
// nowhere.
func NewToken(name string, role Role) (token, line string, err error) {
	if err := checkTokenName(name); err != nil {
		return "", "", err
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	token = "cwy_" + base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(token))
	return token, fmt.Sprintf("%s %s sha256:%s", name, role, hex.EncodeToString(sum[:])), nil
}

// reserved are the names under which the audit log has who came without a token, and what nodes do by themselves.
var reserved = []string{"socket", "rollout", "takeover", "node", "break-glass", "causeway", "unknown"}

// checkTokenName refuses a name that the audit log could not tell from another's.
func checkTokenName(name string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n#") {
		return fmt.Errorf("%q cannot name a token; use a word without spaces", name)
	}
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains(reserved, strings.ToLower(first)) {
		return fmt.Errorf("%q cannot name a token: the audit log has %s for who is none; name it after whoever has it", name, strings.ToLower(first))
	}
	return nil
}

// ParseRole reads viewer, operator or admin.
func ParseRole(s string) (Role, error) { return parseRole(s) }

// caller is who made a request.
type caller struct {
	name  string
	role  Role
	glass bool // a break-glass user
	peer  bool // another node of the region, for a caller of its own
}

// tokenEntry is one line of the token file: name, role and the SHA-256 of the token. Tokens are 32
// random bytes, so a plain hash is enough: there is nothing to guess.
type tokenEntry struct {
	caller
	sum [sha256.Size]byte
}

// maxTokenFile bounds the file, in bytes; a token takes about a hundred.
const maxTokenFile = 1 << 20

// tokens is the token file. It is read again when it changed, so removing a line revokes a token
// at once.
type tokens struct {
	key, path string // fixed: of the configuration, and of the file

	mu      sync.Mutex
	entries []tokenEntry
	modTime time.Time
	size    int64
}

// openTokens reads the file and refuses one without a token in it: TCP would be open to nobody,
// which is never what was meant.
func openTokens(key, path string) (*tokens, error) {
	t := &tokens{key: key, path: path}
	if err := t.reload(); err != nil {
		return nil, err
	}
	if len(t.entries) == 0 {
		return nil, fmt.Errorf("%s: %s has no token; add a line that causeway ctl tokens new prints", key, path)
	}
	return t, nil
}

// who finds the caller a token belongs to. It compares with every entry, in constant time. When
// the file can no longer be read nobody is admitted.
func (t *tokens) who(token string) (caller, bool, error) {
	t.mu.Lock()
	err := t.reload()
	entries := t.entries // replaced, never written
	t.mu.Unlock()
	if err != nil {
		return caller{}, false, err
	}
	sum := sha256.Sum256([]byte(token))
	var found caller
	var ok bool
	for i := range entries {
		if subtle.ConstantTimeCompare(sum[:], entries[i].sum[:]) == 1 {
			found, ok = entries[i].caller, true
		}
	}
	return found, ok, nil
}

// known lists the entries as they were read last.
func (t *tokens) known() []tokenEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.reload() // who says so at the next call
	return t.entries
}

// reload reads the file if it changed since. The caller holds mu.
func (t *tokens) reload() error {
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %s is not there; create it with the lines that causeway ctl tokens new prints", t.key, t.path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.key, err)
	}
	if info.ModTime().Equal(t.modTime) && info.Size() == t.size && t.entries != nil {
		return nil
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: %s may be written by others (mode %04o); chmod 600 %s", t.key, t.path, info.Mode().Perm(), t.path)
	}
	b, err := readBounded(t.path, maxTokenFile)
	if err != nil {
		return fmt.Errorf("%s: %w", t.key, err)
	}
	entries, err := parseTokens(b)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", t.key, t.path, err)
	}
	t.entries, t.modTime, t.size = entries, info.ModTime(), info.Size()
	return nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return b, err
}

// parseTokens reads lines of name, role and sha256:HEX; # begins a comment. The result is not nil.
func parseTokens(b []byte) ([]tokenEntry, error) {
	entries := []tokenEntry{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d has %d words; want: name role sha256:HEX", n, len(fields))
		}
		e, err := parseToken(fields[0], fields[1], fields[2])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		entries = append(entries, e)
	}
	return entries, lines.Err()
}

func parseToken(name, role, hash string) (e tokenEntry, err error) {
	if err := checkTokenName(name); err != nil {
		return e, err
	}
	e.name = name
	if e.role, err = parseRole(role); err != nil {
		return e, err
	}
	digits, ok := strings.CutPrefix(hash, "sha256:")
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != len(e.sum) {
		return e, errors.New("the third word must be sha256: and 64 hexadecimal digits")
	}
	copy(e.sum[:], sum)
	return e, nil
}
