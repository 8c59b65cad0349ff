package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// What of the node file is a region's, and may be configured for all its nodes at once. An empty
// list is all keys of a section.
var objectKeys = map[string][]string{
	"limits":     {"session_expiry_max", "queue_messages", "queue_bytes", "inflight", "subscriptions", "keepalive_max", "will_grace"},
	"ack":        nil,
	"namespaces": nil,
	"takeover":   {"mode", "isolation", "standby_away", "will_grace", "admission", "sessions"},
	"links":      {"peer", "in", "out", "never", "retained", "in_prefix", "rate", "qos_max", "spool"},
	"shared":     nil,
	"handover":   nil,
	"residency":  nil,
	"acl":        nil,
}

// nodeKeys are keys and sections of which each node makes something of its own, so that one node
// alone may have others. What the rest says is in the home's log, the same for all.
var nodeKeys = []string{"acl", "limits.inflight", "limits.keepalive_max"}

// objectSchema is the part of the schema that objectKeys names.
var objectSchema = func() *field {
	root := *schema
	root.children = nil
	for _, c := range schema.children {
		if keys, ok := objectKeys[c.key]; ok {
			root.children = append(root.children, pick(c, keys))
		}
	}
	return &root
}()

func pick(f *field, keys []string) *field {
	if keys == nil {
		return f
	}
	out := *f
	if f.isList() {
		out.elem = pick(f.elem, keys)
		return &out
	}
	out.children = slices.DeleteFunc(slices.Clone(f.children), func(c *field) bool { return !slices.Contains(keys, c.key) })
	return &out
}

// Objects are the sections of one file that is about a region. What a section says replaces the
// whole section of the node file; of takeover and links it replaces the keys that are a region's.
type Objects struct {
	cfg     *Config
	sources *Sources
	has     []string // sections, in the order of the schema
}

// ParseObjects reads a file. name is what errors call it. Like Load it does not judge what the
// values mean: Over does.
func ParseObjects(name string, data []byte) (*Objects, error) {
	sources := &Sources{byKey: map[string]Source{}}
	l := &layer{values: map[string]any{}, sources: sources, root: objectSchema}
	l.parseFile(name, data)
	o := &Objects{sources: sources}
	for _, c := range objectSchema.children {
		if _, ok := l.values[c.key]; ok {
			o.has = append(o.has, c.key)
		}
	}
	var err error
	if o.cfg, err = merge(l, nil); err != nil {
		return nil, err
	}
	return o, nil
}

// ParseSection reads one section of a file, whatever is the matter with the others. It is nil,
// without an error, if the file does not have it.
func ParseSection(name string, data []byte, section string) (*Objects, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: there are no sections in it", name)
	}
	all := doc.Content[0].Content
	for i := 0; i+1 < len(all); i += 2 {
		if all[i].Value != section {
			continue
		}
		alone, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: all[i : i+2]})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return ParseObjects(name, alone)
	}
	return nil, nil
}

// Sections lists the sections the file has.
func (o *Objects) Sections() []string {
	if o == nil {
		return nil
	}
	return o.has
}

// Has says whether the file has a section.
func (o *Objects) Has(section string) bool { return slices.Contains(o.Sections(), section) }

// Says reports whether a key of the node file is one that these objects have in its place.
func (o *Objects) Says(key string) bool {
	section := key
	if i := strings.IndexAny(key, ".["); i >= 0 {
		section = key[:i]
	}
	return o.Has(section) && objectSchema.at(key)
}

