package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// Names in the home's folder while a copy is fetched, and after.
//
//	incoming/state/   files of the leader's checkpoint
//	incoming/PARCEL   what is to come
//	incoming/COMPLETE all of it is here, synced; holds the parcel
//	FETCHED           how far the store was when it was installed
//	RESTORING         a backup is being put into incoming/
//	ASIDE             why the state is not to be used; the log is good
//	state.aside/      such a state, once another took its place
const (
	incomingDir  = "incoming"
	stateDir     = "state"
	logDir       = "log"
	snapshotsDir = "snapshots"
	completeFile = "COMPLETE"
	fetchedFile  = "FETCHED"
	parcelName   = "PARCEL"
	asideFile    = "ASIDE"
	asideDir     = "state.aside"
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

func (r *core) path(elem ...string) string {
	return r.opts.FS.PathJoin(append([]string{r.opts.Dir}, elem...)...)
}

// recoverCopy finishes an installation that was cut short.
func (r *core) recoverCopy() error {
	fs := r.opts.FS
	if err := store.MkdirAll(fs, r.opts.Dir); err != nil {
		return err
	}
	// A checkpoint made for others in an earlier run is nobody's any more.
	if err := fs.RemoveAll(r.path(checkpointDir)); err != nil {
		return err
	}
	cut, err := cutShort(fs, r.opts.Dir)
	if err == nil && cut {
		err = fmt.Errorf("a restore from a backup was cut short: run it again, or remove %s to begin with an empty home", r.opts.Dir)
	}
	if err != nil {
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
func (r *core) install(p *parcel) error {
	for _, step := range []func(*parcel) error{r.installState, r.emptyLog, r.installMarker, r.noteFetched, r.removeIncoming} {
		if err := step(p); err != nil {
			return fmt.Errorf("install the fetched copy: %w", store.ExplainDiskError(r.opts.FS, r.opts.Dir, err))
		}
	}
	return nil
}

func (r *core) installState(p *parcel) error {
	fs := r.opts.FS
	there, err := store.Exists(fs, r.path(incomingDir, stateDir))
	if err != nil {
		return err
	}
	if there { // not moved yet
		// What came in of a copy, and what was found out about the old one, is not the new one's.
		for _, name := range []string{intakeFile, quarantineFile} {
			if err := fs.Remove(r.path(name)); err != nil && !store.IsNotExist(err) {
				return err
			}
		}
		if err := r.dropState(); err != nil {
			return err
		}
		if err := fs.Rename(r.path(incomingDir, stateDir), r.path(stateDir)); err != nil {
			return err
		}
	}
	// The new name. Should the old one come back with a loss of power, it is moved
	// again; removeIncoming sees to it before the parcel goes.
	return store.SyncDir(fs, r.opts.Dir)
}

// dropState removes the old state, or keeps one that was set aside for who wants
// to find out why.
func (r *core) dropState() error {
	fs := r.opts.FS
	there, err := store.Exists(fs, r.path(stateDir))
	if err != nil || !there {
		return err
	}
	aside, err := r.isAside()
	if err != nil {
		return err
	}
	if aside {
		if err := fs.RemoveAll(r.path(asideDir)); err != nil {
			return err
		}
		return fs.Rename(r.path(stateDir), r.path(asideDir))
	}
	return fs.RemoveAll(r.path(stateDir))
}

// emptyLog removes the entries, all of which the parcel covers, and raises raft's
// term to the parcel's: a store or snapshot of a later term than raft's tells of
// a log that lost its votes.
func (r *core) emptyLog(p *parcel) error {
	logs, err := raftlog.Open(r.opts.FS, r.path(logDir), raftlog.Options{SegmentBytes: r.opts.SegmentBytes, Logger: r.log})
	if err != nil {
		return err
	}
	return errors.Join(emptyLog(logs, max(p.Term, p.Applied.Term)), logs.Close())
}

func emptyLog(logs *raftlog.Log, term uint64) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	if last > 0 {
		if err := logs.DeleteRange(first, last); err != nil {
			return err
		}
	}
	now, err := logs.GetUint64(termKey)
	if err != nil || now >= term {
		return err
	}
	return logs.SetUint64(termKey, term)
}

func (r *core) installMarker(p *parcel) error {
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

func (r *core) noteFetched(p *parcel) error {
	b, err := json.Marshal(p.Applied)
	if err != nil {
		return err
	}
	return store.WriteFileAtomic(r.opts.FS, r.opts.Dir, fetchedFile, b)
}

// fetchedTo is how far the store was when it was fetched; 0 if it was not.
func (r *core) fetchedTo() uint64 {
	b, err := store.ReadFile(r.opts.FS, r.path(fetchedFile), maxParcel)
	var at store.Position
	if err != nil || json.Unmarshal(b, &at) != nil {
		return 0
	}
	return at.Index
}

func (r *core) removeIncoming(*parcel) error {
	fs := r.opts.FS
	for _, name := range []string{asideFile, fs.PathJoin(incomingDir, completeFile)} {
		if err := fs.Remove(r.path(name)); err != nil && !store.IsNotExist(err) {
			return err
		}
	}
	// The mark of a state set aside may come back, and costs another fetch; the parcel
	// must not, or it would empty the log again.
	if err := store.SyncDir(fs, r.path(incomingDir)); err != nil {
		return err
	}
	return r.forgetIncoming()
}

// forgetIncoming removes what was fetched and is not complete. Should a loss of
// power bring it back, it is as good as before.
func (r *core) forgetIncoming() error { return r.opts.FS.RemoveAll(r.path(incomingDir)) }

// setAside marks the state as one not to be used, so that the next start fetches
// another.
func (r *core) setAside(why error) error {
	return store.WriteFileAtomic(r.opts.FS, r.opts.Dir, asideFile, []byte(why.Error()+"\n"))
}

// isAside says that the state of this copy was set aside.
func (r *core) isAside() (bool, error) { return store.Exists(r.opts.FS, r.path(asideFile)) }

// whyAside is why it was.
func (r *core) whyAside() string {
	b, err := store.ReadFile(r.opts.FS, r.path(asideFile), maxControl)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}
