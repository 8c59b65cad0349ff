package simlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/app"
	"causeway/internal/cluster/wires"
	"causeway/internal/config"
	"causeway/internal/replica"
	"causeway/internal/store"
)

// linkPort is where all nodes listen for links, each at its own address.
const linkPort = 7444

// listener is the name of the nodes' only device listener.
const listener = "devices"

// Node is a core node of a region, over all its lives and disks. Its methods may
// be called from any goroutine; Crash also from the disk's hook.
type Node struct {
	// fixed after New
	Name   string
	lab    *Lab
	region *Region
	id     *identity
	addr   *net.UDPAddr
	port   *wires.Node // towards the other nodes of the region
	wall   *wall

	silent atomic.Bool // its machine has no power: what is sent to it is lost

	mu   sync.Mutex
	cfg  *config.Config // of the next life
	disk *disk          // of the life that is, or for the next one
	life *life          // nil while the node is down
}

// life is one run of a node.
type life struct {
	app    *app.App
	plug   *plug
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run; after ended
	lines  map[*line]struct{}
}

// errDown is what a dial says of a node that is not there.
var errDown = errors.New("the node is down")

// Start starts the node from its disk. It does nothing when it runs, or when the
// lab has stopped.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != nil || n.lab.stopped() {
		return nil
	}
	if n.silent.Swap(false) {
		n.region.rejoin(n)
	}
	if len(n.region.nodes) == 1 {
		n.wall.boots()
	}
	l := &life{plug: &plug{Node: n.port, net: n.lab.Net}, ended: make(chan struct{}), lines: map[*line]struct{}{}}
	if n.lab.opt.Lying {
		n.disk.IgnoreSyncs(inLog)
	}
	a, err := app.New(app.Options{Config: n.cfg, Logger: n.lab.log.logger(), FS: n.disk.CrashFS, LinkIdentity: n.id, NodeIdentity: n.id,
		Cluster: l.plug, NoAdmin: true, Wall: n.wall.now, Pace: n.wall.pace(),
		ListenLinks: func() (net.PacketConn, error) { return l.plug.listen(n.addr), nil },
		Replica:     func(o *app.ReplicaOptions) { n.lab.sizes(o) }})
	if err != nil {
		return fmt.Errorf("start node %s: %w", n.Name, err)
	}
	l.app = a
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	n.life = l
	n.lab.lives.Go(func() {
		l.err = a.Run(ctx)
		close(l.ended)
		if ctx.Err() == nil {
			n.exited(l)
		}
	})
	return nil
}

// restartIn is how long after its end a node is started again that ended by
// itself, as systemd would.
const restartIn = time.Second

// exited notes that a life ended by itself, as on a disk that is full at the
// start, and sees to the next one.
func (n *Node) exited(l *life) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != l {
		return
	}
	n.part(l)
	n.lab.log.note(n.Name, fmt.Sprintf("the node exited: %v", l.err))
	n.lab.after(restartIn, func() { n.lab.start(n) })
}

// part ends what the world hears of a life. mu is held.
func (n *Node) part(l *life) {
	n.life = nil
	l.plug.pulled.Store(true)
	n.region.wires.Kill(n.Name)
	for line := range l.lines {
		if n.silent.Load() {
			line.lose(checksBad * checkEvery) // until the balancer notices
		} else {
			line.cut()
		}
	}
}

// Crash is kill -9 and loss of power: first nobody hears the node any more, then
// its disk is what was synced. What runs is ended in the background.
func (n *Node) Crash() { n.crash(n.Disk(), (*store.CrashFS).Crash) }

// CrashKeeping is Crash on a disk that had written some of what was not synced:
// each block with a chance of percent, drawn from seed.
func (n *Node) CrashKeeping(seed uint64, percent int) {
	n.crash(n.Disk(), func(fs *store.CrashFS) *store.CrashFS { return fs.CrashKeeping(seed, percent) })
}

// Vanish is Crash of the whole machine: nobody is told, connections with it stay
// half-open, and what is sent to it is lost, until it is started again.
func (n *Node) Vanish() {
	n.silent.Store(true)
	n.region.Cut(n)
	n.Crash()
}

// Wipe is Crash and the loss of the disk.
func (n *Node) Wipe() {
	n.crash(n.Disk(), func(*store.CrashFS) *store.CrashFS { return store.NewCrashFS() })
}

// crash ends the life that runs on a disk, if it still does.
func (n *Node) crash(d *disk, lose func(*store.CrashFS) *store.CrashFS) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.disk != d {
		return
	}
	l := n.life
	if l != nil {
		n.part(l)
	}
	n.disk = newDisk(lose(d.CrashFS))
	d.release()
	if l != nil {
		l.cancel()
		n.lab.log.note(n.Name, "crash")
	}
}

// CrashAtOp crashes the node just before its n-th disk operation from now (sync,
// write, rename and so on). It returns a channel that is closed then.
func (n *Node) CrashAtOp(op int) <-chan struct{} {
	crashed := make(chan struct{})
	d := n.Disk()
	d.at(op, func() {
		n.crash(d, (*store.CrashFS).Crash)
		close(crashed)
	})
	return crashed
}

// Stop stops the node gracefully and returns what its Run did.
func (n *Node) Stop() error {
	n.mu.Lock()
	l := n.life
	n.life = nil
	n.mu.Unlock()
	if l == nil {
		return nil
	}
	l.cancel()
	<-l.ended
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil { // what is left of it reaches nobody
		l.plug.pulled.Store(true)
		n.region.wires.Kill(n.Name)
	}
	return l.err
}

// Configure changes the configuration that the next life begins with.
func (n *Node) Configure(change func(*config.Config)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := *n.cfg
	change(&c)
	n.cfg = &c
}

// Disk is the node's disk as it is now. A crash replaces it.
func (n *Node) Disk() *disk {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.disk
}

// App is the running node, or nil.
func (n *Node) App() *app.App {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return nil
	}
	return n.life.app
}

// Replica is the node's copy of the home, or nil.
func (n *Node) Replica() *replica.Replica {
	if a := n.App(); a != nil {
		return a.Replica()
	}
	return nil
}

// Leads says that the node leads its region's home.
func (n *Node) Leads() bool {
	r := n.Replica()
	return r != nil && r.Leads()
}

// Ready says whether the node serves devices, and if not, why.
func (n *Node) Ready() (bool, string) {
	if a := n.App(); a != nil {
		return a.Ready()
	}
	return false, errDown.Error()
}

// dial connects a device.
func (n *Node) dial() (*line, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.life
	if l == nil {
		return nil, errDown
	}
	line := newLine(n.lab.lineDelay)
	l.lines[line] = struct{}{}
	n.lab.lives.Go(func() { // both pipes are closed when either is
		line.wg.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(l.lines, line)
	})
	if err := l.app.Broker().ServeConn(line.node(), listener); err != nil {
		line.cut()
		return nil, fmt.Errorf("connect to %s: %w", n.Name, err)
	}
	return line, nil
}

// cutLines breaks the connections of all devices.
func (n *Node) cutLines() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return
	}
	for line := range n.life.lines {
		line.cut()
	}
}

// inLog says whether a file is one of the home's log.
func inLog(path string) bool { return strings.Contains(path, "/log/") }
