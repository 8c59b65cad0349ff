package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// HomeConfig is what is configured of a home: at first of the region's own.
type HomeConfig interface {
	Objects
	Tokens
	Users
}

// ofHome is a route about the home that a query names, the region's own if it names none.
func (a *api) ofHome(handle func(HomeConfig, *http.Request, *query) (any, error)) func(*http.Request, *query) (any, error) {
	return func(r *http.Request, q *query) (any, error) {
		of := HomeConfig(a.node)
		if id := q.text("home"); id != "" {
			var err error
			if of, err = a.node.ConfigOf(id); err != nil {
				return nil, err
			}
		}
		return handle(of, r, q)
	}
}

// Objects are what is configured of a region as a whole.
type Objects interface {
	// Objects returns what is in force: the sections of the objects, or with all everything that can be in them as it is.
	// A section narrows that down; a revision asks for one of the history.
	Objects(section string, all bool, revision uint64) (ObjectsText, error)
	// ObjectsHistory lists revisions, the newest first.
	ObjectsHistory() ([]ObjectsRevision, error)
	// JudgeObjects says what this node thinks of a file, and if it leads the home what those standbys think that answer.
	JudgeObjects(ctx context.Context, f ObjectsFile) []ObjectsJudgement
	// DiffObjects says what a file would change; ApplyObjects makes it so, or with DryRun refuses as it would.
	DiffObjects(f ObjectsFile) (ObjectsChange, error)
	ApplyObjects(ctx context.Context, f ObjectsFile, o ApplyOptions) (ObjectsChange, error)
	// RollBackObjects ends a rollout, or brings back a revision; 0 is the one before.
	RollBackObjects(ctx context.Context, revision uint64, by string, dryRun bool) (ObjectsChange, error)
	// Rollout is the last one. ErrNotFound: there was none.
	Rollout() (Rollout, error)
	// Guard is what this node refused in the last seconds.
	Guard(seconds int) GuardRates
	// ACL lists the rules in force with what they denied; TestACL says what a device may do.
	ACL() ([]ACLRule, error)
	TestACL(q ACLQuestion) (ACLAnswer, error)
}

// Users are those with passwords that the region has.
type Users interface {
	Users() ([]User, error)
	SetUser(ctx context.Context, u UserEdit, by string, dryRun bool) ([]string, error)
	DeleteUser(ctx context.Context, name, by string, dryRun bool) ([]string, error)
}

// ObjectsText is a file of region objects.
type ObjectsText struct {
	Revision uint64    `json:"revision"` // 0: the node file holds
	At       time.Time `json:"at"`       // zero for revision 0
	By       string    `json:"by"`
	Note     string    `json:"note"`
	Sections []string  `json:"sections"` // that the objects have; the node file's are ignored
	Text     string    `json:"text"`     // YAML
	Problem  string    `json:"problem"`  // why a newer one is not in force on this node; "" when it is
	Trying   bool      `json:"trying"`   // this node tries a candidate
}

// ObjectsRevision is one of the history.
type ObjectsRevision struct {
	Revision uint64    `json:"revision"`
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Note     string    `json:"note"`
	Bytes    int       `json:"bytes"`
	InForce  bool      `json:"in_force"`
	Removed  bool      `json:"removed"` // from then on the node file held
}

// ObjectsFile is the body of the calls that apply a file or compare it.
type ObjectsFile struct {
	Name string `json:"name"` // what problems call it
	Text string `json:"text"` // YAML; "" removes the objects: the node files hold again
}

// ApplyOptions say how a file comes into force.
type ApplyOptions struct {
	DryRun       bool
	Canary       string        // a node, or a percentage of nodes, that tries it first; "" is none
	Watch        time.Duration // for how long harm is looked for; 0: not at all
	AutoRollback bool
	Note         string
	Seen         string // revision that the caller compared with; "" is any
	By           string
}

// ObjectsChange says what a change of the objects did, or with DryRun would do.
type ObjectsChange struct {
	Action   string        `json:"action"`
	Target   string        `json:"target"`
	DryRun   bool          `json:"dry_run"`
	Effects  []string      `json:"effects"`
	Diff     []ObjectsDiff `json:"diff"`
	Revision uint64        `json:"revision"` // of what is in force now, or of what it would be compared with
	Rollout  *Rollout      `json:"rollout"`  // that began; null when it is in force everywhere at once
}

// ObjectsJudgement is what a node, or a region that stands by, says of a file.
type ObjectsJudgement struct {
	By       string `json:"by"` // node eu-1, region us
	Answered bool   `json:"answered"`
	Problem  string `json:"problem"` // why it cannot have the file in force, or did not answer; "" when it can
}

// ObjectsDiff is a key that changes.
type ObjectsDiff struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
	Home bool   `json:"home"` // it is of the home, so that all nodes have the same
}

