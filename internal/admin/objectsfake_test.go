package admin

import (
	"context"
	"fmt"
)

var aRollout = Rollout{State: "watching", Candidate: 12, From: 9, Nodes: []string{"eu-1"}, AutoRollback: true, By: "alice", BeganAt: noon, UntilAt: noon,
	Harm: []Harm{{Kind: "publishes_denied", Before: 1, Now: 50, Events: 100}}, Denials: []RuleDenials{{"all", 12, 100, 1}}, Healthy: []string{"eu-2"}}

func (f *fake) Objects(section string, all bool, revision uint64) (ObjectsText, error) {
	if revision == 404 {
		return ObjectsText{}, ErrNotFound
	}
	return ObjectsText{Revision: 9, At: noon, By: "alice", Sections: []string{"acl"}, Text: fmt.Sprint(section, all, revision)}, f.down
}

func (f *fake) ObjectsHistory() ([]ObjectsRevision, error) {
	return []ObjectsRevision{{Revision: 9, At: noon, By: "alice", Bytes: 10, InForce: true}}, f.down
}

func (f *fake) DiffObjects(x ObjectsFile) (ObjectsChange, error) {
	if x.Text == "bad" {
		return ObjectsChange{}, BadRequest(x.Name+":1: bad", "correct it")
	}
	return ObjectsChange{Revision: 9, Diff: []ObjectsDiff{{Key: "acl[x].deny", To: "[a]"}}}, f.down
}

func (f *fake) ApplyObjects(_ context.Context, x ObjectsFile, o ApplyOptions) (ObjectsChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return ObjectsChange{}, f.refuse
	}
	if !o.DryRun {
		f.do("apply %s %s %s %v by %s", x.Text, o.Canary, o.Watch, o.AutoRollback, o.By)
	}
	c := ObjectsChange{Revision: 12}
	if o.Canary != "" {
		r := aRollout
		c.Rollout = &r
	}
	return c, f.down
}

func (f *fake) RollBackObjects(_ context.Context, revision uint64, _ string, dryRun bool) (ObjectsChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("roll back to %d", revision)
	}
	return ObjectsChange{Target: "revision 7", Revision: 13}, f.down
}

func (f *fake) Rollout() (Rollout, error) { return aRollout, f.down }

func (f *fake) Guard(seconds int) GuardRates {
	return GuardRates{Node: "eu-1", Seconds: Seconds(seconds), Connections: 5, Rates: []GuardRate{{"error_acks", 0.5, 30}}}
}

func (f *fake) ACL() ([]ACLRule, error) { return []ACLRule{{"eu", "all", 9, 3, 4}}, f.down }

func (f *fake) TestACL(q ACLQuestion) (ACLAnswer, error) {
	return ACLAnswer{Username: q.Username, Home: "eu", Publish: ACLDecision{true, "all", 9}}, f.down
}

func (f *fake) Users() ([]User, error) { return []User{{"alice", "bcrypt", OriginRegion}}, f.down }

func (f *fake) SetUser(_ context.Context, u UserEdit, by string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("user %s %v", u.Name, u.New)
	}
	return nil, f.down
}

func (f *fake) DeleteUser(_ context.Context, name, _ string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("delete user %s", name)
	}
	return nil, f.down
}

func (f *fake) Tokens() ([]Token, error) {
	at := noon
	return []Token{{Name: "ci", Role: "viewer", Origin: OriginRegion, At: &at, By: "alice"}}, f.down
}

func (f *fake) AddToken(_ context.Context, t Token, hash, by string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("token %s %s", t.Name, t.Role)
		f.tokens = map[string]Token{hash: t}
	}
	return nil, f.down
}

func (f *fake) RevokeToken(_ context.Context, name, _ string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = nil
	return nil, f.down
}

func (f *fake) TokenOf(hash string) (Token, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.tokens[hash]
	return t, ok
}

func (f *fake) Reload(_ context.Context, dryRun bool) ([]string, error) {
	return []string{"~ log.level: info -> debug"}, f.down
}

func (f *fake) JudgeObjects(_ context.Context, x ObjectsFile) []ObjectsJudgement {
	return []ObjectsJudgement{{By: "node eu-1", Answered: true, Problem: x.Text}}
}

func (f *fake) ConfigOf(home string) (HomeConfig, error) {
	if home != "us" && home != "eu" {
		return nil, ErrNotFound
	}
	return f, f.down
}
