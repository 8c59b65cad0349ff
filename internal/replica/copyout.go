package replica

import (
	"context"

	"causeway/internal/home"
)

// Copier is a copy of the state on its way out: all keys and values of one position, whatever
// is applied meanwhile. Close it; it keeps old files of the store from being removed.
type Copier struct{}

// Copy takes a copy of the state for a region. What may not be stored there is left out.
// Errors: ErrStopped, ErrNotLeader; a home that does not exist yet has no copy.
func (r *Replica) Copy(ctx context.Context, to string) (*Copier, error) { return nil, errNotYet }

// Position is where the copy was taken: what follows it is Tail's.
func (c *Copier) Position() home.CopyPosition { return home.CopyPosition{} }

// Next returns what follows a key, nil for all, as a chunk for CopySink.Put of about maxBytes,
// and the last key in it. An empty chunk says that there is nothing more.
func (c *Copier) Next(after []byte, maxBytes int) (chunk, last []byte, err error) {
	return nil, nil, errNotYet
}

// Close lets the copy go. It may be called more than once.
func (c *Copier) Close() {}
