package drill

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// maxPlan bounds a plan file, in bytes, and maxSteps its steps.
const (
	maxPlan  = 256 << 10
	maxSteps = 200
)

// Parse reads a plan. Its errors name the file, line and column, the key, and what would do; all
// are reported at once.
func Parse(file string, text []byte) (*Plan, error) {
	if len(text) > maxPlan {
		return nil, fmt.Errorf("%s: a plan has at most %d bytes", file, maxPlan)
	}
	r := &reader{file: file}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: the plan is empty", file)
	}
	p := &Plan{text: text}
	r.plan(doc.Content[0], p)
	r.sensible(p)
	if len(r.errs) > 0 {
		slices.SortStableFunc(r.errs, func(a, b problem) int {
			if a.line != b.line {
				return a.line - b.line
			}
			return a.column - b.column
		})
		var all []error
		for _, e := range r.errs {
			all = append(all, errors.New(e.text))
		}
		return nil, errors.Join(all...)
	}
	return p, nil
}

type problem struct {
	line, column int
	text         string
}

// reader walks the nodes of a file and keeps what is wrong with them.
type reader struct {
	file string
	errs []problem
	at   map[string]*yaml.Node // of keys that sensible speaks of
}

func (r *reader) wrong(n *yaml.Node, key, format string, args ...any) {
	if n == nil {
		n = &yaml.Node{Line: 1, Column: 1}
	}
	r.errs = append(r.errs, problem{n.Line, n.Column, fmt.Sprintf("%s:%d:%d: %s: %s", r.file, n.Line, n.Column, key, fmt.Sprintf(format, args...))})
}

// object goes through the keys of a map; a key that no field takes, or that is there twice, is wrong.
func (r *reader) object(n *yaml.Node, key string, fields map[string]func(*yaml.Node, string)) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, orTop(key), "wants keys and values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(key+"."+k.Value, ".")
		take, known := fields[k.Value]
		switch {
		case !known:
			r.wrong(k, path, "is not known here; known are %s", strings.Join(sortedKeys(fields), ", "))
		case seen[k.Value]:
			r.wrong(k, path, "is there twice")
		default:
			if r.at == nil {
				r.at = map[string]*yaml.Node{}
			}
			r.at[path] = v
			if v.Kind == yaml.AliasNode {
				v = v.Alias
			}
			take(v, path)
		}
		seen[k.Value] = true
	}
}

func orTop(key string) string {
	if key == "" {
		return "the plan"
	}
	return key
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r *reader) text(to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.ScalarNode {
			r.wrong(n, key, "wants a word or a text")
			return
		}
		*to = n.Value
	}
}

func (r *reader) word(to *string, allowed ...string) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		r.text(to)(n, key)
		if n.Kind == yaml.ScalarNode && !slices.Contains(allowed, n.Value) {
			r.wrong(n, key, "is %q; use %s", n.Value, strings.Join(allowed, " or "))
		}
	}
}

// texts takes one text or a list of them.
func (r *reader) texts(to *[]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		list := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			list = n.Content
		}
		*to = nil
		for i, item := range list {
			var s string
			r.text(&s)(item, fmt.Sprintf("%s[%d]", key, i))
			*to = append(*to, s)
		}
	}
}

func (r *reader) duration(to *time.Duration) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || d < 0 {
			r.wrong(n, key, "is %q and no duration; use one like 30s or 5m", n.Value)
			return
		}
		*to = d
	}
}

func (r *reader) integer(to *int, least, most int) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < least || v > most {
			r.wrong(n, key, "is %q; use a number from %d to %d", n.Value, least, most)
			return
		}
		*to = v
	}
}

// part takes 5% or 0.05.
func (r *reader) part(to *float64) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		text, percent := strings.CutSuffix(n.Value, "%")
		v, err := strconv.ParseFloat(text, 64)
		if percent {
			v /= 100
		}
		if n.Kind != yaml.ScalarNode || err != nil || !(v >= 0 && v <= 1) {
			r.wrong(n, key, "is %q; use a part like 5%%", n.Value)
			return
		}
		*to = v
	}
}

// rate takes 40/s.
func (r *reader) rate(to *float64) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		v, err := strconv.ParseFloat(strings.TrimSuffix(n.Value, "/s"), 64)
		if n.Kind != yaml.ScalarNode || err != nil || !(v > 0 && v <= 100000) {
			r.wrong(n, key, "is %q; use messages a second, like 40/s", n.Value)
			return
		}
		*to = v
	}
}

