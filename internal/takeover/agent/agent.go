package agent

import (
	"context"
	"errors"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// Agent is at work while Run runs: on the node that leads the group of the Book.
type Agent struct {
	o Options
}

// New checks the options.
func New(o Options) (*Agent, error) { return nil, errNotYet }

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) error { return errNotYet }

// Leased says whether the region may serve the home now: what replica.Options.Lease
// of the copy asks. It is cheap and may be called from any goroutine; false while Run does not run.
func (a *Agent) Leased(id home.ID) bool { return false }

// Standing is whether the region serves the home, and if not, why.
func (a *Agent) Standing(id home.ID) takeover.Standing { return takeover.Starting }

// Heard notes that a region said that it serves the home at an epoch, in a tunnel's
// hello for example. A hosted home of a lower epoch is fenced at once.
func (a *Agent) Heard(id home.ID, inForce home.Epoch) {}

// Inherit says that this node, in this life of its process, knew the copy to be served
// at the epoch: it was fresh. A node that becomes leader goes on with an epoch that was
// confirmed; only after a full stop is it to be confirmed anew. [E2]
func (a *Agent) Inherit(id home.ID, e home.Epoch) {}

// FallShort tells the voters that the home acknowledges, or no more, what its standbys
// lack. It returns nil once a majority keeps that: only then the first such PUBACK may be sent. [E13]
func (a *Agent) FallShort(ctx context.Context, id home.ID, record uint64, on bool) error {
	return errNotYet
}

// Votes answers for a voter.
type Votes struct{}

// NewVotes checks the options.
func NewVotes(o VotesOptions) (*Votes, error) { return nil, errNotYet }

// Start loads the book; before that Answer refuses. It is called each time this node
// becomes the region's voter, and begins another run: what was promised in the last one
// may still be relied on. Stop ends it.
func (v *Votes) Start(ctx context.Context) error { return errNotYet }

// Stop refuses from now on.
func (v *Votes) Stop() {}

// Answer answers a request that came from a region. It is what link.Options.Answer
// calls for Kind.
func (v *Votes) Answer(region string, kind byte, request []byte) ([]byte, error) {
	return nil, errNotYet
}

var errNotYet = errors.New("not yet")
