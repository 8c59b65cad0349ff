package meshtls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustLoad(t *testing.T, files Files) *Source {
	t.Helper()
	src, err := Load(files.Cert, files.Key, files.CA)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func newSource(t *testing.T, ca *CA, id Identity) *Source {
	t.Helper()
	return mustLoad(t, issueTo(t, ca, id))
}

// connect gives both ends of a loopback connection. Not net.Pipe: it has no buffer, and two ends
// that both send an alert would wait for each other.
func connect(t *testing.T) (dialled, accepted net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// handshake runs both ends and gives what each made of it. A byte from the server is read
// afterwards: in TLS 1.3 the client is done before the server has judged its certificate.
func handshake(t *testing.T, clientCfg, serverCfg *tls.Config) (client, server *tls.Conn, clientErr, serverErr error) {
	t.Helper()
	c, s := connect(t)
	client, server = tls.Client(c, clientCfg), tls.Server(s, serverCfg)
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte{1})
		} else {
			s.Close()
		}
		done <- err
	}()
	clientErr = client.Handshake()
	if clientErr == nil {
		_, clientErr = client.Read(make([]byte, 1))
	} else {
		c.Close()
	}
	return client, server, clientErr, <-done
}

func TestHandshake_BothKnowEachOther(t *testing.T) {
	for _, algorithm := range []Algorithm{ECDSA, Ed25519} {
		t.Run(string(algorithm), func(t *testing.T) {
			ca := newCA(t, CAOptions{Algorithm: algorithm})
			eu := newSource(t, ca, Identity{Region: "eu", Node: "eu-1"})
			us := newSource(t, ca, Identity{Region: "us", Node: "us-1"})

			client, server, cerr, serr := handshake(t, ClientConfig(eu, "us", "causeway/1"), ServerConfig(us, "causeway/1"))
			if cerr != nil || serr != nil {
				t.Fatalf("client %v, server %v", cerr, serr)
			}
			seen, err := PeerIdentity(client.ConnectionState())
			if err != nil || seen.String() != "causeway://region/us/node/us-1" {
				t.Errorf("client saw %v, %v", seen, err)
			}
			seen, err = PeerIdentity(server.ConnectionState())
			if err != nil || seen.String() != "causeway://region/eu/node/eu-1" {
				t.Errorf("server saw %v, %v", seen, err)
			}
			if state := server.ConnectionState(); state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "causeway/1" {
				t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
			}
		})
	}
}