// Over returns a node's configuration with the sections of the file in place of its own. The error
// joins every *Problem of the whole, those of the file with their lines. The receiver may be nil:
// then nothing is replaced.
func (o *Objects) Over(node *Config) (*Config, error) {
	next := *node
	if o == nil {
		return &next, nil
	}
	cfg := *o.cfg
	cfg.Links, cfg.Region, cfg.Leaf = slices.Clone(cfg.Links), node.Region, node.Leaf
	cfg.Link, cfg.Shared, cfg.Ack, cfg.ACL = node.Link, slices.Clone(cfg.Shared), slices.Clone(cfg.Ack), slices.Clone(cfg.ACL)
	cfg.fillObjects(o.sources)
	for _, section := range o.has {
		switch section {
		case "limits":
			next.Limits = overLimits(node.Limits, cfg.Limits)
		case "ack":
			next.Ack = cfg.Ack
		case "namespaces":
			next.Namespaces = cfg.Namespaces
		case "takeover":
			next.Takeover = overTakeover(node.Takeover, cfg.Takeover)
		case "shared":
			next.Shared = cfg.Shared
		case "handover":
			next.Handover = cfg.Handover
		case "residency":
			next.Residency = cfg.Residency
		case "acl":
			next.ACL = cfg.ACL
		}
	}
	linkAt, problems := overLinks(&next, cfg.Links)
	for _, p := range problemsIn(next.Validate()) {
		p.Key = linkAt(p.Key)
		problems = append(problems, p)
	}
	return &next, o.sources.Explain(joinProblems(problems))
}

// fillObjects sets what is left out of sections of objects.
func (c *Config) fillObjects(sources *Sources) {
	unset := func(key string) bool { return !sources.isSet(key) }
	for i := range c.Ack {
		if unset(fmt.Sprintf("ack[%d].policy", i)) {
			c.Ack[i].Policy = AckRegion
		}
		if unset(fmt.Sprintf("ack[%d].replay", i)) {
			c.Ack[i].Replay = ReplayDeliver
		}
	}
	for i := range c.Shared {
		if unset(fmt.Sprintf("shared[%d].namespace", i)) {
			c.Shared[i].Namespace = "default"
		}
	}
	for i := range c.Links {
		c.Links[i].fill(fmt.Sprintf("links[%d].", i), c.Region, unset)
	}
	c.fillACL()
	if unset("takeover.isolation") && c.Takeover.Mode == TakeoverAuto {
		c.Takeover.Isolation = IsolationSelfFence
	}
	if c.Leaf {
		c.fillLeaf(unset)
	}
}

func overLimits(node, o Limits) Limits {
	o.Packet, o.TopicAliasMax, o.ReceiveMaximum = node.Packet, node.TopicAliasMax, node.ReceiveMaximum
	return o
}

func overTakeover(node, o Takeover) Takeover {
	node.Mode, node.Isolation, node.StandbyAway = o.Mode, o.Isolation, o.StandbyAway
	node.WillGrace, node.Admission, node.Sessions = o.WillGrace, o.Admission, o.Sessions
	return node
}

// overLinks puts policies over the links of a node. at tells the key in the objects of a key of
// the links of the whole.
func overLinks(next *Config, policies []Link) (at func(string) string, problems []*Problem) {
	next.Links = slices.Clone(next.Links)
	from := map[int]int{}
	for j, p := range policies {
		key := fmt.Sprintf("links[%d].peer", j)
		i := slices.IndexFunc(next.Links, func(l Link) bool { return l.Peer == p.Peer })
		switch {
		case p.Peer == "":
			problems = append(problems, &Problem{Key: key, What: "is missing", Fix: "name the region of a link of the node files"})
		case i < 0:
			problems = append(problems, &Problem{Key: key, What: fmt.Sprintf("the node file has no link to %q", p.Peer), Fix: "add the link with its addresses there, then its policy here"})
		case next.Links[i].IsForeign():
			problems = append(problems, &Problem{Key: key, What: fmt.Sprintf("%q is a foreign broker", p.Peer), Fix: "its keys stay together in the node files"})
		default:
			if first, again := from[i]; again {
				problems = append(problems, &Problem{Key: key, What: fmt.Sprintf("%q is also links[%d].peer", p.Peer, first), Fix: "keep one of them"})
				continue
			}
			from[i] = j
			l := &next.Links[i]
			l.In, l.Out, l.Never, l.Retained, l.InPrefix = p.In, p.Out, p.Never, p.Retained, p.InPrefix
			l.Rate, l.QoSMax, l.Spool = p.Rate, p.QoSMax, p.Spool
		}
	}
	return func(key string) string {
		rest, ok := strings.CutPrefix(key, "links[")
		n, tail, found := strings.Cut(rest, "]")
		i, err := strconv.Atoi(n)
		if j, of := from[i]; ok && found && err == nil && of {
			return fmt.Sprintf("links[%d]%s", j, tail)
		}
		return key
	}, problems
}

