package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// writeFile makes a node file and gives its path; errors name it, so it has a fixed last part.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parseFlags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(fs)
	fs.Bool("other", false, "not a key")
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func mustLoad(t *testing.T, opts Options) (*Config, *Sources) {
	t.Helper()
	cfg, sources, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, sources
}

func TestLoad_NothingGivesTheDefaults(t *testing.T) {
	cfg, sources := mustLoad(t, Options{})
	want := &Config{
		Region: "local", Node: "local-1", Role: RoleCore, DataDir: "./data", Disk: Disk{Reserve: "10%", SpoolMax: "40%"}, Cluster: Cluster{Voters: 1},
		Listeners: []Listener{{Name: "mqtt", Type: ListenerMQTT, Listen: "127.0.0.1:1883", Namespace: "default",
			Auth: []AuthMethod{AuthAnonymous}, ConnectTimeout: 10 * time.Second, ProxyProtocol: ProxyOff}},
		Limits: Limits{SessionExpiryMax: 14 * 24 * time.Hour, QueueMessages: 100000, QueueBytes: 256 << 20, Inflight: 1024,
			Packet: 2 << 20, Subscriptions: 1000, WillGrace: 30 * time.Second, TopicAliasMax: 32, ReceiveMaximum: 1024},
		Auth:  Auth{Cert: AuthCertNames{Username: CertCN}},
		Ack:   []AckRule{{Filter: "#", Policy: AckRegion, Replay: ReplayDeliver}},
		Link:  LinkAccept{Listen: "127.0.0.1:7444", ListenTCP: "127.0.0.1:7445"},
		Admin: Admin{Socket: "data/admin.sock"},
		Log:   Log{Level: LogInfo, Format: LogText},

		Takeover: defaultTakeover, Backup: Backup{Keep: 14, MaxAge: 168 * time.Hour}, Handover: defaultHandover,
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	if !reflect.DeepEqual(Default(), want) {
		t.Errorf("Default() is %+v", Default())
	}
	if err := cfg.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	if got := sources.Of("limits.packet"); got.String() != "default" {
		t.Errorf("source %v", got)
	}
}

const fullFile = `
region: eu
node: eu-7
role: core
data_dir: /var/lib/causeway
identity: { cert: eu.pem, key: eu-key.pem, ca: ca.pem, crl: [crl.pem] }
listeners:
  - name: cars
    type: mqtts
    listen: ":8883"
    namespace: cars
    auth: [cert, password]
    tls: { cert: srv.pem, key: srv-key.pem, client_ca: [a.pem, b.pem], crl: [a.crl, "http://ca.example.com/b.crl"], crl_refresh: 1h, crl_stale: refuse, min_version: 1.3, ticket_keys: region }
    max_connections: 250000
    connect_timeout: 5s
  - { type: ws, listen: "127.0.0.1:8083" }
auth: { password_file: users, acl_file: acl, cert: { username: "${san.uri}", bind_client_id: true } }
limits: { session_expiry_max: 7d, queue_messages: 1000, queue_bytes: 1MiB, inflight: 32, packet: 256KiB,
          subscriptions: 50, keepalive_max: 5m, topic_alias_max: 0, receive_maximum: 20 }
ack:
  - { filter: "telemetry/#", policy: memory }
  - { filter: "#" }
links:
  - { peer: us, dial: ["udp://us.example.com:7444"], in: ["cmd/#"], out: ["tele/#"], never: ["pii/#"], retained: false,
      compression: s2, qos_max: 1, rate: 200Mbit/s, in_prefix: "eu/", spool: { bytes: 500GiB, age: 72h, at_limit: refuse, classes: [{ name: cmd, filters: ["cmd/#"] }] } }
  - { name: hub, peer: ap }
link: { listen: "", relay: [{ between: [us, ap], rate: 20Mbit/s }] }
admin: { socket: /run/causeway.sock, listen: "127.0.0.1:18083", tokens: file:/etc/causeway/tokens }
metrics: { listen: ":9464" }
log: { level: warn, format: json }
residency: [{ namespace: cars, filter: "pii/#", regions: [eu, eu-b] }]
namespaces: [{ name: cars, quota: { connections: 800000, publish: 80000/s, queued: 200GiB, retained: 2000000 } }]
acl: [{ namespace: cars, username: "car*", client: c1, publish: ["a/#"], subscribe: ["b/#"], deny: ["c/#"] }]
disk: { reserve: 25%, spool_max: 100GiB }
`

func TestLoad_File(t *testing.T) {
	path := writeFile(t, fullFile)
	cfg, sources := mustLoad(t, Options{File: path})
	want := &Config{
		Region: "eu", Node: "eu-7", Role: RoleCore, Cluster: Cluster{Voters: 1}, DataDir: "/var/lib/causeway", Disk: Disk{Reserve: "25%", SpoolMax: "100GiB"},
		Identity: Identity{Cert: "eu.pem", Key: "eu-key.pem", CA: "ca.pem", CRL: []string{"crl.pem"}, CRLRefresh: 15 * time.Minute, CRLStale: CRLAlarm},
		Listeners: []Listener{
			{Name: "cars", Type: ListenerMQTTS, Listen: ":8883", Namespace: "cars", Auth: []AuthMethod{AuthCert, AuthPassword},
				TLS: ListenerTLS{Cert: "srv.pem", Key: "srv-key.pem", ClientCA: []string{"a.pem", "b.pem"}, MinVersion: "1.3", TicketKeys: TicketsRegion,
					CRL: []string{"a.crl", "http://ca.example.com/b.crl"}, CRLRefresh: time.Hour, CRLStale: CRLRefuse},
				MaxConnections: 250000, ConnectTimeout: 5 * time.Second, ProxyProtocol: ProxyOff},
			{Name: "ws", Type: ListenerWS, Listen: "127.0.0.1:8083", Namespace: "default", Auth: []AuthMethod{AuthAnonymous},
				Path: "/mqtt", ConnectTimeout: 10 * time.Second, ProxyProtocol: ProxyOff},
		},
		Auth: Auth{PasswordFile: "users", ACLFile: "acl", Cert: AuthCertNames{Username: CertURI, ClientID: CertURI, BindClientID: true}},
		Limits: Limits{SessionExpiryMax: 7 * 24 * time.Hour, QueueMessages: 1000, QueueBytes: 1 << 20, Inflight: 32, Packet: 256 << 10,
			Subscriptions: 50, KeepaliveMax: 5 * time.Minute, WillGrace: 30 * time.Second, TopicAliasMax: 0, ReceiveMaximum: 20},
		Ack: []AckRule{{Filter: "telemetry/#", Policy: AckMemory, Replay: ReplayDeliver}, {Filter: "#", Policy: AckRegion, Replay: ReplayDeliver}},
		Links: []Link{
			{Name: "us", Peer: "us", Kind: LinkRegion, Dial: []string{"udp://us.example.com:7444"}, In: []string{"cmd/#"}, Out: []string{"tele/#"}, Never: []string{"pii/#"},
				Compression: CompressionS2, QoSMax: 1, Rate: 25e6, InPrefix: "eu/", Spool: Spool{Bytes: 500 << 30, Age: 72 * time.Hour, AtLimit: SpoolRefuse,
					Classes: []SpoolClass{{Name: "cmd", Filters: []string{"cmd/#"}}}}},
			{Name: "hub", Peer: "ap", Kind: LinkRegion, In: []string{"#"}, Out: []string{"#"}, Retained: true,
				Compression: CompressionZstd, QoSMax: 2, Spool: Spool{Bytes: 10 << 30, Age: 72 * time.Hour, AtLimit: SpoolDropOldest}},
		},
		Link:    LinkAccept{Relay: []RelayRule{{Between: []string{"us", "ap"}, Rate: 2.5e6}}},
		Admin:   Admin{Socket: "/run/causeway.sock", Listen: "127.0.0.1:18083", Tokens: "file:/etc/causeway/tokens"},
		Metrics: Metrics{Listen: ":9464"}, StopNotice: 500 * time.Millisecond,
		Log:        Log{Level: LogWarn, Format: LogJSON},
		Namespaces: []Namespace{{Name: "cars", Quota: Quota{Connections: 800_000, Publish: 80_000, Queued: 200 << 30, Retained: 2_000_000}}},
		ACL: []ACLRule{{Name: "acl[0]", Namespace: "cars", Username: "car*", Client: "c1", Publish: []string{"a/#"}, Subscribe: []string{"b/#"},
			Deny: []string{"c/#"}}},
		Residency: []ResidencyRule{{Namespace: "cars", Filter: "pii/#", Regions: []string{"eu", "eu-b"}}},
		Takeover:  defaultTakeover, Backup: Backup{Keep: 14, MaxAge: 168 * time.Hour}, Handover: defaultHandover,
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	for key, line := range map[string]int{"region": 2, "listeners[0].listen": 10, "listeners[1].type": 16, "limits.packet": 18,
		"links[0].spool.age": 25, "links[0].dial[0]": 24, "link.listen": 27} {
		if got := sources.Of(key); got != (Source{FromFile, path, line}) {
			t.Errorf("%s comes from %v, want line %d", key, got, line)
		}
	}
	for _, key := range []string{"listeners[1].path", "links[1].retained", "ack[1].policy"} {
		if got := sources.Of(key); got.Kind != FromDefault {
			t.Errorf("%s comes from %v, want the default", key, got)
		}
	}
}

func TestLoad_Precedence(t *testing.T) {
	path := writeFile(t, "region: file\nnode: file\ndata_dir: file\nlimits: {inflight: 7}\nlisteners: [{listen: \"127.0.0.1:1\", name: x}]\n")
	env := []string{"CAUSEWAY_NODE=env", "CAUSEWAY_DATA_DIR=env", "CAUSEWAY_LIMITS_PACKET=1MiB", "CAUSEWAY_LIMITS_INFLIGHT=9",
		"HOME=/root", "CAUSEWAY_LINK_LISTEN="}
	flags := parseFlags(t, "--data-dir=flag", "--other", "--listen=ws://127.0.0.1:2", "--listen=[::1]:3")

	for _, tc := range []struct {
		name string
		opts Options
		want map[string]string // key to value@source
	}{
		{"file over default", Options{File: path}, map[string]string{
			"region": "file@causeway.yaml:1", "node": "file@causeway.yaml:2", "limits.inflight": "7@causeway.yaml:4", "limits.packet": "2MiB@default",
			"listeners[0].listen": "127.0.0.1:1@causeway.yaml:5", "listeners[0].type": "mqtt@default", "link.listen": "127.0.0.1:7444@default"}},
		{"env over file", Options{File: path, Env: env}, map[string]string{
			"region": "file@causeway.yaml:1", "node": "env@env CAUSEWAY_NODE", "data_dir": "env@env CAUSEWAY_DATA_DIR",
			"limits.inflight": "9@env CAUSEWAY_LIMITS_INFLIGHT", "limits.packet": "1MiB@env CAUSEWAY_LIMITS_PACKET", "link.listen": "@env CAUSEWAY_LINK_LISTEN"}},
		{"flag over env", Options{File: path, Env: env, Flags: flags}, map[string]string{
			"region": "file@causeway.yaml:1", "node": "env@env CAUSEWAY_NODE", "data_dir": "flag@flag --data-dir",
			"listeners[0].listen": "127.0.0.1:2@flag --listen", "listeners[0].type": "ws@flag --listen", "listeners[0].name": "ws@default",
			"listeners[1].listen": "[::1]:3@flag --listen", "listeners[1].type": "mqtt@default"}},
		{"flag over default", Options{Flags: flags}, map[string]string{
			"region": "local@default", "data_dir": "flag@flag --data-dir", "admin.socket": "flag/admin.sock@default"}},
		{"file named by a variable", Options{Env: []string{"CAUSEWAY_CONFIG=" + path}}, map[string]string{"region": "file@causeway.yaml:1"}},
		{"file named by a flag instead", Options{File: path, Env: []string{"CAUSEWAY_CONFIG=/nowhere"}}, map[string]string{"region": "file@causeway.yaml:1"}},
		{"listeners by variable", Options{File: path, Env: []string{"CAUSEWAY_LISTENERS=127.0.0.1:4, ws://127.0.0.1:5"}}, map[string]string{
			"listeners[0].listen": "127.0.0.1:4@env CAUSEWAY_LISTENERS", "listeners[0].name": "mqtt@default", "listeners[1].type": "ws@env CAUSEWAY_LISTENERS"}},
		{"lists by variable", Options{Env: []string{`CAUSEWAY_ACK=[{filter: "t/#", policy: memory}]`, `CAUSEWAY_LISTENERS=[{type: wss, listen: ":1"}]`}}, map[string]string{
			"ack[0].filter": "t/#@env CAUSEWAY_ACK", "ack[0].policy": "memory@env CAUSEWAY_ACK", "listeners[0].type": "wss@env CAUSEWAY_LISTENERS"}},
		{"text stays text", Options{File: writeFile(t, "region: 007\nnode: on\nlog: {level: ~}\n")}, map[string]string{
			"region": "007@causeway.yaml:1", "node": "on@causeway.yaml:2", "log.level": "info@default"}},
		{"alias", Options{File: writeFile(t, "region: &r eu\nnode: *r\n")}, map[string]string{"node": "eu@causeway.yaml:1"}},
		{"empty file", Options{File: writeFile(t, "# nothing yet\n")}, map[string]string{"region": "local@default"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, sources := mustLoad(t, tc.opts)
			seen := map[string]string{}
			for _, e := range entries(schema, reflect.ValueOf(*cfg), "", sources) {
				value := shown(e.Value)
				if value == `""` {
					value = ""
				}
				at := e.Source
				if i := strings.LastIndex(at, "/causeway.yaml"); i >= 0 {
					at = at[i+1:]
				}
				seen[e.Key] = value + "@" + at
			}
			for key, want := range tc.want {
				if seen[key] != want {
					t.Errorf("%s is %q, want %q", key, seen[key], want)
				}
			}
		})
	}
}

// Every error of reading names the place, the key, what stands there and what to write instead.
func TestLoad_Errors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		file  string
		env   []string
		flags []string
		want  []string // the errors, in order; the folder of the file is left out
	}{
		{"misspelt key", "region: eu\nlimits:\n  pakcet: 1MiB\n", nil, nil,
			[]string{"causeway.yaml:3: limits.pakcet: unknown key; did you mean limits.packet?"}},
		{"misspelt section", "listners: []\n", nil, nil,
			[]string{"causeway.yaml:1: listners: unknown key; did you mean listeners?"}},
		{"misspelt in a list", "listeners:\n- listen: :1\n- listne: :2\n", nil, nil,
			[]string{"causeway.yaml:3: listeners[1].listne: unknown key; did you mean listeners[1].listen?"}},
		{"right key in the wrong place", "packet: 1MiB\n", nil, nil,
			[]string{"causeway.yaml:1: packet: unknown key; did you mean limits.packet?"}},
		{"upper case", "Region: eu\n", nil, nil,
			[]string{"causeway.yaml:1: Region: unknown key; did you mean region?"}},
		{"nothing like it", "link: {xylophone: 1}\n", nil, nil,
			[]string{"causeway.yaml:1: link.xylophone: unknown key; known here are listen, listen_tcp, relay"}},
		{"set twice", "region: eu\nnode: a\nregion: us\n", nil, nil,
			[]string{"causeway.yaml:3: region: set twice, first in line 1; keep one of them"}},
		{"bad size", "limits:\n  packet: 2 Megs\n", nil, nil,
			[]string{`causeway.yaml:2: limits.packet: "2 Megs" is not accepted; want a size such as 512KiB, 2MiB or 1GB`}},
		{"bad duration in a list", "listeners:\n- {listen: \":1\"}\n- {listen: \":2\",\n   connect_timeout: soon}\n", nil, nil,
			[]string{`causeway.yaml:4: listeners[1].connect_timeout: "soon" is not accepted; want a duration such as 10s, 15m, 1h30m or 14d`}},
		{"bad number", "limits: {inflight: many}\n", nil, nil,
			[]string{`causeway.yaml:1: limits.inflight: "many" is not accepted; want a whole number`}},
		{"empty number", "limits: {inflight: ''}\n", nil, nil,
			[]string{`causeway.yaml:1: limits.inflight: is empty; want a whole number`}},
		{"bad boolean", "links: [{peer: us, retained: yes}]\n", nil, nil,
			[]string{`causeway.yaml:1: links[0].retained: "yes" is not accepted; want true or false`}},
		{"text for a list", "ack: region\n", nil, nil,
			[]string{`causeway.yaml:1: ack: "region" stands here; want a list`}},
		{"text for a section", "limits: 5\n", nil, nil,
			[]string{`causeway.yaml:1: limits: "5" stands here; want a mapping of keys to values`}},
		{"list for a text", "region: [eu]\n", nil, nil,
			[]string{`causeway.yaml:1: region: a list stands here; want a single text`}},
		{"mapping for a text", "links:\n- peer:\n    us: 1\n", nil, nil,
			[]string{`causeway.yaml:3: links[0].peer: a mapping stands here; want a single text`}},
		{"bad item does not shift the next", "ack:\n- 5\n- {filter: x, polcy: memory}\n", nil, nil,
			[]string{`causeway.yaml:2: ack[0]: "5" stands here; want a mapping of keys to values`,
				"causeway.yaml:3: ack[1].polcy: unknown key; did you mean ack[1].policy?"}},
		{"no YAML", "region: eu\n  node: x\n", nil, nil,
			[]string{"causeway.yaml:2: not YAML: mapping values are not allowed in this context; indent with spaces and quote texts that hold : or #"}},
		{"no mapping", "- a\n", nil, nil,
			[]string{"causeway.yaml:1: the file is no mapping of keys to values; begin with a key such as region: eu"}},
		{"two documents", "region: eu\n---\nregion: us\n", nil, nil,
			[]string{"causeway.yaml:2: a second document begins after ---; keep one document a file"}},
		{"misspelt variable", "", []string{"CAUSEWAY_DATADIR=/x"}, nil,
			[]string{"env CAUSEWAY_DATADIR: unknown variable; did you mean CAUSEWAY_DATA_DIR?"}},
		{"unknown variable", "", []string{"CAUSEWAY_XYLOPHONE=/x"}, nil,
			[]string{"env CAUSEWAY_XYLOPHONE: unknown variable; unset it; causeway config print shows the keys, and limits.packet is CAUSEWAY_LIMITS_PACKET"}},
		{"bad variable", "limits: {packet: 1MiB}", []string{"CAUSEWAY_LIMITS_PACKET=huge"}, nil,
			[]string{`env CAUSEWAY_LIMITS_PACKET: limits.packet: "huge" is not accepted; want a size such as 512KiB, 2MiB or 1GB`}},
		{"bad list in a variable", "", []string{"CAUSEWAY_ACK=region"}, nil,
			[]string{`env CAUSEWAY_ACK: ack: "region" is no list; want a YAML list such as [{filter: "#", policy: region}]`}},
		{"bad key in a variable", "", []string{"CAUSEWAY_ACK=[{fliter: x}]"}, nil,
			[]string{"env CAUSEWAY_ACK: ack[0].fliter: unknown key; did you mean ack[0].filter?"}},
		{"bad listener in a flag", "", nil, []string{"--listen=ws://"},
			[]string{`flag --listen: listeners[0]: "ws://" is not accepted; want a mapping with type and listen, or TYPE://HOST:PORT`}},
		{"all at once", "regoin: eu\nlimits: {packet: x}\n", []string{"CAUSEWAY_NODES=1"}, nil,
			[]string{"causeway.yaml:1: regoin: unknown key; did you mean region?",
				"env CAUSEWAY_NODES: unknown variable; did you mean CAUSEWAY_NODE?",
				`causeway.yaml:2: limits.packet: "x" is not accepted; want a size such as 512KiB, 2MiB or 1GB`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, tc.file)
			_, _, err := Load(Options{File: path, Env: tc.env, Flags: parseFlags(t, tc.flags...)})
			if err == nil {
				t.Fatal("loaded")
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", ""), "\n")
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			if len(problemsIn(err)) != len(tc.want) {
				t.Errorf("%d problems in %d lines", len(problemsIn(err)), len(tc.want))
			}
		})
	}
}