func TestHandshake_Refused(t *testing.T) {
	ca, foreign := newCA(t, CAOptions{Name: "Ours"}), newCA(t, CAOptions{Name: "Theirs"})
	eu := newSource(t, ca, Identity{Region: "eu", Node: "eu-1"})
	us := newSource(t, ca, Identity{Region: "us", Node: "us-1"})
	stranger := newSource(t, foreign, Identity{Region: "us", Node: "us-1"})
	noCert := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}

	check := func(t *testing.T, err error, want, saw string, parts ...string) *IdentityError {
		t.Helper()
		var got *IdentityError
		if !errors.As(err, &got) {
			t.Fatalf("got %v (%T), want *IdentityError", err, err)
		}
		if got.Want != want || got.Saw != saw {
			t.Errorf("wanted %q and saw %q; want %q and %q", got.Want, got.Saw, want, saw)
		}
		for _, part := range append(parts, want, saw) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q lacks %q", err, part)
			}
		}
		return got
	}

	t.Run("wrong region", func(t *testing.T) {
		_, _, cerr, serr := handshake(t, ClientConfig(eu, "ap"), ServerConfig(us))
		check(t, cerr, "causeway://region/ap", "causeway://region/us/node/us-1", "dial or peer")
		if serr == nil {
			t.Error("the server thinks the handshake went well")
		}
	})
	t.Run("server of an unknown CA", func(t *testing.T) {
		_, _, cerr, _ := handshake(t, ClientConfig(eu, "us"), ServerConfig(stranger))
		got := check(t, cerr, "causeway://region/us", "causeway://region/us/node/us-1",
			"CN=Theirs", Fingerprint(foreign.Certificate()), eu.Files().CA)
		if got.Subject != "CN=Theirs" || got.Fingerprint != Fingerprint(foreign.Certificate()) || got.CAFile != eu.Files().CA {
			t.Errorf("fields %+v", got)
		}
	})
	t.Run("client of an unknown CA", func(t *testing.T) {
		_, _, _, serr := handshake(t, trusting(stranger), ServerConfig(us))
		check(t, serr, anyRegion, "causeway://region/us/node/us-1", "CN=Theirs", us.Files().CA)
	})
	t.Run("client without a certificate", func(t *testing.T) {
		_, _, cerr, serr := handshake(t, noCert, ServerConfig(us))
		if cerr == nil || serr == nil || !strings.Contains(serr.Error(), "certificate") {
			t.Errorf("client %v, server %v", cerr, serr)
		}
	})
	t.Run("certificate without a region", func(t *testing.T) {
		plain := plainServer(t, ca)
		_, _, cerr, _ := handshake(t, ClientConfig(eu, "us"), plain)
		check(t, cerr, "causeway://region/us", `a certificate for "CN=plain"`, "causeway ca issue")
	})
	t.Run("CA that the peer did not send", func(t *testing.T) {
		cfg := ServerConfig(stranger)
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := stranger.ownCertificate()
			short := *pair
			short.Certificate = short.Certificate[:1]
			return &short, err
		}
		_, _, cerr, _ := handshake(t, ClientConfig(eu, "us"), cfg)
		got := check(t, cerr, "causeway://region/us", "causeway://region/us/node/us-1", "CN=Theirs", "key id ")
		if got.Fingerprint != "" || got.KeyID == "" {
			t.Errorf("fields %+v", got)
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		old := ClientConfig(eu, "us")
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, _, cerr, serr := handshake(t, old, ServerConfig(us)); cerr == nil || serr == nil {
			t.Errorf("client %v, server %v; want both to fail", cerr, serr)
		}
	})
	t.Run("no common protocol", func(t *testing.T) {
		if _, _, cerr, serr := handshake(t, ClientConfig(eu, "us", "a/1"), ServerConfig(us, "b/1")); cerr == nil || serr == nil {
			t.Errorf("client %v, server %v; want both to fail", cerr, serr)
		}
	})
}

// trusting is a client that presents src's certificate and believes any server, to reach the
// server's own judgement.
func trusting(src *Source) *tls.Config {
	cfg := ClientConfig(src, "us")
	cfg.VerifyConnection = nil
	return cfg
}

// plainServer has a certificate of our CA that names no region.
func plainServer(t *testing.T, ca *CA) *tls.Config {
	t.Helper()
	issued := mustIssue(t, ca, Identity{Region: "us", Node: "plain"})
	template := *issued.Cert
	template.URIs, template.ExtraExtensions, template.Extensions = nil, nil, nil
	key, err := newKey(ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := sign(&template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		ClientAuth:   tls.RequireAnyClientCert,
	}
}

// The certificate's last moment passes: its owner says so instead of sending it, and a peer that
// gets it all the same says when it ended.
func TestHandshake_Expired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, CAOptions{})
		issued, err := Issue(ca, Identity{Region: "us", Node: "us-1"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		files, err := issued.Write(t.TempDir(), "us-1", false)
		if err != nil {
			t.Fatal(err)
		}
		us, eu := mustLoad(t, files), newSource(t, ca, Identity{Region: "eu", Node: "eu-1"})
		if got := time.Until(us.Expiry()); got > time.Hour || got < 59*time.Minute {
			t.Fatalf("expires in %v", got)
		}
		if got := time.Until(us.CAExpiry()); got < 9*365*24*time.Hour {
			t.Fatalf("CA expires in %v", got)
		}
		time.Sleep(2 * time.Hour)

		_, _, _, serr := handshake(t, ClientConfig(eu, "us"), ServerConfig(us))
		if serr == nil || !strings.Contains(serr.Error(), files.Cert) || !strings.Contains(serr.Error(), "expired on 2000-01-01T01:00:00Z") {
			t.Errorf("owner says %v", serr)
		}

		cfg := ServerConfig(us)
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &us.cur.Load().pair, nil }
		_, _, cerr, _ := handshake(t, ClientConfig(eu, "us"), cfg)
		var got *IdentityError
		if !errors.As(cerr, &got) || got.CAFile != "" || !strings.Contains(cerr.Error(), "2000-01-01T01:00:00Z") {
			t.Errorf("peer says %v", cerr)
		}

		if again := mustLoad(t, files); again.Identity().Region != "us" {
			t.Error("an expired identity does not load")
		}
	})
}

