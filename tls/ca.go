package meshtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Algorithm is the kind of key an authority and what it issues have.
type Algorithm string

// The algorithms. ECDSA is the default: every TLS 1.2 device speaks it, not every one Ed25519.
const (
	ECDSA   Algorithm = "ecdsa"   // P-256
	Ed25519 Algorithm = "ed25519" // smaller, for meshes of our own nodes only
)

// Names of the files CreateCA writes and LoadCA is usually pointed at.
const (
	CACertFile = "ca.pem"
	CAKeyFile  = "ca-key.pem"
)

// Validities that are used when none is given.
const (
	DefaultCAValidity   = 10 * 365 * 24 * time.Hour
	DefaultNodeValidity = 365 * 24 * time.Hour
)

// backdate is how far before now a certificate begins, for peers whose clocks are behind.
const backdate = time.Hour

// CAOptions says what authority to make. The zero value is usable.
type CAOptions struct {
	// Name is the authority's common name. Default "Causeway CA".
	Name string
	// Validity counts from now. Default DefaultCAValidity.
	Validity time.Duration
	// Algorithm of its key and of all keys it issues. Default ECDSA.
	Algorithm Algorithm
	// Force overwrites an authority that is there: everything it issued stops being trusted.
	Force bool
}

// CA is an authority with its private key.
type CA struct {
	cert   *x509.Certificate
	root   *x509.Certificate // what nodes trust: cert itself, or what is above an intermediate
	region string            // that it issues for; "" for all
	key    crypto.Signer
	file   string // of the certificate, for errors
}

// Certificate is the authority's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// CreateCA makes an authority and writes ca.pem and ca-key.pem (mode 0600) into dir, which is made
// if it is missing. An existing authority is kept and the error is fs.ErrExist, unless opts.Force.
func CreateCA(dir string, opts CAOptions) (*CA, error) {
	if opts.Name == "" {
		opts.Name = "Causeway CA"
	}
	validity, err := checkValidity(opts.Validity, DefaultCAValidity)
	if err != nil {
		return nil, err
	}
	key, err := newKey(opts.Algorithm)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: opts.Name}, validity)
	if err != nil {
		return nil, err
	}
	asAuthority(template)
	template.MaxPathLen = 1 // regions may have an intermediate of their own
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	ca := &CA{cert: cert, root: cert, key: key, file: filepath.Join(dir, CACertFile)}
	return ca, ca.write(dir, opts.Force)
}

// asAuthority makes the template one of a certificate that signs others.
func asAuthority(template *x509.Certificate) {
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
}

// write puts the certificate, with the root above it, and the key into dir.
func (ca *CA) write(dir string, force bool) error {
	keyPEM, err := marshalKey(ca.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make CA folder: %w", err)
	}
	err = writeFiles([]outFile{{filepath.Join(dir, CAKeyFile), keyPEM, modeKey}, {ca.file, ca.chainPEM(), modeCert}}, force)
	if err != nil {
		return fmt.Errorf("make CA: %w", err)
	}
	return nil
}

// chainPEM is the authority's certificate and, if that is another one, the root's.
func (ca *CA) chainPEM() []byte {
	chain := marshalCert(ca.cert.Raw)
	if ca.root != ca.cert {
		chain = append(chain, marshalCert(ca.root.Raw)...)
	}
	return chain
}

