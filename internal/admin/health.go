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
// the reason. With drain=404 a node that serves the devices it has, and wants no new ones, says 404:
// to a load balancer that tells the two apart, which then leaves their connections alone.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) {
	h := a.health.Report()
	switch {
	case h.State == health.Ready:
		writeHealth(w, h, http.StatusOK)
	case r.URL.Query().Get("drain") == "404" && (h.State == health.Stopping || h.State == health.Evacuating):
		writeHealth(w, h, http.StatusNotFound)
	default:
		writeHealth(w, h, http.StatusServiceUnavailable)
	}
}

// healthz is for whoever restarts processes: 503 only when a restart is due. A node that is
// isolated or catching up is better left alone.
func (a *api) healthz(w http.ResponseWriter, _ *http.Request) {
	h, code := a.health.Report(), http.StatusOK
	if h.State == health.Failed {
		code = http.StatusServiceUnavailable
	}
	writeHealth(w, h, code)
}

func writeHealth(w http.ResponseWriter, r health.Report, code int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(healthBody{string(r.State), r.Reason}) // the caller left
}
