package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestValidate_FullFile(t *testing.T) {
	cfg, _ := mustLoad(t, Options{File: writeFile(t, fullFile)})
	// The file has a link that nobody dials and nobody may dial; everything else in it is right.
	err := cfg.Validate()
	if err == nil || len(problemsIn(err)) != 1 || !strings.HasPrefix(err.Error(), "links[1].dial: is empty") {
		t.Errorf("got %v", err)
	}
}

// Each case breaks one thing in a configuration that is otherwise right.
func TestValidate(t *testing.T) {
	link := func(change func(*Link)) func(*Config) {
		return func(c *Config) {
			c.Identity = Identity{Cert: "c", Key: "k", CA: "a"}
			l := Link{Peer: "us", Dial: []string{"udp://us:7444"}}
			l.fill("", "local", func(string) bool { return true })
			change(&l)
			c.Links = append(c.Links, l)
		}
	}
	listener := func(change func(*Listener)) func(*Config) {
		return func(c *Config) { change(&c.Listeners[0]) }
	}
	revoking := func(change func(*ListenerTLS)) func(*Listener) {
		return func(l *Listener) {
			l.Type, l.Auth = ListenerMQTTS, []AuthMethod{AuthCert}
			l.TLS = ListenerTLS{Cert: "c", Key: "k", MinVersion: "1.2", TicketKeys: TicketsNode, ClientCA: []string{"a"}, CRL: []string{"l"}, CRLRefresh: time.Hour, CRLStale: CRLAlarm}
			change(&l.TLS)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // the beginning of the only problem; "" for none
	}{
		{"region", func(c *Config) { c.Region = "EU West" }, `region: "EU West" is no name; want 1 to 63`},
		{"node", func(c *Config) { c.Node = "" }, `node: "" is no name`},
		{"role", func(c *Config) { c.Role = "witness" }, `role: "witness" is not accepted; want core or replicant`},
		{"replicant alone", func(c *Config) { c.Role = RoleReplicant }, `role: is replicant, and no core node is named that it could follow; list the core nodes`},
		{"data_dir", func(c *Config) { c.DataDir = "" }, "data_dir: is empty"},
		{"half an identity", func(c *Config) { c.Identity = Identity{Cert: "c", Key: "k"} }, "identity.ca: is missing"},
		{"whole identity", func(c *Config) { c.Identity = Identity{Cert: "c", Key: "k", CA: "a"} }, ""},

		{"no listeners", func(c *Config) { c.Listeners = nil }, ""},
		{"listener type", listener(func(l *Listener) { l.Type = "tcp" }), `listeners[0].type: "tcp" is not accepted; want mqtt, mqtts, ws or wss`},
		{"listener version", listener(func(l *Listener) { l.Versions = []string{"5", "4"} }), `listeners[0].versions[1]: "4" is not accepted; want 3.1, 3.1.1 or 5`},
		{"listener name", listener(func(l *Listener) { l.Name = "a b" }), `listeners[0].name: "a b" is no name`},
		{"listener namespace", listener(func(l *Listener) { l.Namespace = "" }), `listeners[0].namespace: "" is no name`},
		{"no port", listener(func(l *Listener) { l.Listen = "127.0.0.1" }), `listeners[0].listen: "127.0.0.1" is no address; want HOST:PORT`},
		{"port too large", listener(func(l *Listener) { l.Listen = "127.0.0.1:70000" }), `listeners[0].listen: "127.0.0.1:70000" is no address`},
		{"port by name", listener(func(l *Listener) { l.Listen = "127.0.0.1:mqtt" }), `listeners[0].listen: "127.0.0.1:mqtt" is no address`},
		{"any port", listener(func(l *Listener) { l.Listen = "127.0.0.1:0" }), ""},
		{"two of a name", func(c *Config) {
			c.Listeners = append(c.Listeners, c.Listeners[0])
			c.Listeners[1].Listen = "127.0.0.1:1884"
		}, `listeners[1].name: "mqtt" is also listeners[0].name`},
		{"two of an address", func(c *Config) {
			c.Listeners = append(c.Listeners, c.Listeners[0])
			c.Listeners[1].Name = "b"
		}, "listeners[1].listen: 127.0.0.1:1883 is also the address of listeners[0].listen; give each its own port"},
		{"address of the metrics", func(c *Config) { c.Metrics.Listen = "127.0.0.1:1883" },
			"metrics.listen: 127.0.0.1:1883 is also the address of listeners[0].listen"},

		{"anonymous everywhere", listener(func(l *Listener) { l.Listen = ":1883" }),
			"listeners[0].auth: anonymous devices are admitted on loopback only, and :1883 can be reached from other machines; list password or cert, listen on 127.0.0.1, or set listeners[0].anonymous_beyond_loopback: true"},
		{"anonymous everywhere, wanted", listener(func(l *Listener) { l.Listen, l.AnonymousBeyondLoopback = "0.0.0.0:1883", true }), ""},
		{"anonymous on localhost", listener(func(l *Listener) { l.Listen = "localhost:1883" }), ""},
		{"anonymous on IPv6 loopback", listener(func(l *Listener) { l.Listen = "[::1]:1883" }), ""},
		{"no auth", listener(func(l *Listener) { l.Listen, l.Auth = ":1883", nil }), "listeners[0].auth: is missing"},
		{"unknown auth", listener(func(l *Listener) { l.Auth = []AuthMethod{"ldap"} }), `listeners[0].auth[0]: "ldap" is not accepted; want anonymous, password or cert`},
		{"auth twice", listener(func(l *Listener) { l.Auth = []AuthMethod{"anonymous", "anonymous"} }), `listeners[0].auth[1]: "anonymous" is listed twice`},
		{"password without users", listener(func(l *Listener) { l.Auth = []AuthMethod{AuthPassword} }), "listeners[0].auth: password needs users; set auth.password_file"},
		{"cert without TLS", listener(func(l *Listener) { l.Auth = []AuthMethod{AuthCert} }), "listeners[0].auth: cert needs a type with TLS"},

		{"TLS files on plain", listener(func(l *Listener) { l.TLS.Cert = "c" }), "listeners[0].tls: is set, but type mqtt is not encrypted; write type: mqtts"},
		{"TLS without certificate", listener(func(l *Listener) {
			l.Type, l.TLS = ListenerMQTTS, ListenerTLS{Key: "k", MinVersion: "1.2", TicketKeys: TicketsNode}
		}), "listeners[0].tls.cert: is missing"},
		{"TLS without key", listener(func(l *Listener) {
			l.Type, l.TLS = ListenerMQTTS, ListenerTLS{Cert: "c", MinVersion: "1.2", TicketKeys: TicketsNode}
		}), "listeners[0].tls.key: is missing"},
		{"TLS 1.1", listener(func(l *Listener) {
			l.Type, l.TLS = ListenerMQTTS, ListenerTLS{Cert: "c", Key: "k", MinVersion: "1.1", TicketKeys: TicketsNode}
		}), `listeners[0].tls.min_version: "1.1" is not accepted; want 1.2 or 1.3`},
		{"ticket keys", listener(revoking(func(l *ListenerTLS) { l.TicketKeys = "world" })), `listeners[0].tls.ticket_keys: "world" is not accepted; want node or region`},
		{"client CA for nothing", listener(func(l *Listener) {
			l.Type, l.TLS = ListenerMQTTS, ListenerTLS{Cert: "c", Key: "k", MinVersion: "1.2", TicketKeys: TicketsNode, ClientCA: []string{"a"}}
		}), "listeners[0].tls.client_ca: is set, but auth does not list cert"},
		{"TLS with cert", listener(func(l *Listener) {
			l.Type, l.TLS, l.Auth = ListenerMQTTS, ListenerTLS{Cert: "c", Key: "k", MinVersion: "1.2", TicketKeys: TicketsNode, ClientCA: []string{"a"}}, []AuthMethod{AuthCert}
		}), ""},
		{"name in a certificate", func(c *Config) { c.Auth.Cert.Username = "${cm}" }, `auth.cert.username: "${cm}" is not accepted; want ${cn}, ${san.uri} or ${san.dns}`},
		{"client id of a certificate", func(c *Config) { c.Auth.Cert.ClientID = "cn" }, `auth.cert.client_id: "cn" is not accepted`},
		{"bound to nothing", func(c *Config) { c.Auth.Cert.BindClientID = true }, "auth.cert.bind_client_id: is set, and client_id is empty"},
		{"list without authorities", listener(func(l *Listener) {
			l.Type, l.TLS = ListenerMQTTS, ListenerTLS{Cert: "c", Key: "k", MinVersion: "1.2", TicketKeys: TicketsNode, CRL: []string{"l"}, CRLRefresh: time.Hour, CRLStale: CRLAlarm}
		}), "listeners[0].tls.crl: is set, and no device certificate is asked for"},
		{"lists", listener(revoking(func(l *ListenerTLS) {
			l.CRL, l.CRLStale = []string{"a.pem", "http://ca.example.com/a.crl"}, CRLRefuse
		})), ""},
		{"list by FTP", listener(revoking(func(l *ListenerTLS) { l.CRL = []string{"ftp://ca/l"} })), `listeners[0].tls.crl[0]: "ftp://ca/l" cannot be fetched; want http://HOST/PATH`},
		{"list of no host", listener(revoking(func(l *ListenerTLS) { l.CRL = []string{"http:///l"} })), `listeners[0].tls.crl[0]: "http:///l" cannot be fetched`},
		{"list without a path", listener(revoking(func(l *ListenerTLS) { l.CRL = []string{"a", ""} })), "listeners[0].tls.crl[1]: names an empty path"},
		{"list twice", listener(revoking(func(l *ListenerTLS) { l.CRL = []string{"a", "a"} })), `listeners[0].tls.crl[1]: "a" is listed twice`},
		{"list each second", listener(revoking(func(l *ListenerTLS) { l.CRLRefresh = time.Second })), "listeners[0].tls.crl_refresh: 1s is out of range; want 1m"},
		{"stale list", listener(revoking(func(l *ListenerTLS) { l.CRLStale = "ignore" })), `listeners[0].tls.crl_stale: "ignore" is not accepted; want alarm or refuse`},
		{"refresh of nothing", func(c *Config) { c.Identity.CRLRefresh = time.Hour }, "identity.crl_refresh: is set, and crl names no list"},
		{"list of no identity", func(c *Config) {
			c.Identity = Identity{CRL: []string{"l"}, CRLRefresh: time.Hour, CRLStale: CRLAlarm}
		}, "identity.crl: is set, and this node has no identity"},
		{"path on plain", listener(func(l *Listener) { l.Path = "/mqtt" }), "listeners[0].path: is set, but type mqtt has no path"},
		{"relative path", listener(func(l *Listener) { l.Type, l.Path = ListenerWS, "mqtt" }), `listeners[0].path: "mqtt" is no path`},
		{"max_connections", listener(func(l *Listener) { l.MaxConnections = -1 }), "listeners[0].max_connections: -1 is out of range"},
		{"connect_timeout", listener(func(l *Listener) { l.ConnectTimeout = 0 }), "listeners[0].connect_timeout: 0s is out of range; want 100ms to 10m"},

		{"session_expiry_max", func(c *Config) { c.Limits.SessionExpiryMax = 1 << 62 }, "limits.session_expiry_max: "},
		{"queue_messages", func(c *Config) { c.Limits.QueueMessages = 0 }, "limits.queue_messages: 0 is out of range"},
		{"queue_bytes", func(c *Config) { c.Limits.QueueBytes = 1 }, "limits.queue_bytes: 1 is out of range; want 1KiB to 1024TiB"},
		{"inflight", func(c *Config) { c.Limits.Inflight = 1025 }, "limits.inflight: 1025 is out of range; want 1 to 1024"},
		{"packet", func(c *Config) { c.Limits.Packet = 1 << 30 }, "limits.packet: 1GiB is out of range; want 1KiB to 8MiB"},
		{"subscriptions", func(c *Config) { c.Limits.Subscriptions = 0 }, "limits.subscriptions: 0"},
		{"keepalive_max", func(c *Config) { c.Limits.KeepaliveMax = 48 * time.Hour }, "limits.keepalive_max: 2d is out of range"},
		{"topic_alias_max", func(c *Config) { c.Limits.TopicAliasMax = 65536 }, "limits.topic_alias_max: 65536"},
		{"receive_maximum", func(c *Config) { c.Limits.ReceiveMaximum = 0 }, "limits.receive_maximum: 0"},

		{"ack standby", func(c *Config) { c.Ack[0].Policy = "standby" }, "ack[0].policy: is standby, and no region stands by local; list one with standby_of"},
		{"ack policy", func(c *Config) { c.Ack[0].Policy = "disk" }, `ack[0].policy: "disk" is not accepted; want region, memory or standby`},
		{"ack filter", func(c *Config) { c.Ack[0].Filter = "a/#/b" }, `ack[0].filter: "a/#/b" is no topic filter`},
		{"ack filter plus", func(c *Config) { c.Ack[0].Filter = "a+/b" }, `ack[0].filter: "a+/b" is no topic filter`},
		{"ack filter empty", func(c *Config) { c.Ack[0].Filter = "" }, `ack[0].filter: "" is no topic filter`},
		{"ack never reached", func(c *Config) { c.Ack = append(c.Ack, AckRule{Filter: "a", Policy: AckMemory}) },
			`ack[1].filter: is never reached: the first match wins and ack[0].filter is "#"`},
		{"ack twice", func(c *Config) { c.Ack = []AckRule{{Filter: "a", Policy: AckMemory}, {Filter: "a", Policy: AckRegion}} }, `ack[1].filter: "a" is also ack[0].filter`},
		{"ack replay", func(c *Config) { c.Ack[0].Replay = "drop" }, `ack[0].replay: "drop" is not accepted; want deliver or report`},
		{"ack replay age", func(c *Config) { c.Ack[0].MaxReplayAge = -time.Second }, "ack[0].max_replay_age: -1s is below 0"},
		{"ack replay both", func(c *Config) { c.Ack[0].Replay, c.Ack[0].MaxReplayAge = ReplayReport, time.Minute },
			"ack[0].max_replay_age: is set, and nothing is delivered late under replay: report"},
		{"no acks", func(c *Config) { c.Ack = nil }, ""},

		{"disk", func(c *Config) { c.Disk = Disk{"0%", "1.5TiB"} }, ""},
		{"disk reserve", func(c *Config) { c.Disk.Reserve = "110%" }, `disk.reserve: "110%" is not accepted; want a part of the disk such as 20%, or a size`},
		{"disk spool_max", func(c *Config) { c.Disk.SpoolMax = "half" }, `disk.spool_max: "half" is not accepted`},
		{"no disk for spools", func(c *Config) { c.Disk.SpoolMax = "0%" }, "disk.spool_max: leaves links nothing to wait in"},
		{"residency", func(c *Config) { c.Residency = []ResidencyRule{{Filter: "#", Regions: []string{"local"}}} }, ""},
		{"residency nowhere", func(c *Config) { c.Residency = []ResidencyRule{{Filter: "a"}} }, "residency[0].regions: is empty, so that no region could store what matches"},
		{"residency filter", func(c *Config) { c.Residency = []ResidencyRule{{Filter: "a/#/b", Regions: []string{"eu"}}} }, `residency[0].filter: "a/#/b" is no topic filter`},
		{"residency region", func(c *Config) { c.Residency = []ResidencyRule{{Filter: "a", Regions: []string{"EU"}}} }, `residency[0].regions[0]: "EU" is no name`},
		{"residency namespace", func(c *Config) {
			c.Residency = []ResidencyRule{{Namespace: "#", Filter: "a", Regions: []string{"eu"}}}
		}, `residency[0].namespace: "#" is no name`},
		{"too much residency", func(c *Config) {
			c.Residency = slices.Repeat([]ResidencyRule{{Filter: "a", Regions: []string{"eu"}}}, 257)
		}, "residency: has 257 rules, at most 256 are allowed"},

		{"link", link(func(*Link) {}), ""},
		{"link without identity", func(c *Config) { link(func(*Link) {})(c); c.Identity.Key = "" }, "identity.key: is missing"},
		{"link to itself", link(func(l *Link) { l.Peer = "local" }), `links[0].peer: "local" is this region itself`},
		{"link to nobody", link(func(l *Link) { l.Peer, l.Name = "", "x" }), `links[0].peer: "" is no name`},
		{"two links to one peer", func(c *Config) { link(func(*Link) {})(c); link(func(l *Link) { l.Name = "b" })(c) }, `links[1].peer: "us" is also links[0].peer`},
		{"two links of a name", func(c *Config) {
			link(func(*Link) {})(c)
			link(func(l *Link) { l.Peer, l.Dial = "ap", []string{"udp://[::1]:1"} })(c)
		},
			`links[1].name: "us" is also links[0].name`},
		{"link nobody can open", func(c *Config) { link(func(l *Link) { l.Dial = nil })(c); c.Link = LinkAccept{} }, "links[0].dial: is empty"},
		{"link that waits", link(func(l *Link) { l.Dial = nil }), ""},
		{"link over TCP", link(func(l *Link) { l.Dial = []string{"udp://us:1", "tcp://us:7445"} }), ""},
		{"link over SCTP", link(func(l *Link) { l.Dial = []string{"udp://us:1", "sctp://us:7445"} }),
			`links[0].dial[1]: "sctp://us:7445" is no peer address; want udp://HOST:PORT`},
		{"link through a relay", func(c *Config) {
			link(func(l *Link) { l.Peer, l.Name, l.Dial = "hub", "hub", nil })(c)
			link(func(l *Link) { l.Dial = []string{"udp://us:1", "relay://hub"} })(c)
			c.Link.Relay = []RelayRule{{Between: []string{"us", "hub"}}}
		}, ""},
		{"relay that is no peer", link(func(l *Link) { l.Dial = []string{"udp://us:1", "relay://hub"} }),
			`links[0].dial[1]: "hub" is no other peer of this region; name a region`},
		{"peer as its own relay", link(func(l *Link) { l.Dial = []string{"relay://us"} }), `links[0].dial[0]: "us" is no other peer of this region`},
		{"relay behind a relay", func(c *Config) {
			link(func(l *Link) { l.Peer, l.Name = "hub", "hub" })(c)
			link(func(l *Link) { l.Peer, l.Name, l.Dial = "ap", "ap", []string{"relay://hub"} })(c)
			link(func(l *Link) { l.Dial = []string{"relay://ap"} })(c)
		}, `links[2].dial[0]: "ap" is itself reached through a relay only`},
		{"relay that is starved", func(c *Config) {
			link(func(*Link) {})(c)
			link(func(l *Link) { l.Peer, l.Name = "ap", "ap" })(c)
			c.Link.Relay = []RelayRule{{Between: []string{"us", "ap"}, Rate: 5000}}
		},
			"link.relay[0].rate: 5kB/s is out of range; want 100kB/s to"},
		{"relay between a region and nobody", func(c *Config) {
			link(func(*Link) {})(c)
			c.Link.Relay = []RelayRule{{Between: []string{"us"}}}
		}, "link.relay[0].between: names 1 regions; name two peers or more"},
		{"relay for strangers", func(c *Config) {
			link(func(*Link) {})(c)
			c.Link.Relay = []RelayRule{{Between: []string{"us", "ap"}}}
		}, `link.relay[0].between[1]: "ap" is no peer of this region; name the peer of one of links`},
		{"dial twice", link(func(l *Link) { l.Dial = []string{"udp://us:1", "udp://us:1"} }), `links[0].dial[1]: "udp://us:1" is listed twice`},
		{"link.listen_tcp", func(c *Config) { c.Link.ListenTCP = "7445" }, `link.listen_tcp: "7445" is no address`},
		{"link.listen_tcp taken", func(c *Config) { c.Link.ListenTCP = "127.0.0.1:1883" }, `link.listen_tcp: 127.0.0.1:1883 is also the address of`},
		{"dial without port", link(func(l *Link) { l.Dial = []string{"udp://us"} }), `links[0].dial[0]: "udp://us" is no peer address`},
		{"dial without scheme", link(func(l *Link) { l.Dial = []string{"us:7444"} }), `links[0].dial[0]: "us:7444" is no peer address`},
		{"dial with path", link(func(l *Link) { l.Dial = []string{"udp://us:7444/x"} }), `links[0].dial[0]: "udp://us:7444/x" is no peer address`},
		{"link filter", link(func(l *Link) { l.Never = []string{"a", "#b"} }), `links[0].never[1]: "#b" is no topic filter`},
		{"link shared filter", link(func(l *Link) { l.In = []string{"$share/g/a"} }), `links[0].in[0]: "$share/g/a" is a shared subscription`},
		{"compression", link(func(l *Link) { l.Compression = "gzip" }), `links[0].compression: "gzip" is not accepted; want zstd, s2 or none`},
		{"spool bytes", link(func(l *Link) { l.Spool.Bytes = 0 }), "links[0].spool.bytes: 0 is out of range"},
		{"spool at its limit", link(func(l *Link) { l.Spool.AtLimit = "reject" }), `links[0].spool.at_limit: "reject" is not accepted; want drop-oldest or refuse`},
		{"spool classes", link(func(l *Link) {
			l.Spool.Classes = []SpoolClass{{"cmd", []string{"cmd/#"}}, {"log", []string{"log/#", "+/log"}}}
		}), ""},
		{"spool class twice", link(func(l *Link) { l.Spool.Classes = []SpoolClass{{"a", []string{"a"}}, {"a", []string{"b"}}} }),
			`links[0].spool.classes[1].name: "a" is also links[0].spool.classes[0].name`},
		{"spool class of nothing", link(func(l *Link) { l.Spool.Classes = []SpoolClass{{"a", nil}} }), "links[0].spool.classes[0].filters: is empty"},
		{"spool class filter", link(func(l *Link) { l.Spool.Classes = []SpoolClass{{"a", []string{"#/a"}}} }), `links[0].spool.classes[0].filters[0]: "#/a" is no topic filter`},
		{"spool class without a name", link(func(l *Link) { l.Spool.Classes = []SpoolClass{{"", []string{"a"}}} }), `links[0].spool.classes[0].name: "" is no name`},
		{"link prefix", link(func(l *Link) { l.InPrefix = "eu" }), `links[0].in_prefix: "eu" is no prefix; want whole levels with a / at the end`},
		{"link prefix of the server", link(func(l *Link) { l.InPrefix = "$SYS/" }), `links[0].in_prefix: "$SYS/" is no prefix`},
		{"link that takes nothing", link(func(l *Link) { l.In = []string{} }), "links[0].in: is an empty list, which would let everything through; name filters; # is everything, and $none is nothing"},
		{"link that sends nothing", link(func(l *Link) { l.Out = nil }), "links[0].out: is an empty list"},
		{"link rate", link(func(l *Link) { l.Rate = 5 }), `links[0].rate: 5B/s is out of range; want 1kB/s to`},
		{"link QoS", link(func(l *Link) { l.QoSMax = 3 }), "links[0].qos_max: 3 is out of range; want 1 or 2"},
		{"spool age", link(func(l *Link) { l.Spool.Age = 0 }), "links[0].spool.age: 0s is out of range"},

		{"link.listen", func(c *Config) { c.Link.Listen = "7444" }, `link.listen: "7444" is no address`},
		{"link.listen off", func(c *Config) { c.Link.Listen = "" }, ""},
		{"admin.socket", func(c *Config) { c.Admin.Socket = strings.Repeat("x", 108) }, "admin.socket: "},
		{"admin.listen without tokens", func(c *Config) { c.Admin.Listen = "127.0.0.1:18083" }, "admin.tokens: is missing"},
		{"admin.tokens", func(c *Config) { c.Admin.Tokens = "hunter2" }, "admin.tokens: is no reference; want file:PATH"},
		{"metrics.listen", func(c *Config) { c.Metrics.Listen = "x" }, `metrics.listen: "x" is no address`},
		{"log.level", func(c *Config) { c.Log.Level = "loud" }, `log.level: "loud" is not accepted; want debug, info, warn or error`},
		{"log.format", func(c *Config) { c.Log.Format = "xml" }, `log.format: "xml" is not accepted; want text or json`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Default()
			tc.change(cfg)
			err := cfg.Validate()
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v, want no problem", err)
				}
				return
			}
			problems := problemsIn(err)
			if len(problems) != 1 || !strings.HasPrefix(err.Error(), tc.want) {
				t.Fatalf("got %v\nwant %s", err, tc.want)
			}
			if problems[0].Fix == "" {
				t.Errorf("%v names no fix", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v tells a secret", err)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	path := writeFile(t, "region: EU\nlisteners:\n- listen: :1883\n")
	cfg, sources := mustLoad(t, Options{File: path, Env: []string{"CAUSEWAY_LOG_LEVEL=loud"}})
	err := sources.Explain(cfg.Validate())
	for _, want := range []string{path + ":1: region:", path + ":3: listeners[0].auth: is missing", "env CAUSEWAY_LOG_LEVEL: log.level:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if sources.Explain(nil) != nil {
		t.Error("no problem became one")
	}
}

func TestPrint(t *testing.T) {
	path := writeFile(t, fullFile)
	env := []string{"CAUSEWAY_LOG_LEVEL=debug"}
	cfg, sources := mustLoad(t, Options{File: path, Env: env})

	t.Run("text", func(t *testing.T) {
		var out bytes.Buffer
		if err := Print(&out, cfg, sources, Text); err != nil {
			t.Fatal(err)
		}
		lines := map[string][]string{}
		for line := range strings.Lines(out.String()) {
			f := strings.Fields(line)
			lines[f[0]] = f[1:]
		}
		for key, want := range map[string]string{
			"region": "eu " + path + ":2", "log.level": "debug env CAUSEWAY_LOG_LEVEL", "limits.packet": "256KiB " + path + ":18",
			"link.listen": `"" ` + path + ":27", "listeners[1].path": "/mqtt default", "admin.tokens": "file:/etc/causeway/tokens " + path + ":28",
			"links[0].never": "[pii/#] " + path + ":24",
		} {
			if got := strings.Join(lines[key], " "); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
	})
	t.Run("json", func(t *testing.T) {
		var out bytes.Buffer
		if err := Print(&out, cfg, sources, JSON); err != nil {
			t.Fatal(err)
		}
		var got []entry
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		byKey := map[string]entry{}
		for _, e := range got {
			byKey[e.Key] = e
		}
		if e := byKey["limits.inflight"]; e.Value != 32.0 || e.Source != path+":18" {
			t.Errorf("limits.inflight is %+v", e)
		}
		if e := byKey["links[0].retained"]; e.Value != false {
			t.Errorf("links[0].retained is %+v", e)
		}
	})
	t.Run("yaml loads to the same", func(t *testing.T) {
		for _, cfg := range []*Config{cfg, Default()} {
			var out bytes.Buffer
			if err := Print(&out, cfg, sources, YAML); err != nil {
				t.Fatal(err)
			}
			again, _ := mustLoad(t, Options{File: writeFile(t, out.String())})
			normalize(again)
			normalize(cfg)
			if !reflect.DeepEqual(again, cfg) {
				t.Errorf("printed as\n%s\ngot  %+v\nwant %+v", out.String(), again, cfg)
			}
		}
		var out bytes.Buffer
		if err := Print(&out, cfg, sources, YAML); err != nil || !strings.Contains(out.String(), "level: debug # env CAUSEWAY_LOG_LEVEL\n") {
			t.Errorf("%v\n%s", err, out.String())
		}
	})
	if err := Print(&bytes.Buffer{}, cfg, sources, "xml"); err == nil || !strings.Contains(err.Error(), "text, json or yaml") {
		t.Errorf("format xml: %v", err)
	}
}

// normalize makes absent and empty lists equal, as they are to every reader of a Config.
func normalize(c *Config) {
	if len(c.Namespaces) == 0 {
		c.Namespaces = nil
	}
	if len(c.ACL) == 0 {
		c.ACL = nil
	}
	if len(c.Cluster.Join.Nodes) == 0 {
		c.Cluster.Join.Nodes = nil
	}
	lists := []*[]string{&c.Identity.CRL}
	for i := range c.Listeners {
		lists = append(lists, &c.Listeners[i].Versions, &c.Listeners[i].TLS.ClientCA, &c.Listeners[i].TLS.CRL)
	}
	for _, list := range lists {
		if len(*list) == 0 {
			*list = nil
		}
	}
	for i := range c.Links {
		for _, list := range []*[]string{&c.Links[i].Address, &c.Links[i].Filters} {
			if len(*list) == 0 {
				*list = nil
			}
		}
		for _, list := range []*[]string{&c.Links[i].Dial, &c.Links[i].In, &c.Links[i].Out, &c.Links[i].Never} {
			if len(*list) == 0 {
				*list = nil
			}
		}
		if len(c.Links[i].Spool.Classes) == 0 {
			c.Links[i].Spool.Classes = nil
		}
	}
	if len(c.Links) == 0 {
		c.Links = nil
	}
	if len(c.Regions) == 0 {
		c.Regions = nil
	}
	if len(c.Link.Relay) == 0 {
		c.Link.Relay = nil
	}
	if len(c.Residency) == 0 {
		c.Residency = nil
	}
	if len(c.Shared) == 0 {
		c.Shared = nil
	}
}

func TestCluster(t *testing.T) {
	const ok = "region: eu\nnode: eu-1\nidentity: { cert: a, key: b, ca: c }\n"
	for name, tc := range map[string]struct{ text, want string }{
		"three by list":        {"cluster: { join: { nodes: [\"10.0.0.1:7946\", \"10.0.0.2:7946\"] }, gossip_key: \"file:k\" }", ""},
		"by name":              {"cluster: { voters: 5, join: { name: core.eu.example.com }, gossip_key: \"file:k\" }", ""},
		"without a key":        {"cluster: { join: { nodes: [a] } }", "cluster.gossip_key"},
		"the key itself":       {"cluster: { join: { nodes: [a] }, gossip_key: abc }", "cluster.gossip_key"},
		"an even number":       {"cluster: { voters: 2, join: { nodes: [a] }, gossip_key: \"file:k\" }", "cluster.voters"},
		"nobody to join":       {"cluster: { voters: 3 }", "cluster.join"},
		"a list without nodes": {"cluster: { join: { method: static, name: x }, gossip_key: \"file:k\" }", "cluster.join.nodes"},
		"one port for two":     {"cluster: { listen: \"10.0.0.1:1\", streams: \"10.0.0.1:1\", join: { nodes: [a] }, gossip_key: \"file:k\" }", "cluster.streams"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "causeway.yaml")
			if err := os.WriteFile(file, []byte(ok+tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, _, err := Load(Options{File: file})
			if err == nil {
				err = cfg.Validate()
			}
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