func (r *reader) number(to *float64) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		v, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || err != nil || !(v >= 0 && v < 1e12) {
			r.wrong(n, key, "is %q; use a number", n.Value)
			return
		}
		*to = v
	}
}

func (r *reader) flag(to *bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		switch n.Value {
		case "true":
			*to = true
		case "false":
			*to = false
		default:
			r.wrong(n, key, "is %q; use true or false", n.Value)
		}
	}
}

// goals takes limits by the names of metrics: durations where seconds are measured.
func (r *reader) goals(to *map[string]float64) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		*to = map[string]float64{}
		fields := map[string]func(*yaml.Node, string){}
		for _, m := range Metrics {
			fields[m.Name] = func(n *yaml.Node, key string) {
				if n.Value == "none" {
					(*to)[m.Name] = none
					return
				}
				if m.Seconds {
					var d time.Duration
					r.duration(&d)(n, key)
					(*to)[m.Name] = d.Seconds()
					return
				}
				var v float64
				r.number(&v)(n, key)
				(*to)[m.Name] = v
			}
		}
		r.object(n, key, fields)
	}
}

// params takes texts by any name.
func (r *reader) params(to *map[string]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		*to = map[string]string{}
		if n.Kind != yaml.MappingNode {
			r.wrong(n, key, "wants names and values")
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			var v string
			r.text(&v)(n.Content[i+1], key+"."+n.Content[i].Value)
			(*to)[n.Content[i].Value] = v
		}
	}
}

type fields = map[string]func(*yaml.Node, string)

func (r *reader) plan(n *yaml.Node, p *Plan) {
	p.Scope.Kind, p.Limit = ScopeRegion, time.Hour
	p.Agent.Timeout = time.Minute
	p.Canaries = CanaryPlan{Pairs: 10, Rate: 20, Payload: 64, Clients: []string{"3.1.1", "5"}, ClientID: "drill-", Topic: "causeway/drill", Redial: 500 * time.Millisecond, Patience: 30 * time.Second}
	p.Guardrails = Guardrails{Lost: none, Away: none, Disconnected: none, AwayFor: 30 * time.Second, Readiness: true}
	r.object(n, "", fields{
		"name": r.text(&p.Name), "about": r.text(&p.About), "home": r.text(&p.Home), "limit": r.duration(&p.Limit),
		"goals": r.goals(&p.Goals),
		"scope": func(n *yaml.Node, key string) {
			if n.Kind == yaml.ScalarNode {
				r.word(&p.Scope.Kind, ScopeRegion, ScopeShadow)(n, key)
				return
			}
			r.object(n, key, fields{"cohort": func(n *yaml.Node, key string) {
				p.Scope.Kind = ScopeCohort
				r.text(&p.Scope.Prefix)(n, key)
			}})
		},
		"regions": func(n *yaml.Node, key string) { r.regions(n, key, p) },
		"agent": func(n *yaml.Node, key string) {
			r.object(n, key, fields{"exec": r.texts(&p.Agent.Exec), "timeout": r.duration(&p.Agent.Timeout)})
		},
		"canaries":   func(n *yaml.Node, key string) { r.canaries(n, key, &p.Canaries) },
		"guardrails": func(n *yaml.Node, key string) { r.guardrails(n, key, &p.Guardrails) },
		"approvers":  func(n *yaml.Node, key string) { r.approvers(n, key, p) },
		"steps":      func(n *yaml.Node, key string) { r.steps(n, key, p) },
	})
}

func (r *reader) regions(n *yaml.Node, key string, p *Plan) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, key, "wants the regions by name")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		x := RegionRef{Name: n.Content[i].Value}
		if p.Region(x.Name) != nil {
			r.wrong(n.Content[i], key+"."+x.Name, "is there twice")
		}
		r.object(n.Content[i+1], key+"."+x.Name, fields{"context": r.text(&x.Context), "server": r.text(&x.Server), "token_file": r.text(&x.TokenFile),
			"ca": r.text(&x.CA), "socket": r.text(&x.Socket), "more": r.texts(&x.More)})
		if x.Context == "" && x.Server == "" && x.Socket == "" {
			r.wrong(n.Content[i+1], key+"."+x.Name, "says not where its admin API is; give context, server or socket")
		}
		p.Regions = append(p.Regions, x)
	}
}

