package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Problem is an error as the API tells it: RFC 9457, with the fix and, when preconditions are not
// met, which ones.
type Problem struct {
	Type     string    `json:"type"`
	Title    string    `json:"title"`
	Status   int       `json:"status"`
	Detail   string    `json:"detail"`
	Instance string    `json:"instance"`
	Fix      string    `json:"fix"`
	Refused  []Refusal `json:"refused,omitempty"`
}

// Refusal is one precondition that is not met.
type Refusal struct {
	Condition string `json:"condition"` // a word for programs
	Reason    string `json:"reason"`
	Fix       string `json:"fix"`
}

// The types of problems. They are names, not addresses.
const (
	ProblemBadRequest  = "urn:causeway:problem:bad_request"
	ProblemToken       = "urn:causeway:problem:token"
	ProblemRole        = "urn:causeway:problem:role"
	ProblemNotFound    = "urn:causeway:problem:not_found"
	ProblemMethod      = "urn:causeway:problem:method"
	ProblemRefused     = "urn:causeway:problem:refused"
	ProblemTooLarge    = "urn:causeway:problem:too_large"
	ProblemBusy        = "urn:causeway:problem:busy"
	ProblemInternal    = "urn:causeway:problem:internal"
	ProblemUnavailable = "urn:causeway:problem:unavailable"
)

var titles = map[string]string{
	ProblemBadRequest:  "The request is not understood",
	ProblemToken:       "A valid token is needed",
	ProblemRole:        "The token's role does not allow this",
	ProblemNotFound:    "Not found",
	ProblemMethod:      "The method does not go with the path",
	ProblemRefused:     "A precondition is not met",
	ProblemTooLarge:    "The request is too large",
	ProblemBusy:        "Too many do this at a time",
	ProblemInternal:    "The node failed",
	ProblemUnavailable: "The node cannot answer now",
}

// Error is the problem in one line, with its fix.
func (p *Problem) Error() string {
	if p.Fix == "" {
		return p.Detail
	}
	return p.Detail + "; " + p.Fix
}

func problem(status int, typ, fix, detail string, args ...any) *Problem {
	return &Problem{Type: typ, Title: titles[typ], Status: status, Detail: fmt.Sprintf(detail, args...), Fix: fix}
}

func badRequest(fix, detail string, args ...any) *Problem {
	return problem(http.StatusBadRequest, ProblemBadRequest, fix, detail, args...)
}

// problemOf turns what a handler returned into what the caller is told. known is false for an
// error nobody foresaw: it belongs into the log too.
func problemOf(err error) (p *Problem, known bool) {
	var refused *Refused
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		c := *p
		return &c, true
	case errors.As(err, &refused):
		p = problem(http.StatusConflict, ProblemRefused, "", "%s", refused)
		p.Refused = refused.Reasons
		if len(p.Refused) > 0 {
			p.Fix = p.Refused[0].Fix
		}
		return p, true
	case errors.As(err, &tooLarge):
		return problem(http.StatusRequestEntityTooLarge, ProblemTooLarge, "send a smaller body",
			"the body is larger than %d bytes", tooLarge.Limit), true
	case errors.Is(err, ErrNotFound):
		return problem(http.StatusNotFound, ProblemNotFound, "", "%s", err), true
	case errors.Is(err, ErrUnavailable):
		return problem(http.StatusServiceUnavailable, ProblemUnavailable,
			"wait, then try again; causeway ctl status shows the reason", "%s", err), true
	}
	return problem(http.StatusInternalServerError, ProblemInternal, "look into the node's log", "%s", err), false
}

// listers are the commands that list what there is under a path.
var listers = map[string]string{
	"clients": "clients list", "sessions": "sessions list", "links": "link list", "peers": "link list", "homes": "region status", "retained": "retained list", "shared": "shared list",
	"bans": "ban list", "evacuations": "evacuation status", "rebalance": "evacuation status", "traces": "trace list", "drills": "drill history", "users": "users list", "tokens": "tokens list",
	"services": "services", "backups": "backup list", "nodes": "cluster status", "objects": "history",
}

// lister names the command that lists what there is where somebody asked for what there is not.
func lister(path string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/")
	if verb := listers[kind]; verb != "" {
		return "see causeway ctl " + verb
	}
	return "see causeway ctl status"
}

// writeProblem answers with p.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	p.Instance = r.URL.EscapedPath()
	if p.Type == ProblemNotFound && p.Fix == "" {
		p.Fix = lister(r.URL.Path)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="causeway"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller is gone if this fails; nobody is left to tell
}
