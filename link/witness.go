package link

import "context"

// WitnessOptions of a Witness.
type WitnessOptions struct {
	EndpointOptions
	Peers []Peer // for calls alone; with Dial if the witness dials
	// Answer is that of Options.
	Answer func(ctx context.Context, region string, kind byte, request []byte) ([]byte, error)
}

// Witness is a node without a home. It takes tunnels, and dials them if told, for calls
// alone, which it answers.
type Witness struct {
	e *Endpoint
	m *Manager
}

// NewWitness returns a Witness. It opens nothing before Run.
func NewWitness(o WitnessOptions) (*Witness, error) { return nil, errNotYet }

// Run opens the sockets and serves calls until ctx ends, which is not an error.
func (w *Witness) Run(ctx context.Context) error { return errNotYet }

// Call is Manager.Call.
func (w *Witness) Call(ctx context.Context, region string, kind byte, request []byte) ([]byte, error) {
	return w.m.Call(ctx, region, kind, request)
}

// Status describes the tunnels, by region.
func (w *Witness) Status() []Status { return w.m.Status() }
