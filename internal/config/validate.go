package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate checks what the values mean, alone and together. The error joins one *Problem for each
// thing wrong, naming the key and the fix; Sources.Explain adds where the value came from.
func (c *Config) Validate() error {
	v := &validator{addresses: map[string]string{}}
	v.node(c)
	v.cluster(c)
	for i, l := range c.Listeners {
		v.listener(fmt.Sprintf("listeners[%d].", i), l, c)
	}
	oneOf(v, "auth.cert.username", c.Auth.Cert.Username, CertCN, CertURI, CertDNS)
	if id := c.Auth.Cert.ClientID; id != "" {
		oneOf(v, "auth.cert.client_id", id, CertCN, CertURI, CertDNS)
	} else {
		v.check(!c.Auth.Cert.BindClientID, "auth.cert.bind_client_id", "is set, and client_id is empty", "name what the client id has to be in auth.cert.client_id")
	}
	v.unique("listeners", "name", len(c.Listeners), func(i int) string { return c.Listeners[i].Name })
	v.limits(c.Limits)
	v.acks(c)
	v.residency(c)
	v.namespaces(c)
	v.acl(c)
	v.disk(c.Disk)
	v.links(c)
	v.shared(c)
	v.leaf(c)
	v.regions(c)
	v.takeover(c)
	v.handover(c.Handover)
	v.backup(c)
	v.endpoints(c)
	return joinProblems(v.problems)
}

// validator collects problems.
type validator struct {
	problems  []*Problem
	addresses map[string]string // TCP address to the key that has it
}

func (v *validator) add(key, what, fix string) {
	v.problems = append(v.problems, &Problem{Key: key, What: what, Fix: fix})
}

// check adds a problem unless ok.
func (v *validator) check(ok bool, key, what, fix string) bool {
	if !ok {
		v.add(key, what, fix)
	}
	return ok
}

// nameForm is what regions, nodes, links and listeners may be called: names travel in
// certificates, labels and file names without escaping.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

const nameWant = "want 1 to 63 of a-z 0-9 . _ -, beginning and ending with a letter or digit"

func (v *validator) name(key, name string) bool {
	return v.check(nameForm.MatchString(name), key, fmt.Sprintf("%q is no name", name), nameWant)
}

// oneOf checks an enumeration.
func oneOf[T ~string](v *validator, key string, value T, allowed ...T) bool {
	texts := make([]string, len(allowed))
	for i, a := range allowed {
		texts[i] = string(a)
	}
	return v.check(slices.Contains(allowed, value), key,
		fmt.Sprintf("%q is not accepted", string(value)), "want "+orList(texts))
}

func orList(texts []string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " or " + texts[len(texts)-1]
}

// within checks a number against both bounds; show writes it as the key would have it.
func within[T ~int | ~int64](v *validator, key string, value, low, high T, show func(T) string) {
	v.check(value >= low && value <= high, key, show(value)+" is out of range",
		"want "+show(low)+" to "+show(high))
}

func (v *validator) count(key string, value, low, high int) {
	within(v, key, value, low, high, strconv.Itoa)
}

func (v *validator) size(key string, value, low, high ByteSize) {
	within(v, key, value, low, high, ByteSize.String)
}

func (v *validator) duration(key string, value, low, high time.Duration) {
	within(v, key, value, low, high, FormatDuration)
}

// unique checks that no two items of a list have the same value of a key.
func (v *validator) unique(list, key string, n int, value func(int) string) {
	first := map[string]int{}
	for i := range n {
		if j, again := first[value(i)]; again {
			v.add(fmt.Sprintf("%s[%d].%s", list, i, key), fmt.Sprintf("%q is also %s[%d].%s", value(i), list, j, key),
				"give each its own")
			continue
		}
		first[value(i)] = i
	}
}

// address checks host:port.
func (v *validator) address(key, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		n, perr := strconv.ParseUint(port, 10, 16)
		if perr == nil && !strings.ContainsAny(host, " /") && (n > 0 || port == "0") {
			return true
		}
	}
	v.add(key, fmt.Sprintf("%q is no address", addr), "want HOST:PORT such as 127.0.0.1:1883, [::1]:1883 or :1883")
	return false
}

