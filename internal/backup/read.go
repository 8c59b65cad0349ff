package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"causeway/internal/home"

	"github.com/klauspost/compress/zstd"
)

// Find reads the manifest of a backup.
func Find(ctx context.Context, from Place, name string) (Manifest, error) {
	if !ValidName(name) {
		return Manifest{}, fmt.Errorf("%w: %q is no name of one", ErrNoBackup, name)
	}
	in, err := from.Get(ctx, name, manifestFile)
	if err != nil {
		return Manifest{}, err
	}
	b, err := io.ReadAll(io.LimitReader(in, maxManifest))
	if err = errors.Join(err, in.Close()); err != nil {
		return Manifest{}, fmt.Errorf("manifest of %s: %w", name, err)
	}
	return decodeManifest(b, name)
}

// Read gives all keys and values of a backup, ascending, and checks size and hash of each part and the
// counts of the manifest. The slices are fn's until it returns. What comes before an error must not be
// believed. Errors: ErrDamaged, the place's, fn's.
func Read(ctx context.Context, from Place, m *Manifest, key Key, fn func(key, value []byte) error) error {
	if m.Sealed != "" && !key.Opens() {
		return fmt.Errorf("backup %s is encrypted: give the file with its secret key (AGE-SECRET-KEY-1…)", m.Name)
	}
	r := reader{m: m, key: key, fn: fn}
	for _, p := range m.Parts {
		if err := r.part(ctx, from, p); err != nil {
			return fmt.Errorf("backup %s, %s: %w", m.Name, p.Name, err)
		}
	}
	if r.keys != m.Keys || r.bytes != m.Bytes {
		return fmt.Errorf("%w: %s has %d keys of %d bytes, its manifest says %d of %d", ErrDamaged, m.Name, r.keys, r.bytes, m.Keys, m.Bytes)
	}
	return nil
}

type reader struct {
	m     *Manifest
	key   Key
	fn    func(key, value []byte) error
	name  string // of the part
	last  []byte
	keys  uint64
	bytes int64
}

// errUse is what the one who reads says: no damage.
type errUse struct{ error }

func (e errUse) Unwrap() error { return e.error }

func (r *reader) part(ctx context.Context, from Place, p Part) error {
	in, err := from.Get(ctx, r.m.Name, p.Name)
	if errors.Is(err, ErrNoBackup) {
		return fmt.Errorf("%w: it is missing", ErrDamaged)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	r.name = p.Name
	raw := &counted{r: io.TeeReader(in, sum), most: p.Size, ctx: ctx}
	err = r.pairs(raw)
	var use errUse
	if errors.As(err, &use) || ctx.Err() != nil {
		return err
	}
	// What is behind the pairs is hashed as well; the hash says better what is wrong than the decoder.
	if _, cerr := io.Copy(io.Discard, raw); cerr != nil {
		err = errors.Join(err, cerr)
	}
	switch {
	case raw.n != p.Size || raw.over:
		return fmt.Errorf("%w: its size is not the %d bytes that the manifest says", ErrDamaged, p.Size)
	case hex.EncodeToString(sum.Sum(nil)) != p.SHA256:
		return fmt.Errorf("%w: it fails its hash", ErrDamaged)
	}
	return err
}

// pairs decodes a part.
func (r *reader) pairs(in io.Reader) error {
	var err error
	if r.m.Sealed != "" {
		if in, err = r.key.open(r.name, in); err != nil {
			return err
		}
	}
	plain, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return err
	}
	defer plain.Close()
	b := bufio.NewReaderSize(plain, 256<<10)
	var key, value []byte
	for {
		if key, err = readField(b, key); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			value, err = readField(b, value)
		}
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		case len(key) == 0 || key[0] == 0 || bytes.Compare(key, r.last) <= 0:
			return fmt.Errorf("%w: key %x does not follow %x", ErrDamaged, key, r.last)
		}
		r.last = append(r.last[:0], key...)
		r.keys++
		r.bytes += int64(len(key) + len(value))
		if err := r.fn(key, value); err != nil {
			return errUse{err}
		}
	}
}

// readField reads a length and so many bytes. io.EOF: there is nothing more.
func readField(b *bufio.Reader, dst []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(b)
	if err != nil {
		return dst, err
	}
	if n > maxPair {
		return dst, fmt.Errorf("a field of %d bytes", n)
	}
	// A length that was made up must not take memory before its bytes are there.
	dst = dst[:0]
	for left := int(n); left > 0; {
		step := min(left, 1<<20)
		at := len(dst)
		dst = append(dst, make([]byte, step)...)
		if _, err := io.ReadFull(b, dst[at:]); err != nil {
			return dst, errors.New("it ends in the middle of a value")
		}
		left -= step
	}
	return dst, nil
}

// counted reads at most so many bytes, and one more to see whether there is one.
type counted struct {
	r       io.Reader
	ctx     context.Context
	n, most int64
	over    bool
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if c.n >= c.most {
		var one [1]byte
		if n, _ := io.ReadFull(c.r, one[:]); n > 0 {
			c.over = true
		}
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.most-c.n)])
	c.n += int64(n)
	return n, err
}

// eachPair calls fn for the keys and values of a chunk.
func eachPair(b []byte, fn func(key, value []byte)) error {
	for len(b) > 0 {
		var two [2][]byte
		for i := range two {
			n, k := binary.Uvarint(b)
			if k <= 0 || n > uint64(len(b)-k) {
				return errors.New("a chunk of the copy is malformed")
			}
			two[i], b = b[k:k+int(n)], b[k+int(n):]
		}
		fn(two[0], two[1])
	}
	return nil
}

// Found is what a reading of a whole backup found.
type Found struct {
	State    *home.State
	Sessions int
}

// Verify reads all of a backup, checks it and opens the state that it holds, as a node would. It needs
// the memory that the state takes.
func Verify(ctx context.Context, from Place, m *Manifest, key Key) (Found, error) {
	state, err := home.Load(func(load func(key, value []byte) error) error {
		loaded := false
		return Read(ctx, from, m, key, func(key, value []byte) error {
			if loaded { // what follows stays on the disk; it is read to be checked
				return nil
			}
			err := load(key, value)
			if errors.Is(err, home.ErrLoaded) {
				loaded, err = true, nil
			}
			return err
		})
	})
	if err != nil {
		return Found{}, err
	}
	f := Found{State: state}
	for _, n := range state.SessionCounts() {
		f.Sessions += n.Attached + n.Detached
	}
	want, err := m.Position()
	if err != nil {
		return f, err
	}
	if got := state.Position(); string(state.ID()) != m.Home || got != want || f.Sessions != m.Sessions || state.Level() > m.Level {
		return f, fmt.Errorf("%w: %s holds home %q at epoch %s, record %d, with %d sessions; its manifest says home %q at epoch %s, record %d, with %d",
			ErrDamaged, m.Name, state.ID(), got.Epoch, got.Records, f.Sessions, m.Home, want.Epoch, want.Records, m.Sessions)
	}
	return f, nil
}
