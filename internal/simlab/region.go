package simlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"causeway/internal/app"
	"causeway/internal/config"
	"causeway/internal/store"
)

// linkPort is where all regions listen for links, each at its own address.
const linkPort = 7444

// listener is the name of the nodes' only device listener.
const listener = "devices"

// Region is a region of one node. Its methods may be called from any goroutine;
// Crash also from the disk's hook.
type Region struct {
	// fixed after New
	Name string
	lab  *Lab
	id   *identity
	addr *net.UDPAddr
	cfg  *config.Config

	mu   sync.Mutex
	disk *store.CrashFS // of the life that is, or for the next one
	life *life          // nil while the node is down
}

// life is one run of a region's node.
type life struct {
	app    *app.App
	plug   *plug
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run; after ended
	lines  map[*line]struct{}
}

// errDown is what Dial says of a node that is not there.
var errDown = errors.New("the node is down")

// Start starts the node from its disk. It does nothing when it runs, or when the
// lab has stopped.
func (r *Region) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life != nil || r.lab.stopped() {
		return nil
	}
	l := &life{plug: &plug{net: r.lab.Net}, ended: make(chan struct{}), lines: map[*line]struct{}{}}
	if r.lab.opt.Lying {
		r.disk.IgnoreSyncs(inLog)
	}
	a, err := app.New(app.Options{Config: r.cfg, Logger: r.lab.log.logger(), FS: r.disk, LinkIdentity: r.id, NoAdmin: true,
		ListenLinks: func() (net.PacketConn, error) { return l.plug.listen(r.addr), nil },
		Replica:     func(o *app.ReplicaOptions) { r.lab.sizes(o) }})
	if err != nil {
		return fmt.Errorf("start region %s: %w", r.Name, err)
	}
	l.app = a
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	r.life = l
	r.lab.lives.Go(func() {
		l.err = a.Run(ctx)
		close(l.ended)
		if ctx.Err() == nil {
			r.exited(l)
		}
	})
	return nil
}

// restartIn is how long after its end a node is started again that ended by
// itself, as systemd would.
const restartIn = time.Second

// exited notes that a life ended by itself, as on a disk that is full at the
// start, and sees to the next one.
func (r *Region) exited(l *life) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life != l {
		return
	}
	r.life = nil
	l.plug.pulled.Store(true)
	r.lab.log.note(r.Name, fmt.Sprintf("the node exited: %v", l.err))
	r.lab.after(restartIn, func() { r.lab.start(r.Name) })
}

// Crash is kill -9 and loss of power: first nobody hears the node any more, then
// its disk is what was synced. What runs is ended in the background.
func (r *Region) Crash() { r.crash(r.Disk(), (*store.CrashFS).Crash) }

// CrashKeeping is Crash on a disk that had written some of what was not synced:
// each block with a chance of percent, drawn from seed.
func (r *Region) CrashKeeping(seed uint64, percent int) {
	r.crash(r.Disk(), func(fs *store.CrashFS) *store.CrashFS { return fs.CrashKeeping(seed, percent) })
}

// crash ends the life that runs on a disk, if it still does.
func (r *Region) crash(disk *store.CrashFS, lose func(*store.CrashFS) *store.CrashFS) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.life
	if l == nil || r.disk != disk {
		return
	}
	r.life = nil
	l.plug.pulled.Store(true)
	for line := range l.lines {
		line.cut()
	}
	r.disk = lose(disk)
	disk.BeforeOp(nil)
	l.cancel()
	r.lab.log.note(r.Name, "crash")
}

// CrashAtOp crashes the node just before its n-th disk operation from now (sync,
// write, rename and so on). It returns a channel that is closed then.
func (r *Region) CrashAtOp(n int) <-chan struct{} {
	crashed := make(chan struct{})
	disk := r.Disk()
	var mu sync.Mutex
	disk.BeforeOp(func(store.Op) {
		mu.Lock()
		n--
		now := n == 0
		mu.Unlock()
		if now {
			r.crash(disk, (*store.CrashFS).Crash)
			close(crashed)
		}
	})
	return crashed
}

// Stop stops the node gracefully and returns what its Run did.
func (r *Region) Stop() error {
	r.mu.Lock()
	l := r.life
	r.life = nil
	r.mu.Unlock()
	if l == nil {
		return nil
	}
	l.cancel()
	<-l.ended
	return l.err
}

// Disk is the region's disk as it is now. A crash replaces it.
func (r *Region) Disk() *store.CrashFS {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disk
}

// App is the running node, or nil.
func (r *Region) App() *app.App {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life == nil {
		return nil
	}
	return r.life.app
}

// Ready says whether the node serves devices, and if not, why.
func (r *Region) Ready() (bool, string) {
	if a := r.App(); a != nil {
		return a.Ready()
	}
	return false, errDown.Error()
}

// dial connects a device.
func (r *Region) dial() (*line, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.life
	if l == nil {
		return nil, errDown
	}
	line := newLine(r.lab.lineDelay)
	l.lines[line] = struct{}{}
	r.lab.lives.Go(func() { // both pipes are closed when either is
		line.wg.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(l.lines, line)
	})
	if err := l.app.Broker().ServeConn(line.node(), listener); err != nil {
		line.cut()
		return nil, fmt.Errorf("connect to %s: %w", r.Name, err)
	}
	return line, nil
}

// inLog says whether a file is one of the home's log.
func inLog(path string) bool { return strings.Contains(path, "/log/") }

// FailSyncOnce makes the next sync of the home's log fail with err; those after
// it succeed.
func (r *Region) FailSyncOnce(err error) {
	var once sync.Once
	r.Disk().FailMatching(func(op store.Op) (fail bool) {
		if op.Kind == store.OpSync && inLog(op.Path) {
			once.Do(func() { fail = true })
		}
		return fail
	}, 0, err)
}
