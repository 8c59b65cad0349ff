package broker

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"gopkg.in/yaml.v3"

	"causeway/routing"
)

// Rule says what some devices may do, as an operator writes it for a region. Username and Client end with a * that
// matches any rest, or are empty and match everybody. Without filters a rule grants everything.
type Rule struct {
	Name                        string
	Namespace, Username, Client string
	Publish, Subscribe, Deny    []string
}

// Rules are those of a region, in order, with the revision they are of.
type Rules struct {
	Revision uint64
	List     []Rule
	Closed   bool // they cannot be read: nothing is granted, nor by the rules of the file
}

// The file has them in the form of mochi's ledger:
//
//	acl:
//	  - username: "sensor*"        # client, username, remote; a * at the end matches any rest; left out: everybody
//	    filters: { "plant/#": 2 }  # 0 deny, 1 subscribe, 2 publish, 3 both
//	users:
//	  alice: { acl: { "alice/#": 3 } }
type ledgerFile struct {
	ACL   []ledgerRule          `yaml:"acl"`
	Users map[string]ledgerUser `yaml:"users"`
}

type ledgerRule struct {
	Client   string            `yaml:"client"`
	Username string            `yaml:"username"`
	Remote   string            `yaml:"remote"`
	Filters  map[string]access `yaml:"filters"`
}

// ledgerUser has sections that are refused, so that nobody relies on them.
type ledgerUser struct {
	Username string            `yaml:"username"`
	Password string            `yaml:"password"`
	ACL      map[string]access `yaml:"acl"`
	Disallow bool              `yaml:"disallow"`
}

// access is what is granted: a set of bits, of which none is a denial.
type access byte

const (
	mayRead  access = 1
	mayWrite access = 2
)

// rules decide in their order. The first rule that says something about a name decides; within a rule a grant beats a
// denial; what no rule grants is denied. A subscription with wildcards needs one grant that covers all of it, and is
// decided by the first rule that is about a part of it.
type rules struct {
	list []*rule
	rest rule // counts what no rule is about
}

type rule struct {
	name             string // in answers and counters
	revision         uint64 // of the region's rules; 0: of the file
	namespace        string
	username, client string
	remote           string
	filters          []grant

	denied [2]atomic.Int64 // subscriptions and publishes that it denied
}

type grant struct {
	filter string
	access access
}

const maxRulesFile = 16 << 20 // bytes

// restRule is the name of what no rule is about.
const restRule = "(no rule)"

// closedRule denies what rules that cannot be read may deny.
const closedRule = "(rules that cannot be read)"

func loadRules(path string) (*rules, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the access rules: %w", err)
	}
	if len(data) > maxRulesFile {
		return nil, fmt.Errorf("read the access rules: %s has %d bytes, at most %d", path, len(data), maxRulesFile)
	}
	r, err := parseRules(data)
	if err != nil {
		return nil, fmt.Errorf("access rules in %s: %w", path, err)
	}
	return r, nil
}

func parseRules(data []byte) (*rules, error) {
	var f ledgerFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && len(bytes.TrimSpace(data)) > 0 {
		return nil, err
	}
	out := &rules{rest: rule{name: restRule}}
	users := make([]string, 0, len(f.Users))
	for name := range f.Users {
		users = append(users, name)
	}
	slices.Sort(users)
	for _, name := range users {
		u := f.Users[name]
		if u.Password != "" || u.Disallow {
			return nil, fmt.Errorf("users.%s has a password or disallow; logins are in the password file", name)
		}
		if strings.Contains(name, "*") {
			return nil, fmt.Errorf("users.%s: a user name here has no wildcard; write a rule under acl", name)
		}
		if len(u.ACL) > 0 {
			out.list = append(out.list, &rule{name: "file users." + name, username: name, filters: grants(u.ACL)})
		}
	}
	for i, r := range f.ACL {
		out.list = append(out.list, &rule{name: fmt.Sprintf("file acl[%d]", i), client: r.Client, username: r.Username, remote: r.Remote, filters: grants(r.Filters)})
	}
	for i, r := range out.list {
		for _, g := range r.filters {
			if err := routing.ValidFilter(g.filter); err != nil {
				return nil, fmt.Errorf("rule %d: %w", i, err)
			}
			if g.access > mayRead|mayWrite {
				return nil, fmt.Errorf("rule %d: %q has access %d; use 0 deny, 1 subscribe, 2 publish or 3 both", i, g.filter, g.access)
			}
		}
	}
	return out, nil
}

