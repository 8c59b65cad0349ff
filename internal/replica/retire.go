package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
)

// A retired copy is a checkpoint of the state, in the home's folder, with a note beside it:
//
//	retired-<epoch>/          the state as it was
//	retired-<epoch>.json      what it is
//	RETIRED                   the epoch that superseded the copy there is
const (
	retiredPrefix = "retired-"
	retiredNote   = ".json"
	retiredFile   = "RETIRED"
)

// Retire ends the service of a copy that another region's epoch has superseded: the leader
// does it. The region's copy stands by from then on, and what it held is kept beside it on
// each core node, read only, until RemoveRetired. Done twice it does nothing more. Errors:
// *RefusedError for an epoch that is not above the one in force; ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) Retire(ctx context.Context, by home.Epoch) error {
	c, ok := r.role.(*core)
	switch {
	case !ok || !r.Leads():
		return ErrNotLeader
	case by.Compare(r.state.Epoch()) <= 0:
		return refuse("epoch %s is not above this copy's, which is %s", by, r.state.Epoch())
	case by.Host == r.opts.Region:
		return refuse("epoch %s is this region's own", by)
	case by.Compare(c.superseded()) <= 0:
		return nil
	}
	b, err := json.Marshal(by)
	if err != nil {
		return err
	}
	return c.commit(ctx, raft.Log{Extensions: []byte{extRetire}, Data: b})
}

// Superseded says for which epoch this copy was retired, if it was and has not been
// replaced since.
func (r *Replica) Superseded() (by home.Epoch, ok bool) {
	by = r.role.superseded()
	return by, by.Number > 0 && by.Compare(r.state.Epoch()) > 0
}

// retire applies an entry: what is applied before it is kept.
func (r *core) retire(at store.Position, data []byte) error {
	var by home.Epoch
	if err := json.Unmarshal(data, &by); err != nil {
		return r.stopAt(at, err)
	}
	if by.Compare(r.state.Epoch()) <= 0 || by.Compare(r.superseded()) <= 0 {
		return nil
	}
	if err := r.keepRetired(by); err != nil {
		return r.stopAt(at, err)
	}
	r.retiredBy.Store(&by)
	return nil
}

// keepRetired makes the checkpoint, and notes that this copy is superseded. Cut short it is done
// again, since the entry is.
func (r *core) keepRetired(by home.Epoch) error {
	fs := r.opts.FS
	if e := r.state.Epoch(); r.state.ID() != "" && r.superseded().Compare(e) <= 0 { // later ones supersede the same state
		if err := r.flush(); err != nil {
			return err
		}
		c := RetiredCopy{Position: r.state.Position(), By: by, Dir: r.path(fmt.Sprintf("%s%d-%s", retiredPrefix, e.Number, e.Host))}
		if err := errors.Join(fs.RemoveAll(c.Dir), RemoveRetired(fs, c)); err != nil {
			return err
		}
		if _, err := r.store.Checkpoint(c.Dir); err != nil {
			return err
		}
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if err := store.WriteFileAtomic(fs, r.opts.Dir, fs.PathBase(c.Dir)+retiredNote, b); err != nil {
			return err
		}
	}
	b, err := json.Marshal(by)
	if err != nil {
		return err
	}
	return store.WriteFileAtomic(fs, r.opts.Dir, retiredFile, b)
}

// loadMarks reads what earlier runs found out about this copy.
func (r *core) loadMarks() error {
	fs := r.opts.FS
	b, err := store.ReadFile(fs, r.path(quarantineFile), maxControl)
	if err == nil {
		why := strings.TrimSpace(string(b))
		r.quarantine.Store(&why)
	} else if !store.IsNotExist(err) {
		return err
	}
	b, err = store.ReadFile(fs, r.path(retiredFile), maxControl)
	if store.IsNotExist(err) {
		return nil
	}
	var by home.Epoch
	if err == nil {
		err = json.Unmarshal(b, &by)
	}
	if err != nil {
		return fmt.Errorf("read which epoch has superseded this copy: %w", err)
	}
	r.retiredBy.Store(&by)
	return nil
}

// RetiredCopy is a copy that was set aside since its epoch was superseded.
type RetiredCopy struct {
	Position home.CopyPosition // where it ends
	By       home.Epoch        // the epoch that superseded it
	Dir      string
}

// Retired lists the copies kept in a home's folder, oldest first.
func Retired(fs store.FS, dir string) (list []RetiredCopy, err error) {
	names, err := store.List(fs, dir)
	if store.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, retiredPrefix) || !strings.HasSuffix(name, retiredNote) {
			continue
		}
		b, err := store.ReadFile(fs, fs.PathJoin(dir, name), maxControl)
		var c RetiredCopy
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", fs.PathJoin(dir, name), err)
		}
		c.Dir = fs.PathJoin(dir, strings.TrimSuffix(name, retiredNote)) // the folder may have been moved
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b RetiredCopy) int { return a.Position.Epoch.Compare(b.Position.Epoch) })
	return list, nil
}

// RemoveRetired removes one that was reconciled. It must not be open.
func RemoveRetired(fs store.FS, c RetiredCopy) error {
	if err := fs.Remove(c.Dir + retiredNote); err != nil && !store.IsNotExist(err) {
		return err
	}
	if err := store.SyncDir(fs, fs.PathDir(c.Dir)); err != nil {
		return err
	}
	return fs.RemoveAll(c.Dir)
}
