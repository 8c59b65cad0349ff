package app

import (
	"errors"
	"sync"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
)

// dataDir is the node's data directory. The copies of homes share it: it is open
// while one of them is.
type dataDir struct {
	a *App

	mu    sync.Mutex
	dir   *store.Dir // nil while nobody has it; guarded by mu
	users int        // guarded by mu
}

var errNoDir = errors.New("the data directory is not open")

// open returns the directory and an incarnation that no run of a home on this
// disk has had. Who called must call close.
func (d *dataDir) open() (*store.Dir, home.Incarnation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg := d.a.cfg
	if d.dir == nil {
		dir, err := store.OpenDir(d.a.opts.FS, cfg.DataDir, store.Identity{Region: cfg.Region, Node: cfg.Node})
		if err != nil {
			return nil, 0, err
		}
		d.dir = dir
	} else if err := d.dir.RaiseIncarnation(d.dir.Incarnation() + 1); err != nil {
		return nil, 0, err
	}
	d.users++
	return d.dir, home.Incarnation(d.dir.Incarnation()), nil
}

// home makes sure of the folder of a home's copy.
func (d *dataDir) home(folder string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dir.Home(folder)
}

// path is where a folder of the directory is.
func (d *dataDir) path(folder string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return "", errNoDir
	}
	return d.dir.FS().PathJoin(d.dir.Path(), folder), nil
}

func (d *dataDir) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users--; d.users > 0 {
		return nil
	}
	dir := d.dir
	d.dir = nil
	return dir.Close()
}

// raise makes the incarnation of the run that asks at least n. It is one that no
// other home's run has, either.
func (d *dataDir) raise(n home.Incarnation) (home.Incarnation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return 0, errNoDir
	}
	err := d.dir.RaiseIncarnation(max(uint64(n), d.dir.Incarnation()+1))
	return home.Incarnation(d.dir.Incarnation()), err
}

// setAside makes the disk count as wiped, with the copy of a home that has lost
// something.
func (d *dataDir) setAside(folder, why string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dir.SetAside(folder, why)
}

// self says who this run of the node is.
func (d *dataDir) self() (cluster.Self, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return cluster.Self{}, errNoDir
	}
	self := cluster.Self{Incarnation: d.dir.Incarnation(), Features: home.MaxLevel}
	if !d.a.replicant() {
		self.Disk = string(d.dir.DiskUUID()) // what a vote belongs to
	}
	return self, nil
}
