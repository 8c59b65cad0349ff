package replica

import (
	"context"
	"fmt"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// reader is the role of a copy that was retired: it is read, and nothing else.
type reader struct {
	*Replica
	store *store.Store
}

// OpenRetired opens one for reading: State, Body and SpoolRun answer as they did, Propose
// fails with ErrStandby, Leads says yes, since each node has its own. Of Options it needs Home, Node, FS,
// Logger and Store. Close it.
func OpenRetired(opts Options, c RetiredCopy) (*Replica, error) {
	opts = opts.withDefaults()
	r := &reader{Replica: newReplica(opts)}
	r.role = r
	o := opts.Store
	o.Logger, o.OnFatal = r.log, r.fail
	var err error
	if r.store, err = store.Open(opts.FS, c.Dir, o); err != nil {
		return nil, fmt.Errorf("open the retired copy of home %s in %s: %w", opts.Home, c.Dir, err)
	}
	r.state, err = home.Load(func(fn func(key, value []byte) error) error { return r.store.Scan(nil, fn) })
	if err == nil && r.state.Position() != c.Position {
		err = fmt.Errorf("it is at %+v, and was kept at %+v", r.state.Position(), c.Position)
	}
	if err != nil {
		_ = r.store.Close()
		return nil, fmt.Errorf("load the retired copy of home %s in %s: %w", opts.Home, c.Dir, err)
	}
	r.begin(r.state, r.store.Applied(), r.state.Now(), r.store.Applied().Index)
	r.hosting.Store(false)
	return r.Replica, nil
}

func (r *reader) body(seq home.Seq) (home.Message, error) {
	return bodyIn(r.store, r.opts.Home, seq)
}

func (r *reader) spoolRun(key []byte) ([]home.Spooled, error) { return r.runIn(r.store, key) }

func (r *reader) leader() (home.NodeID, bool) { return r.opts.Node, true }
func (*reader) leads() bool                   { return false }
func (*reader) inOffice() bool                { return true }
func (r *reader) reached(index uint64) bool   { return r.fsm.index.Load() >= index }
func (r *reader) superseded() home.Epoch      { return home.Epoch{} }
func (*reader) unwell() string                { return "" }
func (*reader) staleness() string             { return "it is kept for reading" }
func (r *reader) explain(err error) error     { return store.ExplainDiskError(r.opts.FS, r.opts.Dir, err) }
func (*reader) take([]home.Entry)             {}
func (*reader) applied(uint64)                {}
func (*reader) appliedMore()                  {}
func (*reader) recorded(_, _ uint64)          {}
func (*reader) host()                         {}
func (*reader) standBy()                      {}
func (*reader) figures(*Stats)                {}
func (*reader) handOver()                     {}

func (*reader) sure(time.Time) (uint64, time.Time, bool) { return 0, time.Time{}, false }

func (*reader) change(context.Context, string, home.NodeID, bool) error {
	return refuse("this copy is kept for reading")
}

func (*reader) group(context.Context) (uint64, []Server, error) { return 0, nil, nil }

func (r *reader) close() error {
	r.handBack(ErrStopped)
	return r.store.Close()
}
