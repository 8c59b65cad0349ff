package config

import (
	"reflect"
	"regexp"
)

// Kept is a key of the node file that another value takes effect for only when the node starts again.
type Kept struct {
	Difference
	Reason string
}

// live are the keys that are taken over while the node runs. What they have in common: somebody asks for them each time,
// or can be told.
var live = regexp.MustCompile(`^(log\.level|stop_notice|disk\..*|auth\.(password_file|acl_file)` +
	`|listeners\[\d+\]\.(max_connections|connect_rate|tls\.crl(_refresh|_stale)?)` +
	`|identity\.crl(_refresh|_stale)?` +
	`|limits\.(session_expiry_max|queue_messages|queue_bytes|inflight|subscriptions|keepalive_max|will_grace)` +
	`|(ack|namespaces|acl|residency|shared)\b.*|handover\.(min_dwell|unreachable)` +
	`|takeover\.(mode|isolation|standby_away|will_grace|admission|sessions)` +
	`|links\[\d+\]\.(in|out|never|retained|in_prefix|rate|qos_max|spool\..*|spool\.classes.*))$`)

// fixed say why keys are not taken over.
var fixed = []struct {
	key    *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`^(region|node|role|leaf|data_dir)$`), "the node is known by it, to others and on its disk"},
	{regexp.MustCompile(`^listeners`), "a listener is bound when the node starts"},
	{regexp.MustCompile(`^(admin|metrics)\.`), "the address is bound when the node starts"},
	{regexp.MustCompile(`^identity\.`), "other certificates in the same files are taken up by themselves; the paths are read at the start"},
	{regexp.MustCompile(`^links?\b`), "a link is made when the node starts"},
	{regexp.MustCompile(`^cluster\.`), "the node joins its region when it starts"},
	{regexp.MustCompile(`^regions\b|^takeover\.`), "voters and leases must not change under who relies on them"},
	{regexp.MustCompile(`^handover\.`), "whether sessions move is taken up as the home is opened"},
	{regexp.MustCompile(`^limits\.`), "devices that are connected were told"},
}

// Reload compares what a node runs with and what its file says now: what can be taken over at once, and what keeps its
// old value until the node starts again.
func Reload(from, to *Config) (now []Difference, later []Kept) {
	old, next := flat(from), flat(to)
	for _, e := range next {
		k := e.Key
		was, there := find(old, k)
		if there && was == shown(e.Value) {
			continue
		}
		add(&now, &later, Difference{k, was, shown(e.Value)})
	}
	for _, e := range old {
		if _, there := find(next, e.Key); !there {
			add(&now, &later, Difference{e.Key, shown(e.Value), ""})
		}
	}
	return now, later
}

func add(now *[]Difference, later *[]Kept, d Difference) {
	if live.MatchString(d.Key) {
		*now = append(*now, d)
		return
	}
	reason := "it is read when the node starts"
	for _, f := range fixed {
		if f.key.MatchString(d.Key) {
			reason = f.reason
			break
		}
	}
	*later = append(*later, Kept{d, reason})
}

func flat(c *Config) []entry { return entries(schema, reflect.ValueOf(*c), "", nil) }

func find(list []entry, key string) (value string, ok bool) {
	for _, e := range list {
		if e.Key == key {
			return shown(e.Value), true
		}
	}
	return "", false
}
