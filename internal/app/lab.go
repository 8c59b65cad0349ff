package app

import (
	"context"
	"errors"

	"causeway/internal/admin"
	"causeway/internal/home"
	"causeway/internal/takeover/agent"
)

// What those see and do who run whole nodes in a process: tests, and simlab.

// Decider is what decides who hosts the homes; nil where no region is taken over.
func (a *App) Decider() *agent.Agent {
	if a.deciding == nil {
		return nil
	}
	return a.deciding.Agent
}

// Copy is the state of this node's copy of a home, nil while it is not open.
func (a *App) Copy(id home.ID) *home.State {
	for _, h := range a.homes {
		if r := h.opened.Load(); h.id == id && r != nil {
			return r.State()
		}
	}
	return nil
}

// Hosts says that the region serves the home.
func (a *App) Hosts(id home.ID) bool {
	for _, h := range a.homes {
		if ok, _ := h.Ready(); h.id == id && ok {
			return true
		}
	}
	return false
}

// Leads says that this node leads its region's copy of a home.
func (a *App) Leads(id home.ID) bool {
	for _, h := range a.homes {
		if r := h.opened.Load(); h.id == id && r != nil {
			return r.Leads()
		}
	}
	return false
}

// SetAside is how many copies of a home are set aside here.
func (a *App) SetAside(id home.ID) (n int, err error) {
	for _, h := range a.homes {
		if h.id == id {
			list, err := a.retired(h)
			return len(list), err
		}
	}
	return 0, nil
}

// Kept says that what is set aside of a home here was taken in, and is kept for what the home owes.
func (a *App) Kept(ctx context.Context, id home.ID) bool {
	if a.aside == nil {
		return false
	}
	d, err := a.aside.Divergence(ctx, string(id))
	return err == nil && d.State == "kept"
}

// Reconcile sends what the oldest copy of a home has that was set aside here to its host.
func (a *App) Reconcile(ctx context.Context, o admin.ReconcileOrder) error {
	if a.aside == nil {
		return errors.New("nothing is ever set aside here")
	}
	_, err := a.aside.Reconcile(ctx, o, false)
	return err
}
