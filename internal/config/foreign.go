package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// LinkKind is what stands at the other end of a link.
type LinkKind string

// What stands at the other end of a link.
const (
	LinkRegion LinkKind = "region" // a region of Causeway
	LinkMQTT   LinkKind = "mqtt"   // a broker of another make, whose client the region is
)

// Direction is which way messages cross a link to a foreign broker.
type Direction string

// The directions, seen from this region.
const (
	DirectionIn   Direction = "in"
	DirectionOut  Direction = "out"
	DirectionBoth Direction = "both"
)

// The versions of MQTT spoken to a foreign broker.
const (
	VersionAuto = "auto" // 5, or 3.1.1 where the broker knows no 5
	Version311  = "4"    // 3.1.1, by its protocol level
	Version5    = "5"
)

// CanaryOff sends no canaries.
const CanaryOff = "off"

// LinkTLS is the TLS of a link to a foreign broker; all files are PEM.
type LinkTLS struct {
	// CA is the file of the authorities that may have issued the broker's certificate. Default: the system's.
	CA string `mapstructure:"ca"`
	// Cert is the certificate that this region shows the broker, with its intermediates.
	Cert string `mapstructure:"cert"`
	// Key is the private key of Cert.
	Key string `mapstructure:"key"`
	// ServerName is the name that the broker's certificate must have. Default: the host of the address.
	ServerName string `mapstructure:"server_name"`
}

// IsForeign reports whether a broker of another make is at the other end.
func (l *Link) IsForeign() bool { return l.Kind == LinkMQTT }

// RegionLinks are the links to regions of Causeway.
func (c *Config) RegionLinks() []*Link { return c.linksWhere(false) }

// ForeignLinks are the links to brokers of another make.
func (c *Config) ForeignLinks() []*Link { return c.linksWhere(true) }

func (c *Config) linksWhere(foreign bool) (list []*Link) {
	for i := range c.Links {
		if c.Links[i].IsForeign() == foreign {
			list = append(list, &c.Links[i])
		}
	}
	return list
}

// fillForeign sets what a link to a foreign broker leaves out. Its name is also its peer.
func (l *Link) fillForeign(key, region string, unset func(string) bool) {
	orDefault(&l.Peer, l.Name)
	orDefault(&l.Namespace, "default")
	orDefault(&l.Connections, 8)
	orDefault(&l.Version, VersionAuto)
	orDefault(&l.Keepalive, 30*time.Second)
	orDefault(&l.ClientID, "causeway-"+region+"-"+l.Name)
	orDefault(&l.Canary, "causeway/canary/"+region+"/"+l.Name)
	if len(l.Filters) == 0 {
		l.Filters = []string{"#"}
	}
	if unset(key+"in") && l.Direction != DirectionOut {
		l.In = l.Filters
	}
	if unset(key+"out") && l.Direction != DirectionIn {
		l.Out = l.Filters
	}
}

func orDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// foreignLink checks what a link to a foreign broker has of its own.
func (v *validator) foreignLink(key string, l *Link, c *Config) {
	v.check(l.Name != c.Region, key+"name", fmt.Sprintf("%q is this region's", l.Name), "name the broker")
	v.check(l.Peer == l.Name, key+"peer", "is set, but a foreign broker is no region", "remove it: the link goes by its name")
	v.check(len(l.Dial) == 0, key+"dial", "is set, but a foreign broker is dialled at address", "move it to "+key+"address")
	v.check(l.InPrefix == "" && l.Rate == 0, key+"kind", "is mqtt, and in_prefix or rate is set, which are of links between regions", "remove them")
	v.check(len(l.Spool.Classes) == 0, key+"spool.classes", "is set, but a foreign broker keeps one order a publisher", "remove it, or make two links")
	if oneOf(v, key+"direction", l.Direction, DirectionIn, DirectionOut, DirectionBoth) {
		v.check(l.Direction != DirectionOut || len(l.In) == 0, key+"in", "is set, but direction is out", "remove it, or write direction: both")
		v.check(l.Direction != DirectionIn || len(l.Out) == 0, key+"out", "is set, but direction is in", "remove it, or write direction: both")
	}
	v.name(key+"namespace", l.Namespace)
	v.count(key+"connections", l.Connections, 1, 64)
	v.count(key+"inflight", l.Inflight, 0, 65535)
	v.check(l.Version == VersionAuto || l.Version == Version311 || l.Version == Version5, key+"version", fmt.Sprintf("%q is not accepted", l.Version),
		"want 4 (which is 3.1.1), 5 or auto")
	v.duration(key+"keepalive", l.Keepalive, 5*time.Second, 65535*time.Second)
	for j, f := range l.Filters {
		v.linkFilter(fmt.Sprintf("%sfilters[%d]", key, j), f)
	}
	v.foreignAddress(key, l)
	v.foreignIdentity(key, l)
}