func (r *reader) canaries(n *yaml.Node, key string, c *CanaryPlan) {
	r.object(n, key, fields{
		"pairs": r.integer(&c.Pairs, 1, 10000), "across": r.integer(&c.Across, 0, 10000), "rate": r.rate(&c.Rate), "payload": r.integer(&c.Payload, 20, 65536),
		"clients": func(n *yaml.Node, key string) {
			r.texts(&c.Clients)(n, key)
			for _, k := range c.Clients {
				if !slices.Contains(CanaryClients, k) {
					r.wrong(n, key, "has %q; use %s", k, strings.Join(CanaryClients, ", "))
				}
			}
		},
		"client_id": r.text(&c.ClientID), "topic": r.text(&c.Topic), "username": r.text(&c.Username), "password_file": r.text(&c.Password),
		"cert": r.text(&c.Cert), "key": r.text(&c.Key), "ca": r.text(&c.CA), "redial": r.duration(&c.Redial), "patience": r.duration(&c.Patience), "order": r.texts(&c.Order),
		"addresses": func(n *yaml.Node, key string) {
			c.Addresses = map[string][]string{}
			if n.Kind != yaml.MappingNode {
				r.wrong(n, key, "wants public addresses by region")
				return
			}
			for i := 0; i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				var list []string
				r.texts(&list)(n.Content[i+1], key+"."+name)
				for _, a := range list {
					if _, _, err := SplitAddress(a); err != nil {
						r.wrong(n.Content[i+1], key+"."+name, "%v", err)
					}
				}
				c.Addresses[name] = list
			}
		},
	})
}

// CanaryClients are what a canary may be.
var CanaryClients = []string{"3.1.1", "5", "mosquitto", "mqttjs", "paho"}

// SplitAddress takes mqtt://host:port or mqtts://host:port apart.
func SplitAddress(address string) (hostPort string, secure bool, err error) {
	scheme, at, ok := strings.Cut(address, "://")
	if !ok || scheme != "mqtt" && scheme != "mqtts" || !strings.Contains(at, ":") || strings.ContainsAny(at, "/?") {
		return "", false, fmt.Errorf("the address %q is none; use mqtt://host:port or mqtts://host:port", address)
	}
	return at, scheme == "mqtts", nil
}

func (r *reader) guardrails(n *yaml.Node, key string, g *Guardrails) {
	r.object(n, key, fields{"lost": r.number(&g.Lost), "gap": r.duration(&g.Gap), "away": r.part(&g.Away), "away_for": r.duration(&g.AwayFor), "disconnected": r.part(&g.Disconnected),
		"standby_lag": r.duration(&g.StandbyLag), "readiness": r.flag(&g.Readiness)})
}

func (r *reader) approvers(n *yaml.Node, key string, p *Plan) {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, key, "wants a list of names and roles")
		return
	}
	for i, item := range n.Content {
		a := Approver{Role: "operator"}
		r.object(item, fmt.Sprintf("%s[%d]", key, i), fields{"name": r.text(&a.Name), "role": r.word(&a.Role, "operator", "admin")})
		p.Approvers = append(p.Approvers, a)
	}
}

func (r *reader) steps(n *yaml.Node, key string, p *Plan) {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, key, "wants a list")
		return
	}
	if len(n.Content) > maxSteps {
		r.wrong(n, key, "has %d entries; a drill has at most %d", len(n.Content), maxSteps)
		return
	}
	for i, item := range n.Content {
		p.Steps = append(p.Steps, r.step(item, fmt.Sprintf("%s[%d]", key, i)))
	}
}

