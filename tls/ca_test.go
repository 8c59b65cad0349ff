package meshtls

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newCA(t *testing.T, opts CAOptions) *CA {
	t.Helper()
	ca, err := CreateCA(t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// issueTo writes an identity to a folder of its own.
func issueTo(t *testing.T, ca *CA, id Identity) Files {
	t.Helper()
	files, err := mustIssue(t, ca, id).Write(t.TempDir(), "node", false)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func mustIssue(t *testing.T, ca *CA, id Identity) *Issued {
	t.Helper()
	issued, err := Issue(ca, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func TestCreateCA_WritesAndLoads(t *testing.T) {
	for _, algorithm := range []Algorithm{"", ECDSA, Ed25519} {
		t.Run("algorithm "+string(algorithm), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "ca")
			made, err := CreateCA(dir, CAOptions{Algorithm: algorithm, Name: "Test CA"})
			if err != nil {
				t.Fatal(err)
			}
			for file, want := range map[string]fs.FileMode{CAKeyFile: 0o600, CACertFile: 0o644} {
				info, err := os.Stat(filepath.Join(dir, file))
				if err != nil || info.Mode().Perm() != want {
					t.Errorf("%s: mode %v, %v; want %v", file, info.Mode(), err, want)
				}
			}
			loaded, err := LoadCA(filepath.Join(dir, CACertFile), filepath.Join(dir, CAKeyFile))
			if err != nil {
				t.Fatal(err)
			}
			if !loaded.Certificate().Equal(made.Certificate()) || loaded.Certificate().Subject.CommonName != "Test CA" {
				t.Errorf("loaded %v, made %v", loaded.Certificate().Subject, made.Certificate().Subject)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
				t.Errorf("temporary files left: %v", left)
			}
		})
	}
}

func TestCreateCA_KeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateCA(dir, CAOptions{}); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(filepath.Join(dir, CAKeyFile))

	_, err := CreateCA(dir, CAOptions{})
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "--force") || !strings.Contains(err.Error(), CAKeyFile) {
		t.Fatalf("second CA: %v; want fs.ErrExist naming the file and --force", err)
	}
	if now, _ := os.ReadFile(filepath.Join(dir, CAKeyFile)); string(now) != string(before) {
		t.Fatal("the refused CA changed the key")
	}

	if _, err := CreateCA(dir, CAOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(filepath.Join(dir, CAKeyFile)); string(now) == string(before) {
		t.Fatal("the forced CA kept the key")
	}
}

// One file of two is in the way: the other one must not be written.
func TestCreateCA_AllOrNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, CACertFile), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateCA(dir, CAOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v, want fs.ErrExist", err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Fatalf("folder holds %v, want the certificate alone", entries)
	}
}

func TestIssue(t *testing.T) {
	ca := newCA(t, CAOptions{})
	issued := mustIssue(t, ca, Identity{Region: "eu", Node: "eu-1",
		DNSNames: []string{"eu-1.example.com"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}})
	cert := issued.Cert

	id, err := CertIdentity(cert)
	if err != nil || id.Region != "eu" || id.Node != "eu-1" {
		t.Errorf("identity %+v, %v", id, err)
	}
	if len(cert.URIs) != 2 || cert.URIs[0].String() != "causeway://region/eu" || cert.URIs[1].String() != "causeway://region/eu/node/eu-1" {
		t.Errorf("URIs %v", cert.URIs)
	}
	if err := cert.VerifyHostname("eu-1.example.com"); err != nil {
		t.Error(err)
	}
	if err := cert.VerifyHostname("10.0.0.1"); err != nil {
		t.Error(err)
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Error("a node's certificate may sign others")
	}
	if got := time.Until(cert.NotAfter); got < DefaultNodeValidity-time.Minute || got > DefaultNodeValidity {
		t.Errorf("valid for %v", got)
	}
	if other := mustIssue(t, ca, Identity{Region: "eu", Node: "eu-1"}); other.Cert.SerialNumber.Cmp(cert.SerialNumber) == 0 {
		t.Error("two certificates have the same serial number")
	}
}

