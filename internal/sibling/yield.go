package sibling

import (
	"context"
	"time"

	"causeway/internal/home"
)

// Yield returns nil when the former owner of a session surely sends nothing more
// for it at epochs below epoch; the package's comment says how that is known. It
// must be called after the Attach that took the session away was applied here.
// Otherwise it returns ctx's error.
func (s *Siblings) Yield(ctx context.Context, former home.Owner, k home.SessionKey, epoch home.SessionEpoch) error {
	if former.Node == s.o.Node || former == (home.Owner{}) {
		return nil // an earlier run of this very node
	}
	lapse := time.NewTimer(s.o.Lapse)
	defer lapse.Stop()
	n := s.node(former.Node)
	if n == nil { // nothing runs
		select {
		case <-lapse.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan struct{})
	n.asked.Add(1)
	number := n.ask(&question{f: frame{kind: kindYield, session: k, epoch: epoch}, run: former.Incarnation, done: func() { close(done) }})
	defer n.take(number)
	select {
	case <-done:
		return nil
	case <-lapse.C:
		n.lapsed.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
