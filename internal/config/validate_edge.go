package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// listener checks one device listener; key is its prefix with the dot.
func (v *validator) listener(key string, l Listener, c *Config) {
	v.name(key+"name", l.Name)
	v.name(key+"namespace", l.Namespace)
	reachable := v.tcp(key+"listen", l.Listen) && !loopback(l.Listen)
	if oneOf(v, key+"type", l.Type, ListenerMQTT, ListenerMQTTS, ListenerWS, ListenerWSS) {
		v.listenerTLS(key, l)
		v.listenerPath(key, l)
	}
	v.listenerAuth(key, l, c, reachable)
	for i, version := range l.Versions {
		oneOf(v, fmt.Sprintf("%sversions[%d]", key, i), version, "3.1", "3.1.1", "5")
	}
	oneOf(v, key+"proxy_protocol", l.ProxyProtocol, ProxyOff, ProxyV2)
	v.check(len(l.ServerReference) <= 255 && !strings.ContainsFunc(l.ServerReference, func(r rune) bool { return r <= ' ' || r > '~' }),
		key+"server_reference", fmt.Sprintf("%q is no address", l.ServerReference), "want HOST or HOST:PORT of another way in, or leave it out")
	v.check(l.ConnectRate >= 0, key+"connect_rate", "is negative", "want a rate such as 3000/s, or 0 for no bound")
	v.count(key+"max_connections", l.MaxConnections, 0, 1<<31)
	v.duration(key+"connect_timeout", l.ConnectTimeout, 100*time.Millisecond, 10*time.Minute)
}

func (v *validator) listenerTLS(key string, l Listener) {
	if !l.Type.Secure() {
		set := l.TLS.Cert != "" || l.TLS.Key != "" || len(l.TLS.ClientCA) > 0 || len(l.TLS.CRL) > 0 || l.TLS.MinVersion != "" || l.TLS.TicketKeys != ""
		secure := map[ListenerType]string{ListenerMQTT: "mqtts", ListenerWS: "wss"}[l.Type]
		v.check(!set, key+"tls", fmt.Sprintf("is set, but type %s is not encrypted", l.Type), "write type: "+secure+", or remove tls")
		return
	}
	v.check(l.TLS.Cert != "", key+"tls.cert", "is missing", fmt.Sprintf("type %s needs a certificate and its key", l.Type))
	v.check(l.TLS.Key != "", key+"tls.key", "is missing", fmt.Sprintf("type %s needs a certificate and its key", l.Type))
	oneOf(v, key+"tls.min_version", l.TLS.MinVersion, "1.2", "1.3")
	oneOf(v, key+"tls.ticket_keys", l.TLS.TicketKeys, TicketsNode, TicketsRegion)
	v.check(!slices.Contains(l.TLS.ClientCA, ""), key+"tls.client_ca", "names an empty path", "list the PEM files of the authorities")
	v.check(len(l.TLS.CRL) == 0 || len(l.TLS.ClientCA) > 0, key+"tls.crl", "is set, and no device certificate is asked for", "set "+key+"tls.client_ca and auth: [cert], or remove it")
	v.crl(key+"tls.", l.TLS.CRL, l.TLS.CRLRefresh, l.TLS.CRLStale)
}

// crl checks where revocation lists are from.
func (v *validator) crl(key string, lists []string, refresh time.Duration, stale CRLStale) {
	if len(lists) == 0 {
		v.check(refresh == 0, key+"crl_refresh", "is set, and crl names no list", "name one in "+key+"crl, or remove it")
		v.check(stale == "", key+"crl_stale", "is set, and crl names no list", "name one in "+key+"crl, or remove it")
		return
	}
	for i, at := range lists {
		one := fmt.Sprintf("%scrl[%d]", key, i)
		v.check(!slices.Contains(lists[:i], at), one, fmt.Sprintf("%q is listed twice", at), "keep one of them")
		if !strings.Contains(at, "://") {
			v.check(at != "", one, "names an empty path", "want a file, PEM or DER, or an http or https URL")
			continue
		}
		u, err := url.Parse(at)
		v.check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", one, fmt.Sprintf("%q cannot be fetched", at),
			"want http://HOST/PATH, https://HOST/PATH, or the path of a file")
	}
	v.duration(key+"crl_refresh", refresh, time.Minute, 30*24*time.Hour)
	oneOf(v, key+"crl_stale", stale, CRLAlarm, CRLRefuse)
}

