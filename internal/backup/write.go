package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"causeway/internal/home"

	"github.com/klauspost/compress/zstd"
)

// Source is a copy of a home at one position: replica.Copier.
type Source interface {
	Position() home.CopyPosition
	// Next returns what follows a key, nil for all, and the last key in it; a nil last says that there
	// is nothing more.
	Next(after []byte, maxBytes int) (chunk, last []byte, err error)
}

// About is what the manifest says beside what Write finds out.
type About struct {
	Home    home.ID
	Level   uint32 // the home's, or a later one
	Version string
	Region  string
	Node    string
	Place   string
}

// Options of Write.
type Options struct {
	Key Key
	// PartBytes is about how much of keys and values goes into a file; 128 MiB.
	PartBytes int64
	// Progress is told how much of keys and values was written, if it is set.
	Progress func(bytes int64)
}

const (
	defaultPart = 128 << 20
	chunkBytes  = 1 << 20
	maxPair     = 256 << 20 // a value is at most a packet, or a run of a spool
)

// Write writes a backup of a home and returns its manifest. The backup exists once Write returns nil,
// or not at all.
func Write(ctx context.Context, src Source, about About, to Place, o Options) (m Manifest, err error) {
	if o.PartBytes <= 0 {
		o.PartBytes = defaultPart
	}
	began := time.Now()
	m = Manifest{Format: FormatVersion, Home: string(about.Home), Level: about.Level, Time: began.UTC().Truncate(time.Second), Version: about.Version,
		Region: about.Region, Node: about.Node, Place: about.Place}
	m.at(src.Position())
	m.Name = nameOf(about.Home, began, m.Record)
	if !ValidName(m.Name) {
		return m, fmt.Errorf("a backup of home %q would be called %q: use letters, digits, '-', '_' and '.' in names of regions", about.Home, m.Name)
	}
	if o.Key.Seals() {
		m.Sealed = sealAge
	}
	stage, err := to.Stage()
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(stage)
	w := writer{src: src, to: to, o: o, stage: stage, m: &m}
	if err := w.parts(ctx); err != nil {
		return m, errors.Join(fmt.Errorf("backup %s: %w", m.Name, err), to.Remove(context.WithoutCancel(ctx), m.Name))
	}
	m.Seconds = time.Since(began).Seconds()
	b, err := m.encode()
	if err == nil {
		err = w.put(ctx, manifestFile, func(out io.Writer) error {
			_, err := out.Write(b)
			return err
		})
	}
	if err != nil {
		return m, errors.Join(fmt.Errorf("backup %s: %w", m.Name, err), to.Remove(context.WithoutCancel(ctx), m.Name))
	}
	return m, nil
}

// writer writes one backup.
type writer struct {
	src   Source
	to    Place
	o     Options
	stage string
	m     *Manifest
	after []byte
}

func (w *writer) parts(ctx context.Context) error {
	for more := true; more; {
		name := partName(len(w.m.Parts))
		if len(w.m.Parts) == maxParts {
			return fmt.Errorf("it has more than %d parts: let them be larger", maxParts)
		}
		sum := &summed{hash: sha256.New()}
		err := w.put(ctx, name, func(out io.Writer) (err error) {
			sum.to = out
			more, err = w.part(ctx, sum)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		w.m.Parts = append(w.m.Parts, Part{Name: name, Size: sum.n, SHA256: hex.EncodeToString(sum.hash.Sum(nil))})
	}
	return nil
}

// put writes a file beside the place, synced, and gives it to the place.
func (w *writer) put(ctx context.Context, name string, fill func(io.Writer) error) error {
	path := filepath.Join(w.stage, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 256<<10)
	err = fill(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return w.to.Put(ctx, w.m.Name, name, path)
}

// part writes a chunk, and more until the file is large enough.
func (w *writer) part(ctx context.Context, out *summed) (more bool, err error) {
	sealed, err := w.o.Key.seal(out)
	if err != nil {
		return false, err
	}
	packed, err := zstd.NewWriter(sealed, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return false, err
	}
	for began := w.m.Bytes; err == nil && w.m.Bytes-began < w.o.PartBytes; {
		if err = ctx.Err(); err != nil {
			break
		}
		var chunk, last []byte
		if chunk, last, err = w.src.Next(w.after, chunkBytes); err != nil {
			break
		}
		if more = last != nil; !more {
			break
		}
		w.after = last
		if err = w.count(chunk); err == nil {
			_, err = packed.Write(chunk)
		}
	}
	return more, errors.Join(err, packed.Close(), sealed.Close())
}

func (w *writer) count(chunk []byte) error {
	if err := eachPair(chunk, func(key, value []byte) {
		w.m.Keys++
		if home.IsSession(key) {
			w.m.Sessions++
		}
		w.m.Bytes += int64(len(key) + len(value))
	}); err != nil {
		return err
	}
	if w.o.Progress != nil {
		w.o.Progress(w.m.Bytes)
	}
	return nil
}

// summed hashes and counts what is written.
type summed struct {
	to   io.Writer
	hash hash.Hash
	n    int64
}

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	_, _ = s.hash.Write(p[:n]) // never fails
	s.n += int64(n)
	return n, err
}
