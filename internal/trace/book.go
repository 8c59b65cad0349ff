package trace

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// State is how a trace is.
type State string

// The states.
const (
	Running State = "running"
	Over    State = "over" // its time
	Stopped State = "stopped"
)

// Status is a trace as an operator sees it.
type Status struct {
	Spec
	State   State
	Kept    int    // lines
	Dropped uint64 // lines that made room for newer ones
}

// Book has the traces of a node. The nil Book has none and never will.
type Book struct {
	on atomic.Pointer[Active] // nil: none runs

	mu  sync.Mutex
	all []*Trace // oldest first
}

// Active is the traces that run, at one moment.
type Active struct {
	book *Book
	list []*Trace
}

// On returns the traces that run, nil if none does.
func (b *Book) On() *Active {
	if b == nil {
		return nil
	}
	return b.on.Load()
}

// Note adds a line to each trace that it belongs to. A trace whose time is over ends with the first line after it, its
// own or not: so no timer runs, and a node that sees nothing pays nothing.
func (a *Active) Note(l Line) {
	l.At = time.Now()
	over := false
	for _, t := range a.list {
		if l.At.After(t.spec.Until) {
			over = true
			continue
		}
		t.note(l)
	}
	if over {
		a.book.mu.Lock()
		defer a.book.mu.Unlock()
		a.book.settle(l.At)
	}
}

// Payloads says that some trace asks for them, so that they are worth a copy.
func (a *Active) Payloads() bool {
	return slices.ContainsFunc(a.list, func(t *Trace) bool { return t.spec.Payload })
}

// Errors of a Book.
var (
	ErrFull     = errors.New("there are as many traces at this node as may run at a time; stop one")
	ErrNotFound = errors.New("there is no such trace at this node")
)

// Start begins a trace. One with the same ID is the same trace.
func (b *Book) Start(s Spec) error {
	if err := s.Check(); err != nil {
		return err
	}
	t := &Trace{spec: s}
	if s.Kind == Address {
		t.prefix, _ = prefix(s.Value) // Check read it
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.settle(now)
	if b.find(s.ID) != nil {
		return nil
	}
	if a := b.on.Load(); a != nil && len(a.list) >= running {
		return ErrFull
	}
	if len(b.all) >= kept {
		at := slices.IndexFunc(b.all, func(t *Trace) bool { return !t.runs(now) }) // there is one: fewer run than are kept
		b.all = slices.Delete(b.all, at, at+1)
	}
	b.all = append(b.all, t)
	b.settle(now)
	return nil
}

// settle makes On what runs now. It is called with mu held.
func (b *Book) settle(now time.Time) {
	a := &Active{book: b}
	for _, t := range b.all {
		if t.runs(now) {
			a.list = append(a.list, t)
		}
	}
	if len(a.list) == 0 {
		a = nil
	}
	b.on.Store(a)
}

func (b *Book) find(id string) *Trace {
	for _, t := range b.all {
		if t.spec.ID == id {
			return t
		}
	}
	return nil
}

// Stop ends a trace; its lines stay.
func (b *Book) Stop(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.find(id)
	if t == nil {
		return ErrNotFound
	}
	t.stopped.Store(true)
	b.settle(time.Now())
	return nil
}

// List describes the traces, oldest first.
func (b *Book) List() (list []Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.settle(now)
	for _, t := range b.all {
		list = append(list, t.status(now))
	}
	return list
}

// After returns at most most lines of a trace that follow line n, oldest first, and how the trace is.
func (b *Book) After(id string, n uint64, most int) (Status, []Line, error) {
	b.mu.Lock()
	t := b.find(id)
	b.mu.Unlock()
	if t == nil {
		return Status{}, nil, ErrNotFound
	}
	st := t.status(time.Now()) // before the lines: who hears that it is over has all of them
	return st, t.after(n, most), nil
}

// Forget drops the lines of a client from all traces, and the traces that follow it; it returns how many lines and traces
// those were. With keep it only counts.
func (b *Book) Forget(namespace, client string, keep bool) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.all {
		n += t.forget(namespace, client, keep)
	}
	after := slices.DeleteFunc(slices.Clone(b.all), func(t *Trace) bool {
		return t.spec.Kind == Client && t.spec.Namespace == namespace && t.spec.Value == client
	})
	n += len(b.all) - len(after)
	if !keep {
		b.all = after
		b.settle(time.Now())
	}
	return n
}