// Rollout is how a file that is tried or watched stands.
type Rollout struct {
	State        string        `json:"state"` // watching, stopped, rolled_back, done
	Candidate    uint64        `json:"candidate"`
	From         uint64        `json:"from"`
	Nodes        []string      `json:"nodes"` // that try it; empty means all
	AutoRollback bool          `json:"auto_rollback"`
	By           string        `json:"by"`
	Note         string        `json:"note"`
	BeganAt      time.Time     `json:"began_at"`
	UntilAt      time.Time     `json:"until_at"`
	EndedAt      *time.Time    `json:"ended_at"`
	Healthy      []string      `json:"healthy"` // nodes that saw no harm until the end
	Reason       string        `json:"reason"`
	Node         string        `json:"node"` // that saw the harm
	Harm         []Harm        `json:"harm"`
	Denials      []RuleDenials `json:"denials"`  // by rule of the candidate
	Revision     uint64        `json:"revision"` // of the objects it became; 0 unless done
}

// Harm is a kind of refusal that got worse.
type Harm struct {
	Kind   string  `json:"kind"` // connects_refused, publishes_denied, subscribes_denied, disconnects, error_acks
	Before float64 `json:"before"`
	Now    float64 `json:"now"`
	Others float64 `json:"others"`
	Events int64   `json:"events"`
}

// RuleDenials is what a rule denied.
type RuleDenials struct {
	Rule       string `json:"rule"`
	Revision   uint64 `json:"revision"`
	Publishes  int64  `json:"publishes"`
	Subscribes int64  `json:"subscribes"`
}

// GuardRates are what a node refused in a time.
type GuardRates struct {
	Node        string      `json:"node"`
	Seconds     Seconds     `json:"seconds"`
	Connections int64       `json:"connections"`
	Rates       []GuardRate `json:"rates"`
}

// GuardRate is how often a node refused something.
type GuardRate struct {
	Kind      string  `json:"kind"` // as in Harm
	PerSecond float64 `json:"per_second"`
	Events    int64   `json:"events"`
}

// ACLRule is an access rule in force.
type ACLRule struct {
	Home       string `json:"home"`
	Rule       string `json:"rule"`
	Revision   uint64 `json:"revision"` // of the region objects; 0: of the node's file
	Publishes  int64  `json:"publishes"`
	Subscribes int64  `json:"subscribes"`
}

// ACLQuestion asks what a device may do.
type ACLQuestion struct {
	Namespace, Client, Username, Topic, Home string
}

// ACLAnswer says what a device may do, and by which rule.
type ACLAnswer struct {
	Username  string      `json:"username"`
	Home      string      `json:"home"`
	Publish   ACLDecision `json:"publish"`
	Subscribe ACLDecision `json:"subscribe"`
}

// ACLDecision is one answer of the rules.
type ACLDecision struct {
	Allowed  bool   `json:"allowed"`
	Rule     string `json:"rule"` // "" when there are no rules
	Revision uint64 `json:"revision"`
}

// User is somebody who connects with a password.
type User struct {
	Name   string `json:"name"`
	Hash   string `json:"hash"`   // its kind: bcrypt, argon2id
	Origin string `json:"origin"` // file, region
}

// UserEdit is the body of the call that adds a user or changes a password.
type UserEdit struct {
	Name     string `json:"-"`
	Password string `json:"password"`
	Hash     string `json:"hash"`
	New      bool   `json:"-"`
}

func (a *api) getObjects(of HomeConfig, _ *http.Request, q *query) (any, error) {
	all, rev := q.flag("all"), q.number("revision")
	if q.err != nil {
		return nil, q.err
	}
	o, err := of.Objects(q.text("section"), all, rev)
	if err != nil {
		return nil, fmt.Errorf("region objects: %w", err)
	}
	o.Sections = list(o.Sections)
	return o, nil
}

func (a *api) objectsHistory(of HomeConfig, _ *http.Request, q *query) (any, error) {
	h, err := of.ObjectsHistory()
	if err != nil {
		return nil, fmt.Errorf("history of the region objects: %w", err)
	}
	return Page[ObjectsRevision]{Items: list(h)}, nil
}

const objectsBody = `send {"name": "region.yaml", "text": "limits: {...}"}`

func (a *api) diffObjects(of HomeConfig, r *http.Request, q *query) (any, error) {
	var f ObjectsFile
	if err := readBody(r, &f, objectsBody); err != nil {
		return nil, err
	}
	c, err := of.DiffObjects(f)
	if err != nil {
		return nil, err
	}
	return c.whole("compare region objects", true), nil
}

// judgeObjects is what nodes ask each other before a file is entered.
func (a *api) judgeObjects(of HomeConfig, r *http.Request, q *query) (any, error) {
	var f ObjectsFile
	if err := readBody(r, &f, objectsBody); err != nil {
		return nil, err
	}
	return Page[ObjectsJudgement]{Items: list(of.JudgeObjects(r.Context(), f))}, nil
}