func (v *validator) listenerPath(key string, l Listener) {
	if !l.Type.WebSocket() {
		v.check(l.Path == "", key+"path", fmt.Sprintf("is set, but type %s has no path", l.Type), "remove it, or write type: ws")
		return
	}
	v.check(strings.HasPrefix(l.Path, "/") && !strings.ContainsAny(l.Path, " ?#{}"), key+"path",
		fmt.Sprintf("%q is no path", l.Path), "want one such as /mqtt")
}

// listenerAuth checks who is admitted; reachable says that other machines can get here.
func (v *validator) listenerAuth(key string, l Listener, c *Config, reachable bool) {
	v.check(len(l.Auth) > 0, key+"auth", "is missing, so nobody could connect", "list anonymous, password or cert")
	for i, m := range l.Auth {
		at := fmt.Sprintf("%sauth[%d]", key, i)
		if oneOf(v, at, m, AuthAnonymous, AuthPassword, AuthCert) {
			v.check(!slices.Contains(l.Auth[:i], m), at, fmt.Sprintf("%q is listed twice", m), "keep one of them")
		}
	}
	v.check(!l.Allows(AuthAnonymous) || !reachable || l.AnonymousBeyondLoopback, key+"auth",
		fmt.Sprintf("anonymous devices are admitted on loopback only, and %s can be reached from other machines", l.Listen),
		"list password or cert, listen on 127.0.0.1, or set "+key+"anonymous_beyond_loopback: true if that is what you want")
	v.check(!l.Allows(AuthPassword) || c.Auth.PasswordFile != "", key+"auth", "password needs users",
		"set auth.password_file (causeway passwd writes it)")
	v.check(!l.Allows(AuthCert) || l.Type.Secure() && len(l.TLS.ClientCA) > 0, key+"auth", "cert needs a type with TLS and authorities to trust",
		"set type mqtts or wss and "+key+"tls.client_ca")
	v.check(len(l.TLS.ClientCA) == 0 || l.Allows(AuthCert), key+"tls.client_ca", "is set, but auth does not list cert",
		"add cert to auth, or remove client_ca")
}

func (v *validator) links(c *Config) {
	for i, l := range c.Links {
		key := fmt.Sprintf("links[%d].", i)
		v.name(key+"name", l.Name)
		if oneOf(v, key+"kind", l.Kind, LinkRegion, LinkMQTT) && l.IsForeign() {
			v.foreignLink(key, &l, c)
		} else {
			v.regionLink(key, &l, c)
		}
		for _, list := range []struct {
			key     string
			filters []string
		}{{"in", l.In}, {"out", l.Out}, {"never", l.Never}} {
			for j, f := range list.filters {
				v.linkFilter(fmt.Sprintf("%s%s[%d]", key, list.key, j), f)
			}
		}
		oneOf(v, key+"compression", l.Compression, CompressionZstd, CompressionS2, CompressionNone)
		v.size(key+"spool.bytes", l.Spool.Bytes, 1<<20, 1<<50)
		v.duration(key+"spool.age", l.Spool.Age, time.Second, 10*365*24*time.Hour)
		oneOf(v, key+"spool.at_limit", l.Spool.AtLimit, SpoolDropOldest, SpoolRefuse)
		v.spoolClasses(key+"spool.classes", l.Spool.Classes)
		if l.InPrefix != "" {
			v.prefix(key+"in_prefix", l.InPrefix)
		}
		v.check(l.Rate.Validate() == nil, key+"rate", l.Rate.String()+" is out of range",
			"want "+leastBandwidth.String()+" to "+mostBandwidth.String()+", or 0 for no bound")
		v.check(l.QoSMax == 1 || l.QoSMax == 2, key+"qos_max", fmt.Sprintf("%d is out of range", l.QoSMax),
			"want 1 or 2; to keep messages of QoS 0 only, let devices publish them so")
	}
	v.relay(c)
	v.unique("links", "name", len(c.Links), func(i int) string { return c.Links[i].Name })
	v.unique("links", "peer", len(c.Links), func(i int) string { return c.Links[i].Peer })
}

