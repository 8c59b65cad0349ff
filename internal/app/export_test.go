package app

import (
	"context"
	"errors"

	"causeway/internal/home"
	"causeway/internal/takeover/agent"
)

// Decider is what decides who hosts the homes, for tests.
func (a *App) Decider() *agent.Agent { return a.deciding.Agent }

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

// Hand hands a home over that this node leads, with nobody to take it.
func (a *App) Hand(id home.ID, to string) error {
	for _, h := range a.homes {
		if r := h.opened.Load(); h.id == id && r != nil {
			return r.Hand(context.Background(), to)
		}
	}
	return errors.New("it is not open")
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

// Validity is what readiness says of a certificate.
var Validity = validity
