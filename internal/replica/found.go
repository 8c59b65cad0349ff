package replica

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
)

// Founding says what a group of one copy is founded with.
type Founding struct {
	FS   store.FS
	Dir  string // the home's folder: empty
	Node home.NodeID
	Disk string

	Home  home.ID
	Epoch home.Epoch // that the home is raised to; above the one it was kept at
	Grace uint32     // of wills, and of sessions that ended meanwhile, seconds
	Now   home.Time  // the wall clock
}

// founded is where in the log a copy that was founded stands: before all entries.
var founded = store.Position{Index: 1, Term: 1}

// FoundFrom makes the folder of a home that begins with what fill puts: keys and values as Copier gave
// them, ascending. Its epoch is raised, as by a promotion without the old host, so that nothing of
// its former life is taken for its own. The copy is in place once FoundFrom returns nil, for Open to go on from;
// cut short there is none, Open refuses the folder, and FoundFrom begins anew. The node is the group's only voter: others
// join it and fetch.
func FoundFrom(f Founding, fill func(put func(key, value []byte) error) error) (at home.CopyPosition, err error) {
	if err := f.clear(); err != nil {
		return at, err
	}
	dir := f.FS.PathJoin(f.Dir, incomingDir, stateDir)
	s, err := store.Open(f.FS, dir, store.Options{})
	if err != nil {
		return at, err
	}
	p := parcel{ID: "restored", Disk: f.Disk, Index: founded.Index, Term: founded.Term, At: founded.Index, Applied: founded,
		Members: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter,
			ID: serverID(f.Node, f.Disk), Address: raft.ServerAddress(serverID(f.Node, f.Disk))}}})}
	state, err := f.fill(s, fill)
	if err == nil {
		at = state.Position()
		p.Mark, err = json.Marshal(mark{Version: markVersion, Home: f.Home, Applied: founded, Epoch: at.Epoch, Time: state.Now()})
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return at, err
	}
	if err := store.SyncDir(f.FS, dir); err != nil {
		return at, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return at, err
	}
	if err := store.WriteFileAtomic(f.FS, f.FS.PathJoin(f.Dir, incomingDir), completeFile, b); err != nil {
		return at, err
	}
	return at, errors.Join(f.FS.Remove(f.FS.PathJoin(f.Dir, restoringFile)), store.SyncDir(f.FS, f.Dir))
}

// restoringFile says that the folder is being filled from a backup: until a parcel is complete it is not one
// of an empty home.
const restoringFile = "RESTORING"

// clear makes sure of an empty folder, and notes in it what is under way.
func (f *Founding) clear() error {
	if err := store.MkdirAll(f.FS, f.Dir); err != nil {
		return err
	}
	names, err := store.List(f.FS, f.Dir)
	if err != nil {
		return err
	}
	cut, err := cutShort(f.FS, f.Dir)
	switch {
	case err != nil:
		return err
	case len(names) > 0 && !cut:
		return fmt.Errorf("%s is not empty", f.Dir)
	}
	if err := f.FS.RemoveAll(f.FS.PathJoin(f.Dir, incomingDir)); err != nil {
		return err
	}
	return store.WriteFileAtomic(f.FS, f.Dir, restoringFile, nil)
}

// FoundingCutShort says that a home's folder was to be filled from a backup, and was not.
func FoundingCutShort(fs store.FS, dir string) bool {
	cut, err := cutShort(fs, dir)
	return err == nil && cut
}

// cutShort says that a folder was to be filled from a backup, and was not.
func cutShort(fs store.FS, dir string) (bool, error) {
	begun, err := store.Exists(fs, fs.PathJoin(dir, restoringFile))
	if err != nil || !begun {
		return false, err
	}
	whole, err := store.Exists(fs, fs.PathJoin(dir, incomingDir, completeFile))
	if err != nil || !whole {
		return !whole, err
	}
	return false, fs.Remove(fs.PathJoin(dir, restoringFile))
}

// foundBatch is about how much goes into one batch.
const foundBatch = 4 << 20

// fill puts the state into a store and begins the new epoch.
func (f *Founding) fill(s *store.Store, fill func(put func(key, value []byte) error) error) (*home.State, error) {
	batch := s.NewBatch()
	defer func() { batch.Discard() }()
	err := fill(func(key, value []byte) error {
		batch.Set(key, value)
		if batch.Bytes() < foundBatch {
			return nil
		}
		err := batch.Commit(founded.Index, founded.Term)
		batch = s.NewBatch()
		return err
	})
	if err == nil {
		err = batch.Commit(founded.Index, founded.Term)
	}
	if err != nil {
		return nil, err
	}
	state, err := home.Load(func(fn func(key, value []byte) error) error { return s.Scan(nil, fn) })
	if err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	if id := state.ID(); id != f.Home {
		return nil, fmt.Errorf("it holds home %q, and not %q", id, f.Home)
	}
	if now := state.Epoch(); f.Epoch.Compare(now) <= 0 {
		return nil, fmt.Errorf("epoch %s is not above %s, at which it was kept", f.Epoch, now)
	}
	if err := f.begin(state); err != nil {
		return nil, err
	}
	batch = s.NewBatch()
	state.Flush(batch.Set, batch.Delete)
	if err := batch.Commit(founded.Index, founded.Term); err != nil {
		return nil, err
	}
	_, err = s.Flush()
	return state, err
}

// begin applies the record of the new epoch.
func (f *Founding) begin(state *home.State) error {
	ops := []home.Op{&home.Promote{Epoch: f.Epoch, Grace: f.Grace}}
	if need := home.LevelOf(home.KindPromote); state.Level() < need { // it was never to be promoted
		ops = []home.Op{&home.Raise{Level: need}, ops[0]}
	}
	for _, op := range ops {
		// A run of the node that never was: the promotion ends all runs.
		n, _ := state.Incarnation(f.Node)
		rec := home.Record{Home: f.Home, Time: max(f.Now, state.Now()), Entries: []home.Entry{{Owner: home.Owner{Node: f.Node, Incarnation: n + 1}, N: 1, Ops: []home.Op{op}}}}
		if err := state.Apply(&rec, deafSink{}, func(*home.Entry, int, home.Outcome) {}); err != nil {
			return fmt.Errorf("raise the epoch to %s: %w", f.Epoch, err)
		}
	}
	if now := state.Epoch(); now != f.Epoch {
		return fmt.Errorf("the epoch is %s and not %s", now, f.Epoch)
	}
	return nil
}

// deafSink hears what a record means while nobody is connected.
type deafSink struct{}

func (deafSink) Deliver(home.Delivery)                                                {}
func (deafSink) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (deafSink) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (deafSink) Spooled(home.ID)                                                      {}
func (deafSink) Wanted()                                                              {}
func (deafSink) Dropped(string, home.DropReason, int)                                 {}
