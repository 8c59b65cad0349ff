package link

import (
	"context"
	"errors"
)

// WitnessOptions of a Witness.
type WitnessOptions struct {
	EndpointOptions
	Peers  []Peer // for calls alone; with Dial if the witness dials
	Answer Answerer
}

// Witness is a node without a home. It takes tunnels, and dials them if told, for calls
// alone, which it answers and makes.
type Witness struct{ m *Manager }

// NewWitness returns a Witness. It opens nothing before Run.
func NewWitness(o WitnessOptions) (*Witness, error) {
	if o.Answer == nil {
		return nil, errors.New("link: Answer must be set")
	}
	for i := range o.Peers {
		if !o.Peers[i].Calls {
			return nil, errors.New("link: a witness has no home, and peers for calls alone: set Calls")
		}
	}
	e, err := NewEndpoint(o.EndpointOptions)
	if err != nil {
		return nil, err
	}
	m, err := newManager(e, Options{Peers: o.Peers, Answer: o.Answer, Logger: o.Logger, Role: func() Role { return RoleWitness }})
	if err != nil {
		return nil, err
	}
	return &Witness{m}, nil
}

// Run opens the sockets and serves calls until ctx ends, which is not an error. It may be
// called again after it returned.
func (w *Witness) Run(ctx context.Context) error { return w.m.RunWithEndpoint(ctx) }

// Reconfigure is Manager.Reconfigure.
func (w *Witness) Reconfigure(peers []Peer) error { return w.m.Reconfigure(peers) }

// Call is Manager.Call.
func (w *Witness) Call(ctx context.Context, region string, kind byte, request []byte) ([]byte, error) {
	return w.m.Call(ctx, region, kind, request)
}

// Endpoint is what its tunnels begin and end at.
func (w *Witness) Endpoint() *Endpoint { return w.m.ep }

// Status describes the tunnels, by region.
func (w *Witness) Status() []Status { return w.m.Callers() }
