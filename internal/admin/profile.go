package admin

import (
	"net/http"
	"runtime/pprof"
)

// profiles are those that a node shows of itself.
var profiles = map[string]int{"goroutine": 2, "heap": 0, "allocs": 0, "mutex": 0, "block": 0, "threadcreate": 1} // how much of it is text

// ProfilePath is where a profile is.
func ProfilePath(name string) string { return Path("profile", name) }

// profile sends a profile of the process: goroutines as text, the others for go tool pprof.
func (a *api) profile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("profile")
	text, ok := profiles[name]
	if !ok {
		writeProblem(w, r, problem(http.StatusNotFound, ProblemNotFound, "ask for goroutine, heap, allocs, mutex, block or threadcreate", "there is no profile %q", name))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/octet-stream")
	if text > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	_ = pprof.Lookup(name).WriteTo(w, text) // the caller left
}