// tcp checks an address and that nothing else of this node wants it; it reports whether it is one.
func (v *validator) tcp(key, addr string) bool {
	if !v.address(key, addr) {
		return false
	}
	if other, taken := v.addresses[addr]; taken && !strings.HasSuffix(addr, ":0") {
		v.add(key, fmt.Sprintf("%s is also the address of %s", addr, other), "give each its own port")
		return true
	}
	v.addresses[addr] = key
	return true
}

func (v *validator) node(c *Config) {
	if v.name("region", c.Region) || c.Node != c.Region+"-1" { // a derived name has its region's fault
		v.name("node", c.Node)
	}
	oneOf(v, "role", c.Role, RoleCore, RoleReplicant)
	v.check(c.DataDir != "", "data_dir", "is empty", "name a folder this node may write to")
	id := c.Identity
	for _, file := range []struct{ key, path string }{{"cert", id.Cert}, {"key", id.Key}, {"ca", id.CA}} {
		missing := file.path == "" && (id.Configured() || len(c.RegionLinks()) > 0 || c.Cluster.Configured())
		v.check(!missing, "identity."+file.key, "is missing",
			"links and other nodes know this one by cert, key and ca together: causeway ca issue makes them")
	}
	v.check(len(id.CRL) == 0 || id.Configured(), "identity.crl", "is set, and this node has no identity", "set identity.cert, key and ca, or remove it")
	v.crl("identity.", id.CRL, id.CRLRefresh, id.CRLStale)
}

// cluster checks what connects the nodes of a region.
func (v *validator) cluster(c *Config) {
	k := c.Cluster
	if c.Role == RoleReplicant {
		v.check(k.Configured(), "role", "is replicant, and no core node is named that it could follow",
			"list the core nodes in cluster.join.nodes, or their DNS name in cluster.join.name")
	}
	if !k.Configured() {
		rest := k
		rest.Voters = 0
		set := rest.Listen != "" || rest.Streams != "" || rest.Advertise != "" || rest.GossipKey != "" || k.Voters != 1 || rest.Join.Method != ""
		v.check(!set, "cluster.join", "names no other node", "list the core nodes in cluster.join.nodes, or their DNS name in cluster.join.name")
		return
	}
	v.check(k.Voters%2 == 1 && k.Voters >= 1 && k.Voters <= 7, "cluster.voters", fmt.Sprintf("%d is not accepted", k.Voters),
		"want 1, 3, 5 or 7: an even number tolerates no more losses than one less")
	v.tcp("cluster.listen", k.Listen)
	v.tcp("cluster.streams", k.Streams)
	v.check(k.GossipKey.Path() != "", "cluster.gossip_key", "is missing or no reference",
		"want "+secretWant+"; causeway ca gossip-key makes it, the same for all nodes of the region")
	oneOf(v, "cluster.join.method", k.Join.Method, JoinStatic, JoinDNS)
	switch k.Join.Method {
	case JoinStatic:
		v.check(len(k.Join.Nodes) > 0, "cluster.join.nodes", "is missing", "list the gossip addresses of the core nodes")
	case JoinDNS:
		v.check(k.Join.Name != "", "cluster.join.name", "is missing", "name a DNS name with the address of every core node")
	}
}

func (v *validator) limits(l Limits) {
	const most = 1 << 31
	v.duration("limits.session_expiry_max", l.SessionExpiryMax, 0, 100*365*24*time.Hour)
	v.duration("limits.will_grace", l.WillGrace, 0, time.Hour)
	v.count("limits.queue_messages", l.QueueMessages, 1, most)
	v.size("limits.queue_bytes", l.QueueBytes, 1<<10, 1<<50)
	// An id stays tellable from its successor only while less than half of the 65,535 ids are in
	// use.
	v.count("limits.inflight", l.Inflight, 1, 1024)
	// A Remaining Length is at most 268,435,455 (MQTT 5 section 1.5.5).
	v.size("limits.packet", l.Packet, 1<<10, 8<<20) // one operation of the log: see app.maxOpBytes
	v.count("limits.subscriptions", l.Subscriptions, 1, most)
	v.check(l.KeepaliveMax == 0 || l.KeepaliveMax >= time.Second && l.KeepaliveMax <= 65535*time.Second,
		"limits.keepalive_max", FormatDuration(l.KeepaliveMax)+" is out of range", "want 1s to 18h12m15s, or 0 for no bound")
	v.count("limits.topic_alias_max", l.TopicAliasMax, 0, 65535)
	v.count("limits.receive_maximum", l.ReceiveMaximum, 1, 65535)
}

