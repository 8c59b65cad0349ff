package meshtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// uriPrefix opens every identity URI. The host part is the constant "region", so the region and
// node names are path segments and need no resolving.
const uriPrefix = "causeway://region/"

// nameForm is what a region or node name may look like: it must survive a URI path, a metric label
// and a file name without escaping.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// Identity is who a node is: its region and its name there. A region identity has no Node. The
// DNS names and addresses are extra names for tools that insist on them; the mesh ignores them.
type Identity struct {
	Region   string
	Node     string
	DNSNames []string
	IPs      []net.IP
}

// RegionURI is the URI every certificate of the region carries.
func RegionURI(region string) string { return uriPrefix + region }

// String is the most exact URI of the identity: the node's when there is one.
func (id Identity) String() string {
	if id.Node == "" {
		return RegionURI(id.Region)
	}
	return RegionURI(id.Region) + "/node/" + id.Node
}

// Validate checks that the names can be written into a certificate.
func (id Identity) Validate() error {
	if !nameForm.MatchString(id.Region) {
		return fmt.Errorf("region %q: want 1 to 63 of a-z 0-9 . _ -, beginning and ending with a letter or digit", id.Region)
	}
	if id.Node != "" && !nameForm.MatchString(id.Node) {
		return fmt.Errorf("node %q: want 1 to 63 of a-z 0-9 . _ -, beginning and ending with a letter or digit", id.Node)
	}
	for _, name := range id.DNSNames {
		if name == "" || strings.ContainsAny(name, " \t\r\n/:") {
			return fmt.Errorf("DNS name %q: want a host name", name)
		}
	}
	return nil
}

// uris are the names written into the certificate.
func (id Identity) uris() []*url.URL {
	all := []*url.URL{{Scheme: "causeway", Host: "region", Path: "/" + id.Region}}
	if id.Node != "" {
		all = append(all, &url.URL{Scheme: "causeway", Host: "region", Path: "/" + id.Region + "/node/" + id.Node})
	}
	return all
}

// PeerIdentity reads the identity of the peer of a finished handshake. It does not verify the
// chain again: the configurations of this package did, before the handshake ended.
func PeerIdentity(state tls.ConnectionState) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, errors.New("the peer presented no certificate")
	}
	return CertIdentity(state.PeerCertificates[0])
}

// CertIdentity reads the identity out of a certificate. Exactly one region and at most one node of
// that region must be named: two would let one key speak for two regions.
func CertIdentity(cert *x509.Certificate) (Identity, error) {
	id := Identity{DNSNames: cert.DNSNames, IPs: cert.IPAddresses}
	for _, uri := range cert.URIs {
		name, ours := strings.CutPrefix(uri.String(), uriPrefix)
		if !ours {
			continue // names of other systems (SPIFFE, say) may stand beside ours
		}
		region, node, err := splitIdentity(name)
		if err != nil {
			return Identity{}, fmt.Errorf("certificate name %q: %w", uri, err)
		}
		if id.Region != "" && id.Region != region {
			return Identity{}, fmt.Errorf("certificate names two regions, %q and %q", id.Region, region)
		}
		if id.Node != "" && node != "" && id.Node != node {
			return Identity{}, fmt.Errorf("certificate names two nodes, %q and %q", id.Node, node)
		}
		id.Region = region
		if node != "" {
			id.Node = node
		}
	}
	if id.Region == "" {
		return Identity{}, errors.New("certificate carries no causeway://region/ name")
	}
	return id, nil
}

// splitIdentity reads REGION or REGION/node/NODE.
func splitIdentity(name string) (region, node string, err error) {
	region, rest, hasNode := strings.Cut(name, "/")
	if hasNode {
		var ok bool
		if node, ok = strings.CutPrefix(rest, "node/"); !ok || node == "" {
			return "", "", errors.New("want causeway://region/REGION or causeway://region/REGION/node/NODE")
		}
	}
	return region, node, Identity{Region: region, Node: node}.Validate()
}

// IdentityError says that a peer is not who was wanted, or that nobody we trust vouches for it.
// The handshake that returns it sent nothing of ours beyond our certificate.
type IdentityError struct {
	// Want is the identity asked for, as a URI; on the accepting side "any region".
	Want string
	// Saw is the identity in the peer's certificate, or what was there instead of one. When the
	// chain was not trusted it is a claim only.
	Saw string
	// Subject, Issuer and Fingerprint (SHA-256, hex) describe the authority behind the peer's
	// certificate; set when it is not trusted. Fingerprint is "" if the peer did not send the
	// authority's certificate; KeyID is then all there is to compare.
	Subject, Issuer, Fingerprint, KeyID string
	// CAFile is the file of authorities we trust; set when the peer's is not among them.
	CAFile string
	// Err is the cause, if there is one below this.
	Err error
}

// Error is one line for the operator of either side.
func (e *IdentityError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "peer identity: saw %s, wanted %s", e.Saw, e.Want)
	if e.CAFile == "" {
		if e.Err != nil {
			fmt.Fprintf(&b, ": %v", e.Err)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "; its certificate is not trusted: %v; issued by %q", e.Err, e.Subject)
	if e.Issuer != "" && e.Issuer != e.Subject {
		fmt.Fprintf(&b, " under %q", e.Issuer)
	}
	if e.Fingerprint != "" {
		fmt.Fprintf(&b, " (sha256 %s)", e.Fingerprint)
	} else if e.KeyID != "" {
		fmt.Fprintf(&b, " (key id %s)", e.KeyID)
	}
	fmt.Fprintf(&b, "; we trust the authorities in %s", e.CAFile)
	return b.String()
}

// Unwrap gives the cause.
func (e *IdentityError) Unwrap() error { return e.Err }
