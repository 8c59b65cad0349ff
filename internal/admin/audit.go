package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"causeway/internal/audit"
)

// AuditRecord is a line of the audit log.
type AuditRecord struct {
	N           uint64    `json:"n"`
	At          time.Time `json:"at"`
	State       string    `json:"state"`        // asked, done, refused, failed
	Of          uint64    `json:"of"`           // the record that asked for it; 0 when this is that one
	Who         string    `json:"who"`          // name of the token, "socket", or the part of the node that acted
	Role        string    `json:"role"`         // of the caller
	Action      string    `json:"action"`       // method and path, or what the node's part did
	Target      string    `json:"target"`       // what it was done to
	Request     string    `json:"request"`      // what came with it, as far as it is kept
	RequestHash string    `json:"request_hash"` // SHA-256 of all of it; "" when nothing came
	Reason      string    `json:"reason"`       // why it was refused or failed
	Hash        string    `json:"hash"`         // of this record and, by those before it, of the whole log
}

// AuditPath is where the audit log is exported.
const AuditPath = "/v1/audit/export"

// AuditVerified is what a reading of the whole log found.
type AuditVerified struct {
	Intact  bool       `json:"intact"`
	Records uint64     `json:"records"`
	First   uint64     `json:"first"` // number of the oldest record that is kept
	Last    uint64     `json:"last"`
	LastAt  *time.Time `json:"last_at"`
	Head    string     `json:"head"`   // hash of the newest record that follows from those before it
	Reason  string     `json:"reason"` // what is wrong; "" when nothing is
}

// audited answers a request that changes something, or shows what is a device's own, and keeps in the audit log that it
// was asked for, before it is done, and what came of it. A log that cannot be written stops nobody: whoever has to save
// a region must be able to, and the failure is counted and logged.
func (a *api) audited(r *http.Request, rt route, who caller, do func(*http.Request) (any, error)) (any, error) {
	if a.audit == nil {
		return do(r)
	}
	act := audit.Act{State: audit.Asked, Who: who.name, Role: who.role.String(), Action: r.Pattern, Target: r.URL.EscapedPath()}
	if r.URL.RawQuery != "" {
		act.Target += "?" + r.URL.RawQuery
	}
	if rt.hashed {
		act.Target = eraseMark(clientKey(r))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !rt.secret { // not even its hash: passwords can be guessed
		act.SetRequest(body)
	}
	asked := a.note(act)
	answer, err := do(r)
	a.note(ended(act, asked.N, err))
	return answer, err
}

// ended is the record of what came of an act.
func ended(act audit.Act, asked uint64, err error) audit.Act {
	act.State, act.Of, act.Request, act.RequestHash = audit.Done, asked, "", ""
	if err == nil {
		return act
	}
	act.State, act.Reason = audit.Failed, err.Error()
	if p, _ := problemOf(err); p.Status < http.StatusInternalServerError {
		act.State = audit.Refused
	}
	return act
}

func (a *api) note(act audit.Act) audit.Record {
	rec, err := a.audit.Add(act)
	if err != nil {
		a.metrics.auditFailed.Inc()
		a.log.Error("the audit log cannot be written", "who", act.Who, "action", act.Action, "target", act.Target, "error", err)
	}
	return rec
}

// mustAudit says which requests are kept: what changes something, but for dry runs, and what shows payloads.
func mustAudit(rt route, r *http.Request) bool {
	q := r.URL.Query()
	if rt.reads {
		return false
	}
	if rt.method == http.MethodGet {
		return rt.shows || q.Get("payload") == "true"
	}
	return q.Get("dry_run") != "true"
}

// errNoAudit is of a node that was built without the log.
var errNoAudit = fmt.Errorf("%w: this node keeps no audit log", ErrUnavailable)

func (a *api) listAudit(_ *http.Request, q *query) (any, error) {
	limit, after := q.limit(), q.number("after")
	if q.err != nil {
		return nil, q.err
	}
	if a.audit == nil {
		return nil, errNoAudit
	}
	records, err := a.audit.After(after, limit)
	if err != nil {
		return nil, err
	}
	page := Page[AuditRecord]{Items: []AuditRecord{}}
	for _, r := range records {
		page.Items = append(page.Items, AuditRecord{N: r.N, At: r.Time, State: string(r.State), Of: r.Of, Who: r.Who, Role: r.Role, Action: r.Action,
			Target: r.Target, Request: strings.ToValidUTF8(r.Request, "?"), RequestHash: r.RequestHash, Reason: r.Reason, Hash: r.Hash})
	}
	if len(records) == limit {
		page.Next = fmt.Sprint(records[len(records)-1].N)
	}
	return page, nil
}

func (a *api) verifyAudit(*http.Request, *query) (any, error) {
	if a.audit == nil {
		return nil, errNoAudit
	}
	v, err := a.audit.Verify()
	if err != nil && !errors.Is(err, audit.ErrAltered) {
		return nil, err
	}
	return AuditVerifiedOf(v, err), nil
}

// AuditVerifiedOf says what a reading found.
func AuditVerifiedOf(v audit.Verified, err error) AuditVerified {
	out := AuditVerified{Intact: err == nil, Records: v.Records, First: v.First, Last: v.Last, Head: v.Head}
	if err != nil {
		out.Reason = err.Error()
	}
	if v.Records > 0 {
		out.LastAt = &v.LastTime
	}
	return out
}

// exportAudit sends the log as it is kept.
func (a *api) exportAudit(w http.ResponseWriter, r *http.Request) {
	if a.audit == nil {
		p, _ := problemOf(errNoAudit)
		writeProblem(w, r, p)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := a.audit.Export(w); err != nil {
		a.log.Error("the audit log was not exported whole", "error", err)
		panic(http.ErrAbortHandler) // so that the caller does not take it for the whole
	}
}
