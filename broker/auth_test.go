package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"causeway/broker/packet"
)

func hashOf(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func authLab(t *testing.T, opt AuthOptions, change ...func(*Options)) (*lab, *Auth) {
	t.Helper()
	a, err := NewAuth(opt)
	if err != nil {
		t.Fatal(err)
	}
	return newLab(t, append([]func(*Options){func(o *Options) {
		o.Authenticator = a
		o.Listeners[0].Methods = []Method{Password}
	}}, change...)...), a
}

func withLogin(user, password string) func(*packet.Connect) {
	return func(p *packet.Connect) {
		p.HasUsername, p.Username, p.HasPassword, p.Password = true, user, true, []byte(password)
	}
}

func TestAuth_PasswordFile(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "users"), "# users\n\nalice:"+hashOf(t, "secret")+"\na:b:"+hashOf(t, "colon")+"\n")
	l, a := authLab(t, AuthOptions{PasswordFile: file})
	for _, c := range []struct {
		v    packet.Version
		how  func(*packet.Connect)
		want packet.Code
	}{
		{packet.V5, withLogin("alice", "secret"), packet.Success},
		{packet.V5, withLogin("alice", "secret"), packet.Success}, // from memory
		{packet.V311, withLogin("a:b", "colon"), packet.Success},
		{packet.V5, withLogin("alice", "wrong"), packet.BadUserNameOrPassword},
		{packet.V311, withLogin("alice", ""), packet.BadUserNameOrPassword},
		{packet.V5, withLogin("bob", "secret"), packet.BadUserNameOrPassword},
		{packet.V5, func(*packet.Connect) {}, packet.BadUserNameOrPassword},
	} {
		if ack := l.dial(c.v).hello("dev", c.how); ack.Code != c.want {
			t.Errorf("%s, want %s", ack.Code, c.want)
		}
	}
	write(t, file, "alice:"+hashOf(t, "new")+"\n")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if ack := l.dial(packet.V5).hello("dev", withLogin("alice", "secret")); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("the old password after the reload: %s", ack.Code)
	}
	l.dial(packet.V5).connectOK("dev", withLogin("alice", "new"))
	write(t, file, "alice:plaintext\n")
	if err := a.Reload(); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("reload of a bad file: %v", err)
	}
	l.dial(packet.V5).connectOK("dev", withLogin("alice", "new"))
}