// step reads one entry. The word that says what it is has the name of the scenario, or is wait,
// check or approve.
func (r *reader) step(n *yaml.Node, key string) Item {
	x := Item{Line: n.Line, Failback: true, Failover: "auto", Method: "agent", Replay: "rules", Role: "operator"}
	kinds := 0
	is := func(take func(*yaml.Node, string)) func(*yaml.Node, string) {
		return func(n *yaml.Node, key string) { kinds++; take(n, key) }
	}
	r.object(n, key, fields{
		"scenario": is(r.word(&x.Scenario, sortedKeys(scenarios)...)),
		"wait":     is(r.duration(&x.Wait)),
		"check":    is(r.texts(&x.Check)),
		"approve":  is(func(n *yaml.Node, key string) { x.Approve = true; r.text(&x.Why)(n, key) }),
		"name":     r.text(&x.Name), "by": r.texts(&x.By), "role": r.word(&x.Role, "operator", "admin"),
		"region": r.text(&x.Region), "node": r.text(&x.Node), "peer": r.text(&x.Peer), "to": r.text(&x.To),
		"within": r.duration(&x.Within), "hold": r.duration(&x.Hold), "method": r.word(&x.Method, "agent", "pause"),
		"failover": r.word(&x.Failover, "auto", "operator"), "failback": r.flag(&x.Failback), "replay": r.word(&x.Replay, "rules", "deliver", "report", "discard"),
		"delay": r.duration(&x.Delay), "jitter": r.duration(&x.Jitter), "loss": r.part(&x.Loss), "rate": r.text(&x.Rate), "params": r.params(&x.Params), "goals": r.goals(&x.Goals),
	})
	if n.Kind == yaml.MappingNode && kinds != 1 {
		r.wrong(n, key, "is to be one of scenario, wait, check and approve")
	}
	return x
}

// sensible checks what goes beyond one value.
func (r *reader) sensible(p *Plan) {
	need := func(ok bool, key, format string, args ...any) {
		if !ok {
			r.wrong(r.at[key], key, format, args...)
		}
	}
	need(p.Name != "", "name", "is missing; give the drill a name")
	need(ValidName(p.Name), "name", "has other characters than letters, digits, - and _, or more than 40 of them")
	need(p.Home != "", "home", "is missing; say which home is drilled")
	need(len(p.Regions) > 0, "regions", "are missing; say where their admin APIs are")
	need(len(p.Steps) > 0, "steps", "are missing")
	need(p.Scope.Kind != ScopeCohort || p.Scope.Prefix != "", "scope", "names no cohort; give the beginning of its client ids")
	if p.Home != "" && len(p.Regions) > 0 {
		need(p.Region(p.Home) != nil, "home", "is %q, which is none of the regions", p.Home)
		need(len(p.Canaries.Addresses[p.Home]) > 0, "canaries.addresses", "lack those of %q, where the home's devices connect", p.Home)
	}
	for name := range p.Canaries.Addresses {
		need(p.Region(name) != nil, "canaries.addresses."+name, "is none of the regions")
	}
	for _, name := range p.Canaries.Order {
		need(len(p.Canaries.Addresses[name]) > 0, "canaries.order", "has %q, of which no addresses are given", name)
	}
	agent := len(p.Agent.Exec) > 0
	asked := map[string]bool{} // for approval, by name
	for i := range p.Steps {
		x, key := &p.Steps[i], fmt.Sprintf("steps[%d]", i)
		at := &yaml.Node{Line: x.Line, Column: 1}
		wrong := func(k, format string, args ...any) {
			n := r.at[key+"."+k]
			if n == nil {
				n = at
			}
			r.wrong(n, key+"."+k, format, args...)
		}
		for k, name := range map[string]string{"region": x.Region, "to": x.To, "peer": x.Peer} {
			if name != "" && p.Region(name) == nil {
				wrong(k, "is %q, which is none of the regions", name)
			}
		}
		if x.Approve && len(x.By) == 0 && len(p.Approvers) == 0 {
			wrong("by", "is missing; name who may approve, here or in approvers")
		}
		if name := named(x, "approval"); x.Approve {
			if asked[name] {
				wrong("name", "is missing or there twice: an approval of %q would be one of both steps; give each a name", name)
			}
			asked[name] = true
		}
		s, known := scenarios[x.Scenario]
		if !known {
			continue
		}
		for _, k := range s.needs {
			if map[string]string{"region": x.Region, "node": x.Node, "peer": x.Peer, "to": x.To}[k] == "" {
				wrong(k, "is missing; %s needs it", x.Scenario)
			}
		}
		if s.agent(x) && !agent {
			wrong("scenario", "%s needs agent.exec: no API can do that", x.Scenario)
		}
		if (p.Scope.Kind == ScopeCohort) != (x.Scenario == "kick-cohort") {
			wrong("scenario", "%s does not go with the scope %s; a cohort can only be disconnected (kick-cohort)", x.Scenario, p.Scope.Kind)
		}
	}
}

// ValidName says whether a name may be part of file names and paths.
func ValidName(s string) bool {
	return s != "" && len(s) <= 40 && !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	})
}
