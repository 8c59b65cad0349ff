package meshtls

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// anyRegion is what the accepting side wants: whoever our CA vouches for. Which regions may link
// is decided above, with PeerIdentity.
const anyRegion = "any region of our CA"

// ServerConfig is for accepting nodes and regions: TLS 1.3, a client certificate with a region
// identity issued by an authority of src required. The application reads who came with
// PeerIdentity.
func ServerConfig(src *Source, alpn ...string) *tls.Config {
	cfg := meshConfig(alpn, func(state tls.ConnectionState) error {
		return src.verify(state, "", x509.ExtKeyUsageClientAuth)
	})
	// Any certificate is asked for and verify judges it: crypto/tls's own check would run first
	// and its error names neither the authority seen nor the file of those trusted.
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return src.ownCertificate() }
	return cfg
}

// ClientConfig is for dialling a node of wantRegion: the peer must present an identity of exactly
// that region, whatever address was dialled. A mismatch ends the handshake with *IdentityError.
func ClientConfig(src *Source, wantRegion string, alpn ...string) *tls.Config {
	cfg := meshConfig(alpn, func(state tls.ConnectionState) error {
		return src.verify(state, wantRegion, x509.ExtKeyUsageServerAuth)
	})
	// The chain is verified by verify, against our CA and not the system's, and the name that must
	// match is the region URI. Host names are no part of an identity here.
	cfg.InsecureSkipVerify = true
	cfg.ServerName = wantRegion
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return src.ownCertificate() }
	return cfg
}

// meshConfig is what both sides share. No session tickets: a resumed session would outlive the
// rotation of the keys it was made with, and a link is opened once and kept.
func meshConfig(alpn []string, verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             alpn,
		SessionTicketsDisabled: true,
		VerifyConnection:       verify,
	}
}

// ownCertificate is what this node presents. An expired one is not sent: the peer could only
// answer "bad certificate", and the operator to be told is this side's.
func (s *Source) ownCertificate() (*tls.Certificate, error) {
	m := s.cur.Load()
	if now := time.Now(); now.After(m.pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("our own certificate %s expired on %s: issue a new one (causeway ca issue --force) and reload",
			s.files.Cert, m.pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &m.pair, nil
}

// Recheck says whether the peer of a finished handshake would be refused now because its certificate has been revoked since.
func (s *Source) Recheck(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	var revoked *RevokedError
	if err := s.verifyChain(state.PeerCertificates, x509.ExtKeyUsageAny); errors.As(err, &revoked) && revoked.Revoked() {
		return revoked
	}
	return nil
}

// verify runs at the end of every handshake. usage is what the peer uses its certificate for.
func (s *Source) verify(state tls.ConnectionState, wantRegion string, usage x509.ExtKeyUsage) error {
	want := anyRegion
	if wantRegion != "" {
		want = RegionURI(wantRegion)
	}
	if len(state.PeerCertificates) == 0 {
		return &IdentityError{Want: want, Saw: "no certificate"}
	}
	leaf := state.PeerCertificates[0]
	id, idErr := CertIdentity(leaf)
	saw := id.String()
	if idErr != nil {
		saw = fmt.Sprintf("a certificate for %q", leaf.Subject)
	}
	if err := s.verifyChain(state.PeerCertificates, usage); err != nil {
		return s.distrust(want, saw, state.PeerCertificates, err)
	}
	if idErr != nil {
		return &IdentityError{Want: want, Saw: saw, Err: fmt.Errorf("%w; issue it with causeway ca issue", idErr)}
	}
	if wantRegion != "" && id.Region != wantRegion {
		return &IdentityError{Want: want, Saw: saw,
			Err: errors.New("the address leads to another region; correct the link's dial or peer")}
	}
	return nil
}

func (s *Source) verifyChain(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         s.cur.Load().pool,
		Intermediates: intermediates(chain),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return err
	}
	if err := withinRegion(chains); err != nil {
		return err
	}
	return s.revoked.Check(chains)
}

// distrust explains a chain that did not verify. An expired certificate is its owner's problem and
// not a question of authorities, so it is told apart.
func (s *Source) distrust(want, saw string, chain []*x509.Certificate, cause error) error {
	leaf := chain[0]
	e := &IdentityError{Want: want, Saw: saw, Err: cause}
	var revoked *RevokedError
	if errors.As(cause, &revoked) {
		return e
	}
	var invalid x509.CertificateInvalidError
	if errors.As(cause, &invalid) && invalid.Reason == x509.Expired {
		e.Err = fmt.Errorf("its certificate is valid from %s to %s and now is %s: issue a new one there (causeway ca issue), or correct the clock: %w",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339),
			time.Now().UTC().Format(time.RFC3339), cause)
		return e
	}
	e.CAFile, e.Subject, e.KeyID = s.files.CA, leaf.Issuer.String(), hex.EncodeToString(leaf.AuthorityKeyId)
	for _, cert := range chain[1:] {
		if cert.IsCA && cert.Subject.String() == e.Subject {
			e.Issuer, e.Fingerprint = cert.Issuer.String(), Fingerprint(cert)
			break
		}
	}
	return e
}
