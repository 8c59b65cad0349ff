package meshtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Source is a node's loaded identity: certificate, key and the authorities it trusts. Its methods
// may be called concurrently. Configurations made from it see a reload at their next handshake;
// connections that stand are left alone.
type Source struct {
	files   Files // fixed after Load
	revoked Revocations

	mu  sync.Mutex // held by Reload, so that two reloads do not publish out of order
	cur atomic.Pointer[material]
}

// material is one consistent reading of the three files; never changed once published.
type material struct {
	pair     tls.Certificate
	identity Identity
	pool     *x509.CertPool
	cas      []*x509.Certificate // in pool
	caExpiry time.Time           // of the authority that issued pair
	digest   []byte              // of what was read, to tell a change
}

// Load reads a node's identity from its certificate, key and CA files. The certificate must name a
// region, belong to the key and be issued by an authority in the CA file. One that has expired
// still loads, so that a node can start, serve its devices and say so (Expiry); its handshakes
// fail with the reason.
func Load(certFile, keyFile, caFile string) (*Source, error) {
	s := &Source{files: Files{Cert: certFile, Key: keyFile, CA: caFile}}
	m, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	s.cur.Store(m)
	s.revoked.trusted = func() []*x509.Certificate { return s.cur.Load().cas }
	return s, nil
}

// Revocations are the lists by which identities are refused; until Set nothing is revoked.
func (s *Source) Revocations() *Revocations { return &s.revoked }

// Revoked says why this node's own certificate would be refused by who has the same lists; nil if it would not.
func (s *Source) Revoked() error {
	m := s.cur.Load()
	return s.revoked.Check([][]*x509.Certificate{chainOf(m.pair)})
}

// Identity is who this node is. It does not change while the Source lives.
func (s *Source) Identity() Identity { return s.cur.Load().identity }

// Files are the files the Source reads.
func (s *Source) Files() Files { return s.files }

// Expiry is when the node's certificate ends.
func (s *Source) Expiry() time.Time { return s.cur.Load().pair.Leaf.NotAfter }

// CAExpiry is when the authority that issued the node's certificate ends.
func (s *Source) CAExpiry() time.Time { return s.cur.Load().caExpiry }

// Expect checks that the certificate speaks for the configured region and, when it names a node,
// for that node.
func (s *Source) Expect(region, node string) error {
	id := s.Identity()
	if id.Region == region && (id.Node == "" || node == "" || id.Node == node) {
		return nil
	}
	want := Identity{Region: region, Node: node}
	return fmt.Errorf("%s is the certificate of %s, but this node is configured as %s: name another certificate (identity.cert), or issue one: causeway ca issue --region %s --node %s",
		s.files.Cert, id, want, region, node)
}

// Reload reads the files again and reports whether they had changed. On an error, such as a
// certificate whose key has not been replaced yet, what was loaded stays in use. A certificate of
// another identity is refused: this node's name is in places that only a restart changes.
func (s *Source) Reload() (changed bool, err error) {
	changed, err = s.reload()
	lists, lerr := s.revoked.Reload()
	return changed || lists, errors.Join(err, lerr)
}

func (s *Source) reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.read()
	if err != nil {
		return false, fmt.Errorf("reload identity, keeping the one loaded before: %w", err)
	}
	now := s.cur.Load()
	if next.identity.String() != now.identity.String() {
		return false, fmt.Errorf("reload identity, keeping the one loaded before: %s now names %s instead of %s; restart the node to change who it is",
			s.files.Cert, next.identity, now.identity)
	}
	if bytes.Equal(next.digest, now.digest) {
		return false, nil
	}
	s.cur.Store(next)
	return true, nil
}

// Watch calls reload (of a Source, a Device, or several) every interval until ctx ends, and report
// after each one that changed something, began to fail, or is well again. Reloads read the content,
// not the time stamps: files that are mounted or renamed into place do not always change those.
func Watch(ctx context.Context, every time.Duration, reload func() (changed bool, err error), report func(changed bool, err error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := reload()
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if changed || reason != last {
			report(changed, err)
		}
		last = reason
	}
}

// read makes one reading of the files and checks that the pieces fit.
func (s *Source) read() (*material, error) {
	pair, err := readPair(s.files.Cert, s.files.Key)
	if err != nil {
		return nil, err
	}
	id, err := CertIdentity(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; causeway ca issue makes certificates that do", s.files.Cert, err)
	}
	pool, cas, err := readPool(s.files.CA)
	if err != nil {
		return nil, err
	}
	m := &material{pair: pair, identity: id, pool: pool, cas: cas, digest: digestOf(pair, cas)}
	if m.caExpiry, err = ownIssuer(pair, pool); err != nil {
		return nil, fmt.Errorf("%s was not issued by an authority in %s: %w; name the CA file it was issued with (identity.ca)",
			s.files.Cert, s.files.CA, err)
	}
	return m, nil
}

// ownIssuer finds the authorities of our own certificate and when the first of them ends. An expired certificate is
// judged at its last moment: whether it is too old is a question for the handshake.
func ownIssuer(pair tls.Certificate, pool *x509.CertPool) (time.Time, error) {
	at := time.Now()
	if at.After(pair.Leaf.NotAfter) {
		at = pair.Leaf.NotAfter
	}
	if at.Before(pair.Leaf.NotBefore) {
		at = pair.Leaf.NotBefore
	}
	chain, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots:         pool,
		Intermediates: intermediates(chainOf(pair)),
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return time.Time{}, err
	}
	first := chain[0][len(chain[0])-1].NotAfter
	for _, ca := range chain[0][1:] {
		if ca.NotAfter.Before(first) {
			first = ca.NotAfter
		}
	}
	return first, withinRegion(chain)
}

// chainOf parses the certificates a pair presents; readPair parsed them once, so they are sound.
func chainOf(pair tls.Certificate) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, cert)
		}
	}
	return chain
}

func intermediates(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range chain[1:] {
		pool.AddCert(cert)
	}
	return pool
}
