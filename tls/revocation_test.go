package meshtls

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// listOf is a list of the authority, signed by it.
func listOf(t *testing.T, ca *CA, number int64, change func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	t.Helper()
	rl := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		rl.RevokedCertificateEntries = append(rl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now(), ReasonCode: 1})
	}
	if change != nil {
		change(rl)
	}
	der, err := x509.CreateRevocationList(rand.Reader, rl, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func inPEM(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: pemList, Bytes: der}) }

func put(t *testing.T, file string, parts ...[]byte) string {
	t.Helper()
	if err := os.WriteFile(file, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// of are the lists of a set of authorities, from sources.
func of(t *testing.T, o RevocationOptions, cas ...*CA) *Revocations {
	t.Helper()
	r := &Revocations{trusted: func() (all []*x509.Certificate) {
		for _, ca := range cas {
			all = append(all, ca.cert)
		}
		return all
	}}
	if err := r.Set(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func chain(certs ...*x509.Certificate) [][]*x509.Certificate { return [][]*x509.Certificate{certs} }

func isRevoked(err error) bool {
	var e *RevokedError
	return errors.As(err, &e) && e.Revoked()
}

func reload(t *testing.T, r *Revocations) {
	t.Helper()
	if changed, err := r.Reload(); err != nil || !changed {
		t.Fatalf("reload: changed %v, %v", changed, err)
	}
}

// A device listener refuses a certificate from the moment its list does, also where the device resumes a session that was
// begun before; and nobody else.
func TestDevice_Revoked(t *testing.T) {
	ca, devices := newCA(t, CAOptions{}), newCA(t, CAOptions{})
	server := issueTo(t, ca, Identity{Region: "eu", DNSNames: []string{"broker.example.com"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			d, err := NewDevice(DeviceOptions{CertFile: server.Cert, KeyFile: server.Key, ClientCAFiles: []string{devices.file}})
			if err != nil {
				t.Fatal(err)
			}
			file := put(t, filepath.Join(t.TempDir(), "crl.pem"), inPEM(listOf(t, devices, 1, nil)))
			if err := d.Revocations().Set(RevocationOptions{Lists: []string{file}}); err != nil {
				t.Fatal(err)
			}
			listener := d.Config()
			client := func(cert *tls.Certificate) *tls.Config {
				c := deviceClient(ca, cert)
				c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, tls.NewLRUClientSessionCache(1)
				return c
			}
			stolen, other := client(deviceCert(t, devices)), client(deviceCert(t, devices))
			for i, c := range []*tls.Config{stolen, other, stolen, other} {
				_, s, cerr, serr := handshake(t, c, listener)
				if cerr != nil || serr != nil || s.ConnectionState().DidResume != (i > 1) {
					t.Fatalf("connect %d: %v, %v, resumed %v", i, cerr, serr, s.ConnectionState().DidResume)
				}
			}
			leaf, err := x509.ParseCertificate(stolen.Certificates[0].Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			put(t, file, inPEM(listOf(t, devices, 2, nil, leaf)))
			if changed, err := d.Reload(); err != nil || !changed {
				t.Fatal(changed, err)
			}
			for range 2 {
				_, _, cerr, serr := handshake(t, stolen, listener)
				if cerr == nil || !isRevoked(serr) || !strings.Contains(serr.Error(), leaf.SerialNumber.Text(16)) || !strings.Contains(serr.Error(), "key-compromise") {
					t.Errorf("a revoked device: client %v, server %v", cerr, serr)
				}
				stolen.ClientSessionCache = nil // the second time without a session
			}
			if _, s, cerr, serr := handshake(t, other, listener); cerr != nil || serr != nil || !s.ConnectionState().DidResume {
				t.Errorf("another device: %v, %v", cerr, serr)
			}
		})
	}
}

// What cannot be trusted, or would take something back, is refused with words, and the last list stays in force.
func TestRevocations_Refused(t *testing.T) {
	ca, stranger := newCA(t, CAOptions{Name: "Ours"}), newCA(t, CAOptions{Name: "Theirs"})
	forger := newCA(t, CAOptions{Name: "Ours"})
	forger.cert.RawSubject, forger.cert.SubjectKeyId = ca.cert.RawSubject, ca.cert.SubjectKeyId
	second := newCA(t, CAOptions{Name: "Second"})
	leaf := mustIssue(t, ca, Identity{Region: "devices"}).Cert
	number := func(n int64) func(*x509.RevocationList) {
		return func(rl *x509.RevocationList) { rl.Number = big.NewInt(n) }
	}
	with := func(oid asn1.ObjectIdentifier, value any) func(*x509.RevocationList) {
		return func(rl *x509.RevocationList) {
			b, err := asn1.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			rl.ExtraExtensions = append(rl.ExtraExtensions, pkix.Extension{Id: oid, Critical: true, Value: b})
		}
	}
	both := append(inPEM(listOf(t, ca, 5, nil, leaf)), inPEM(listOf(t, second, 1, nil))...)
	for _, tc := range []struct {
		name, want string
		data       []byte
	}{
		{"unknown issuer", `the list of "CN=Theirs" is of no authority that is trusted here`, append(inPEM(listOf(t, stranger, 9, nil)), both...)},
		{"wrong signature", "is not signed by that authority", append(inPEM(listOf(t, forger, 9, nil)), both...)},
		{"number back", "went back from number 5 to number 4", append(inPEM(listOf(t, ca, 4, nil)), both[len(inPEM(listOf(t, ca, 5, nil, leaf))):]...)},
		{"time back", "went back", append(inPEM(listOf(t, ca, 5, func(rl *x509.RevocationList) { rl.ThisUpdate = time.Now().Add(-time.Minute) })), inPEM(listOf(t, second, 1, nil))...)},
		{"a list is missing", `the list of "Second" is not there any more`, inPEM(listOf(t, ca, 6, nil))},
		{"empty", "is empty", nil},
		{"a certificate", "holds no revocation list", marshalCert(ca.cert.Raw)},
		{"neither PEM nor DER", "is no revocation list", []byte("nothing")},
		{"cut off", "is no revocation list", listOf(t, ca, 6, nil)[:100]},
		{"delta", "is a delta list", listOf(t, ca, 6, with(oidDelta, 5))},
		{"indirect", "is indirect", listOf(t, ca, 6, with(oidDistribution, distribution{Indirect: true}))},
		{"some reasons", "is indirect, of attributes, or of some reasons", listOf(t, ca, 6, with(oidDistribution, distribution{SomeReasons: asn1.BitString{Bytes: []byte{0x40}, BitLength: 2}}))},
		{"unknown critical extension", "critical extension 1.2.3", listOf(t, ca, 6, with(asn1.ObjectIdentifier{1, 2, 3}, 1))},
		{"too large", "40 MiB", make([]byte, maxList+1)},
		{"number forward", "", append(inPEM(listOf(t, ca, 6, number(6), leaf)), inPEM(listOf(t, second, 1, nil))...)},
		{"of users only", "", append(inPEM(listOf(t, ca, 6, with(oidDistribution, distribution{UserOnly: true}), leaf)), inPEM(listOf(t, second, 1, nil))...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := put(t, filepath.Join(t.TempDir(), "lists"), both)
			r := of(t, RevocationOptions{Lists: []string{file}}, ca, second)
			put(t, file, tc.data)
			_, err := r.Reload()
			if (tc.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), file)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if !isRevoked(r.Check(chain(leaf, ca.cert))) {
				t.Error("what was revoked is not any more")
			}
			if got := r.Status()[0].Problem; (got == "") != (tc.want == "") {
				t.Errorf("status has the problem %q", got)
			}
			again, err2 := r.Reload() // what is refused stays refused, also if it stays as it is
			if again || (err2 == nil) != (err == nil) {
				t.Errorf("the second time: changed %v, %v", again, err2)
			}
			if tc.want != "" && tc.name != "number back" && tc.name != "time back" && tc.name != "a list is missing" {
				fresh := &Revocations{trusted: r.trusted}
				if err := fresh.Set(RevocationOptions{Lists: []string{file}}); err == nil || fresh.Check(chain(leaf, ca.cert)) != nil {
					t.Errorf("at the start: %v", err)
				}
			}
		})
	}
}

// A list that ended without a newer one goes on to revoke what it did. Whether others are taken then is the operator's word.
func TestRevocations_Stale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := newCA(t, CAOptions{}), newCA(t, CAOptions{Name: "Other"})
		gone, well, of2 := mustIssue(t, ca, Identity{Region: "a"}).Cert, mustIssue(t, ca, Identity{Region: "b"}).Cert, mustIssue(t, other, Identity{Region: "c"}).Cert
		file := put(t, filepath.Join(t.TempDir(), "crl.der"), listOf(t, ca, 1, nil, gone))
		alarm := of(t, RevocationOptions{Lists: []string{file}}, ca, other)
		refuse := of(t, RevocationOptions{Lists: []string{file}, Stale: StaleRefuse}, ca, other)
		check := func(r *Revocations, cert *x509.Certificate, ca *CA) string {
			err := r.Check(chain(cert, ca.cert))
			var e *RevokedError
			switch {
			case err == nil:
				return "taken"
			case errors.As(err, &e) && e.Revoked():
				return "revoked"
			}
			return err.Error()
		}
		expect := func(when, got, want string) {
			t.Helper()
			if want == "" || !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		expect("in date", check(alarm, well, ca), "taken")
		expect("in date, refuse", check(refuse, well, ca), "taken")
		expect("no list, alarm", check(alarm, of2, other), "taken")
		expect("no list, refuse", check(refuse, of2, other), `there is no list of "CN=Other"`)
		time.Sleep(2 * time.Hour)
		expect("late, alarm", check(alarm, well, ca), "taken")
		expect("late, refuse", check(refuse, well, ca), "is out of date")
		for _, r := range []*Revocations{alarm, refuse} {
			expect("late, revoked", check(r, gone, ca), "revoked")
		}
		put(t, file, listOf(t, ca, 2, nil, gone))
		reload(t, refuse)
		expect("newer", check(refuse, well, ca), "taken")
		if st := refuse.Status(); len(st) != 2 || st[0].Number != "2" || st[0].Revoked != 1 || st[1].Issuer != "Other" || st[1].Source != "" {
			t.Errorf("status %+v", st)
		}
	})
}

// The list of the root shuts out an authority below it with all that it issued; that authority's own list counts although
// only the root is trusted, if its certificate stands beside it.
func TestRevocations_Intermediates(t *testing.T) {
	root := newCA(t, CAOptions{})
	eu, err := CreateIntermediate(root, t.TempDir(), "eu", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	one, two := mustIssue(t, eu, Identity{Region: "eu", Node: "eu-1"}).Cert, mustIssue(t, eu, Identity{Region: "eu", Node: "eu-2"}).Cert
	file := put(t, filepath.Join(t.TempDir(), "crl.pem"), inPEM(listOf(t, eu, 1, nil, one)), marshalCert(eu.cert.Raw), inPEM(listOf(t, root, 1, nil)))
	r := of(t, RevocationOptions{Lists: []string{file}, Stale: StaleRefuse}, root)
	if !isRevoked(r.Check(chain(one, eu.cert, root.cert))) {
		t.Error("the list of the authority below does not count")
	}
	if err := r.Check(chain(two, eu.cert, root.cert)); err != nil {
		t.Error(err)
	}
	put(t, file, inPEM(listOf(t, root, 2, nil)))
	if _, err := r.Reload(); err == nil || !strings.Contains(err.Error(), "not there any more") {
		t.Errorf("the list of an authority below that is vouched for went away: %v", err)
	}
	put(t, file, inPEM(listOf(t, eu, 1, nil, one)), marshalCert(eu.cert.Raw), inPEM(listOf(t, root, 2, nil, eu.cert)))
	reload(t, r)
	if !isRevoked(r.Check(chain(two, eu.cert, root.cert))) {
		t.Error("what a revoked authority issued is taken")
	}
	if !isRevoked(r.Check([][]*x509.Certificate{{two, eu.cert}, {two, eu.cert, root.cert}})) {
		t.Error("what a revoked authority issued is taken where it is trusted by itself, too")
	}
	stranger := newCA(t, CAOptions{})
	put(t, file, inPEM(listOf(t, stranger, 1, nil)), marshalCert(stranger.cert.Raw))
	if _, err := r.Reload(); err == nil || !strings.Contains(err.Error(), "no authority that is trusted") {
		t.Errorf("an authority vouches for itself: %v", err)
	}
}

// Two authorities of one name and different keys are two: the serial numbers of one are none of the other's.
func TestRevocations_SameNameOtherKey(t *testing.T) {
	old, next := newCA(t, CAOptions{Name: "Fleet"}), newCA(t, CAOptions{Name: "Fleet"})
	gone := mustIssue(t, old, Identity{Region: "a"}).Cert
	same := mustIssue(t, next, Identity{Region: "a"}).Cert
	same.SerialNumber = gone.SerialNumber
	file := put(t, filepath.Join(t.TempDir(), "crl"), inPEM(listOf(t, old, 7, nil, gone)), inPEM(listOf(t, next, 1, nil)))
	r := of(t, RevocationOptions{Lists: []string{file}, Stale: StaleRefuse}, old, next)
	if !isRevoked(r.Check(chain(gone, old.cert))) {
		t.Error("not revoked")
	}
	if err := r.Check(chain(same, next.cert)); err != nil {
		t.Error(err)
	}
}

// A list of an authority that is not trusted yet is taken once it is.
func TestDevice_ListBeforeItsAuthority(t *testing.T) {
	one, two := newCA(t, CAOptions{Name: "One"}), newCA(t, CAOptions{Name: "Two"})
	server := issueTo(t, one, Identity{Region: "eu"})
	cas := put(t, filepath.Join(t.TempDir(), "cas.pem"), marshalCert(one.cert.Raw))
	file := put(t, filepath.Join(t.TempDir(), "crl.pem"), inPEM(listOf(t, one, 1, nil)))
	d, err := NewDevice(DeviceOptions{CertFile: server.Cert, KeyFile: server.Key, ClientCAFiles: []string{cas}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Revocations().Set(RevocationOptions{Lists: []string{file}}); err != nil {
		t.Fatal(err)
	}
	gone := mustIssue(t, two, Identity{Region: "a"}).Cert
	put(t, file, inPEM(listOf(t, one, 1, nil)), inPEM(listOf(t, two, 1, nil, gone)))
	if _, err := d.Reload(); err == nil || !strings.Contains(err.Error(), "CN=Two") {
		t.Fatalf("got %v", err)
	}
	put(t, cas, marshalCert(one.cert.Raw), marshalCert(two.cert.Raw))
	if changed, err := d.Reload(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if !isRevoked(d.Revocations().Check(chain(gone, two.cert))) {
		t.Error("not revoked")
	}
}

// distributor is a server of one list.
type distributor struct {
	*httptest.Server
	list  atomic.Pointer[[]byte]
	code  atomic.Int32 // 0: the list
	whole atomic.Int32 // answers with a list
}

func distribute(t *testing.T, list []byte) *distributor {
	t.Helper()
	d := &distributor{}
	d.list.Store(&list)
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := *d.list.Load()
		tag := `"` + string(rune('a'+len(now)%26)) + big.NewInt(int64(len(now))).String() + `"`
		switch {
		case d.code.Load() != 0:
			w.WriteHeader(int(d.code.Load()))
		case r.Header.Get("If-None-Match") == tag:
			w.WriteHeader(http.StatusNotModified)
		default:
			d.whole.Add(1)
			w.Header().Set("ETag", tag)
			_, _ = w.Write(now)
		}
	}))
	t.Cleanup(d.Close)
	return d
}

// A URL is asked for what is new, its failures leave the last list in force, and so does a restart meanwhile; an old copy that
// somebody serves in its place is refused.
func TestRevocations_URL(t *testing.T) {
	ca := newCA(t, CAOptions{})
	a, b := mustIssue(t, ca, Identity{Region: "a"}).Cert, mustIssue(t, ca, Identity{Region: "b"}).Cert
	first, second := listOf(t, ca, 1, nil, a), listOf(t, ca, 2, nil, a, b)
	d := distribute(t, first)
	o := RevocationOptions{Lists: []string{d.URL + "/crl"}, Cache: filepath.Join(t.TempDir(), "crl")}
	r := of(t, o, ca)
	ctx := context.Background()
	fetch := func(r *Revocations, all, changed bool, want string) {
		t.Helper()
		got, err := r.Fetch(ctx, all)
		if got != changed || (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), d.URL)) {
			t.Fatalf("fetch: changed %v, %v; want %v, %q", got, err, changed, want)
		}
		if st := r.Status(); (st[0].Problem == "") != (want == "") {
			t.Fatalf("status %+v", st)
		}
	}
	if st := r.Status(); r.Check(chain(a, ca.cert)) != nil || st[0].Problem == "" {
		t.Fatalf("before it was fetched: %+v", st)
	}
	fetch(r, false, true, "")
	fetch(r, false, false, "") // not due
	fetch(r, true, false, "")  // not changed
	if n := d.whole.Load(); n != 1 {
		t.Errorf("the list was sent %d times, want once", n)
	}
	d.list.Store(&second)
	fetch(r, true, true, "")
	if !isRevoked(r.Check(chain(b, ca.cert))) {
		t.Error("not revoked")
	}
	d.code.Store(http.StatusNotFound)
	fetch(r, true, false, "404")
	d.code.Store(0)
	d.list.Store(&first)
	fetch(r, true, false, "went back from number 2 to number 1")
	huge := make([]byte, maxList+1)
	d.list.Store(&huge)
	fetch(r, true, false, "40 MiB")
	if n := r.Failures(); n != 3 {
		t.Errorf("%d failures", n)
	}

	again := of(t, o, ca) // a restart
	for _, cert := range []*x509.Certificate{a, b} {
		if !isRevoked(again.Check(chain(cert, ca.cert))) {
			t.Error("a restart while the URL gives nothing lets a revoked certificate in")
		}
	}
	d.list.Store(&first)
	fetch(again, false, false, "went back from number 2 to number 1")
	d.Close()
	fetch(again, true, false, "see whether the authority's server is up")
	if !isRevoked(again.Check(chain(b, ca.cert))) {
		t.Error("not revoked any more")
	}
	put(t, filepath.Join(o.Cache, "x"))
	kept, err := filepath.Glob(filepath.Join(o.Cache, "*.crl"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	put(t, kept[0], []byte("torn"))
	if torn := of(t, o, ca); torn.Status()[0].Problem == "" {
		t.Error("a kept copy that is torn is no problem")
	}
}

// Who may not be reached is not waited for longer than the one who asks.
func TestRevocations_URLHangs(t *testing.T) {
	ca := newCA(t, CAOptions{})
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := of(t, RevocationOptions{Lists: []string{"http://" + l.Addr().String()}}, ca)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := r.Fetch(ctx, true)
		done <- err
	}()
	if c, err := l.Accept(); err == nil {
		defer c.Close()
	}
	if st := r.Status(); len(st) != 2 { // it does not wait for the fetch
		t.Errorf("status %+v", st)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A stolen key of a node is shut out by both ends, without a new authority; connections that stand are found.
func TestMesh_Revoked(t *testing.T) {
	root := newCA(t, CAOptions{})
	euCA, err := CreateIntermediate(root, t.TempDir(), "eu", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	stolen := newSource(t, euCA, Identity{Region: "eu", Node: "eu-1"})
	other := newSource(t, euCA, Identity{Region: "eu", Node: "eu-2"})
	us := newSource(t, root, Identity{Region: "us", Node: "us-1"})
	client, server, cerr, serr := handshake(t, ClientConfig(stolen, "us"), ServerConfig(us))
	if cerr != nil || serr != nil {
		t.Fatal(cerr, serr)
	}
	if err := us.Recheck(server.ConnectionState()); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Dir(euCA.file)
	file, err := euCA.Revoke(dir, RevokeOptions{Certs: []string{stolen.files.Cert}, Reason: "key-compromise"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Source{us, stolen, other} {
		if err := s.Revocations().Set(RevocationOptions{Lists: []string{file}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := us.Recheck(server.ConnectionState()); !isRevoked(err) {
		t.Errorf("the connection that stands: %v", err)
	}
	if err := stolen.Recheck(client.ConnectionState()); err != nil {
		t.Errorf("the other end of it: %v", err)
	}
	if _, _, _, err := handshake(t, ClientConfig(stolen, "us"), ServerConfig(us)); !isRevoked(err) || !strings.Contains(err.Error(), "causeway://region/eu/node/eu-1") {
		t.Errorf("it dials: %v", err)
	}
	if _, _, err, _ := handshake(t, ClientConfig(us, "eu"), ServerConfig(stolen)); !isRevoked(err) {
		t.Errorf("it is dialled: %v", err)
	}
	if _, _, cerr, serr := handshake(t, ClientConfig(other, "us"), ServerConfig(us)); cerr != nil || serr != nil {
		t.Errorf("another node: %v, %v", cerr, serr)
	}
	if !isRevoked(stolen.Revoked()) || other.Revoked() != nil {
		t.Errorf("of themselves: %v, %v", stolen.Revoked(), other.Revoked())
	}
}

// An authority adds to its list, numbers it, and writes it anew with a later end; it revokes nothing of others.
func TestCA_Revoke(t *testing.T) {
	root, other := newCA(t, CAOptions{Name: "Fleet"}), newCA(t, CAOptions{Name: "Fleet"})
	a, b := issueTo(t, root, Identity{Region: "a"}), issueTo(t, root, Identity{Region: "b"})
	foreign := issueTo(t, other, Identity{Region: "a"})
	dir := filepath.Dir(root.file)
	revoke := func(o RevokeOptions, number string, revoked int) ListInfo {
		t.Helper()
		file, err := root.Revoke(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		infos, err := DescribeLists(file)
		if err != nil || len(infos) != 1 || infos[0].Number != number || len(infos[0].Revoked) != revoked {
			t.Fatalf("%+v, %v", infos, err)
		}
		return infos[0]
	}
	revoke(RevokeOptions{}, "1", 0)
	got := revoke(RevokeOptions{Certs: []string{a.Cert}, Reason: "key-compromise"}, "2", 1)
	if info, err := Describe(a.Cert); err != nil || info[0].Serial != got.Revoked[0].Serial || got.Revoked[0].Reason != "key-compromise" || got.DaysLeft < 89 {
		t.Errorf("%+v", got)
	}
	revoke(RevokeOptions{Certs: []string{a.Cert, b.Cert}, Serials: []string{"AA:01"}, Validity: time.Hour}, "3", 3)
	revoke(RevokeOptions{Validity: 48 * time.Hour}, "4", 3)

	before, err := os.ReadFile(filepath.Join(dir, CAListFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		want string
		ca   *CA
		o    RevokeOptions
	}{
		{"name the folder of that one", root, RevokeOptions{Certs: []string{foreign.Cert}}},
		{"no number in hex", root, RevokeOptions{Serials: []string{"car-7"}}},
		{"want one of", root, RevokeOptions{Reason: "boredom"}},
		{"at least a minute", root, RevokeOptions{Validity: time.Second}},
		{"is not the last list of the authority", other, RevokeOptions{}},
	} {
		if _, err := tc.ca.Revoke(dir, tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
	if now, err := os.ReadFile(filepath.Join(dir, CAListFile)); err != nil || !bytes.Equal(now, before) {
		t.Error("a refused command changed the list")
	}
}

// Every serial number of a long list is found, and none between them.
func TestRevocations_ManySerials(t *testing.T) {
	ca := newCA(t, CAOptions{})
	rl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for i := range int64(20_000) {
		rl.RevokedCertificateEntries = append(rl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(2*i + 2), RevocationTime: time.Now()})
	}
	long := new(big.Int).Lsh(big.NewInt(3), 8*24) // beyond what the RFC allows
	rl.RevokedCertificateEntries = append(rl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: long, RevocationTime: time.Now()})
	der, err := x509.CreateRevocationList(rand.Reader, rl, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	r := of(t, RevocationOptions{Lists: []string{put(t, filepath.Join(t.TempDir(), "crl"), der)}}, ca)
	with := func(n *big.Int) *x509.Certificate {
		return &x509.Certificate{SerialNumber: n, RawIssuer: ca.cert.RawSubject}
	}
	for i := range int64(40_004) {
		if got, want := isRevoked(r.Check(chain(with(big.NewInt(i))))), i > 1 && i%2 == 0 && i <= 40_000; got != want {
			t.Fatalf("serial %d: revoked %v", i, got)
		}
	}
	if !isRevoked(r.Check(chain(with(long)))) || isRevoked(r.Check(chain(with(new(big.Int).Add(long, big.NewInt(1)))))) {
		t.Error("a serial of more than 20 bytes")
	}
}

// A list that is replaced within a second of the one before it has its date, and is fetched all the same.
func TestRevocations_URLWithDates(t *testing.T) {
	ca := newCA(t, CAOptions{})
	a := mustIssue(t, ca, Identity{Region: "a"}).Cert
	first, second := listOf(t, ca, 1, nil), listOf(t, ca, 2, nil, a)
	now := first
	modified, whole := time.Now(), 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-Modified-Since") == "" {
			whole++
		}
		http.ServeContent(w, r, "crl.pem", modified, bytes.NewReader(now))
	}))
	defer srv.Close()
	r := of(t, RevocationOptions{Lists: []string{srv.URL}, Cache: filepath.Join(t.TempDir(), "crl")}, ca)
	fetch := func(changed bool) {
		t.Helper()
		if got, err := r.Fetch(t.Context(), true); err != nil || got != changed {
			t.Fatalf("changed %v, %v; want %v", got, err, changed)
		}
	}
	fetch(true)
	now = second
	fetch(true)
	if !isRevoked(r.Check(chain(a, ca.cert))) {
		t.Error("not revoked")
	}
	modified = modified.Add(-settled)
	fetch(false)
	if fetch(false); whole != 3 {
		t.Errorf("the list was asked for %d times without a date, want 3: its date tells it from others by now", whole)
	}
}