func (v *validator) foreignAddress(key string, l *Link) {
	v.check(len(l.Address) > 0, key+"address", "is missing", "list the broker as mqtts://HOST:PORT or mqtt://HOST:PORT")
	secure := false
	for i, raw := range l.Address {
		at := fmt.Sprintf("%saddress[%d]", key, i)
		u, err := url.Parse(raw)
		ok := err == nil && (u.Scheme == "mqtt" || u.Scheme == "mqtts") && u.Hostname() != "" && raw == u.Scheme+"://"+u.Host && validPort(u.Port())
		// What stands there is not shown: it may hold a password.
		v.check(ok, at, "is no broker's address", "want mqtts://HOST:PORT or mqtt://HOST:PORT; user and password have keys of their own")
		v.check(!slices.Contains(l.Address[:i], raw), at, "is listed twice", "keep one of them")
		secure = secure || ok && u.Scheme == "mqtts"
	}
	v.check(secure || l.TLS == (LinkTLS{}), key+"tls", "is set, but no address is mqtts://", "write mqtts://HOST:PORT, or remove tls")
}

func (v *validator) foreignIdentity(key string, l *Link) {
	v.check((l.TLS.Cert == "") == (l.TLS.Key == ""), key+"tls.key", "and tls.cert belong together", "set both or none")
	v.check(l.ClientID != "" && len(l.ClientID) <= 256 && !strings.ContainsAny(l.ClientID, "\x00+#/"), key+"client_id", fmt.Sprintf("%q is no client id", l.ClientID),
		"want 1 to 256 bytes without / + #")
	v.check(l.Password == "" || l.Password.Path() != "", key+"password", "is no reference", "want "+secretWant)
	v.check(l.Password == "" || l.Username != "", key+"username", "is missing beside password", "set it: MQTT 3.1.1 has no password without a user name")
	if l.Canary != CanaryOff {
		ok := strings.HasPrefix(l.Canary, "causeway/canary/") && len(l.Canary) < 1024 && !strings.ContainsAny(l.Canary, "+#\x00")
		v.check(ok, key+"canary", fmt.Sprintf("%q is no topic for canaries", l.Canary), "want one that begins with causeway/canary/, or off")
	}
}

// regionLink checks whose link it is, and that it has no keys of a foreign one.
func (v *validator) regionLink(key string, f *Link, c *Config) {
	if v.name(key+"peer", f.Peer) {
		v.check(f.Peer != c.Region, key+"peer", fmt.Sprintf("%q is this region itself", f.Peer), "name the other one")
	}
	v.linkDial(key, *f, c)
	for _, list := range []struct {
		name    string
		filters []string
	}{{"in", f.In}, {"out", f.Out}} {
		v.check(len(list.filters) > 0, key+list.name, "is an empty list, which would let everything through",
			"name filters; # is everything, and $none is nothing: no device can publish that")
	}
	set := len(f.Address)+len(f.Filters) > 0 || f.Direction != "" || f.Namespace != "" || f.Connections != 0 || f.Inflight != 0 || f.Version != "" ||
		f.ClientID != "" || f.Username != "" || f.Password != "" || f.TLS != (LinkTLS{}) || f.Keepalive != 0 || f.Canary != ""
	v.check(!set, key+"kind", "is region, and keys of a foreign broker are set", "write kind: mqtt, or remove address, direction, filters, namespace, connections, "+
		"inflight, version, client_id, username, password, tls, keepalive and canary")
}
