package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/store"
	"causeway/internal/takeover"
	"causeway/internal/takeover/agent"
	"causeway/internal/takeover/ledger"
	"causeway/link"
)

// Witness is a voter that hosts nothing: its promises on a disk, and tunnels to be asked
// through.
type Witness struct {
	a      *App // its configuration, certificates and sockets; nothing of it runs
	ledger *ledger.Ledger
	votes  *agent.Votes
	calls  *link.Witness
}

// InitWitness begins the data directory of a new witness.
func InitWitness(fs store.FS, cfg *config.Config) error {
	return ledger.Init(fs, cfg.DataDir, cfg.Region)
}

// NewWitness opens the directory that InitWitness began. Run closes it.
func NewWitness(o Options) (_ *Witness, err error) {
	if o.FS == nil {
		o.FS = store.DiskFS()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &App{opts: o, cfg: o.Config, log: o.Logger.With("witness", o.Config.Region)}
	if err := a.newIdentities(); err != nil {
		return nil, err
	}
	w := &Witness{a: a}
	if w.ledger, err = ledger.Open(o.FS, a.cfg.DataDir, a.cfg.Region); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.ledger.Close())
		}
	}()
	w.votes, err = agent.NewVotes(agent.VotesOptions{Name: a.cfg.Region, Book: w.ledger, Terms: takeover.Terms{Lease: a.cfg.Takeover.Lease, Hold: a.cfg.Takeover.Hold},
		Hosts: func(id home.ID) []string { return a.cfg.Hosts(string(id)) }, Logger: a.log, Pace: a.opts.Pace})
	if err != nil {
		return nil, err
	}
	if w.calls, err = w.newCalls(); err != nil {
		return nil, err
	}
	a.endpoint = w.calls.Endpoint()
	return w, nil
}

func (w *Witness) newCalls() (*link.Witness, error) {
	a := w.a
	eo := link.EndpointOptions{Region: a.cfg.Region, Software: a.opts.Build.Version, Identity: a.opts.LinkIdentity, Listen: a.opts.ListenLinks, Logger: a.log.With("component", "link")}
	if eo.Identity == nil {
		eo.Identity = a.certs
	}
	if eo.Listen == nil {
		eo.Listen = a.listenLinks
		if a.cfg.Link.ListenTCP != "" {
			eo.ListenTCP = a.listenLinksTCP
		}
	}
	var err error
	if eo.ResetKey, err = a.certs.resetKey(); err != nil {
		return nil, err
	}
	wo := link.WitnessOptions{EndpointOptions: eo, Answer: func(_ context.Context, region string, kind byte, request []byte) ([]byte, error) {
		return w.votes.Answer(region, kind, request)
	}}
	for _, r := range a.cfg.Regions {
		if r.Name != a.cfg.Region && !r.Witness && !r.Leaf {
			wo.Peers = append(wo.Peers, link.Peer{Region: r.Name, Calls: true, Dial: r.Dial})
		}
	}
	return link.NewWitness(wo)
}

// Run answers until ctx ends.
func (w *Witness) Run(ctx context.Context) error {
	if err := w.votes.Start(ctx); err != nil {
		return errors.Join(err, w.ledger.Close())
	}
	w.a.log.Info("the witness answers", "disk", w.ledger.Disk(), "hold", w.a.cfg.Takeover.Hold, "regions", len(w.a.cfg.Regions)-1)
	ctx, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	if w.a.certs.mesh != nil { // both end with ctx
		watched.Go(func() { _ = w.a.certs.watch(ctx) })
		watched.Go(func() { _ = w.a.certs.work(ctx) })
	}
	err := w.calls.Run(ctx)
	stop()
	watched.Wait()
	w.votes.Stop()
	if err != nil {
		err = fmt.Errorf("the witness %s: %w", w.a.cfg.Region, err)
	}
	return errors.Join(err, w.ledger.Close())
}
