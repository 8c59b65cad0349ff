package link

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// authority issues certificates in the form of package tls.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// identity is a region's certificate.
type identity struct {
	pool *x509.CertPool
	cert tls.Certificate
}

func (a *authority) issue(t testing.TB, region string) *identity {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		URIs:        []*url.URL{{Scheme: "causeway", Host: "region", Path: "/" + region}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &identity{pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (id *identity) config(want string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{id.cert}, SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			saw, err := id.PeerRegion(s)
			if err != nil {
				return err
			}
			if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: id.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				return fmt.Errorf("wanted %q, saw %q of another authority: %w", want, saw, err)
			}
			if want != "" && saw != want {
				return fmt.Errorf("wanted %q, saw %q", want, saw)
			}
			return nil
		}}
}

func (id *identity) ServerTLS() *tls.Config                  { return id.config("") }
func (id *identity) ClientTLS(wantRegion string) *tls.Config { return id.config(wantRegion) }

func (id *identity) PeerRegion(s tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 || len(s.PeerCertificates[0].URIs) == 0 {
		return "", errors.New("no identity in the certificate")
	}
	return strings.TrimPrefix(s.PeerCertificates[0].URIs[0].Path, "/"), nil
}