func grants(of map[string]access) (list []grant) {
	for f, a := range of {
		list = append(list, grant{f, a})
	}
	slices.SortFunc(list, func(a, b grant) int { return cmp.Compare(a.filter, b.filter) })
	return list
}

// before puts the rules of a region before those of the file, which may be nil. Counts are taken along from was, for
// rules that are as they were.
func (of *Rules) before(file, was *rules) *rules {
	if of == nil {
		return file
	}
	out := &rules{rest: rule{name: restRule, revision: of.Revision}}
	if of.Closed {
		out.rest.name = closedRule
		return out
	}
	for i := range of.List {
		r := &of.List[i]
		c := &rule{name: r.Name, revision: of.Revision, namespace: r.Namespace, username: r.Username, client: r.Client}
		for _, part := range []struct {
			list   []string
			access access
		}{{r.Publish, mayWrite}, {r.Subscribe, mayRead}, {r.Deny, 0}} {
			for _, f := range part.list {
				c.filters = append(c.filters, grant{f, part.access})
			}
		}
		out.list = append(out.list, c)
	}
	if file != nil {
		out.list = append(out.list, file.list...)
	}
	if was != nil && was.rest.revision == of.Revision {
		for i, r := range out.list {
			if i < len(was.list) && was.list[i].name == r.name && was.list[i] != r {
				for k := range r.denied {
					r.denied[k].Store(was.list[i].denied[k].Load())
				}
			}
		}
		for k := range out.rest.denied {
			out.rest.denied[k].Store(was.rest.denied[k].Load())
		}
	}
	return out
}

// named says whether a pattern is about a name.
func named(pattern, name string) bool {
	if pattern == "" || pattern == "*" || pattern == name {
		return true
	}
	head, wild := strings.CutSuffix(pattern, "*")
	return wild && len(name) > len(head) && strings.HasPrefix(name, head)
}

func (r *rule) about(who *Identity) bool {
	return (r.namespace == "" || r.namespace == who.Namespace) && named(r.client, who.ClientID) && named(r.username, who.Username) && named(r.remote, who.Remote)
}

// matches is as routing.Matches, but a wildcard is about topics of servers too: a denial must not end there.
func (g *grant) matches(topic string) bool {
	if routing.Matches(g.filter, topic) {
		return true
	}
	return topic != "" && topic[0] == '$' && (g.filter[0] == '#' || g.filter[0] == '+') && routing.Matches(g.filter, "_"+topic[1:])
}

func (r *rules) allow(who *Identity, name string, write bool) bool {
	by, ok := r.decide(who, name, write)
	if !ok {
		by.denied[asIndex(write)].Add(1)
	}
	return ok
}

func asIndex(on bool) int {
	if on {
		return 1
	}
	return 0
}

// decide names the rule that decides.
func (r *rules) decide(who *Identity, name string, write bool) (by *rule, ok bool) {
	need := mayRead
	if write {
		need = mayWrite
	}
	wild := !write && strings.ContainsAny(name, "+#")
	for _, x := range r.list {
		if !x.about(who) {
			continue
		}
		if len(x.filters) == 0 {
			return x, true
		}
		touched := false
		for i := range x.filters {
			g := &x.filters[i]
			switch {
			case wild && g.access&need != 0 && routing.Covers(g.filter, name):
				return x, true
			case wild:
				touched = touched || routing.Overlaps(g.filter, name)
			case !touched || g.access&need != 0:
				if g.matches(name) {
					if g.access&need != 0 {
						return x, true
					}
					touched = true
				}
			}
		}
		if touched {
			return x, false
		}
	}
	return &r.rest, false
}
