package backup

import (
	"context"
	"errors"
	"fmt"

	"filippo.io/age"
)

// A node that is to read a backup once is not given the secret key, which opens all backups. age puts
// a key of its own into each file, sealed for the recipients at the file's head. So the node tells
// these heads, who has the secret key opens them, and the node gets the keys of that backup's files.

// Lock is the head of a part of an encrypted backup. It is no secret.
type Lock struct {
	Part    string   `json:"part"`
	Stanzas []Stanza `json:"stanzas"`
}

// Stanza is the key of a file, sealed for a recipient.
type Stanza struct {
	Type string   `json:"type"`
	Args []string `json:"args"`
	Body []byte   `json:"body"`
}

// head takes the stanzas of a file and opens nothing.
type head struct{ stanzas []*age.Stanza }

// Unwrap implements age.Identity.
func (h *head) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	h.stanzas = stanzas
	return nil, age.ErrIncorrectIdentity
}

// fileKey opens the file whose key it is. A wrong one fails the file's own check.
type fileKey []byte

// Unwrap implements age.Identity.
func (k fileKey) Unwrap([]*age.Stanza) ([]byte, error) { return k, nil }

// Locks reads the heads of the parts of a backup; there are none if it is plain.
func Locks(ctx context.Context, from Place, m *Manifest) (list []Lock, err error) {
	if m.Sealed == "" {
		return nil, nil
	}
	for _, p := range m.Parts {
		l, err := lockOf(ctx, from, m.Name, p.Name)
		if err != nil {
			return nil, fmt.Errorf("backup %s, %s: %w", m.Name, p.Name, err)
		}
		list = append(list, l)
	}
	return list, nil
}

func lockOf(ctx context.Context, from Place, name, part string) (l Lock, err error) {
	in, err := from.Get(ctx, name, part)
	if errors.Is(err, ErrNoBackup) {
		return l, fmt.Errorf("%w: it is missing", ErrDamaged)
	}
	if err != nil {
		return l, err
	}
	defer in.Close()
	var h head
	if _, err := age.Decrypt(in, &h); h.stanzas == nil {
		return l, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l.Part = part
	for _, s := range h.stanzas {
		l.Stanzas = append(l.Stanzas, Stanza{s.Type, s.Args, s.Body})
	}
	return l, nil
}

// Unlock opens locks: the keys of the files, by their names.
func (k Key) Unlock(list []Lock) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, l := range list {
		var stanzas []*age.Stanza
		for _, s := range l.Stanzas {
			stanzas = append(stanzas, &age.Stanza{Type: s.Type, Args: s.Args, Body: s.Body})
		}
		for _, id := range k.from {
			key, err := id.Unwrap(stanzas)
			if errors.Is(err, age.ErrIncorrectIdentity) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.Part, err)
			}
			out[l.Part] = key
		}
		if out[l.Part] == nil {
			return nil, fmt.Errorf("%s is encrypted for another key", l.Part)
		}
	}
	return out, nil
}

// FileKeys is the Key that opens files by keys of their own.
func FileKeys(keys map[string][]byte) Key { return Key{parts: keys} }