func TestIssue_Refuses(t *testing.T) {
	ca := newCA(t, CAOptions{Validity: 24 * time.Hour})
	for _, tc := range []struct {
		name     string
		id       Identity
		validity time.Duration
		want     string
	}{
		{"no region", Identity{Node: "n"}, time.Hour, `region ""`},
		{"bad region", Identity{Region: "E U"}, time.Hour, `region "E U"`},
		{"bad node", Identity{Region: "eu", Node: "a/b"}, time.Hour, `node "a/b"`},
		{"bad name", Identity{Region: "eu", DNSNames: []string{"http://x"}}, time.Hour, `DNS name "http://x"`},
		{"longer than the CA", Identity{Region: "eu"}, 48 * time.Hour, "the CA in"},
		{"no time at all", Identity{Region: "eu"}, time.Second, "at least a minute"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Issue(ca, tc.id, tc.validity); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestWrite_BesideTheSameCAOnly(t *testing.T) {
	ca, other := newCA(t, CAOptions{}), newCA(t, CAOptions{})
	dir := t.TempDir()
	if _, err := mustIssue(t, ca, Identity{Region: "eu", Node: "eu-1"}).Write(dir, "eu-1", false); err != nil {
		t.Fatal(err)
	}
	if _, err := mustIssue(t, ca, Identity{Region: "eu", Node: "eu-2"}).Write(dir, "eu-2", false); err != nil {
		t.Errorf("a second node of the same CA: %v", err)
	}
	_, err := mustIssue(t, other, Identity{Region: "eu", Node: "eu-3"}).Write(dir, "eu-3", false)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), CACertFile) {
		t.Errorf("a node of another CA: %v; want ca.pem to be in the way", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "eu-3-key.pem")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the refused node left its key: %v", err)
	}
}

func TestLoad_NamesTheFileAndTheFix(t *testing.T) {
	ca, other := newCA(t, CAOptions{}), newCA(t, CAOptions{})
	good := issueTo(t, ca, Identity{Region: "eu", Node: "eu-1"})
	others := issueTo(t, other, Identity{Region: "eu", Node: "eu-1"})
	text := filepath.Join(t.TempDir(), "text.pem")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open-key.pem")
	key, _ := os.ReadFile(good.Key)
	if err := os.WriteFile(open, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	caKey := strings.TrimSuffix(ca.file, CACertFile) + CAKeyFile

	for _, tc := range []struct {
		name  string
		files Files
		want  []string
	}{
		{"missing certificate", Files{"nowhere.pem", good.Key, good.CA}, []string{"certificate", "nowhere.pem"}},
		{"missing key", Files{good.Cert, "nowhere.pem", good.CA}, []string{"private key", "nowhere.pem"}},
		{"missing CA", Files{good.Cert, good.Key, "nowhere.pem"}, []string{"CA", "nowhere.pem"}},
		{"not PEM", Files{text, good.Key, good.CA}, []string{text, "BEGIN CERTIFICATE"}},
		{"key of another", Files{good.Cert, others.Key, good.CA}, []string{good.Cert, others.Key, "do not belong together"}},
		{"readable key", Files{good.Cert, open, good.CA}, []string{open, "chmod 600"}},
		{"CA of another", Files{good.Cert, good.Key, others.CA}, []string{good.Cert, others.CA, "identity.ca"}},
		{"node as CA", Files{good.Cert, good.Key, good.Cert}, []string{good.Cert, "not an authority"}},
		{"CA as node", Files{ca.file, caKey, ca.file}, []string{ca.file, "no causeway://region/ name", "causeway ca issue"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Load(tc.files.Cert, tc.files.Key, tc.files.CA)
			for _, part := range tc.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, want %q in it", err, part)
				}
			}
		})
	}
}

func TestExpect(t *testing.T) {
	ca := newCA(t, CAOptions{})
	files := issueTo(t, ca, Identity{Region: "eu", Node: "eu-1"})
	src, err := Load(files.Cert, files.Key, files.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Expect("eu", "eu-1"); err != nil {
		t.Error(err)
	}
	for _, want := range []Identity{{Region: "us", Node: "us-1"}, {Region: "eu", Node: "eu-2"}} {
		err := src.Expect(want.Region, want.Node)
		if err == nil || !strings.Contains(err.Error(), files.Cert) || !strings.Contains(err.Error(), "causeway ca issue --region "+want.Region) {
			t.Errorf("expecting %s: %v", want, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	ca := newCA(t, CAOptions{Name: "Test CA"})
	files := issueTo(t, ca, Identity{Region: "eu", Node: "eu-1", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	infos, err := Describe(files.Cert)
	if err != nil || len(infos) != 2 {
		t.Fatalf("%v, %v; want the node's certificate and its CA's", infos, err)
	}
	node, authority := infos[0], infos[1]
	if node.Identity != "causeway://region/eu/node/eu-1" || node.Authority || node.Issuer != "CN=Test CA" || node.DaysLeft != 364 || node.IPs[0] != "127.0.0.1" {
		t.Errorf("node %+v", node)
	}
	if !authority.Authority || authority.Identity != "" || authority.Fingerprint != Fingerprint(ca.Certificate()) {
		t.Errorf("authority %+v", authority)
	}
	if _, err := Describe(files.Key); err == nil || !strings.Contains(err.Error(), files.Key) {
		t.Errorf("describing a key: %v", err)
	}
}
