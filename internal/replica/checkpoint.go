package replica

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// checkpointDir is where the copy lies that others fetch, in the home's folder.
const checkpointDir = "checkpoint"

// checkpoints makes and keeps the copy that others fetch: one, shared by all who
// fetch at the same time, and for a while after, so that a broken stream goes on.
// Meanwhile the log keeps what is behind it.
type checkpoints struct {
	kept atomic.Bool // there is one

	mu     turn
	parcel *parcel
	users  int
	used   time.Time
}

// checkpointLife is how long an unused checkpoint is kept: until whoever fetched
// it has loaded it, and is heard as one that follows the log.
const checkpointLife = 2 * time.Minute

// held says that the log must keep what follows a checkpoint.
func (c *checkpoints) held() bool { return c.kept.Load() }

// serveCopy serves one fetching node.
func (r *core) serveCopy(ctx context.Context, st *cluster.Stream) {
	release := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer release()
	defer st.Close()
	stop := r.trackStream(st, 0)
	defer stop()
	if err := r.sendCopy(ctx, st); err != nil && ctx.Err() == nil {
		r.log.Warn("send a copy of the state", "peer", st.Peer.Node, "error", err)
	}
}

func (r *core) sendCopy(ctx context.Context, st *cluster.Stream) error {
	in := bufio.NewReader(st)
	var q fetchRequest
	if err := readRequest(st, in, &q); err != nil {
		return ignoreEnd(err)
	}
	if q.Damaged {
		if err := r.doubtCheckpoint(); err != nil {
			return err
		}
	}
	p, err := r.borrowCheckpoint(ctx, q.Have)
	if err != nil {
		return err
	}
	defer r.returnCheckpoint()
	if err := json.NewEncoder(st).Encode(p); err != nil {
		return err
	}
	r.log.Info("a copy of the state is being fetched", "peer", st.Peer.Node, "index", p.Applied.Index)
	for {
		if err := readRequest(st, in, &q); err != nil {
			return ignoreEnd(err)
		}
		if err := r.sendFile(st, p, q); err != nil {
			return err
		}
	}
}

func readRequest(st *cluster.Stream, in *bufio.Reader, q *fetchRequest) error {
	_ = st.SetDeadline(time.Now().Add(fetchIdle))
	line, err := readLine(in, maxControl)
	if err != nil {
		return err
	}
	*q = fetchRequest{}
	return json.Unmarshal(line, q)
}

func (r *core) sendFile(st *cluster.Stream, p *parcel, q fetchRequest) error {
	var file *parcelFile
	for i := range p.Files {
		if p.Files[i].Name == q.File {
			file = &p.Files[i]
		}
	}
	if file == nil {
		return fmt.Errorf("%s asks for %q, which is not in the parcel", st.Peer.Node, q.File)
	}
	f, err := r.opts.FS.Open(r.path(checkpointDir, file.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	buf, sum := make([]byte, 256<<10), crc32.New(castagnoli)
	for at := int64(0); at < file.Size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), file.Size-at)], at)
		if n == 0 {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		_ = st.SetDeadline(time.Now().Add(fetchIdle))
		if _, err := st.Write(buf[:n]); err != nil {
			return err
		}
		_, _ = sum.Write(buf[:n]) // never fails
		at += int64(n)
	}
	_, err = st.Write(sum.Sum(nil))
	return err
}

// borrowCheckpoint returns the checkpoint there is if it is the one begun, or
// still young, and makes one otherwise. It need not be the leader's: what is
// applied is committed, and who fetches checks that it reaches far enough.
func (r *core) borrowCheckpoint(ctx context.Context, begun string) (*parcel, error) {
	if !r.up.Load() {
		return nil, errors.New("this copy has not started yet")
	}
	c := &r.checkpoints
	c.mu.lock()
	defer c.mu.unlock()
	if c.parcel != nil && (c.parcel.ID == begun || c.users > 0) {
		c.users++
		return c.parcel, nil
	}
	p, err := r.makeCheckpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("make a checkpoint: %w", errors.Join(err, r.dropCheckpoint()))
	}
	c.parcel, c.users = p, 1
	return p, nil
}

// doubtCheckpoint is called when a node says that the checkpoint fails its
// checksums. If it does so here, then so does this node's state, whose files they
// are.
func (r *core) doubtCheckpoint() error {
	c := &r.checkpoints
	c.mu.lock()
	defer c.mu.unlock()
	if c.parcel == nil {
		return nil
	}
	_, err := store.Verify(r.opts.FS, r.path(checkpointDir))
	if errors.Is(err, store.ErrDamaged) {
		r.fail(fmt.Errorf("the state of this node is damaged: %w", err))
	}
	return err
}

func (r *core) returnCheckpoint() {
	c := &r.checkpoints
	c.mu.lock()
	defer c.mu.unlock()
	c.users--
	c.used = time.Now()
}

// makeCheckpoint takes a snapshot, so that there is a marker with the members of
// the group at its place, and a checkpoint of the store behind it.
func (r *core) makeCheckpoint(ctx context.Context) (*parcel, error) {
	if err := r.dropCheckpoint(); err != nil {
		return nil, err
	}
	r.checkpoints.kept.Store(true) // before there is a place in the log that must be kept
	if err := await(ctx, r.raft.Snapshot()); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil, err
	}
	snapshots, err := raftlog.OpenSnapshots(r.opts.FS, r.path(snapshotsDir), r.log)
	if err != nil {
		return nil, err
	}
	list, err := snapshots.List()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("there is no snapshot yet")
	}
	_, in, err := snapshots.Open(list[0].ID)
	if err != nil {
		return nil, err
	}
	marker, err := io.ReadAll(io.LimitReader(in, maxMark))
	if err := errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	if err := r.flush(); err != nil {
		return nil, err
	}
	at, err := r.store.Checkpoint(r.path(checkpointDir))
	if err != nil {
		return nil, err
	}
	p := &parcel{ID: fmt.Sprintf("%s/%d/%d", r.self(), at.Index, time.Now().UnixNano()), Disk: r.opts.Disk, Index: list[0].Index, Term: list[0].Term,
		Members: raft.EncodeConfiguration(list[0].Configuration), At: list[0].ConfigurationIndex, Mark: marker, Applied: at}
	p.Files, err = r.checkpointFiles()
	return p, err
}

func (r *core) checkpointFiles() (files []parcelFile, err error) {
	names, err := store.List(r.opts.FS, r.path(checkpointDir))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == "LOCK" || strings.HasSuffix(name, ".log") {
			continue // no write-ahead log is in use
		}
		info, err := r.opts.FS.Stat(r.path(checkpointDir, name))
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, parcelFile{Name: name, Size: info.Size()})
		}
	}
	return files, nil
}

// dropCheckpoint removes the checkpoint, and what a crash left of one.
func (r *core) dropCheckpoint() error {
	r.checkpoints.parcel = nil
	r.checkpoints.kept.Store(false)
	return r.opts.FS.RemoveAll(r.path(checkpointDir))
}

// tidyCheckpoint removes a checkpoint that nobody has used for a while.
func (r *core) tidyCheckpoint() {
	c := &r.checkpoints
	if !c.mu.tryLock() {
		return
	}
	defer c.mu.unlock()
	if c.parcel == nil || c.users > 0 || time.Since(c.used) < checkpointLife {
		return
	}
	if err := r.dropCheckpoint(); err != nil {
		r.log.Warn("remove a checkpoint", "error", err)
	}
}
