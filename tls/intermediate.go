package meshtls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// DefaultIntermediateValidity is how long a region's authority lives when nothing is said.
const DefaultIntermediateValidity = 2 * 365 * 24 * time.Hour

// CreateIntermediate makes the authority of one region under a root, so that the root's key can stay offline while the region
// issues to its nodes. It writes ca.pem (with the root's certificate behind its own) and ca-key.pem into dir, as CreateCA does.
// Nodes go on trusting the root alone, and take of this authority certificates of its region only. A validity of 0 is
// DefaultIntermediateValidity; it may not outlast the root.
func CreateIntermediate(root *CA, dir, region string, validity time.Duration, force bool) (*CA, error) {
	if err := (Identity{Region: region}).Validate(); err != nil {
		return nil, fmt.Errorf("make intermediate: %w", err)
	}
	if root.region != "" || (root.cert.MaxPathLen == 0 && root.cert.MaxPathLenZero) {
		return nil, fmt.Errorf("make intermediate: the authority in %s may not have one below it: use the root, or if that was made by an older version make a new one (docs/runbooks/rotate-ca.md)", root.file)
	}
	validity, err := checkValidity(validity, DefaultIntermediateValidity)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: root.cert.Subject.CommonName + " of region " + region}, validity)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(root.cert.NotAfter) {
		return nil, fmt.Errorf("make intermediate until %s: the root in %s ends on %s; ask for less (--validity)",
			template.NotAfter.UTC().Format(time.DateOnly), root.file, root.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	asAuthority(template)
	template.MaxPathLenZero = true
	template.URIs = []*url.URL{{Scheme: "causeway", Host: "region", Path: "/" + region}}
	key, err := newKey(algorithmOf(root.key))
	if err != nil {
		return nil, err
	}
	cert, err := sign(template, root.cert, key.Public(), root.key)
	if err != nil {
		return nil, fmt.Errorf("make intermediate: %w", err)
	}
	ca := &CA{cert: cert, root: root.root, region: region, key: key, file: filepath.Join(dir, CACertFile)}
	return ca, ca.write(dir, force)
}

// regionOf is the region that an authority issues for; "" for one that names none.
func regionOf(ca *x509.Certificate) string {
	for _, uri := range ca.URIs {
		if name, ours := strings.CutPrefix(uri.String(), uriPrefix); ours {
			return name
		}
	}
	return ""
}

var errForeignIntermediate = errors.New("it was issued by the authority of another region, which may only issue for its own")

// withinRegion complains unless one of the chains has no authority that is for another region than the certificate's. X.509's
// own name constraints cannot say it: they know hosts of URIs and not paths.
func withinRegion(chains [][]*x509.Certificate) error {
	for _, chain := range chains {
		id, err := CertIdentity(chain[0])
		if err != nil {
			return nil // verify has words for it
		}
		fits := true
		for _, ca := range chain[1:] {
			region := regionOf(ca)
			fits = fits && (region == "" || region == id.Region)
		}
		if fits {
			return nil
		}
	}
	return errForeignIntermediate
}