func TestLoad_MissingFile(t *testing.T) {
	_, _, err := Load(Options{File: "nowhere.yaml"})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "nowhere.yaml") || !strings.Contains(err.Error(), "--config") {
		t.Errorf("got %v", err)
	}
}

func TestLoad_HugeFile(t *testing.T) {
	_, _, err := Load(Options{File: writeFile(t, "region: eu\n"+strings.Repeat("#\n", maxFile))})
	if err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("got %v", err)
	}
}

// A Kubernetes Service called causeway puts variables of its own into every container beside it,
// and CAUSEWAY_CONTEXT is for ctl.
func TestLoad_PassesOverVariablesOfOthers(t *testing.T) {
	mustLoad(t, Options{Env: []string{
		"CAUSEWAY_SERVICE_HOST=10.0.0.1", "CAUSEWAY_SERVICE_PORT=1883", "CAUSEWAY_SERVICE_PORT_MQTT=1883", "CAUSEWAY_PORT=tcp://10.0.0.1:1883",
		"CAUSEWAY_PORT_1883_TCP=tcp://10.0.0.1:1883", "CAUSEWAY_PORT_1883_TCP_ADDR=10.0.0.1", "CAUSEWAY_PORT_7444_UDP_PROTO=udp",
		"CAUSEWAY_EU_SERVICE_HOST=10.0.0.2", "CAUSEWAY_EU_PORT_1883_TCP_PORT=1883", "CAUSEWAY_CONTEXT=eu",
	}})
	eachKey(schema, "", func(path string, _ *field) {
		if serviceVariable.MatchString(envName(path)) {
			t.Errorf("the variable of %s would be passed over", path)
		}
	})
}

