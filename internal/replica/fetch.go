package replica

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
)

// CopyProtocol is the stream protocol by which a copy of the state is fetched.
//
// The fetching node sends one JSON request a line. The first asks for a parcel
// and names the checkpoint it has begun to fetch, if any; the answer is the
// parcel, as one line of JSON. Every later one asks for a file; the answer is its
// bytes and their CRC-32C. A stream that breaks is opened again, and costs the
// file that was on its way.
const CopyProtocol = "causeway-copy/1"

type fetchRequest struct {
	Have    string `json:"have,omitempty"`    // checkpoint begun
	Damaged bool   `json:"damaged,omitempty"` // it was fetched, and fails its checksums
	File    string `json:"file,omitempty"`
}

// castagnoli is the CRC-32C that follows a file: not all that a store consists of
// has checksums of its own.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	fetchIdle     = 20 * time.Second // a stream on which nothing moves for so long is given up
	fetchAgain    = time.Second
	maxFiles      = 100_000
	maxFileBytes  = 1 << 40
	maxParcelLine = maxParcel
)

// fetch brings the state from the leader and installs it. It goes on over broken
// streams and changes of the leader until ctx ends. t is what this copy's own log
// held: the parcel must reach beyond what this copy has acknowledged.
func (r *core) fetch(ctx context.Context, t tail) error {
	if err := store.MkdirAll(r.opts.FS, r.path(incomingDir, stateDir)); err != nil {
		return err
	}
	damaged := false
	for {
		p, err := r.fetchOnce(ctx, t, damaged)
		err = store.ExplainDiskError(r.opts.FS, r.opts.Dir, err)
		if err == nil {
			r.log.Info("a copy of the state was fetched", "index", p.Applied.Index, "files", len(p.Files))
			return r.install(p)
		}
		var full *store.DiskFullError
		if errors.As(err, &full) {
			return err
		}
		damaged = errors.Is(err, store.ErrDamaged)
		r.wait("the state is being fetched from another node: " + err.Error())
		r.log.Debug("fetch the state", "error", err)
		select {
		case <-time.After(fetchAgain):
		case <-ctx.Done():
			return fmt.Errorf("fetch the state: %w", errors.Join(err, ctx.Err()))
		}
	}
}

func (r *core) fetchOnce(ctx context.Context, t tail, damaged bool) (*parcel, error) {
	here := r.askAround(ctx)
	from := cmp.Or(here.leader, here.beyond(t.last))
	if from == "" {
		return nil, errors.New("no leader is here to fetch it from")
	}
	st, err := r.opts.Cluster.Dial(ctx, string(from), "", r.protocol(CopyProtocol))
	if err != nil {
		return nil, err
	}
	defer st.Close()
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	f := &fetching{r: r, st: st, in: bufio.NewReaderSize(st, 256<<10), from: from}
	p, err := f.parcel(damaged)
	if err != nil {
		return nil, err
	}
	if !p.covers(t) {
		return nil, fmt.Errorf("the copy of %s is of index %d, and this one has voted for entries up to %d", from, p.Index, t.last)
	}
	if err := f.files(p); err != nil {
		return nil, err
	}
	return p, f.complete(p)
}

// covers says that nothing committed of a log that ended at t is missing in p: it
// is at least as up to date, in raft's sense. An index alone would not do, since a
// log may end in entries of an old term that came to nothing.
func (p *parcel) covers(t tail) bool {
	return p.Term > t.term || p.Term == t.term && p.Index >= t.last
}

// fetching is one stream of a fetch.
type fetching struct {
	r    *core
	st   *cluster.Stream
	in   *bufio.Reader
	from home.NodeID

	total, done int64 // bytes of the parcel, and of it here
	told        time.Time
}

func (f *fetching) ask(q fetchRequest) error {
	if err := f.st.SetDeadline(time.Now().Add(fetchIdle)); err != nil {
		return err
	}
	return json.NewEncoder(f.st).Encode(q)
}

