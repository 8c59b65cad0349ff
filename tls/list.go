package meshtls

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Bounds of one list: what is read of it, and how many certificates it may revoke. A million takes 28 MB.
const (
	maxList    = 40 << 20
	maxRevoked = 1_000_000
)

const pemList = "X509 CRL"

// list is what an authority revoked, as one document of it said.
type list struct {
	by         *x509.Certificate // the authority
	subject    string            // of the authority, as in the certificates that it issued
	keyID      []byte            // of the authority; empty if it has none
	name       string            // of the authority, for people
	number     *big.Int
	thisUpdate time.Time
	nextUpdate time.Time // zero: it does not say
	revoked    []revokedCert
}

// revokedCert is one entry of a list.
type revokedCert struct {
	serial [20]byte
	at     uint32 // Unix seconds
	reason uint8
}

// serialKey is a serial number in 20 bytes, as many as RFC 5280 allows; of one that has more, a hash.
func serialKey(n *big.Int) (k [20]byte) {
	b := n.Bytes()
	if len(b) > len(k) {
		sum := sha256.Sum256(b)
		b = sum[:len(k)]
	}
	copy(k[len(k)-len(b):], b)
	return k
}

// stale says that the authority has promised a newer list by now.
func (l *list) stale(now time.Time) bool { return !l.nextUpdate.IsZero() && now.After(l.nextUpdate) }

// covers says that a certificate is of the list's authority: of one with this name and, where both tell, this key.
func (l *list) covers(cert *x509.Certificate) bool {
	return l.subject == string(cert.RawIssuer) && sameKey(l.keyID, cert.AuthorityKeyId)
}

func sameKey(a, b []byte) bool { return len(a) == 0 || len(b) == 0 || bytes.Equal(a, b) }

func (l *list) find(cert *x509.Certificate) *revokedCert {
	k := serialKey(cert.SerialNumber)
	i, ok := slices.BinarySearchFunc(l.revoked, k, func(r revokedCert, k [20]byte) int { return bytes.Compare(r.serial[:], k[:]) })
	if !ok {
		return nil
	}
	return &l.revoked[i]
}

// before says that l is an older state of the authority than o.
func (l *list) before(o *list) bool {
	if l.number != nil && o.number != nil {
		if c := l.number.Cmp(o.number); c != 0 {
			return c < 0
		}
	}
	return l.thisUpdate.Before(o.thisUpdate)
}

func (l *list) numbered() string {
	if l.number == nil {
		return "of " + l.thisUpdate.UTC().Format(time.RFC3339)
	}
	return "number " + l.number.String()
}

// parseLists reads the lists of a source, PEM or DER. Certificates that stand beside them are of authorities below those that
// are trusted. Each list has to be signed by one of these or by one of the trusted.
func parseLists(source string, data []byte, trusted []*x509.Certificate) ([]*list, error) {
	ders, certs, err := splitLists(source, data)
	if err != nil {
		return nil, err
	}
	authorities := slices.Concat(trusted, below(trusted, certs))
	var out []*list
	for i, der := range ders {
		rl, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%s: list %d is no revocation list: %w", source, i+1, err)
		}
		l, err := newList(rl, authorities)
		if err != nil {
			return nil, fmt.Errorf("%s: the list of %q %w", source, rl.Issuer, err)
		}
		out = append(out, l)
	}
	return out, nil
}

func splitLists(source string, data []byte) (lists [][]byte, certs []*x509.Certificate, err error) {
	if len(data) > maxList {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes: have the authority split the list, or begin a new authority", source, maxList)
	}
	found := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		found = true
		switch block.Type {
		case pemList:
			lists = append(lists, block.Bytes)
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: certificate %d: %w", source, len(certs)+1, err)
			}
			certs = append(certs, cert)
		}
	}
	switch {
	case len(lists) > 0:
		return lists, certs, nil
	case found:
		return nil, nil, fmt.Errorf("%s holds no revocation list: want BEGIN %s lines, or DER", source, pemList)
	case len(data) == 0:
		return nil, nil, fmt.Errorf("%s is empty: want a revocation list, PEM or DER; causeway ca revoke and openssl ca -gencrl write one", source)
	}
	return [][]byte{data}, nil, nil
}

