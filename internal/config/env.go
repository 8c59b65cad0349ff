package config

import (
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// envPrefix opens every variable that is ours.
const envPrefix = "CAUSEWAY_"

// Variables of ours that are no keys: the one that names the node file, and the one that says which
// node `causeway ctl` speaks to, which an operator has set while starting a node by hand.
const (
	envFile    = envPrefix + "CONFIG"
	envContext = envPrefix + "CONTEXT"
)

// serviceVariable matches what Kubernetes puts into every container of a namespace that has a
// Service called causeway or causeway-*: CAUSEWAY_SERVICE_HOST, CAUSEWAY_PORT_1883_TCP_ADDR. They
// are nobody's spelling mistake.
var serviceVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// envName is the variable of a key: limits.packet is CAUSEWAY_LIMITS_PACKET.
func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// lookupEnv finds a variable; the last one wins, as in a process's own environment.
func lookupEnv(env []string, name string) (value string, ok bool) {
	for _, pair := range env {
		if v, found := strings.CutPrefix(pair, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// readEnv puts the CAUSEWAY_ variables over the layer. A variable that is set but empty sets the
// key to the empty text: that is how a container turns a listener off.
func (l *layer) readEnv(env []string) {
	fields := map[string]*field{}
	keys := map[string]string{}
	eachKey(schema, "", func(path string, f *field) {
		fields[envName(path)], keys[envName(path)] = f, path
	})
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envFile || name == envContext || serviceVariable.MatchString(name) {
			continue
		}
		src := Source{Kind: FromEnv, Name: name}
		f, known := fields[name]
		if !known {
			l.problems = append(l.problems, &Problem{Source: src, What: "unknown variable", Fix: suggestVariable(name, keys)})
			continue
		}
		if v, ok := l.envValue(f, keys[name], value, src); ok {
			setPath(l.values, keys[name], v)
		}
	}
}

func suggestVariable(name string, keys map[string]string) string {
	best, bestDistance := "", len(name)/3
	for known := range keys {
		d := distance(name, known)
		if d < bestDistance || d == bestDistance && known < best {
			best, bestDistance = known, d
		}
	}
	if best == "" {
		return "unset it; causeway config print shows the keys, and limits.packet is CAUSEWAY_LIMITS_PACKET"
	}
	return "did you mean " + best + "?"
}

// envValue reads a single value as it stands and a list as YAML, so that every key can be set
// without a file. Listeners may also be TYPE://HOST:PORT, separated by commas.
func (l *layer) envValue(f *field, key, text string, src Source) (any, bool) {
	if !f.isList() {
		l.sources.set(key, src)
		return text, true
	}
	l.place = func(*yaml.Node) Source { return src }
	var doc yaml.Node
	err := yaml.Unmarshal([]byte(text), &doc)
	if err == nil && len(doc.Content) == 1 {
		root := doc.Content[0]
		if root.Kind == yaml.SequenceNode {
			return l.list(f, root, key), true
		}
		if root.Kind == yaml.ScalarNode && f.elem.typ == listenerType && !isNull(root) {
			return l.shortListeners(key, strings.Split(text, ","), src), true
		}
	}
	fix := `want a YAML list such as [{filter: "#", policy: region}]`
	if f.elem.typ == listenerType {
		fix = "want TYPE://HOST:PORT separated by commas, or a YAML list"
	}
	l.problems = append(l.problems, &Problem{Key: key, Source: src, What: fmt.Sprintf("%q is no list", text), Fix: fix})
	return nil, false
}

func (l *layer) shortListeners(key string, texts []string, src Source) []any {
	l.sources.set(key, src)
	items := make([]any, 0, len(texts))
	for i, text := range texts {
		items = append(items, l.shortListener(strings.TrimSpace(text), fmt.Sprintf("%s[%d]", key, i), src))
	}
	return items
}

// setPath sets a.b.c in nested maps.
func setPath(values map[string]any, path string, v any) {
	for {
		head, rest, nested := strings.Cut(path, ".")
		if !nested {
			values[head] = v
			return
		}
		inner, ok := values[head].(map[string]any)
		if !ok {
			inner = map[string]any{}
			values[head] = inner
		}
		values, path = inner, rest
	}
}