// Difference is a key of a region that is another one in two configurations. Items of lists go by
// their names.
type Difference struct {
	Key  string
	From string // "" if it is not there
	To   string
}

// Node reports whether one node alone can have the new value.
func (d Difference) Node() bool {
	section := d.Key
	if i := strings.IndexAny(section, ".[ "); i >= 0 {
		section = section[:i]
	}
	return slices.Contains(nodeKeys, section) || slices.Contains(nodeKeys, d.Key)
}

// Differences lists what is a region's and differs, by key.
func Differences(from, to *Config) (list []Difference) {
	old, now := named(from), named(to)
	keys := slices.Collect(maps.Keys(old))
	for k := range now {
		if _, ok := old[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if old[k] != now[k] {
			list = append(list, Difference{k, old[k], now[k]})
		}
	}
	return list
}

// itemNames are the keys that tell the items of lists apart.
var itemNames = map[string][]string{"ack": {"filter"}, "namespaces": {"name"}, "links": {"peer"}, "shared": {"namespace", "group"},
	"residency": {"namespace", "filter"}, "acl": {"name"}}

// named lists the values of what is a region's by their keys.
func named(c *Config) map[string]string {
	values := map[string]string{}
	root := reflect.ValueOf(*c)
	for _, f := range objectSchema.children {
		v := root.Field(f.index)
		if !f.isList() {
			for _, e := range entries(f, v, f.key, nil) {
				values[e.Key] = shown(e.Value)
			}
			continue
		}
		var order []string
		for i := range v.Len() {
			name := itemName(f, v.Index(i))
			if slices.Contains(order, name) { // two rules of one filter
				name = fmt.Sprintf("%s#%d", name, i)
			}
			order = append(order, name)
			for _, e := range entries(f.elem, v.Index(i), f.key+"["+name+"]", nil) {
				values[e.Key] = shown(e.Value)
			}
		}
		if f.key == "ack" || f.key == "acl" {
			values[f.key+" (order)"] = strings.Join(order, ", ")
		}
	}
	return values
}

func itemName(f *field, v reflect.Value) string {
	var parts []string
	for _, key := range itemNames[f.key] {
		if s := v.Field(f.elem.child(key).index).String(); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "/")
}

// RegionYAML writes what of a configuration is a region's, as a file that ParseObjects reads; one
// section of it if that is named.
func RegionYAML(c *Config, section string) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range objectSchema.children {
		if section != "" && f.key != section {
			continue
		}
		value := reflect.ValueOf(*c).Field(f.index)
		if f.key == "links" {
			value = reflect.ValueOf(regionLinks(c))
		}
		n := yamlNode(f, value, f.key, &Sources{})
		stripComments(n)
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: f.key}, n)
	}
	if len(root.Content) == 0 {
		return nil, fmt.Errorf("there is no section %q; there are %s", section, strings.Join(SectionNames(), ", "))
	}
	return yaml.Marshal(root)
}

func regionLinks(c *Config) []Link {
	list := []Link{}
	for _, l := range c.RegionLinks() {
		list = append(list, *l)
	}
	return list
}

func stripComments(n *yaml.Node) {
	n.LineComment = ""
	for _, c := range n.Content {
		stripComments(c)
	}
}

// SectionNames lists the sections that are a region's.
func SectionNames() (names []string) {
	for _, f := range objectSchema.children {
		names = append(names, f.key)
	}
	return names
}
