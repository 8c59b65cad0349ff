package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/audit"
	"causeway/internal/cluster"
	"causeway/internal/config"
	"causeway/internal/health"
	"causeway/internal/home"
)

// Documents of region objects: what is in force in the whole region; a file that is tried, and how that stands.
const (
	objectsDoc   = home.ObjectsDocument
	candidateDoc = "objects/candidate"
	rolloutDoc   = "objects/rollout"
)

// inForce is what is configured of a home's region, as it holds on this node. It is not changed.
type inForce struct {
	base     *config.Config  // the node's
	cfg      *config.Config  // with the sections of the objects in place of its own
	objects  *config.Objects // nil: there are none
	revision uint64          // of the document they come from; 0: the node file holds
	rules    *broker.Rules   // nil: there are none, and what the files say holds
	trying   bool            // they are a candidate
	at       time.Time       // since when they are in force here
	problem  string          // why a newer document is not in force here; "" when it is
	refused  uint64          // the revision of that document
}

// closed says that everything is denied, since the access rules cannot be read.
func (f *inForce) closed() bool { return f.rules != nil && f.rules.Closed }

// objects keep up with what is configured of a home's region.
type objects struct {
	h   *homeService
	now func() time.Time

	mu      sync.Mutex
	force   *inForce
	changed chan struct{} // closed at the next change; nil: nobody waits
}

func newObjects(h *homeService) *objects {
	return &objects{h: h, now: time.Now, force: &inForce{base: h.a.cfg, cfg: h.a.cfg}}
}

func (o *objects) inForce() *inForce {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.force
}

// region is the node's configuration with the sections that are in force for its region. It must not be changed.
func (a *App) region() *config.Config { return a.home.objects.inForce().cfg }

// regionChanged is closed when region returns something else.
func (a *App) regionChanged() <-chan struct{} { return a.home.objects.next() }

func (o *objects) next() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// read brings what is in force in line with the documents, the clock and the node file.
func (o *objects) read() {
	d := o.h.documents
	if o.h.opened.Load() == nil {
		return // what was in force stays
	}
	node, base := o.h.a.cfg.Node, o.h.a.nodeConfig()
	doc, _ := d.get(objectsDoc)
	trying := false
	if ro, ok := readRollout(d); ok && ro.holdsOn(node, o.h.homeNow()) {
		if c, ok := d.get(candidateDoc); ok && c.Revision == ro.Candidate {
			doc, trying = c, true
		}
	}
	have := o.inForce()
	if have.base == base && (have.revision == doc.Revision && have.trying == trying && have.refused == 0 || have.refused == doc.Revision && doc.Revision != 0) {
		return
	}
	next, err := o.build(base, doc)
	if err != nil {
		next = o.closest(base, doc, have)
		next.refused = doc.Revision
		next.problem = fmt.Sprintf("revision %d of the document %s of home %s cannot be in force here: %v", doc.Revision, doc.Name, o.h.id, err)
		if next.closed() {
			next.problem += "; its access rules are not known, and everything is denied"
		}
	}
	next.trying = trying && err == nil
	o.replace(next)
}

// build judges a document. One of another region need not fit this node, but has to be understood.
func (o *objects) build(base *config.Config, doc home.Document) (*inForce, error) {
	if doc.Revision == 0 || len(doc.Body) == 0 {
		return o.made(base, base, nil, doc.Revision), nil
	}
	parsed, err := config.ParseObjects(called(doc), doc.Body)
	if err != nil {
		return nil, err
	}
	cfg, err := parsed.Over(base)
	if err != nil && !o.h.own() {
		_, err = rulesAlone(base, doc)
	}
	if err != nil {
		return nil, err
	}
	return o.made(base, cfg, parsed, doc.Revision), nil
}

func (o *objects) made(base, cfg *config.Config, parsed *config.Objects, revision uint64) *inForce {
	f := &inForce{base: base, cfg: cfg, objects: parsed, revision: revision, at: o.now()}
	if parsed.Has("acl") || o.h.own() && len(cfg.ACL) > 0 {
		f.rules = &broker.Rules{Revision: revision, List: rulesOf(cfg.ACL)}
	}
	return f
}

