package app

import (
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
