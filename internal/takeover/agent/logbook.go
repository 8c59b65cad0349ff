package agent

import (
	"context"
	"encoding/base64"
	"fmt"

	"causeway/internal/home"
)

// PromiseLog is a group of the region's core nodes that keeps promises: a home that
// has no devices, is served nowhere else and takes entries without a lease.
type PromiseLog interface {
	// Promised is the highest epoch that was promised under an id, as applied here.
	Promised(id home.ID) home.Epoch
	// Promise commits a home.Promise and returns once it is applied here.
	Promise(ctx context.Context, id home.ID, e home.Epoch) error
	// Sure: see Book.
	Sure(ctx context.Context) error
}

// LogBook is the Book of a region: what is kept of a home is a promise in the log whose
// number counts the changes and whose host is what is kept, as text.
type LogBook struct{ Log PromiseLog }

var _ Book = LogBook{}

var keptText = base64.RawURLEncoding

// Kept reads from the log as applied here.
func (b LogBook) Kept(_ context.Context, id home.ID) (Kept, error) {
	e := b.Log.Promised(id)
	if e == (home.Epoch{}) {
		return Kept{}, nil
	}
	data, err := keptText.DecodeString(e.Host)
	if err != nil {
		return Kept{}, fmt.Errorf("the promise %d about %s: %w", e.Number, id, err)
	}
	return DecodeKept(data)
}

// Keep enters what is kept. Two that keep at once do not lose each other's word: there
// is one voter, and it holds the home's ballot.
func (b LogBook) Keep(ctx context.Context, id home.ID, k Kept) error {
	e := home.Epoch{Number: b.Log.Promised(id).Number + 1, Host: keptText.EncodeToString(k.Encode())}
	if err := b.Log.Promise(ctx, id, e); err != nil {
		return err
	}
	if b.Log.Promised(id) != e { // another leader's was first: it is void
		return fmt.Errorf("%w: another node kept something at once", ErrElsewhere)
	}
	// A node that led once may still bring entries into the log of its successor.
	return b.Log.Sure(ctx)
}

// Sure: see Book.
func (b LogBook) Sure(ctx context.Context) error { return b.Log.Sure(ctx) }