// closest is what comes nearest to a document that cannot be in force: of its access rules what can be read of them, of
// the rest the newest revision that could be. Rules that cannot be read are in the place of those before; if there were
// none, everything is denied: nobody gets more than the rules may have been made to grant.
func (o *objects) closest(base *config.Config, doc home.Document, have *inForce) *inForce {
	next := o.lastGood(base, doc, have)
	if doc.Name != objectsDoc { // a file that is tried is taken back as a whole
		return next
	}
	cfg, err := rulesAlone(base, doc)
	switch {
	case err == nil && cfg != nil:
		next.rules = &broker.Rules{Revision: doc.Revision, List: rulesOf(cfg.ACL)}
	case err == nil: // it has none
		next.rules = o.made(base, base, nil, 0).rules
	case !next.objects.Has("acl"):
		next.rules = &broker.Rules{Revision: doc.Revision, Closed: true}
	}
	return next
}

// lastGood is the newest revision before a document that can be in force, or else what is.
func (o *objects) lastGood(base *config.Config, doc home.Document, have *inForce) *inForce {
	for _, d := range slices.Backward(o.h.documents.history(objectsDoc)) {
		if d.Revision == doc.Revision {
			continue
		}
		if f, err := o.build(base, d); err == nil {
			return f
		}
	}
	next := *have
	next.base, next.trying = base, false
	if next.objects == nil { // as the node file is now
		next.cfg = base
	}
	return &next
}

// called is what problems call a document, or a file that may become one.
func called(doc home.Document) string {
	if doc.At == 0 {
		return doc.Name
	}
	return fmt.Sprint(doc.Name, "@", doc.Revision)
}

// rulesAlone is a node's configuration with the access rules of a document, whatever is the matter with the rest of it;
// nil if it has none.
func rulesAlone(base *config.Config, doc home.Document) (*config.Config, error) {
	parsed, err := config.ParseSection(called(doc), doc.Body, "acl")
	if err != nil || parsed == nil {
		return nil, err
	}
	return parsed.Over(base)
}

func (o *objects) replace(next *inForce) {
	o.mu.Lock()
	was := o.force
	o.force = next
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	o.mu.Unlock()
	switch {
	case next.problem != "" && next.problem != was.problem:
		o.h.a.log.Error("region objects", "home", string(o.h.id), "problem", next.problem)
	case next.revision != was.revision || next.trying != was.trying:
		o.h.a.log.Info("region objects are in force", "home", string(o.h.id), "revision", next.revision, "trying", next.trying, "sections", next.objects.Sections())
	}
}

// runObjects keeps what is in force up to date until ctx ends, and has those follow that cannot ask each time.
func (h *homeService) runObjects(ctx context.Context) error {
	h.a.health.Register(h.named("objects"), h.objects.health)
	h.a.health.Register(h.named("documents"), h.documents.health)
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		changed := h.documents.next()
		h.objects.read()
		h.a.follow()
		select {
		case <-changed:
		case <-tick.C: // a candidate runs out by home time
		case <-ctx.Done():
			return nil
		}
	}
}

func (o *objects) health() health.Condition {
	f := o.inForce()
	c := health.Condition{State: health.Ready, Reason: f.problem, Next: objectsFix}
	switch {
	case f.problem == "":
		return health.OK()
	case f.closed() && (o.h.own() || o.h.hosts()):
		c.State = health.Starting // devices are better off at a node that knows what they may do; a restart would not help
	}
	return c
}

// objectsFix is what there is to do about objects that cannot be in force.
const objectsFix = "bring back a revision that could be (causeway ctl history, causeway ctl rollback REVISION), apply a file that this version understands (causeway ctl diff -f FILE), or upgrade the node"

// homeNow estimates home time, as far as the home is open.
func (h *homeService) homeNow() home.Time {
	if r := h.opened.Load(); r != nil {
		return r.Now()
	}
	return 0
}