func TestAuth_PasswordFileErrors(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"alice\n":                   "want user:bcrypt",
		"\nalice:$2a$xx\n":          "line 2",
		":" + hashOf(t, "x") + "\n": "want user:bcrypt",
		"a:" + hashOf(t, "x") + "\na:" + hashOf(t, "y"): "twice",
	} {
		_, err := NewAuth(AuthOptions{PasswordFile: write(t, filepath.Join(dir, "u"), text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := NewAuth(AuthOptions{PasswordFile: filepath.Join(dir, "none")}); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestAuth_LoginCacheIsBounded(t *testing.T) {
	c := newLoginCache()
	for i := range maxLogins + 10 {
		c.remember([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, nil)
	}
	if len(c.logins) != maxLogins {
		t.Errorf("%d remembered", len(c.logins))
	}
}

const someRules = `
acl:
  - username: alice
    filters: { "alice/#": 3, "open/+": 1, "drop/#": 2 }
  - client: "sensor*"
    filters: { "secret/#": 0, "#": 3 }
  - filters: { "public/#": 1 }
users:
  carol: { acl: { "carol/#": 3, "carol/secret": 0 } }
`

func TestACL_Rules(t *testing.T) {
	r, err := parseRules([]byte(someRules))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, client, name string
		write, want        bool
	}{
		{"alice", "x", "alice/a", true, true},
		{"alice", "x", "alice/#", false, true},
		{"alice", "x", "alice/+/b", false, true},
		{"alice", "x", "open/a", false, true},
		{"alice", "x", "open/a", true, false},
		{"alice", "x", "open/#", false, false}, // more than what is granted
		{"alice", "x", "drop/a", true, true},
		{"alice", "x", "drop/a", false, false},
		{"alice", "x", "drop/+", false, false},
		{"alice", "x", "public/a", false, true},
		{"alice", "x", "#", false, false},
		{"alice", "x", "other", false, false}, // what nothing grants is denied
		{"", "sensor-1", "anything", true, true},
		{"", "sensor-1", "#", false, true}, // a grant beats a denial within a rule
		{"bob", "x", "public/a", false, true},
		{"bob", "x", "public/#", false, true},
		{"bob", "x", "public/a", true, false},
		{"bob", "x", "alice/a", false, false},
		{"carol", "x", "carol/a", true, true},
	} {
		who := &Identity{Username: c.user, ClientID: c.client}
		if got := r.allow(who, c.name, c.write); got != c.want {
			t.Errorf("%s/%s %q write=%v: %v", c.user, c.client, c.name, c.write, got)
		}
	}
}

// mochi's ledger lets "#" pass a rule that denies "secret/#", because it compares the filter as if it were a topic.
func TestACL_WildcardDoesNotReachWhatIsDenied(t *testing.T) {
	r, err := parseRules([]byte(`acl: [ { filters: { "secret/#": 0 } }, { filters: { "#": 3 } } ]`))
	if err != nil {
		t.Fatal(err)
	}
	who := &Identity{ClientID: "x"}
	for filter, want := range map[string]bool{"#": false, "+/a": false, "secret/a": false, "open/#": true, "a": true} {
		if got := r.allow(who, filter, false); got != want {
			t.Errorf("%q: %v", filter, got)
		}
	}
}

func TestACL_BadFiles(t *testing.T) {
	for text, want := range map[string]string{
		`acl: [ { filters: { "a/#/b": 1 } } ]`: "last",
		`acl: [ { filters: { "a": 7 } } ]`:     "access 7",
		`users: { bob: { password: x } }`:      "password file",
		`users: { "b*": { acl: { "a": 1 } } }`: "wildcard",
		`auth: [ { allow: true } ]`:            "auth",
	} {
		if _, err := parseRules([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestACL_OnTheWire(t *testing.T) {
	dir := t.TempDir()
	users := write(t, filepath.Join(dir, "users"), "alice:"+hashOf(t, "x")+"\n")
	acl := write(t, filepath.Join(dir, "acl"), someRules)
	l, a := authLab(t, AuthOptions{PasswordFile: users, ACLFile: acl})
	d := l.connect(packet.V5, "dev", withLogin("alice", "x"))
	codes := d.subscribe(1, "alice/#", "$share/g/other", "other")
	if codes[0] != packet.GrantedQoS1 || codes[1] != packet.NotAuthorized || codes[2] != packet.NotAuthorized {
		t.Errorf("SUBACK %v", codes)
	}
	if code := d.publish1("other", "x", 1); code != packet.NotAuthorized {
		t.Errorf("PUBACK %s", code)
	}
	d.publish(pub("other", "x", 2, 2))
	if code := d.ack(packet.PUBREC, 2); code != packet.NotAuthorized {
		t.Errorf("PUBREC %s", code)
	}
	d.publish(pub("other", "x", 0, 0))
	d.silent()

	// 3.1.1 has no word for it: the acknowledgement is positive, the message is dropped. [MQTT-3.3.5-2]
	old := l.connect(packet.V311, "old", withLogin("alice", "x"))
	if codes := old.subscribe(1, "other"); codes[0] != packet.UnspecifiedError {
		t.Errorf("SUBACK %v", codes)
	}
	old.exchange(pub("other", "x", 1, 1))
	old.exchange(pub("other", "x", 2, 2))
	if n := l.s.Stats().Dropped[DropDenied].Load(); n != 5 {
		t.Errorf("%d denied", n)
	}
	will := func(p *packet.Connect) { p.Will = &packet.Will{Topic: "other"} }
	if ack := l.dial(packet.V5).hello("dev2", withLogin("alice", "x"), will); ack.Code != packet.NotAuthorized {
		t.Errorf("will: CONNACK %s", ack.Code)
	}
	write(t, acl, `acl: [ { filters: { "#": 3 } } ]`)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	d.subscribe(1, "other")
	d.publish(pub("other", "now", 1, 3))
	seen := map[packet.Type]bool{d.read().h.Type: true, d.read().h.Type: true}
	if !seen[packet.PUBACK] || !seen[packet.PUBLISH] {
		t.Errorf("after the reload: %v", seen)
	}
}

// authority makes certificates for a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(name string) tls.Certificate {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name + ".example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func (a *authority) server(clients tls.ClientAuthType) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.issue("server")}, ClientAuth: clients, ClientCAs: a.pool}
}

func (a *authority) client(names ...string) *tls.Config {
	c := &tls.Config{RootCAs: a.pool, ServerName: "server.example"}
	for _, n := range names {
		c.Certificates = append(c.Certificates, a.issue(n))
	}
	return c
}

func (l *lab) dialTLS(cfg *tls.Config) (*device, error) {
	nc, err := tls.Dial("tcp", l.s.Addr("tcp").String(), cfg)
	if err != nil {
		return nil, err
	}
	l.t.Cleanup(func() { _ = nc.Close() })
	return &device{t: l.t, nc: nc, v: packet.V5}, nil
}

func TestTLS_ClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	for from, name := range map[CertName]string{CommonName: "car-1", FirstDNS: "car-1.example"} {
		l, _ := authLab(t, AuthOptions{CertUsername: from, CertClientID: from, BindClientID: true}, func(o *Options) {
			o.Listeners[0].Transport, o.Listeners[0].TLS = TLS, ca.server(tls.VerifyClientCertIfGiven)
			o.Listeners[0].Methods = []Method{Cert}
		})
		d, err := l.dialTLS(ca.client("car-1"))
		if err != nil {
			t.Fatal(err)
		}
		if ack := d.connectOK(""); ack.AssignedClientID != name {
			t.Errorf("assigned %q", ack.AssignedClientID)
		}
		if c, _ := l.house.Client(key(name)); c.Username != name {
			t.Errorf("client %+v", c)
		}
		d.subscribe(1, "a")
		d.publish(pub("a", "over TLS", 0, 0))
		d.wantMessage("over TLS")
		d, _ = l.dialTLS(ca.client("car-1"))
		if ack := d.hello("somebody-else"); ack.Code != packet.NotAuthorized {
			t.Errorf("foreign client id: %s", ack.Code)
		}
		d, _ = l.dialTLS(ca.client())
		if ack := d.hello("car-1"); ack.Code != packet.NotAuthorized {
			t.Errorf("without a certificate: %s", ack.Code)
		}
	}
}

func TestTLS_BadHandshakeCostsOneConnection(t *testing.T) {
	ca := newAuthority(t)
	l := newLab(t, func(o *Options) {
		o.Listeners[0].Transport, o.Listeners[0].TLS = TLS, ca.server(tls.RequireAndVerifyClientCert)
	})
	if d, err := l.dialTLS(newAuthority(t).client("stranger")); err == nil {
		if _, err := d.next(patience); err == nil {
			t.Error("a stranger got an answer")
		}
	}
	nc, err := net.Dial("tcp", l.s.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("not TLS at all, and then some"))
	d, err := l.dialTLS(ca.client("car"))
	if err != nil {
		t.Fatal(err)
	}
	d.connectOK("car")
	d.send([]byte{0x20, 0})
	if code := d.closed(); !code.Failed() {
		t.Errorf("closed with %s", code)
	}
	eventually(t, "both are counted", func() bool { return l.s.Stats().Listeners["tcp"].Connects[ConnectGone].Load() == 2 })
}

// What a device with a certificate is called, and whether it may be called otherwise.
func TestAuth_NamesOfACertificate(t *testing.T) {
	uri, err := url.Parse("urn:vin:7")
	if err != nil {
		t.Fatal(err)
	}
	full := &x509.Certificate{Subject: pkix.Name{CommonName: "car-7"}, DNSNames: []string{"car-7.example"}, URIs: []*url.URL{uri}}
	for _, tc := range []struct {
		opt            AuthOptions
		cert           *x509.Certificate
		id             string // that it comes with
		user, clientID string // "" user: refused; "" client id: its own
	}{
		{AuthOptions{}, full, "x", "car-7", ""},
		{AuthOptions{}, full, "", "car-7", ""},
		{AuthOptions{CertUsername: FirstURI}, full, "x", "urn:vin:7", ""},
		{AuthOptions{CertUsername: FirstDNS}, full, "x", "car-7.example", ""},
		{AuthOptions{CertUsername: FirstURI}, &x509.Certificate{Subject: full.Subject}, "x", "", ""},
		{AuthOptions{CertClientID: FirstURI}, full, "x", "car-7", ""},
		{AuthOptions{CertClientID: FirstURI}, full, "", "car-7", "urn:vin:7"},
		{AuthOptions{CertClientID: FirstURI, BindClientID: true}, full, "x", "", ""},
		{AuthOptions{CertClientID: FirstURI, BindClientID: true}, full, "urn:vin:7", "car-7", ""},
		{AuthOptions{CertClientID: FirstURI, BindClientID: true}, full, "", "car-7", "urn:vin:7"},
		{AuthOptions{CertClientID: FirstURI, BindClientID: true}, &x509.Certificate{Subject: full.Subject}, "", "", ""},
	} {
		a, err := NewAuth(tc.opt)
		if err != nil {
			t.Fatal(err)
		}
		who, code := a.Authenticate(&ConnectInfo{Methods: []Method{Cert}, ClientID: tc.id, Certificate: tc.cert})
		if who.Username != tc.user || who.ClientID != tc.clientID || code.Failed() != (tc.user == "") {
			t.Errorf("%+v with %q: %+v, %s; want %q, %q", tc.opt, tc.id, who, code, tc.user, tc.clientID)
		}
	}
}
