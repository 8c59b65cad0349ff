package simlab

import (
	"strings"
	"sync"
	"time"

	"causeway/internal/store"
)

// disk is a node's disk and what is wrong with it, beside what store.CrashFS can
// do by itself. A crash makes another one.
type disk struct {
	*store.CrashFS

	mu   sync.Mutex
	left int           // operations until then is called; 0: never
	then func()        // before the last of them
	slow time.Duration // of each write and sync of a segment
	hung chan struct{} // closed when it answers again; nil: it does
}

// isSegment says whether a file is one of entries of the home's log. Only its
// operations take time: who does another one may hold a mutex, and who waits for
// a mutex stops the virtual clock.
func isSegment(path string) bool { return inLog(path) && strings.HasSuffix(path, ".wal") }

func newDisk(fs *store.CrashFS) *disk {
	d := &disk{CrashFS: fs}
	fs.BeforeOp(d.before)
	return d
}

// before is called before each operation that changes something.
func (d *disk) before(op store.Op) {
	d.mu.Lock()
	var then func()
	if d.left > 0 {
		if d.left--; d.left == 0 {
			then = d.then
		}
	}
	slow, hung := d.slow, d.hung
	if op.Kind != store.OpSync && op.Kind != store.OpWrite || !isSegment(op.Path) {
		slow, hung = 0, nil
	}
	d.mu.Unlock()
	if then != nil {
		then()
	}
	if hung != nil {
		<-hung
	}
	if slow > 0 {
		time.Sleep(slow)
	}
}

// at has then called before the n-th operation from now.
func (d *disk) at(n int, then func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.then = n, then
}

// Slow makes each write and sync of the log's entries take a time.
func (d *disk) Slow(each time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = each
}

// Hang lets writes and syncs of the log's entries wait until Heal.
func (d *disk) Hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hung == nil {
		d.hung = make(chan struct{})
	}
}

// Heal makes the disk answer, at once and without errors.
func (d *disk) Heal() {
	d.CrashFS.Heal()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = 0
	if d.hung != nil {
		close(d.hung)
		d.hung = nil
	}
}

// release lets go of everything that waits: the disk is nobody's any more.
func (d *disk) release() {
	d.Heal()
	d.at(0, nil)
}

// FailSyncOnce makes the next sync of the home's log fail with err; those after
// it succeed.
func (d *disk) FailSyncOnce(err error) {
	var once sync.Once
	d.FailMatching(func(op store.Op) (fail bool) {
		if op.Kind == store.OpSync && inLog(op.Path) {
			once.Do(func() { fail = true })
		}
		return fail
	}, 0, err)
}
