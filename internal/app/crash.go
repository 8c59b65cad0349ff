package app

import (
	"context"

	"causeway/internal/group"
	"causeway/internal/supervise"
)

// keep runs a part of a service under supervision of its own.
func (a *App) keep(ctx context.Context, name string, run supervise.Func) {
	a.tree.Keep(ctx, name, a.part(name, run))
}

func (a *App) part(name string, run supervise.Func) supervise.Func {
	if a.opts.Part == nil {
		return run
	}
	return a.opts.Part(name, run)
}

// contain runs something that nobody waits for: a panic in it costs that, and is counted.
func (a *App) contain(part string, fn func()) {
	a.crashed(part, group.Protect(func() error { fn(); return nil }))
}

// crashed counts an error that was a panic.
func (a *App) crashed(part string, err error) {
	if p := group.Panicked(err); p != nil {
		a.tree.Crashed(part, p)
	}
}