// viper lower-cases keys and splits them at dots: no key of ours may be changed by that, and no
// two may share a variable.
func TestSchema_KeysSurvive(t *testing.T) {
	names := map[string]string{envFile: "the file", envContext: "the context of ctl"}
	eachKey(schema, "", func(path string, f *field) {
		if f.key == "" || strings.ToLower(f.key) != f.key || strings.ContainsAny(f.key, ".[] ") {
			t.Errorf("key %q", path)
		}
		if f.typ.Kind() == reflect.Map {
			t.Errorf("%s is a map: its keys would be the operator's", path)
		}
		if other, taken := names[envName(path)]; taken {
			t.Errorf("%s and %s are both %s", path, other, envName(path))
		}
		names[envName(path)] = path
	})
	known := allKeys(schema, "")
	for _, d := range append(flagDefs, listenFlag) {
		found := false
		for _, key := range known {
			found = found || key == d.key
		}
		if !found {
			t.Errorf("flag --%s sets %s, which is no key", d.name, d.key)
		}
	}
}

func FuzzLoadFile(f *testing.F) {
	f.Add(fullFile)
	f.Add("listeners: [\"ws://:1\", {}, ~, 5]\n")
	f.Add("a: &a [*a]\nregion: *a\n")
	f.Add("links: [{spool: {bytes: 1GiB}}]\n---\nx: 1")
	f.Fuzz(func(t *testing.T, content string) {
		l := &layer{values: map[string]any{}, sources: &Sources{byKey: map[string]Source{}}}
		l.parseFile("f", []byte(content))
		cfg, err := merge(l, nil)
		if err != nil {
			return
		}
		fillDefaults(cfg, l.sources)
		for _, p := range problemsIn(cfg.Validate()) {
			if p.Key == "" || p.What == "" || p.Fix == "" {
				t.Errorf("%q: incomplete problem %+v", content, p)
			}
		}
	})
}
