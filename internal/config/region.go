package config

import (
	"fmt"
	"strings"
)

// Namespace bounds what the devices of one tenant may take, so that none of the others are hurt.
type Namespace struct {
	// Name is the tenant, as in listeners[].namespace.
	Name string `mapstructure:"name"`
	// Quota is what it may take.
	Quota Quota `mapstructure:"quota"`
}

// Quota bounds a namespace; 0 is no bound. Rates and connections are those of a region, of which
// each node gives out its part.
type Quota struct {
	// Connections is how many devices may be connected. More are refused with Quota exceeded (0x97).
	Connections int `mapstructure:"connections"`
	// Publish is how many messages devices may publish a second. Beyond it QoS 1 and 2 are answered
	// with Quota exceeded (0x97) to MQTT 5 and wait with others; QoS 0 are dropped.
	Publish Rate `mapstructure:"publish"`
	// Queued is how many bytes may wait in the queues of its sessions. Beyond it messages for queues
	// that hold some are dropped there.
	Queued ByteSize `mapstructure:"queued"`
	// Retained is how many retained messages it may have. New ones beyond it are refused.
	Retained int `mapstructure:"retained"`
}

// ACLRule says what some devices may do. The first rule that says something about a topic decides;
// within a rule a grant beats a denial. What no rule grants is denied. A rule without filters
// grants everything.
type ACLRule struct {
	// Name is the rule in counters and answers; unique. Default: acl[N].
	Name string `mapstructure:"name"`
	// Namespace is the one of the devices. Default: any.
	Namespace string `mapstructure:"namespace"`
	// Username is the devices' user name; a * at its end matches any rest. Default: any.
	Username string `mapstructure:"username"`
	// Client is the devices' client id, as Username.
	Client string `mapstructure:"client"`
	// Publish are the filters whose topics they may publish to.
	Publish []string `mapstructure:"publish"`
	// Subscribe are the filters they may subscribe to, or to a part of.
	Subscribe []string `mapstructure:"subscribe"`
	// Deny are filters they may neither publish nor subscribe to.
	Deny []string `mapstructure:"deny"`
}

// Bounds of the lists.
const (
	maxNamespaces = 256
	maxACL        = 4096
)

func (v *validator) namespaces(c *Config) {
	v.check(len(c.Namespaces) <= maxNamespaces, "namespaces", fmt.Sprintf("%d namespaces", len(c.Namespaces)), fmt.Sprintf("want at most %d", maxNamespaces))
	for i, n := range c.Namespaces {
		key := fmt.Sprintf("namespaces[%d].", i)
		v.name(key+"name", n.Name)
		v.count(key+"quota.connections", n.Quota.Connections, 0, 1<<31)
		v.check(n.Quota.Publish >= 0, key+"quota.publish", "is negative", "want a rate such as 5000/s, or 0 for no bound")
		v.size(key+"quota.queued", n.Quota.Queued, 0, 1<<50)
		v.count(key+"quota.retained", n.Quota.Retained, 0, 1<<31)
	}
	v.unique("namespaces", "name", len(c.Namespaces), func(i int) string { return c.Namespaces[i].Name })
}

func (v *validator) acl(c *Config) {
	v.check(len(c.ACL) <= maxACL, "acl", fmt.Sprintf("%d rules", len(c.ACL)), fmt.Sprintf("want at most %d: use wildcards", maxACL))
	for i, r := range c.ACL {
		key := fmt.Sprintf("acl[%d].", i)
		v.check(len(r.Name) <= 64 && !strings.ContainsAny(r.Name, "\x00\n"), key+"name", "is longer than 64 bytes", "give it a short name")
		if r.Namespace != "" {
			v.name(key+"namespace", r.Namespace)
		}
		for _, p := range []struct{ key, text string }{{"username", r.Username}, {"client", r.Client}} {
			at := strings.IndexByte(p.text, '*')
			v.check(at < 0 || at == len(p.text)-1, key+p.key, fmt.Sprintf("%q has a * that is not at its end", p.text), "want a name, or its beginning with a * behind it")
		}
		for _, l := range []struct {
			key  string
			list []string
		}{{"publish", r.Publish}, {"subscribe", r.Subscribe}, {"deny", r.Deny}} {
			for j, f := range l.list {
				v.linkFilter(fmt.Sprintf("%s%s[%d]", key, l.key, j), f)
			}
		}
	}
	v.unique("acl", "name", len(c.ACL), func(i int) string { return c.ACL[i].Name })
}

func (c *Config) fillACL() {
	for i := range c.ACL {
		if c.ACL[i].Name == "" {
			c.ACL[i].Name = fmt.Sprintf("acl[%d]", i)
		}
	}
}