// below are those of the certificates that are of authorities for which one of the trusted vouches.
func below(trusted, certs []*x509.Certificate) (out []*x509.Certificate) {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range trusted {
		roots.AddCert(c)
	}
	for _, c := range certs {
		between.AddCert(c)
	}
	for _, c := range certs {
		_, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if c.IsCA && err == nil {
			out = append(out, c)
		}
	}
	return out
}

// newList checks who signed a list, and keeps what is asked of it.
func newList(rl *x509.RevocationList, authorities []*x509.Certificate) (*list, error) {
	by, err := signerOf(rl, authorities)
	if err != nil {
		return nil, err
	}
	if err := wholeList(rl.Extensions); err != nil {
		return nil, err
	}
	if n := len(rl.RevokedCertificateEntries); n > maxRevoked {
		return nil, fmt.Errorf("revokes %d certificates, and %d are read at most: drop those that have expired", n, maxRevoked)
	}
	l := &list{by: by, subject: string(by.RawSubject), keyID: by.SubjectKeyId, name: authorityName(by), number: rl.Number, thisUpdate: rl.ThisUpdate, nextUpdate: rl.NextUpdate,
		revoked: make([]revokedCert, 0, len(rl.RevokedCertificateEntries))}
	for _, e := range rl.RevokedCertificateEntries {
		if i := slices.IndexFunc(e.Extensions, func(x pkix.Extension) bool { return x.Critical }); i >= 0 && !e.Extensions[i].Id.Equal(oidReason) {
			return nil, fmt.Errorf("has an entry with the critical extension %s, which is not understood: have the authority write a list of its own certificates alone", e.Extensions[i].Id)
		}
		l.revoked = append(l.revoked, revokedCert{serialKey(e.SerialNumber), uint32(max(0, e.RevocationTime.Unix())), uint8(e.ReasonCode)})
	}
	slices.SortFunc(l.revoked, func(a, b revokedCert) int { return bytes.Compare(a.serial[:], b.serial[:]) })
	return l, nil
}

func signerOf(rl *x509.RevocationList, authorities []*x509.Certificate) (*x509.Certificate, error) {
	var wrong error
	for _, ca := range authorities {
		if !bytes.Equal(ca.RawSubject, rl.RawIssuer) || !sameKey(ca.SubjectKeyId, rl.AuthorityKeyId) {
			continue
		}
		err := rl.CheckSignatureFrom(ca)
		if err == nil {
			return ca, nil
		}
		wrong = err
	}
	if wrong != nil {
		return nil, fmt.Errorf("is not signed by that authority (%w): fetch it again from the authority", wrong)
	}
	return nil, errors.New("is of no authority that is trusted here: add that authority's certificate to the CA files, or to this file if a trusted one vouches for it")
}

func authorityName(ca *x509.Certificate) string {
	return cmp.Or(ca.Subject.CommonName, ca.Subject.String())
}

var (
	oidReason       = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidDelta        = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistribution = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// distribution is IssuingDistributionPoint (RFC 5280, 5.2.5) as far as it matters what a list leaves out.
type distribution struct {
	Point       asn1.RawValue  `asn1:"optional,tag:0"`
	UserOnly    bool           `asn1:"optional,tag:1"`
	CAOnly      bool           `asn1:"optional,tag:2"`
	SomeReasons asn1.BitString `asn1:"optional,tag:3"`
	Indirect    bool           `asn1:"optional,tag:4"`
	Attributes  bool           `asn1:"optional,tag:5"`
}

// wholeList refuses lists that say less than which of the authority's certificates are revoked, or more. One of a part of
// its certificates is welcome: the other parts are lists of their own.
func wholeList(extensions []pkix.Extension) error {
	for _, x := range extensions {
		switch {
		case x.Id.Equal(oidDelta):
			return errors.New("is a delta list: name the complete one")
		case x.Id.Equal(oidDistribution):
			var d distribution
			if rest, err := asn1.Unmarshal(x.Value, &d); err != nil || len(rest) > 0 {
				return errors.New("has an issuing distribution point that cannot be read: have the authority write it anew")
			}
			if d.Indirect || d.Attributes || d.SomeReasons.BitLength > 0 {
				return errors.New("is indirect, of attributes, or of some reasons only: name one with all revoked certificates of its authority")
			}
		case x.Critical:
			return fmt.Errorf("has the critical extension %s, which is not understood: have the authority write it without", x.Id)
		}
	}
	return nil
}
