package meshtls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"
)

// Info describes one certificate for people and scripts.
type Info struct {
	File        string    `json:"file"`
	Identity    string    `json:"identity,omitempty"`
	Authority   bool      `json:"authority"`
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	DaysLeft    int       `json:"days_left"`
	Algorithm   string    `json:"algorithm"`
	DNSNames    []string  `json:"dns_names,omitempty"`
	IPs         []string  `json:"ips,omitempty"`
	Fingerprint string    `json:"fingerprint_sha256"`
	KeyID       string    `json:"key_id,omitempty"`
}

// Describe reads the certificates of a PEM file. Keys in the file are passed over.
func Describe(file string) ([]Info, error) {
	data, err := readPEM(file)
	if err != nil {
		return nil, fmt.Errorf("show certificate: %w", err)
	}
	certs, err := parseCerts(file, data)
	if err != nil {
		return nil, fmt.Errorf("show certificate: %w", err)
	}
	infos := make([]Info, 0, len(certs))
	for _, cert := range certs {
		infos = append(infos, describe(file, cert))
	}
	return infos, nil
}

func describe(file string, cert *x509.Certificate) Info {
	info := Info{
		File:        file,
		Authority:   cert.IsCA,
		Subject:     cert.Subject.String(),
		Issuer:      cert.Issuer.String(),
		Serial:      cert.SerialNumber.Text(16),
		NotBefore:   cert.NotBefore.UTC(),
		NotAfter:    cert.NotAfter.UTC(),
		DaysLeft:    int(time.Until(cert.NotAfter).Hours() / 24),
		Algorithm:   cert.PublicKeyAlgorithm.String(),
		DNSNames:    cert.DNSNames,
		Fingerprint: Fingerprint(cert),
		KeyID:       hex.EncodeToString(cert.SubjectKeyId),
	}
	if id, err := CertIdentity(cert); err == nil {
		info.Identity = id.String()
	}
	for _, ip := range cert.IPAddresses {
		info.IPs = append(info.IPs, ip.String())
	}
	return info
}

// Fingerprint is the SHA-256 of the certificate in hex, as openssl x509 -fingerprint -sha256 has
// it without the colons.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// digestOf tells two readings of a set of files apart. The key needs no part in it: it belongs to
// the certificate, and a new key has a new certificate.
func digestOf(pair tls.Certificate, cas []*x509.Certificate) []byte {
	h := sha256.New()
	for _, der := range pair.Certificate {
		h.Write(der)
	}
	for _, ca := range cas {
		h.Write([]byte{0})
		h.Write(ca.Raw)
	}
	return h.Sum(nil)
}