func (a *api) applyObjects(of HomeConfig, r *http.Request, q *query) (any, error) {
	o := ApplyOptions{DryRun: q.flag("dry_run"), Canary: q.text("canary"), Watch: q.duration("watch"), AutoRollback: q.flag("auto_rollback"),
		Note: q.text("note"), Seen: q.text("seen"), By: by(r)}
	if q.err != nil {
		return nil, q.err
	}
	var f ObjectsFile
	if err := readBody(r, &f, objectsBody); err != nil {
		return nil, err
	}
	c, err := of.ApplyObjects(r.Context(), f, o)
	if err != nil {
		return nil, err
	}
	return c.whole("apply region objects", o.DryRun), nil
}

func (a *api) rollBackObjects(of HomeConfig, r *http.Request, q *query) (any, error) {
	dry, rev := q.flag("dry_run"), q.number("revision")
	if q.err != nil {
		return nil, q.err
	}
	c, err := of.RollBackObjects(r.Context(), rev, by(r), dry)
	if err != nil {
		return nil, err
	}
	return c.whole("roll back region objects", dry), nil
}

// whole fills in what the server knows.
func (c ObjectsChange) whole(action string, dry bool) ObjectsChange {
	c.Action, c.DryRun, c.Effects, c.Diff = action, dry, list(c.Effects), list(c.Diff)
	if c.Target == "" {
		c.Target = "region"
	}
	if c.Rollout != nil {
		r := c.Rollout.whole()
		c.Rollout = &r
	}
	return c
}

func (r Rollout) whole() Rollout {
	r.Nodes, r.Healthy, r.Harm, r.Denials = list(r.Nodes), list(r.Healthy), list(r.Harm), list(r.Denials)
	return r
}

func (a *api) getRollout(*http.Request, *query) (any, error) {
	r, err := a.node.Rollout()
	if err != nil {
		return nil, fmt.Errorf("rollout of region objects: %w", err)
	}
	return r.whole(), nil
}

// maxGuard bounds how far back a guard is asked for.
const maxGuard = 120

func (a *api) getGuard(_ *http.Request, q *query) (any, error) {
	seconds := 60
	if s := q.text("seconds"); s != "" {
		n, err := strconv.Atoi(s)
		if seconds = min(n, maxGuard); err != nil || n < 1 {
			q.wrong("seconds", "as a number from 1 on")
		}
	}
	if q.err != nil {
		return nil, q.err
	}
	return a.node.Guard(seconds), nil
}

func (a *api) listACL(*http.Request, *query) (any, error) {
	rules, err := a.node.ACL()
	if err != nil {
		return nil, fmt.Errorf("access rules: %w", err)
	}
	return Page[ACLRule]{Items: list(rules)}, nil
}

func (a *api) testACL(_ *http.Request, q *query) (any, error) {
	ask := ACLQuestion{Namespace: q.text("namespace"), Client: q.text("client"), Username: q.text("username"), Topic: q.text("topic"), Home: q.text("home")}
	if ask.Topic == "" || ask.Client == "" {
		return nil, badRequest("give client and topic", "a client or a topic is missing")
	}
	answer, err := a.node.TestACL(ask)
	if err != nil {
		return nil, fmt.Errorf("test of the access rules: %w", err)
	}
	return answer, nil
}

func (a *api) listUsers(of HomeConfig, _ *http.Request, q *query) (any, error) {
	users, err := of.Users()
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	return Page[User]{Items: list(users)}, nil
}

func (a *api) setUser(fresh bool) func(HomeConfig, *http.Request, *query) (any, error) {
	return func(of HomeConfig, r *http.Request, q *query) (any, error) {
		dry := q.flag("dry_run")
		if q.err != nil {
			return nil, q.err
		}
		var u UserEdit
		if err := readBody(r, &u, `send {"password": "..."} or {"hash": "$2y$..."}`); err != nil {
			return nil, err
		}
		u.Name, u.New = r.PathValue("name"), fresh
		effects, err := of.SetUser(r.Context(), u, by(r), dry)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", u.Name, err)
		}
		return Change{Action: map[bool]string{true: "add user", false: "change the password of user"}[fresh], Target: u.Name, DryRun: dry, Effects: list(effects)}, nil
	}
}

func (a *api) deleteUser(of HomeConfig, r *http.Request, q *query) (any, error) {
	name, dry := r.PathValue("name"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := of.DeleteUser(r.Context(), name, by(r), dry)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	return Change{Action: "delete user", Target: name, DryRun: dry, Effects: list(effects)}, nil
}

// by is who made a request.
func by(r *http.Request) string {
	who, _ := r.Context().Value(callerKey{}).(admitted)
	return who.name
}

func (a *api) reloadConfig(r *http.Request, q *query) (any, error) {
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.Reload(r.Context(), dry)
	if err != nil {
		return nil, fmt.Errorf("reload the node file: %w", err)
	}
	return Change{Action: "reload", Target: "node file", DryRun: dry, Effects: list(effects)}, nil
}
