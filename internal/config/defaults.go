package config

import (
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// Default is the configuration of a node that was told nothing: one region of one node, devices on
// loopback without credentials, no links.
func Default() *Config {
	cfg := base()
	fillDefaults(cfg, nil)
	return cfg
}

// base holds the defaults that depend on nothing else. Lists are absent: they are replaced as a
// whole, never merged with their default.
func base() *Config {
	return &Config{
		Region:  "local",
		Role:    RoleCore,
		DataDir: "./data",
		Limits: Limits{
			SessionExpiryMax: 14 * 24 * time.Hour,
			QueueMessages:    100_000,
			QueueBytes:       256 << 20,
			Inflight:         1024,
			Packet:           2 << 20,
			Subscriptions:    1000,
			WillGrace:        30 * time.Second,
			TopicAliasMax:    32,
			ReceiveMaximum:   1024,
		},
		Disk:   Disk{Reserve: "10%", SpoolMax: "40%"},
		Backup: Backup{Keep: 14},
		Link:   LinkAccept{Listen: "127.0.0.1:7444"},
		Log:    Log{Level: LogInfo, Format: LogText},
		Takeover: Takeover{Mode: TakeoverManual, DownAfter: 10 * time.Second, Isolation: IsolationServe, StandbyAway: StandbyDegrade,
			WillGrace: 30 * time.Second, Admission: 5000, Hooks: Hooks{Timeout: 30 * time.Second}},
		Handover: Handover{MinDwell: 10 * time.Minute, Unreachable: UnreachableRefuse},
	}
}

// fillDefaults sets what was left out and depends on something: on another key, or on the list
// item it is in. A key that was set to its zero value stays as it is.
func fillDefaults(cfg *Config, sources *Sources) {
	unset := func(key string) bool { return sources == nil || !sources.isSet(key) }
	if unset("node") {
		cfg.Node = cfg.Region + "-1"
	}
	fillCRL("identity.", cfg.Identity.CRL, &cfg.Identity.CRLRefresh, &cfg.Identity.CRLStale, unset)
	if unset("auth.cert.username") {
		cfg.Auth.Cert.Username = CertCN
	}
	if unset("auth.cert.client_id") && cfg.Auth.Cert.BindClientID {
		cfg.Auth.Cert.ClientID = cfg.Auth.Cert.Username
	}
	if unset("admin.socket") {
		cfg.Admin.Socket = filepath.Join(cfg.DataDir, "admin.sock")
	}
	if unset("stop_notice") && (cfg.Metrics.Listen != "" || cfg.Admin.Listen != "") {
		cfg.StopNotice = 500 * time.Millisecond
	}
	if unset("listeners") {
		cfg.Listeners = []Listener{{Type: ListenerMQTT, Listen: "127.0.0.1:1883"}}
	}
	if unset("ack") {
		cfg.Ack = []AckRule{{Filter: "#", Policy: AckRegion, Replay: ReplayDeliver}}
	}
	cfg.Cluster.fill(unset)
	if unset("link.listen_tcp") {
		cfg.Link.ListenTCP = beside(cfg.Link.Listen)
	}
	for i := range cfg.Listeners {
		cfg.Listeners[i].fill(fmt.Sprintf("listeners[%d].", i), unset)
	}
	for i := range cfg.Ack {
		if unset(fmt.Sprintf("ack[%d].policy", i)) {
			cfg.Ack[i].Policy = AckRegion
		}
		if unset(fmt.Sprintf("ack[%d].replay", i)) {
			cfg.Ack[i].Replay = ReplayDeliver
		}
	}
	for i := range cfg.Shared {
		if unset(fmt.Sprintf("shared[%d].namespace", i)) {
			cfg.Shared[i].Namespace = "default"
		}
	}
	for i := range cfg.Links {
		cfg.Links[i].fill(fmt.Sprintf("links[%d].", i), cfg.Region, unset)
	}
	cfg.fillACL()
	cfg.fillRegions(unset)
	cfg.Takeover.fill(unset)
	cfg.fillBackup(unset)
	if cfg.Leaf {
		cfg.fillLeaf(unset)
	}
}

func fillCRL(key string, lists []string, refresh *time.Duration, stale *CRLStale, unset func(string) bool) {
	if len(lists) == 0 {
		return
	}
	if unset(key + "crl_refresh") {
		*refresh = 15 * time.Minute
	}
	if unset(key + "crl_stale") {
		*stale = CRLAlarm
	}
}

func (c *Cluster) fill(unset func(string) bool) {
	if !c.Configured() {
		if unset("cluster.voters") {
			c.Voters = 1
		}
		return
	}
	if unset("cluster.voters") {
		c.Voters = 3
	}
	if unset("cluster.listen") {
		c.Listen = "0.0.0.0:7946"
	}
	if unset("cluster.streams") {
		c.Streams = "0.0.0.0:7947"
	}
	if unset("cluster.join.method") {
		c.Join.Method = JoinStatic
		if c.Join.Name != "" {
			c.Join.Method = JoinDNS
		}
	}
}

// beside is where links listen on TCP if they listen on UDP at the usual port.
func beside(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port != "7444" {
		return ""
	}
	return net.JoinHostPort(host, "7445")
}

func (l *Listener) fill(key string, unset func(string) bool) {
	if unset(key+"type") && l.Type == "" {
		l.Type = ListenerMQTT
	}
	if unset(key + "name") {
		l.Name = string(l.Type)
	}
	if unset(key + "namespace") {
		l.Namespace = "default"
	}
	if unset(key+"auth") && loopback(l.Listen) {
		l.Auth = []AuthMethod{AuthAnonymous}
	}
	if unset(key+"path") && l.Type.WebSocket() {
		l.Path = "/mqtt"
	}
	if unset(key + "proxy_protocol") {
		l.ProxyProtocol = ProxyOff
	}
	if unset(key + "connect_timeout") {
		l.ConnectTimeout = 10 * time.Second
	}
	if unset(key+"tls.min_version") && l.Type.Secure() {
		l.TLS.MinVersion = "1.2"
	}
	if unset(key+"tls.ticket_keys") && l.Type.Secure() {
		l.TLS.TicketKeys = TicketsNode
	}
	fillCRL(key+"tls.", l.TLS.CRL, &l.TLS.CRLRefresh, &l.TLS.CRLStale, unset)
}

func (l *Link) fill(key, region string, unset func(string) bool) {
	if unset(key + "kind") {
		l.Kind = LinkRegion
	}
	if unset(key+"name") && !l.IsForeign() {
		l.Name = l.Peer
	}
	switch {
	case l.IsForeign():
		l.fillForeign(key, region, unset)
	default:
		if unset(key + "in") {
			l.In = []string{"#"}
		}
		if unset(key + "out") {
			l.Out = []string{"#"}
		}
	}
	if unset(key + "retained") {
		l.Retained = true
	}
	if unset(key + "compression") {
		l.Compression = CompressionZstd
	}
	if unset(key + "spool.bytes") {
		l.Spool.Bytes = 10 << 30
	}
	if unset(key + "spool.age") {
		l.Spool.Age = 3 * 24 * time.Hour
	}
	if unset(key + "spool.at_limit") {
		l.Spool.AtLimit = SpoolDropOldest
	}
	if unset(key + "qos_max") {
		l.QoSMax = 2
	}
}

// loopback reports whether only this machine can reach the address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
