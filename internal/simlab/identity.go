package simlab

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
	"time"

	"causeway/internal/cluster"
	"causeway/link"
)

// authority issues the nodes' certificates, of the form that package tls
// makes, but in memory and valid on a virtual clock, which begins in 2000.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
	pool *x509.CertPool
}

func newAuthority() (*authority, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the lab's authority: %w", err)
	}
	t := certificate(1)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	cert, err := sign(t, t, pub, key)
	if err != nil {
		return nil, fmt.Errorf("make the lab's authority: %w", err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a, nil
}

func certificate(serial int64) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
}

func sign(t, parent *x509.Certificate, pub ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// issue makes the certificate of a node.
func (a *authority) issue(region, node string) (*identity, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", node, err)
	}
	t := certificate(2)
	t.URIs = []*url.URL{{Scheme: "causeway", Host: "region", Path: "/" + region + "/" + node}}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert, err := sign(t, a.cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", node, err)
	}
	return &identity{region: region, pool: a.pool, cert: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}}, nil
}

// identity is a node's certificate, as links and the streams between nodes use
// it.
type identity struct {
	region string
	pool   *x509.CertPool
	cert   tls.Certificate
}

var (
	_ link.Identity    = (*identity)(nil)
	_ cluster.Identity = (*identity)(nil)
)

// ServerTLS accepts every region of the lab.
func (id *identity) ServerTLS() *tls.Config { return id.config("", "") }

// ClientTLS accepts one region.
func (id *identity) ClientTLS(wantRegion string) *tls.Config { return id.config(wantRegion, "") }

// NodeServerTLS accepts every node of our region.
func (id *identity) NodeServerTLS() *tls.Config { return id.config(id.region, "") }

// NodeClientTLS accepts one node of our region.
func (id *identity) NodeClientTLS(node string) *tls.Config { return id.config(id.region, node) }

// PeerRegion reads the region from a certificate.
func (id *identity) PeerRegion(s tls.ConnectionState) (string, error) {
	region, _, err := id.PeerNode(s)
	return region, err
}

// PeerNode reads region and node from a certificate.
func (id *identity) PeerNode(s tls.ConnectionState) (region, node string, err error) {
	if len(s.PeerCertificates) == 0 || len(s.PeerCertificates[0].URIs) == 0 {
		return "", "", errors.New("the certificate names no region")
	}
	region, node, _ = strings.Cut(strings.TrimPrefix(s.PeerCertificates[0].URIs[0].Path, "/"), "/")
	return region, node, nil
}

// config verifies the chain by hand, since nodes are named by URI and not by
// host.
func (id *identity) config(region, node string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{id.cert}, SessionTicketsDisabled: true, CurvePreferences: []tls.CurveID{tls.X25519},
		VerifyConnection: func(s tls.ConnectionState) error {
			r, n, err := id.PeerNode(s)
			if err != nil {
				return err
			}
			if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: id.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				return fmt.Errorf("region %q: %w", r, err)
			}
			if region != "" && r != region || node != "" && n != node {
				return fmt.Errorf("wanted region %q node %q, saw %q %q", region, node, r, n)
			}
			return nil
		}}
}
