package replica

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// Names in the home's folder while a copy is fetched, and after.
//
//	incoming/state/   files of the leader's checkpoint
//	incoming/COMPLETE all of them are here, synced; holds the parcel
//	FETCHED           how far the store was when it was installed
const (
	incomingDir  = "incoming"
	stateDir     = "state"
	logDir       = "log"
	snapshotsDir = "snapshots"
	completeFile = "COMPLETE"
	fetchedFile  = "FETCHED"
	divergedFile = "DIVERGED"
	divergedDir  = "state.diverged"
	maxParcel    = 16 << 20
)

// parcel is a copy of the state on its way: the leader's newest snapshot marker,
// with the members of the group at that place of the log, and a store that is at
// least as far.
type parcel struct {
	ID      string          `json:"id"`   // of the checkpoint
	Disk    string          `json:"disk"` // it was made on
	Index   uint64          `json:"index"`
	Term    uint64          `json:"term"`
	Members []byte          `json:"members"` // raft's encoding
	At      uint64          `json:"at"`      // index of the members' entry
	Mark    json.RawMessage `json:"mark"`
	Applied store.Position  `json:"applied"`
	Files   []parcelFile    `json:"files"`
}

type parcelFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

func (r *Replica) path(elem ...string) string {
	return r.opts.FS.PathJoin(append([]string{r.opts.Dir}, elem...)...)
}

// recoverCopy finishes an installation that was cut short, and sets a copy aside
// that was found to differ from the others.
func (r *Replica) recoverCopy() error {
	fs := r.opts.FS
	if err := store.MkdirAll(fs, r.opts.Dir); err != nil {
		return err
	}
	b, err := store.ReadFile(fs, r.path(incomingDir, completeFile), maxParcel)
	switch {
	case store.IsNotExist(err):
		return nil
	case err != nil:
		return fmt.Errorf("read the parcel of a fetched copy: %w", err)
	}
	var p parcel
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("read the parcel of a fetched copy: %w; remove %s", err, r.path(incomingDir))
	}
	return r.install(&p)
}

// install puts a complete parcel in the place of the copy. Each step may be cut
// short and is done again from the start. What raft has promised, its term and its
// vote, stays: only its log goes, all of which the parcel covers.
func (r *Replica) install(p *parcel) error {
	for _, step := range []func(*parcel) error{r.installState, r.emptyLog, r.installMarker, r.noteFetched, r.removeIncoming} {
		if err := step(p); err != nil {
			return fmt.Errorf("install the fetched copy: %w", store.ExplainDiskError(r.opts.FS, r.opts.Dir, err))
		}
	}
	return nil
}

func (r *Replica) installState(*parcel) error {
	fs := r.opts.FS
	there, err := store.Exists(fs, r.path(incomingDir, stateDir))
	if err != nil || !there {
		return err // moved already
	}
	if err := r.dropState(); err != nil {
		return err
	}
	if err := fs.Rename(r.path(incomingDir, stateDir), r.path(stateDir)); err != nil {
		return err
	}
	return errors.Join(store.SyncDir(fs, r.path(incomingDir)), store.SyncDir(fs, r.opts.Dir))
}

// dropState removes the old state, or keeps one that differed from the others for
// who wants to find out why.
func (r *Replica) dropState() error {
	fs := r.opts.FS
	diverged, err := store.Exists(fs, r.path(divergedFile))
	if err != nil {
		return err
	}
	there, err := store.Exists(fs, r.path(stateDir))
	if err != nil || !there {
		return err
	}
	if diverged {
		if err := fs.RemoveAll(r.path(divergedDir)); err != nil {
			return err
		}
		return fs.Rename(r.path(stateDir), r.path(divergedDir))
	}
	return fs.RemoveAll(r.path(stateDir))
}

func (r *Replica) emptyLog(p *parcel) error {
	logs, err := raftlog.Open(r.opts.FS, r.path(logDir), raftlog.Options{SegmentBytes: r.opts.SegmentBytes, Logger: r.log})
	if err != nil {
		return err
	}
	first, err := logs.FirstIndex()
	if err == nil && first > 0 {
		var last uint64
		if last, err = logs.LastIndex(); err == nil {
			err = logs.DeleteRange(first, last)
		}
	}
	return errors.Join(err, logs.Close())
}

func (r *Replica) installMarker(p *parcel) error {
	snapshots, err := raftlog.OpenSnapshots(r.opts.FS, r.path(snapshotsDir), r.log)
	if err != nil {
		return err
	}
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].Index == p.Index && list[0].Term == p.Term {
		return nil
	}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, p.Index, p.Term, raft.DecodeConfiguration(p.Members), p.At, nil)
	if err != nil {
		return err
	}
	if _, err := sink.Write(p.Mark); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (r *Replica) noteFetched(p *parcel) error {
	b, err := json.Marshal(p.Applied)
	if err != nil {
		return err
	}
	return store.WriteFileAtomic(r.opts.FS, r.opts.Dir, fetchedFile, b)
}

// fetchedTo is how far the store was when it was fetched; 0 if it was not.
func (r *Replica) fetchedTo() uint64 {
	b, err := store.ReadFile(r.opts.FS, r.path(fetchedFile), maxParcel)
	var at store.Position
	if err != nil || json.Unmarshal(b, &at) != nil {
		return 0
	}
	return at.Index
}

func (r *Replica) removeIncoming(*parcel) error {
	fs := r.opts.FS
	for _, name := range []string{divergedFile, fs.PathJoin(incomingDir, completeFile)} {
		if err := fs.Remove(r.path(name)); err != nil && !store.IsNotExist(err) {
			return err
		}
	}
	if err := store.SyncDir(fs, r.path(incomingDir)); err != nil {
		return err
	}
	if err := fs.RemoveAll(r.path(incomingDir)); err != nil {
		return err
	}
	return store.SyncDir(fs, r.opts.Dir)
}

// setAside marks a copy that differs from the others, so that the next start
// fetches another.
func (r *Replica) setAside() error {
	return store.WriteFileAtomic(r.opts.FS, r.opts.Dir, divergedFile, []byte(errDiverged.Error()+"\n"))
}

// isAside says that this copy was found to differ from the others.
func (r *Replica) isAside() (bool, error) { return store.Exists(r.opts.FS, r.path(divergedFile)) }
