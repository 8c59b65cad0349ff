package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
)

// sealAge is in the manifest of what was encrypted.
const sealAge = "age"

// Key encrypts backups, and decrypts those it can. The zero Key does neither.
type Key struct {
	to    []age.Recipient
	from  []age.Identity
	parts map[string][]byte // keys of single files, by their names
}

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// ReadKey reads a file of age keys, one a line. With identities (AGE-SECRET-KEY-1…) it encrypts for
// them and decrypts; with recipients only (age1…) it encrypts, and nobody who takes the node can read
// its backups. An empty path is the zero Key.
func ReadKey(path string) (Key, error) {
	if path == "" {
		return Key{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("key of backups: %w", err)
	}
	defer f.Close()
	k, err := ReadKeyFrom(f)
	if err != nil {
		return Key{}, fmt.Errorf("key of backups %s: %w; make one with: age-keygen -o %s", path, err, path)
	}
	return k, nil
}

// ReadKeyFrom is ReadKey for what is in the file.
func ReadKeyFrom(in io.Reader) (Key, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxKeyFile))
	if err != nil {
		return Key{}, err
	}
	return parseKey(b)
}

func parseKey(b []byte) (k Key, err error) {
	var secret, public []string
	for line := range strings.Lines(string(b)) {
		switch line = strings.TrimSpace(line); {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "AGE-SECRET-KEY-"):
			secret = append(secret, line)
		default:
			public = append(public, line)
		}
	}
	if len(secret) > 0 {
		// What the library says of a line that it cannot read has the line in it.
		if k.from, err = age.ParseIdentities(strings.NewReader(strings.Join(secret, "\n"))); err != nil {
			return Key{}, errors.New("it holds a secret key that is not one of age's")
		}
		for _, id := range k.from {
			if x, ok := id.(*age.X25519Identity); ok {
				k.to = append(k.to, x.Recipient())
			}
		}
	}
	if len(public) > 0 {
		to, err := age.ParseRecipients(strings.NewReader(strings.Join(public, "\n")))
		if err != nil {
			return Key{}, errors.New("it holds a line that is neither age1… nor AGE-SECRET-KEY-1…")
		}
		k.to = append(k.to, to...)
	}
	if len(k.to) == 0 {
		return Key{}, errors.New("it holds no key")
	}
	return k, nil
}

// Seals says that what is written with it is encrypted.
func (k Key) Seals() bool { return len(k.to) > 0 }

// Opens says that it can decrypt.
func (k Key) Opens() bool { return len(k.from)+len(k.parts) > 0 }

func (k Key) seal(w io.Writer) (io.WriteCloser, error) {
	if !k.Seals() {
		return nopCloser{w}, nil
	}
	return age.Encrypt(w, k.to...)
}

// open decrypts a part.
func (k Key) open(part string, r io.Reader) (io.Reader, error) {
	from := k.from
	if file, ok := k.parts[part]; ok {
		from = []age.Identity{fileKey(file)}
	}
	if len(from) == 0 {
		return nil, errors.New("it is encrypted, and no key is given for it")
	}
	out, err := age.Decrypt(r, from...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, errors.New("it is encrypted for another key")
	}
	return out, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// NewKey makes an identity, and the recipient that belongs to it, as lines of a key file.
func NewKey() (secret, public string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# public key: %s\n%s\n", id.Recipient(), id)
	return b.String(), id.Recipient().String() + "\n", nil
}