// follow gives the broker what holds now: who asks at each message or CONNECT must not read documents.
func (a *App) follow() {
	a.followed.mu.Lock()
	defer a.followed.mu.Unlock()
	if a.followed.key == "" && !slices.ContainsFunc(a.homes, (*homeService).tells) {
		return // to say that there are no users and no rules would refuse devices that are known
	}
	cfg := a.region()
	nodes := 0
	for _, m := range a.members() {
		if m.Alive {
			nodes++
		}
	}
	key := fmt.Sprint(nodes)
	for _, h := range a.homes {
		key += fmt.Sprintf(" %p %v %d", h.objects.inForce(), h.own() || h.hosts(), h.documents.state().Documented())
	}
	if key == a.followed.key {
		return // each setting makes the rules anew
	}
	a.followed.key = key
	limits := broker.Limits{Inflight: cfg.Limits.Inflight, KeepAliveMax: cfg.Limits.KeepaliveMax, Quotas: map[string]broker.Quota{}, Connected: a.connected}
	spaces := slices.Clone(cfg.Namespaces)
	regions := map[home.ID]broker.Region{}
	for _, h := range a.homes {
		f := h.objects.inForce()
		if h.hosts() && !h.own() && f.objects.Has("namespaces") {
			spaces = append(spaces, f.cfg.Namespaces...)
		}
		r := broker.Region{Rules: f.rules, Users: h.users()} // also of a home that stands by: its devices are parked, not refused
		if r.Rules != nil || len(r.Users) > 0 || h.own() {
			regions[h.id] = r
		}
	}
	for _, n := range spaces {
		if _, known := limits.Quotas[n.Name]; !known && (n.Quota.Connections > 0 || n.Quota.Publish > 0) {
			limits.Quotas[n.Name] = broker.Quota{Connections: n.Quota.Connections, Publish: float64(n.Quota.Publish) / float64(max(nodes, 1))}
		}
	}
	a.broker.SetLimits(limits)
	a.broker.SetAdmission(float64(cfg.Takeover.Admission))
	a.auth.SetRegions(regions)
}

// tells says that it can be known who the devices of a home are, and that they are served here.
func (h *homeService) tells() bool { return h.opened.Load() != nil && (h.own() || h.hosts()) }

// followed is what the broker was given last.
type followed struct {
	mu  sync.Mutex
	key string
}

func rulesOf(list []config.ACLRule) (out []broker.Rule) {
	for _, r := range list {
		out = append(out, broker.Rule{Name: r.Name, Namespace: r.Namespace, Username: r.Username, Client: r.Client, Publish: r.Publish, Subscribe: r.Subscribe, Deny: r.Deny})
	}
	return out
}

// connected counts the sessions of a namespace that have a connection, but for that of one client.
func (a *App) connected(k home.SessionKey) (n int) {
	for _, h := range a.homes {
		if !h.hosts() {
			continue
		}
		s := h.State()
		n += s.AttachedIn(k.Namespace)
		if s.Attached(k) {
			n--
		}
	}
	return n
}