// LoadCA reads an authority that CreateCA made, or any other PEM pair that may sign certificates.
func LoadCA(certFile, keyFile string) (*CA, error) {
	pair, err := readPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w (causeway ca init makes one)", err)
	}
	if !pair.Leaf.IsCA {
		return nil, fmt.Errorf("load CA: %s: %q is not an authority; name the CA's certificate", certFile, pair.Leaf.Subject)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("load CA: %s expired on %s: make a new one (causeway ca init) and re-issue what it issued",
			certFile, pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	ca := &CA{cert: pair.Leaf, root: pair.Leaf, key: pair.PrivateKey.(crypto.Signer), file: certFile}
	if above := chainOf(pair)[1:]; len(above) > 0 {
		ca.root = above[len(above)-1]
	}
	ca.region = regionOf(ca.cert)
	return ca, nil
}

// Issued is a certificate and its key, not yet on disk.
type Issued struct {
	// Cert is the node's certificate.
	Cert *x509.Certificate
	// CertPEM is that certificate followed by the authority's and its root, so that a peer which does
	// not trust it can say exactly what it saw.
	CertPEM []byte
	// KeyPEM is the private key.
	KeyPEM []byte
	// CAPEM is the root's certificate: what goes into the CA file beside the other two.
	CAPEM []byte
}

// Issue makes a key of the authority's algorithm and a certificate for id, good for both ends of a
// connection. A validity of 0 is DefaultNodeValidity; it may not outlast the authority.
func Issue(ca *CA, id Identity, validity time.Duration) (*Issued, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if ca.region != "" && id.Region != ca.region {
		return nil, fmt.Errorf("issue certificate for %s: the authority in %s is that of region %q, and nobody would trust it: use region %q's own, or the root",
			id, ca.file, ca.region, id.Region)
	}
	validity, err := checkValidity(validity, DefaultNodeValidity)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: commonName(id)}, validity)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("issue certificate until %s: the CA in %s ends on %s; ask for less (--validity) or make a new CA",
			template.NotAfter.UTC().Format(time.DateOnly), ca.file, ca.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.BasicConstraintsValid = true
	template.URIs, template.DNSNames, template.IPAddresses = id.uris(), id.DNSNames, id.IPs
	key, err := newKey(algorithmOf(ca.key))
	if err != nil {
		return nil, err
	}
	cert, err := sign(template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	keyPEM, err := marshalKey(key)
	if err != nil {
		return nil, err
	}
	return &Issued{Cert: cert, CertPEM: append(marshalCert(cert.Raw), ca.chainPEM()...), KeyPEM: keyPEM, CAPEM: marshalCert(ca.root.Raw)}, nil
}

// Files are the three paths a node's identity is loaded from.
type Files struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
	CA   string `json:"ca"`
}

// Write puts NAME.pem, NAME-key.pem (mode 0600) and ca.pem into dir, which is made if it is
// missing. Existing files are kept and the error is fs.ErrExist, unless force; only a ca.pem of
// the same content may be there already.
func (i *Issued) Write(dir, name string, force bool) (Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("make folder for %s: %w", name, err)
	}
	out := Files{
		Cert: filepath.Join(dir, name+".pem"),
		Key:  filepath.Join(dir, name+"-key.pem"),
		CA:   filepath.Join(dir, CACertFile),
	}
	set := []outFile{{out.Key, i.KeyPEM, modeKey}, {out.Cert, i.CertPEM, modeCert}}
	if there, err := readPEM(out.CA); err != nil || string(there) != string(i.CAPEM) {
		set = append(set, outFile{out.CA, i.CAPEM, modeCert})
	}
	return out, writeFiles(set, force)
}

func commonName(id Identity) string {
	if id.Node == "" {
		return id.Region
	}
	return id.Node
}

func checkValidity(validity, fallback time.Duration) (time.Duration, error) {
	if validity == 0 {
		return fallback, nil
	}
	if validity < time.Minute {
		return 0, fmt.Errorf("validity %s: want at least a minute", validity)
	}
	return validity, nil
}

func newKey(algorithm Algorithm) (crypto.Signer, error) {
	switch algorithm {
	case "", ECDSA:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return nil, fmt.Errorf("key algorithm %q: want %q or %q", algorithm, ECDSA, Ed25519)
	}
}

func algorithmOf(key crypto.Signer) Algorithm {
	if _, ok := key.(ed25519.PrivateKey); ok {
		return Ed25519
	}
	return ECDSA
}

// newTemplate has a random serial number: the authority keeps no state to count in.
func newTemplate(subject pkix.Name, validity time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      subject,
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(validity),
	}, nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
