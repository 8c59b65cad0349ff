package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"causeway/internal/audit"
	"causeway/internal/group"
)

// HeaderVersion and HeaderFeatures are in every answer, so that a client knows whom it talks to
// before it reads anything else.
const (
	HeaderVersion  = "Causeway-Version"
	HeaderFeatures = "Causeway-Features"
)

// APIVersion is the newest version of the API this package serves.
const APIVersion = "v1"

// Features are what this API can do; a client asks for the one its command needs. A name is never
// given another meaning.
func Features() []string {
	return []string{
		"admission",
		"alarms",
		"audit",
		"backups",
		"bans",
		"clients",
		"cluster",
		"config",
		"devices",
		"drills",
		"erase",
		"evacuations",
		"events",
		"link_control",
		"link_test",
		"links",
		"nodes",
		"objects",
		"peers",
		"profile",
		"readiness",
		"regions",
		"retained",
		"retained_export",
		"routes",
		"services",
		"sessions",
		"shared",
		"status",
		"tokens",
		"traces",
		"upgrade",
		"users",
	}
}

// maxBody bounds the body of a request, in bytes; maxFile one that is a whole file, maxBulk one of messages.
const (
	maxBody = 64 << 10
	maxFile = 512 << 10
	maxBulk = 8 << 20
)

// route is one row of the API: what openapi.yaml has under its path and method.
type route struct {
	method, path string
	role         Role
	params       []string // of the query; any other is refused
	handle       func(*http.Request, *query) (any, error)
	raw          http.HandlerFunc // in place of handle, for what is not JSON
	shows        bool             // it shows payloads: the audit log has who looked
	secret       bool             // its body is not for the audit log
	hashed       bool             // nor is the client that it names
	reads        bool             // it changes nothing, although it is no GET
	long         bool             // its body may be a whole file
	bulk         bool             // or many messages
	peers        bool             // served to the other nodes of the region too
}

// api answers requests, whoever they come from.
type api struct {
	*Server
	mux *http.ServeMux
}

func newAPI(s *Server) *api {
	a := &api{Server: s, mux: http.NewServeMux()}
	for _, r := range a.routes() {
		a.mux.Handle(r.method+" "+r.path, a.serve(r))
	}
	a.mux.HandleFunc("/", a.unknown)
	return a
}

// handler is the API for callers that guard identifies.
func (a *api) handler(guard func(*http.Request) (caller, *Problem)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderVersion, a.build.Version)
		w.Header().Set(HeaderFeatures, strings.Join(Features(), ","))
		who, p := guard(r)
		ctx := context.WithValue(r.Context(), callerKey{}, admitted{who, p, guard})
		a.mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

type callerKey struct{}

// admitted is who called, or why it is not known.
type admitted struct {
	caller
	problem *Problem
	guard   func(*http.Request) (caller, *Problem)
}

// now is who the caller of a request that lasts is by now.
func (w admitted) now(r *http.Request) admitted {
	who, p := w.guard(r)
	return admitted{who, p, w.guard}
}

// serve is the frame around one route: role, parameters, answer, and a line for what changes
// something.
func (a *api) serve(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer a.contain(w, r)
		who, _ := r.Context().Value(callerKey{}).(admitted)
		p := authorize(who, rt.role)
		if p == nil && who.peer && !rt.peers {
			p = problem(http.StatusForbidden, ProblemRole, "ask the node itself", "this is not served to %s", who.name)
		}
		if p != nil {
			writeProblem(w, r, p)
			return
		}
		most := int64(maxBody)
		if rt.long {
			most = maxFile
		}
		if rt.bulk {
			most = maxBulk
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if rt.raw != nil {
			if who.glass && a.audit != nil {
				a.note(audit.Act{State: audit.Done, Who: who.name, Role: who.role.String(), Action: r.Pattern, Target: r.URL.EscapedPath()})
			}
			rt.raw(w, r)
			return
		}
		q, p := newQuery(r, rt.params)
		if p != nil {
			writeProblem(w, r, p)
			return
		}
		handle := func(r *http.Request) (any, error) { return rt.handle(r, q) }
		if mustAudit(rt, r) || who.glass {
			handle = func(r *http.Request) (any, error) {
				return a.audited(r, rt, who.caller, func(r *http.Request) (any, error) { return rt.handle(r, q) })
			}
		}
		answer, err := handle(r)
		if change, ok := changed(answer); ok && err == nil {
			a.events.Emit("change", change.Target, change.Action+" by "+who.name)
			a.log.Info("admin change", "by", who.name, "action", change.Action, "target", change.Target)
		}
		a.reply(w, r, answer, err)
	}
}