// rollout is a file that is tried before it is in force everywhere, or watched where it is. It is a document, so it
// goes on whoever leads, and ends by itself whoever is gone:
//
//	watching --until, no harm, all reported--> done         (it is the objects now)
//	         --harm, or a node does not report--> rolled_back, or without auto_rollback: stopped
//	         --operator--> rolled_back
type rollout struct {
	State     string          `json:"state"`
	Candidate uint64          `json:"candidate"` // revision of the file that is tried
	From      uint64          `json:"from"`      // revision of the objects that it is to replace
	Nodes     []string        `json:"nodes"`     // that try it; none means all of the region
	Began     home.Time       `json:"began"`
	Until     home.Time       `json:"until"`
	Auto      bool            `json:"auto_rollback"`
	By        string          `json:"by"`
	Note      string          `json:"note,omitempty"`
	Healthy   map[string]bool `json:"healthy,omitempty"` // nodes that saw no harm until the end
	Ended     home.Time       `json:"ended,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Node      string          `json:"node,omitempty"` // that saw the harm
	Harm      []harm          `json:"harm,omitempty"`
	Denials   []ruleDenials   `json:"denials,omitempty"`
	Revision  uint64          `json:"revision,omitempty"` // of the objects it became
}

// ruleDenials is what a rule of the candidate denied.
type ruleDenials struct {
	Rule       string `json:"rule"`
	Revision   uint64 `json:"revision"`
	Publishes  int64  `json:"publishes"`
	Subscribes int64  `json:"subscribes"`
}

// States of a rollout.
const (
	rolloutWatching   = "watching"
	rolloutStopped    = "stopped" // where it is tried it stays, and goes no further
	rolloutRolledBack = "rolled_back"
	rolloutDone       = "done"
)

// reportGrace is how long after the end nodes that try a file have to say that they saw no harm. After that nobody
// needs to be there for it to be taken back.
const reportGrace = 30 * time.Second

func readRollout(d *documents) (ro rollout, ok bool) {
	doc, ok := d.get(rolloutDoc)
	return ro, ok && json.Unmarshal(doc.Body, &ro) == nil
}

func (r *rollout) covers(node string) bool {
	return len(r.Nodes) == 0 || slices.Contains(r.Nodes, node)
}

// overdue says that it should have ended, and nobody ended it.
func (r *rollout) overdue(now home.Time) bool { return now > r.Until.Add(reportGrace) }

// holdsOn says that a node has the candidate in force.
func (r *rollout) holdsOn(node string, now home.Time) bool {
	switch r.State {
	case rolloutWatching:
		return r.covers(node) && !(r.Auto && r.overdue(now))
	case rolloutStopped:
		return r.covers(node)
	}
	return false
}

// editRollout changes the rollout while it is watched; change says whether anything is to be written.
func (a *App) editRollout(ctx context.Context, began home.Time, change func(*rollout) bool) error {
	_, err := a.documents.edit(ctx, rolloutDoc, "node "+a.cfg.Node, "", func(b []byte) ([]byte, error) {
		var ro rollout
		if json.Unmarshal(b, &ro) != nil || ro.Began != began || ro.State != rolloutWatching || !change(&ro) {
			return b, nil
		}
		return json.Marshal(ro)
	})
	return err
}

// runRollout does this node's part of a rollout until ctx ends.
func (a *App) runRollout(ctx context.Context) error {
	for wait(ctx, guardEvery) {
		s := a.guardNow()
		s.trying = a.home.objects.inForce().trying
		a.guard.note(s)
		ro, ok := readRollout(a.documents)
		if !ok || ro.State != rolloutWatching {
			a.tried = tried{}
			continue
		}
		if err := a.stepRollout(ctx, &ro); err != nil && ctx.Err() == nil && !errors.Is(err, errNoHome) {
			a.log.Warn("rollout of region objects", "problem", err)
		}
	}
	return nil
}

// tried is since when this node tries a candidate.
type tried struct {
	candidate uint64
	since     time.Time
	before    guardRates
}

func (a *App) stepRollout(ctx context.Context, ro *rollout) error {
	now := a.home.homeNow()
	f := a.home.objects.inForce()
	if f.problem != "" && ro.covers(a.cfg.Node) {
		return a.endRollout(ctx, ro, "node "+a.cfg.Node+" cannot have it in force: "+f.problem, nil)
	}
	if f.trying && f.revision == ro.Candidate {
		if a.tried.candidate != ro.Candidate {
			// Not a moment later: what it did meanwhile would count as usual.
			a.tried = tried{ro.Candidate, f.at, a.guard.usual(f.at.Add(-guardWindow), f.at)}
		}
		if harms := a.harmSince(ctx, ro); len(harms) > 0 {
			return a.endRollout(ctx, ro, "harm on node "+a.cfg.Node+": "+harms[0].String(), harms)
		}
		if now >= ro.Until && !ro.Healthy[a.cfg.Node] {
			return a.editRollout(ctx, ro.Began, func(ro *rollout) bool {
				if ro.Healthy == nil {
					ro.Healthy = map[string]bool{}
				}
				ro.Healthy[a.cfg.Node] = true
				return true
			})
		}
	}
	if a.home.leads() {
		return a.leadRollout(ctx, ro, now)
	}
	return nil
}

// harmSince is what got worse here since the candidate is in force.
func (a *App) harmSince(ctx context.Context, ro *rollout) []harm {
	now := a.guard.between(a.tried.since.Add(-guardEvery), time.Now()) // from the last sample before
	if len(judge(a.tried.before, now, nil, usualTerms)) == 0 {
		return nil
	}
	return judge(a.tried.before, now, a.guardOfOthers(ctx, ro, now.Seconds), usualTerms)
}

// leadRollout ends a rollout that is over, from the node that leads.
func (a *App) leadRollout(ctx context.Context, ro *rollout, now home.Time) error {
	waiting := ""
	for _, m := range a.members() {
		switch {
		case !ro.covers(m.Node):
		case !m.Alive && len(ro.Nodes) > 0:
			return a.endRollout(ctx, ro, "node "+m.Node+", which tries it, is gone", nil)
		case m.Alive && !ro.Healthy[m.Node]:
			waiting = m.Node
		}
	}
	for _, n := range ro.Nodes {
		if !slices.ContainsFunc(a.members(), func(m cluster.Member) bool { return m.Node == n }) {
			return a.endRollout(ctx, ro, "node "+n+", which tries it, is gone", nil)
		}
	}
	switch {
	case now < ro.Until:
		return nil
	case waiting == "":
		return a.completeRollout(ctx, ro)
	case ro.overdue(now):
		return a.endRollout(ctx, ro, "node "+waiting+" did not say that it saw no harm", nil)
	}
	return nil
}

// completeRollout makes the candidate the objects of the region.
func (a *App) completeRollout(ctx context.Context, ro *rollout) error {
	c, ok := a.documents.get(candidateDoc)
	if !ok || c.Revision != ro.Candidate {
		return a.endRollout(ctx, ro, "the file that was tried is not there any more", nil)
	}
	have, _ := a.documents.get(objectsDoc)
	rev := have.Revision
	if string(have.Body) != string(c.Body) { // else whoever led before had come that far
		if rev != ro.From {
			return a.endRollout(ctx, ro, fmt.Sprintf("other objects were applied meanwhile: revision %d", rev), nil)
		}
		var err error
		if rev, err = a.documents.set(ctx, objectsDoc, ro.From, c.Body, ro.By, ro.Note); err != nil {
			return err
		}
	}
	a.auditObjects("roll out region objects", fmt.Sprintf("revision %d", rev), "no harm was seen")
	return a.editRollout(ctx, ro.Began, func(ro *rollout) bool {
		ro.State, ro.Ended, ro.Revision = rolloutDone, a.home.homeNow(), rev
		return true
	})
}

// endRollout takes a candidate back, or without auto_rollback lets it go no further.
func (a *App) endRollout(ctx context.Context, ro *rollout, reason string, harms []harm) error {
	denials := a.denialsOf(ro.Candidate)
	state := rolloutStopped
	if ro.Auto {
		state = rolloutRolledBack
	}
	err := a.editRollout(ctx, ro.Began, func(ro *rollout) bool {
		ro.State, ro.Ended, ro.Reason, ro.Node, ro.Harm, ro.Denials = state, a.home.homeNow(), reason, a.cfg.Node, harms, denials
		return true
	})
	if err == nil {
		a.log.Error("a rollout of region objects ended", "state", state, "candidate", ro.Candidate, "reason", reason, "denials", denials)
		a.auditObjects("roll back region objects", fmt.Sprintf("candidate %d", ro.Candidate), reason)
	}
	return err
}

// maxDenials is how many rules a rollout names.
const maxDenials = 10

// denialsOf lists the rules of a revision that denied something, those with most first.
func (a *App) denialsOf(revision uint64) (list []ruleDenials) {
	for _, d := range a.auth.Denials() {
		if d.Home == a.home.id && d.Revision == revision && d.Publishes+d.Subscribes > 0 {
			list = append(list, ruleDenials{d.Rule, d.Revision, d.Publishes, d.Subscribes})
		}
	}
	slices.SortStableFunc(list, func(a, b ruleDenials) int { return int(b.Publishes + b.Subscribes - a.Publishes - a.Subscribes) })
	return list[:min(len(list), maxDenials)]
}

// auditObjects keeps what a node did about a rollout by itself.
func (a *App) auditObjects(action, target, detail string) {
	if a.audit == nil {
		return
	}
	if _, err := a.audit.Add(audit.Act{State: audit.Done, Who: "rollout", Action: action, Target: target, Reason: detail}); err != nil {
		a.log.Error("the audit log cannot be written", "who", "rollout", "action", action, "target", target, "error", err)
	}
}

// guardOfOthers asks the nodes that have nothing of a candidate what they refused in the same time.
func (a *App) guardOfOthers(ctx context.Context, ro *rollout, seconds float64) (list []guardRates) {
	if a.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, m := range a.members() {
		if !m.Alive || m.Node == a.cfg.Node || ro.covers(m.Node) {
			continue
		}
		var rates admin.GuardRates
		if a.ask(ctx, m.Node, http.MethodGet, admin.Path("objects", "guard"), url.Values{"seconds": {fmt.Sprint(int(seconds) + 1)}}, nil, &rates) == nil {
			o := guardRates{PerSecond: map[string]float64{}, Events: map[string]int64{}, Connections: rates.Connections, Seconds: float64(rates.Seconds)}
			for _, k := range rates.Rates {
				o.PerSecond[k.Kind], o.Events[k.Kind] = k.PerSecond, k.Events
			}
			list = append(list, o)
		}
	}
	return list
}
