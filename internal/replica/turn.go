package replica

import "context"

// turn is a lock for what may wait for a network or a disk while it is held. Who
// waits for it does not keep a virtual clock from moving, as a mutex would.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) lock()   { t <- struct{}{} }
func (t turn) unlock() { <-t }

func (t turn) tryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// lockIn is lock for who does not wait longer than ctx.
func (t turn) lockIn(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
