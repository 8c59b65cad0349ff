package admin

import (
	"encoding/json"
	"net/http"

	"causeway/internal/health"
)

// healthBody is the answer of the health pages.
type healthBody struct {
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// readyz is for load balancers and DNS: 200 while devices should be sent here, otherwise 503 with
// the reason.
func (a *api) readyz(w http.ResponseWriter, _ *http.Request) {
	r := a.health.Report()
	writeHealth(w, r, r.State == health.Ready)
}

// healthz is for whoever restarts processes: 503 only when a restart is due. A node that is
// isolated or catching up is better left alone.
func (a *api) healthz(w http.ResponseWriter, _ *http.Request) {
	r := a.health.Report()
	writeHealth(w, r, r.State != health.Failed)
}

func writeHealth(w http.ResponseWriter, r health.Report, ok bool) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(healthBody{string(r.State), r.Reason}) // the caller left
}