// prefix checks whole levels without wildcards, below none that begins with $.
func (v *validator) prefix(key, prefix string) {
	ok := strings.HasSuffix(prefix, "/") && len(prefix) <= 1024 && utf8.ValidString(prefix) && prefix[0] != '$' && !strings.ContainsAny(prefix, "+#\x00")
	v.check(ok, key, fmt.Sprintf("%q is no prefix", prefix), `want whole levels with a / at the end, such as "eu/"`)
}

// maxClasses bounds the streams of a link.
const maxClasses = 16

func (v *validator) spoolClasses(key string, classes []SpoolClass) {
	v.check(len(classes) <= maxClasses, key, fmt.Sprintf("%d classes", len(classes)), fmt.Sprintf("want at most %d", maxClasses))
	for i, c := range classes {
		at := fmt.Sprintf("%s[%d]", key, i)
		v.name(at+".name", c.Name)
		v.check(len(c.Filters) > 0, at+".filters", "is empty", "name the topics of the class, such as [\"cmd/#\"]")
		for j, f := range c.Filters {
			v.linkFilter(fmt.Sprintf("%s.filters[%d]", at, j), f)
		}
	}
	v.unique(key, "name", len(classes), func(i int) string { return classes[i].Name })
}

func (v *validator) linkDial(key string, l Link, c *Config) {
	v.check(len(l.Dial) > 0 || c.Link.Listen != "" || c.Link.ListenTCP != "", key+"dial", "is empty, and link.listen accepts nobody: the link can never come up",
		"give the peer's address or a relay://REGION, or set link.listen for the peer to dial")
	for i, raw := range l.Dial {
		at := fmt.Sprintf("%sdial[%d]", key, i)
		v.check(!slices.Contains(l.Dial[:i], raw), at, fmt.Sprintf("%q is listed twice", raw), "keep one of them")
		if via, ok := strings.CutPrefix(raw, relayScheme); ok {
			v.dialRelay(at, via, l, c)
			continue
		}
		u, err := url.Parse(raw)
		ok := err == nil && (u.Scheme == "udp" || u.Scheme == "tcp") && u.Hostname() != "" && raw == u.Scheme+"://"+u.Host && validPort(u.Port())
		v.check(ok, at, fmt.Sprintf("%q is no peer address", raw),
			"want udp://HOST:PORT such as udp://eu.example.com:7444, tcp://HOST:PORT for where UDP does not get through, or relay://REGION")
	}
}

func validPort(port string) bool {
	_, err := net.LookupPort("udp", port)
	return err == nil && port != "" && strings.Trim(port, "0123456789") == "" && port != "0"
}

func (v *validator) linkFilter(key, filter string) {
	if strings.HasPrefix(filter, "$share/") {
		v.add(key, fmt.Sprintf("%q is a shared subscription", filter), "name the filter inside it: a policy is about topics")
		return
	}
	v.filter(key, filter)
}

// filter checks an MQTT topic filter: at least one character, no zero ([MQTT-4.7.3-1], -2, -3),
// # alone in the last level ([MQTT-4.7.1-1]), + alone in its level ([MQTT-4.7.1-2]).
func (v *validator) filter(key, filter string) {
	ok := filter != "" && len(filter) <= 65535 && utf8.ValidString(filter) && !strings.ContainsRune(filter, 0)
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.Contains(level, "#") && (level != "#" || i < len(levels)-1) || strings.Contains(level, "+") && level != "+" {
			ok = false
		}
	}
	v.check(ok, key, fmt.Sprintf("%q is no topic filter", filter), "want levels such as cars/+/state or cars/#")
}