func copyFiles(t *testing.T, from, to Files) {
	t.Helper()
	for _, pair := range [][2]string{{from.Cert, to.Cert}, {from.Key, to.Key}, {from.CA, to.CA}} {
		data, err := os.ReadFile(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pair[1], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The CA is replaced under a running pair: configurations made before see it.
func TestReload_AppliesToTheNextHandshake(t *testing.T) {
	oldCA, newerCA := newCA(t, CAOptions{}), newCA(t, CAOptions{})
	eu := newSource(t, oldCA, Identity{Region: "eu", Node: "eu-1"})
	us := newSource(t, oldCA, Identity{Region: "us", Node: "us-1"})
	client, server := ClientConfig(eu, "us"), ServerConfig(us)
	if _, _, cerr, serr := handshake(t, client, server); cerr != nil || serr != nil {
		t.Fatalf("before: client %v, server %v", cerr, serr)
	}

	copyFiles(t, issueTo(t, newerCA, Identity{Region: "us", Node: "us-1"}), us.Files())
	if changed, err := us.Reload(); !changed || err != nil {
		t.Fatalf("reload: %v, %v", changed, err)
	}
	var refused *IdentityError
	if _, _, cerr, _ := handshake(t, client, server); !errors.As(cerr, &refused) || refused.CAFile == "" {
		t.Fatalf("one side changed: %v, want the new CA to be unknown", cerr)
	}

	copyFiles(t, issueTo(t, newerCA, Identity{Region: "eu", Node: "eu-1"}), eu.Files())
	if changed, err := eu.Reload(); !changed || err != nil {
		t.Fatalf("reload: %v, %v", changed, err)
	}
	if _, _, cerr, serr := handshake(t, client, server); cerr != nil || serr != nil {
		t.Fatalf("after: client %v, server %v", cerr, serr)
	}
	if changed, err := eu.Reload(); changed || err != nil {
		t.Errorf("reload of the same: %v, %v", changed, err)
	}
}

func TestReload_KeepsTheOldOnError(t *testing.T) {
	ca := newCA(t, CAOptions{})
	src := newSource(t, ca, Identity{Region: "eu", Node: "eu-1"})
	before := src.Expiry()

	key, _ := os.ReadFile(src.Files().Key)
	if err := os.WriteFile(src.Files().Key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := src.Reload(); changed || err == nil || !strings.Contains(err.Error(), src.Files().Key) {
		t.Errorf("broken key: %v, %v", changed, err)
	}
	if err := os.WriteFile(src.Files().Key, key, 0o600); err != nil {
		t.Fatal(err)
	}

	copyFiles(t, issueTo(t, ca, Identity{Region: "us", Node: "us-1"}), src.Files())
	if changed, err := src.Reload(); changed || err == nil || !strings.Contains(err.Error(), "restart the node") {
		t.Errorf("another identity: %v, %v", changed, err)
	}
	if src.Identity().Region != "eu" || !src.Expiry().Equal(before) {
		t.Errorf("now %v until %v", src.Identity(), src.Expiry())
	}
}

func TestWatch_ReportsOncePerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, CAOptions{})
		src := newSource(t, ca, Identity{Region: "eu", Node: "eu-1"})
		ctx, cancel := context.WithCancel(t.Context())
		var reports []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			Watch(ctx, time.Minute, src.Reload, func(changed bool, err error) {
				switch {
				case err != nil:
					reports = append(reports, "error")
				case changed:
					reports = append(reports, "changed")
				default:
					reports = append(reports, "well again")
				}
			})
		}()

		time.Sleep(5 * time.Minute) // nothing changes, nothing is said
		good, _ := os.ReadFile(src.Files().Cert)
		os.WriteFile(src.Files().Cert, []byte("broken"), 0o600)
		time.Sleep(5 * time.Minute) // one error, said once
		os.WriteFile(src.Files().Cert, good, 0o600)
		time.Sleep(5 * time.Minute)
		copyFiles(t, issueTo(t, ca, Identity{Region: "eu", Node: "eu-1"}), src.Files())
		time.Sleep(5 * time.Minute)
		cancel()
		<-done
		if got := strings.Join(reports, ", "); got != "error, well again, changed" {
			t.Errorf("reports: %s", got)
		}
	})
}
