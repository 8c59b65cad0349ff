package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"

	"causeway/internal/group"
)

// Service is something with a life. Run blocks until ctx ends or the service cannot go on, waits
// for every goroutine it started, and cleans up. It may be called again after it returned, so it
// begins by repairing what a crash left.
//
// What Run returns while ctx is alive decides what happens next: ErrDone ends the service for
// good, a Fatal ends the tree, anything else (nil too, since nobody asked it to stop) is a failure
// and the service is started again after its back-off.
type Service interface {
	Run(ctx context.Context) error
}

// Func is a function as a Service.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// ErrDone is returned by a service that has nothing left to do; it is not started again.
var ErrDone = errors.New("nothing left to do")

// Fatal wraps an error that starting again would not repair. A tree inside a tree passes it on.
type Fatal struct{ Err error }

// Error is the text of the wrapped error.
func (f *Fatal) Error() string { return f.Err.Error() }

// Unwrap gives errors.Is and errors.As the wrapped error.
func (f *Fatal) Unwrap() error { return f.Err }

// Options configure a Tree; zero fields take the defaults named.
type Options struct {
	// Logger hears of failures, restarts and services that do not stop. Default slog.Default().
	Logger *slog.Logger
	// Backoff spaces the restarts of each service.
	Backoff Backoff
	// StopTimeout is how long each service may take to stop before it is left behind. Default 10s.
	StopTimeout time.Duration
}

// Tree runs named services. It is itself a Service.
type Tree struct {
	// fixed after New
	log         *slog.Logger
	backoff     Backoff
	stopTimeout time.Duration

	mu        sync.Mutex
	entries   []*entry // in the order of Add
	parts     []*entry // of Keep
	contained []*entry // of Crashed
	root      *suture.Supervisor
	fatal     chan error // of the Run that is going on
	stopping  bool
}

// New returns an empty tree.
func New(o Options) *Tree {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = 10 * time.Second
	}
	return &Tree{log: o.Logger, backoff: o.Backoff.withDefaults(), stopTimeout: o.StopTimeout}
}

// Add puts a service under supervision: it starts at once when the tree runs, otherwise with the
// tree. The name is a label of metrics; it must be unused, and the tree must not be stopping.
func (t *Tree) Add(name string, s Service) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return fmt.Errorf("start service %s: the tree is stopping", name)
	}
	if t.find(name) != nil {
		return fmt.Errorf("start service %s: a service of that name is already there", name)
	}
	e := newEntry(t, name, s)
	t.entries = append(t.entries, e)
	if t.root != nil {
		e.launch(t.root, t.fatal)
	}
	return nil
}

// Remove stops a service, waits for it (at most the StopTimeout) and forgets it. An unknown name
// is no error: the service is not there, as asked.
func (t *Tree) Remove(name string) error {
	t.mu.Lock()
	e, root := t.find(name), t.root
	if e == nil {
		t.mu.Unlock()
		return nil
	}
	t.entries = slices.DeleteFunc(t.entries, func(o *entry) bool { return o == e })
	t.mu.Unlock()
	if root == nil || e.stop(root, t.stopTimeout) {
		return nil
	}
	return fmt.Errorf("stop service %s: it still runs after %s and was left behind", name, t.stopTimeout)
}

// find returns the entry with the given name or nil; the caller holds mu.
func (t *Tree) find(name string) *entry {
	i := slices.IndexFunc(t.entries, func(e *entry) bool { return e.name == name })
	if i < 0 {
		return nil
	}
	return t.entries[i]
}

// Keep runs a part of a service until ctx ends, or it returns ErrDone: it is started again as a
// service is, and a failure of it, a Fatal too, is not the service's. The name is a label of metrics.
// A part that is kept again goes on with its record, and one that never failed leaves none.
func (t *Tree) Keep(ctx context.Context, name string, run Func) {
	e := newEntry(t, name, run)
	t.mu.Lock()
	if i := slices.IndexFunc(t.parts, func(o *entry) bool { return o.name == name }); i < 0 {
		t.parts = append(t.parts, e)
	} else {
		e.inherit(t.parts[i])
		t.parts[i] = e
	}
	t.mu.Unlock()
	e.keep(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.fine() {
		t.parts = slices.DeleteFunc(t.parts, func(o *entry) bool { return o == e })
	}
}

// Crashed counts a panic in something that is not started again, such as a request or a connection:
// it cost that. Its stack is logged here and nowhere else, and now and then only, since a stranger's
// bytes may be the cause.
func (t *Tree) Crashed(name string, p *group.Panic) {
	t.mu.Lock()
	i := slices.IndexFunc(t.contained, func(e *entry) bool { return e.name == name })
	if i < 0 {
		i = len(t.contained)
		t.contained = append(t.contained, newEntry(t, name, nil))
	}
	e := t.contained[i]
	t.mu.Unlock()
	e.contain(p)
}

// Restart starts a service or a part that failed now, not after its pause.
func (t *Tree) Restart(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range slices.Concat(t.entries, t.parts) {
		if e.name == name {
			return e.hurry()
		}
	}
	return ErrUnknown
}

// Errors of Restart.
var (
	ErrUnknown    = errors.New("there is no service of that name")
	ErrNotWaiting = errors.New("the service does not wait to be started again")
)

// Run starts the services and supervises them until ctx ends, which stops them and returns nil,
// or until one of them returns a Fatal, which stops the others and is returned. A service that
// does not stop in time is left behind and named in the error. One Run at a time.
func (t *Tree) Run(ctx context.Context) error {
	// The services do not see ctx end: they are stopped one by one, the last added first.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended, fatal, err := t.start(base)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-fatal:
	}
	stuck := t.stop()
	cancel()
	if err := <-ended; err != nil {
		t.log.Debug("the supervisor ended", "with", err)
	}
	t.mu.Lock()
	t.root, t.stopping = nil, false
	t.mu.Unlock()
	if err == nil { // a service may find out only while it stops
		select {
		case err = <-fatal:
		default:
		}
	}
	if len(stuck) > 0 {
		err = errors.Join(err, fmt.Errorf("services left behind after %s: %s", t.stopTimeout, strings.Join(stuck, ", ")))
	}
	return err
}

// start brings up the root supervisor with a branch a service.
func (t *Tree) start(ctx context.Context) (ended <-chan error, fatal <-chan error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.root != nil {
		return nil, nil, errors.New("start the services: the tree already runs")
	}
	t.root = suture.New("root", spec())
	t.fatal = make(chan error, 1)
	for _, e := range t.entries {
		e.launch(t.root, t.fatal)
	}
	return t.root.ServeBackground(ctx), t.fatal, nil
}

// stop ends the services in the reverse order of Add and returns the names of those that would
// not.
func (t *Tree) stop() (stuck []string) {
	t.mu.Lock()
	t.stopping = true
	entries, root := slices.Clone(t.entries), t.root
	t.mu.Unlock()
	for _, e := range slices.Backward(entries) {
		if !e.stop(root, t.stopTimeout) {
			stuck = append(stuck, e.name)
		}
	}
	return stuck
}

// spec is that of the root. Its services never fail: an entry starts its own again.
func spec() suture.Spec {
	return suture.Spec{EventHook: func(suture.Event) {}, Timeout: time.Millisecond} // it ends after entry.stop waited
}
