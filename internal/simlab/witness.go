package simlab

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"causeway/internal/app"
	"causeway/internal/config"
	"causeway/internal/store"
)

// Witness is a voter that is no region, over all its lives.
type Witness struct {
	// fixed after New
	Name string
	lab  *Lab
	id   *identity
	addr *net.UDPAddr
	wall *wall
	cfg  *config.Config

	mu    sync.Mutex
	fs    *store.CrashFS
	plug  *plug // of the life that is; nil: it is down
	end   context.CancelFunc
	ended chan struct{}
}

// witnessNet is the third octet of the first witness's address.
const witnessNet = 200

func (l *Lab) newWitness(name string, ca *authority) (err error) {
	w := &Witness{Name: name, lab: l, addr: &net.UDPAddr{IP: net.IPv4(10, 0, byte(witnessNet+len(l.witnesses)), 1), Port: linkPort}, fs: store.NewCrashFS(), wall: newWall()}
	l.Net.names[w.addr.IP.String()] = name
	if w.id, err = ca.issue(name, name+"-1"); err != nil {
		return err
	}
	l.witnesses = append(l.witnesses, w)
	return nil
}

// begin configures the witness and makes its directory.
func (w *Witness) begin() error {
	c := config.Default()
	c.Region, c.DataDir = w.Name, "/data"
	w.lab.opt.Takeover.configure(w.lab, c)
	w.cfg = c
	if err := app.InitWitness(w.fs, c); err != nil {
		return err
	}
	return w.Start()
}

// Start starts the witness from its disk. It does nothing when it runs.
func (w *Witness) Start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plug != nil || w.lab.stopped() {
		return nil
	}
	p := &plug{net: w.lab.Net}
	v, err := app.NewWitness(app.Options{Config: w.cfg, Logger: w.lab.log.logger(), FS: w.fs, LinkIdentity: w.id, Pace: w.wall.pace(),
		ListenLinks: func() (net.PacketConn, error) { return p.listen(w.addr), nil }})
	if err != nil {
		return fmt.Errorf("start witness %s: %w", w.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	w.plug, w.end, w.ended = p, cancel, ended
	w.lab.lives.Go(func() {
		defer close(ended)
		if err := v.Run(ctx); err != nil && !p.pulled.Load() {
			w.lab.log.note(w.Name, err.Error())
		}
	})
	return nil
}

// Crash is kill -9 and loss of power.
func (w *Witness) Crash() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plug == nil {
		return
	}
	w.plug.pulled.Store(true)
	w.fs = w.fs.Crash()
	w.end()
	w.plug = nil
	w.lab.log.note(w.Name, "crash")
}

// Stop stops it gracefully.
func (w *Witness) Stop() {
	w.mu.Lock()
	p, ended := w.plug, w.ended
	w.plug = nil
	if p != nil {
		w.end()
	}
	w.mu.Unlock()
	if p != nil {
		<-ended
		p.pulled.Store(true)
	}
}

// lose crashes a witness for a while.
func (l *Lab) loseWitness(w *Witness, down time.Duration) {
	w.Crash()
	l.after(down, func() {
		if err := w.Start(); err != nil {
			l.log.note(w.Name, err.Error())
		}
	})
}