// contain makes a panic the trouble of one request. It is deferred.
func (a *api) contain(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil || v == http.ErrAbortHandler {
		return
	}
	a.crashed("admin requests", &group.Panic{Value: v, Stack: debug.Stack()})
	writeProblem(w, r, problem(http.StatusInternalServerError, ProblemInternal, "report it: causeway ctl doctor", "this node failed at the request; it goes on"))
}

// changed is what an answer says was changed, if it was.
func changed(answer any) (Change, bool) {
	switch c := answer.(type) {
	case Change:
		return c, !c.DryRun
	case PolicyChange:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case EvacuationChange:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case RebalanceChange:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case Erased:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case TraceStarted:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case BackupJob:
		return Change{Action: c.Act + " backup", Target: c.Home}, c.State != "planned" && !c.DryRun
	case TokenAdded:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case ObjectsChange:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	case RegionChange:
		return Change{Action: c.Action, Target: c.Target}, !c.DryRun
	}
	return Change{}, false
}

// authorize says why a caller may not use a route, or nil.
func authorize(who admitted, need Role) *Problem {
	switch {
	case need == RoleNone:
		return nil
	case who.problem != nil:
		return who.problem
	case who.role < need:
		return problem(http.StatusForbidden, ProblemRole, "use a token of that role",
			"this needs the role %s; the token %q has the role %s", need, who.name, who.role)
	}
	return nil
}

// newQuery refuses parameters the route does not know: a dry_run with a typing error must not
// become a real one.
func newQuery(r *http.Request, known []string) (*query, *Problem) {
	values := r.URL.Query()
	for name, v := range values {
		if !slices.Contains(known, name) {
			return nil, badRequest("this call takes "+orNone(known), "there is no parameter %q", name)
		}
		if len(v) > 1 {
			return nil, badRequest("give it once", "the parameter %s is there %d times", name, len(v))
		}
	}
	return &query{values: values}, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no parameters"
	}
	return strings.Join(names, ", ")
}

// reply writes an answer or the problem.
func (a *api) reply(w http.ResponseWriter, r *http.Request, answer any, err error) {
	if err != nil {
		p, known := problemOf(err)
		if !known {
			a.log.Error("admin call failed", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		writeProblem(w, r, p)
		return
	}
	b, err := json.Marshal(answer)
	if err != nil {
		a.log.Error("admin answer does not encode", "path", r.URL.Path, "error", err)
		writeProblem(w, r, problem(http.StatusInternalServerError, ProblemInternal, "look into the node's log", "%s", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := w.Write(append(b, '\n')); err != nil {
		a.log.Log(r.Context(), slog.LevelDebug, "admin caller left", "path", r.URL.Path, "error", err)
	}
}

// unknown answers what no route takes: 405 when another method would be right, otherwise 404.
func (a *api) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := a.mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, r, problem(http.StatusMethodNotAllowed, ProblemMethod,
			"use "+strings.Join(allowed, " or "), "%s does not go with this path", r.Method))
		return
	}
	writeProblem(w, r, problem(http.StatusNotFound, ProblemNotFound,
		"GET /openapi.yaml lists every path; names in a path are percent-encoded", "there is no %s here", r.URL.EscapedPath()))
}