func (v *validator) acks(c *Config) {
	rules := c.Ack
	for i, rule := range rules {
		key := fmt.Sprintf("ack[%d].", i)
		v.filter(key+"filter", rule.Filter)
		if oneOf(v, key+"policy", rule.Policy, AckRegion, AckMemory, AckStandby) && rule.Policy == AckStandby {
			v.check(len(c.Standbys(c.Region)) > 0, key+"policy", fmt.Sprintf("is standby, and no region stands by %s", c.Region),
				"list one with standby_of in regions, or write region or memory")
		}
		if rule.Replay != "" { // "": deliver
			oneOf(v, key+"replay", rule.Replay, ReplayDeliver, ReplayReport)
		}
		v.check(rule.MaxReplayAge >= 0, key+"max_replay_age", FormatDuration(rule.MaxReplayAge)+" is below 0", "write 0 for no bound")
		v.check(rule.MaxReplayAge == 0 || rule.Replay != ReplayReport, key+"max_replay_age", "is set, and nothing is delivered late under replay: report", "remove one of them")
		if rule.Filter == "#" && i < len(rules)-1 {
			v.add(fmt.Sprintf("ack[%d].filter", i+1), "is never reached: the first match wins and "+key+`filter is "#"`,
				`put "#" last`)
		}
	}
	v.unique("ack", "filter", len(rules), func(i int) string { return rules[i].Filter })
}

// endpoints checks what is listened on beside devices.
func (v *validator) endpoints(c *Config) {
	if c.Link.Listen != "" {
		v.address("link.listen", c.Link.Listen)
	}
	if c.Link.ListenTCP != "" {
		v.tcp("link.listen_tcp", c.Link.ListenTCP)
	}
	// sockaddr_un has 108 bytes with the closing zero.
	v.check(len(c.Admin.Socket) <= 107, "admin.socket",
		fmt.Sprintf("%q is longer than the 107 bytes a socket path may have", c.Admin.Socket), "name a shorter path, in /run for example")
	if c.Admin.Listen != "" {
		v.tcp("admin.listen", c.Admin.Listen)
		v.check(c.Admin.Tokens != "", "admin.tokens", "is missing, and admin.listen is open to whoever reaches it",
			"want "+secretWant)
	}
	// The value is not shown: somebody may have put the secret itself there.
	v.check(c.Admin.Tokens == "" || c.Admin.Tokens.Path() != "", "admin.tokens", "is no reference", "want "+secretWant)
	v.check(c.Admin.BreakGlass == "" || c.Admin.BreakGlass.Path() != "", "admin.break_glass", "is no reference", "want "+secretWant)
	v.check(c.Admin.BreakGlass == "" || c.Admin.Listen != "", "admin.break_glass", "is set, and admin.listen is not: on the socket everybody is admin", "set admin.listen, or remove it")
	v.check(c.StopNotice >= 0 && c.StopNotice <= 5*time.Minute, "stop_notice", fmt.Sprintf("%s is out of range", c.StopNotice), "want 0 to 5m")
	if c.Metrics.Listen != "" {
		v.tcp("metrics.listen", c.Metrics.Listen)
	}
	oneOf(v, "log.level", c.Log.Level, LogDebug, LogInfo, LogWarn, LogError)
	oneOf(v, "log.format", c.Log.Format, LogText, LogJSON)
}

const secretWant = "file:PATH, the file that holds the secret"