// parcel asks what there is. A parcel other than the one begun begins anew: a
// table of the same name and size may be another's.
func (f *fetching) parcel(damaged bool) (*parcel, error) {
	r, fs := f.r, f.r.opts.FS
	var begun parcel
	if b, err := store.ReadFile(fs, r.path(incomingDir, parcelName), maxParcel); err == nil {
		_ = json.Unmarshal(b, &begun)
	}
	if err := f.ask(fetchRequest{Have: begun.ID, Damaged: damaged}); err != nil {
		return nil, err
	}
	// Making the checkpoint takes the leader a while.
	_ = f.st.SetDeadline(time.Now().Add(time.Minute))
	line, err := readLine(f.in, maxParcelLine)
	if err != nil {
		return nil, err
	}
	var p parcel
	if err := json.Unmarshal(line, &p); err != nil {
		return nil, fmt.Errorf("the parcel of %s: %w", f.from, err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("the parcel of %s: %w", f.from, err)
	}
	if p.ID != begun.ID {
		if err := f.beginAnew(); err != nil {
			return nil, err
		}
	}
	return &p, store.WriteFileAtomic(fs, r.path(incomingDir), parcelName, line)
}

func readLine(in *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > most {
			return nil, fmt.Errorf("a line of more than %d bytes", most)
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// check refuses what would write elsewhere, or too much.
func (p *parcel) check() error {
	if p.ID == "" || p.Index == 0 || p.Applied.Index < p.Index || len(p.Files) == 0 || len(p.Files) > maxFiles {
		return errors.New("it is not whole")
	}
	for _, f := range p.Files {
		if f.Name == "" || strings.ContainsAny(f.Name, "/\\\x00") || f.Name[0] == '.' || f.Size < 0 || f.Size > maxFileBytes {
			return fmt.Errorf("file %q of %d bytes", f.Name, f.Size)
		}
	}
	return nil
}

// beginAnew removes what an earlier parcel brought.
func (f *fetching) beginAnew() error {
	fs, dir := f.r.opts.FS, f.r.path(incomingDir, stateDir)
	if err := fs.RemoveAll(dir); err != nil {
		return err
	}
	return store.MkdirAll(fs, dir)
}

// have is how much of a file is here.
func (f *fetching) have(name string) int64 {
	info, err := f.r.opts.FS.Stat(f.r.path(incomingDir, stateDir, name))
	if err != nil {
		return -1
	}
	return info.Size()
}

func (f *fetching) files(p *parcel) error {
	var missing []parcelFile
	for _, x := range p.Files {
		f.total += x.Size
		if f.have(x.Name) == x.Size {
			f.done += x.Size
		} else {
			missing = append(missing, x)
		}
	}
	if free, ok, err := store.FreeBytes(f.r.opts.FS, f.r.opts.Dir); err == nil && ok && uint64(f.total-f.done) > free {
		return fmt.Errorf("%d MiB of the state are still to come, and %s has %d MiB free: make room", (f.total-f.done)>>20, f.r.opts.Dir, free>>20)
	}
	f.r.opts.Progress.fetched(f.from, f.done, f.total)
	for _, x := range missing {
		if err := f.file(x); err != nil {
			return fmt.Errorf("file %s: %w", x.Name, err)
		}
	}
	return nil
}

// progress says how far the fetch is, once a second.
func (f *fetching) progress(n int) {
	f.done += int64(n)
	f.r.opts.Progress.fetched(f.from, f.done, f.total)
	if now := time.Now(); now.Sub(f.told) >= time.Second {
		f.told = now
		f.r.wait(fmt.Sprintf("the state is being fetched from %s: %d of %d MiB", f.from, f.done>>20, f.total>>20))
	}
}

// file fetches one file: a broken stream costs what was written of it.
func (f *fetching) file(x parcelFile) (err error) {
	fs := f.r.opts.FS
	if err := f.ask(fetchRequest{File: x.Name}); err != nil {
		return err
	}
	// Under another name until it is whole and synced: its size alone says that it is.
	// A name that is lost with the power costs fetching it again; complete syncs them.
	tmp, name := f.r.path(incomingDir, "PART"), f.r.path(incomingDir, stateDir, x.Name)
	out, err := store.Create(fs, tmp)
	if err != nil {
		return err
	}
	if err := f.copy(out, x.Size); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	return fs.Rename(tmp, name)
}

func (f *fetching) copy(out io.Writer, size int64) error {
	buf, sum := make([]byte, 256<<10), crc32.New(castagnoli)
	for left := size; left > 0; {
		_ = f.st.SetDeadline(time.Now().Add(fetchIdle))
		n, err := f.in.Read(buf[:min(left, int64(len(buf)))])
		if n > 0 {
			_, _ = sum.Write(buf[:n]) // never fails; before the file, which may scribble on what it is given
			if _, werr := out.Write(buf[:n]); werr != nil {
				return werr
			}
			left -= int64(n)
			f.progress(n)
		}
		if err != nil && left > 0 {
			return err
		}
	}
	var want [crc32.Size]byte
	if _, err := io.ReadFull(f.in, want[:]); err != nil {
		return err
	}
	if got := sum.Sum32(); got != binary.BigEndian.Uint32(want[:]) {
		return fmt.Errorf("it was damaged on the way: its checksum is %08x, the sender's %x", got, want)
	}
	return nil
}

// complete makes the parcel ready to be installed. All of it is read first: what
// the wire or the other node's disk did to it must not become this copy.
func (f *fetching) complete(p *parcel) error {
	fs, dir := f.r.opts.FS, f.r.path(incomingDir)
	at, err := store.Verify(fs, f.r.path(incomingDir, stateDir))
	if errors.Is(err, store.ErrDamaged) {
		return errors.Join(fmt.Errorf("the copy of %s fails its checksums: %w", f.from, err), f.beginAnew())
	}
	if err != nil {
		return err
	}
	if at != p.Applied {
		return fmt.Errorf("the fetched store is at %+v, the parcel says %+v", at, p.Applied)
	}
	if err := store.SyncDir(fs, f.r.path(incomingDir, stateDir)); err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return store.WriteFileAtomic(fs, dir, completeFile, b)
}
