package meshtls

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CAListFile is the list that Revoke writes beside an authority's certificate.
const CAListFile = "crl.pem"

// DefaultListValidity is how long a list is in date when nothing is said.
const DefaultListValidity = 90 * 24 * time.Hour

// RevokeOptions say what an authority revokes.
type RevokeOptions struct {
	// Certs are files with a certificate of the authority each; Serials are numbers in hex, of certificates that are lost. With
	// neither the list is written anew, with a later end.
	Certs, Serials []string
	// Reason is one of Reasons. Default "unspecified".
	Reason string
	// Validity is how long the list is in date. Default DefaultListValidity.
	Validity time.Duration
}

// Reasons are those that RevokeOptions takes, the default first.
func Reasons() []string {
	return slices.SortedFunc(maps.Keys(reasons), func(a, b string) int { return reasons[a] - reasons[b] })
}

// Revoke adds certificates to the authority's list in dir, which is made if it is not there, and signs it anew under the next
// number. Nobody hears of it until the list is where nodes read it. An authority below the root has its certificate in the
// same file, so that whoever trusts the root alone can check it.
func (ca *CA) Revoke(dir string, o RevokeOptions) (string, error) {
	validity, err := checkValidity(o.Validity, DefaultListValidity)
	if err != nil {
		return "", err
	}
	code, known := reasons[o.Reason]
	if !known && o.Reason != "" {
		return "", fmt.Errorf("reason %q: want one of %s", o.Reason, strings.Join(Reasons(), ", "))
	}
	file := filepath.Join(dir, CAListFile)
	template, err := ca.lastList(file)
	if err != nil {
		return "", err
	}
	serials, err := ca.serials(o)
	if err != nil {
		return "", err
	}
	now := time.Now()
	for _, n := range serials {
		if !slices.ContainsFunc(template.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(n) == 0 }) {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: now, ReasonCode: code})
		}
	}
	template.ThisUpdate, template.NextUpdate = now, now.Add(validity)
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.cert, ca.key)
	if err != nil {
		return "", fmt.Errorf("write a revocation list of %s: %w", ca.file, err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: pemList, Bytes: der})
	if ca.root != ca.cert {
		out = append(out, marshalCert(ca.cert.Raw)...)
	}
	return file, writeFile(outFile{file, out, modeCert}, true)
}

// lastList is what the next list begins with.
func (ca *CA) lastList(file string) (*x509.RevocationList, error) {
	data, err := readList(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &x509.RevocationList{Number: big.NewInt(1)}, nil
	}
	if err != nil {
		return nil, err
	}
	lists, _, err := splitLists(file, data)
	if err != nil {
		return nil, err
	}
	last, err := x509.ParseRevocationList(lists[0])
	switch {
	case err != nil:
	case len(lists) > 1 || last.Number == nil:
		err = errors.New("it has several lists, or no number")
	default:
		err = last.CheckSignatureFrom(ca.cert)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not the last list of the authority in %s: %w: put that one there, or name the folder of the authority that wrote this one (--ca)", file, ca.file, err)
	}
	next := &x509.RevocationList{Number: new(big.Int).Add(last.Number, big.NewInt(1))}
	for _, e := range last.RevokedCertificateEntries {
		next.RevokedCertificateEntries = append(next.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: e.SerialNumber, RevocationTime: e.RevocationTime, ReasonCode: e.ReasonCode})
	}
	return next, nil
}

func (ca *CA) serials(o RevokeOptions) (list []*big.Int, err error) {
	for _, file := range o.Certs {
		data, err := readPEM(file)
		if err != nil {
			return nil, fmt.Errorf("revoke: %w", err)
		}
		certs, err := parseCerts(file, data)
		if err != nil {
			return nil, fmt.Errorf("revoke: %w", err)
		}
		if !bytes.Equal(certs[0].RawIssuer, ca.cert.RawSubject) || certs[0].CheckSignatureFrom(ca.cert) != nil {
			return nil, fmt.Errorf("revoke: %s was issued by %q, and the authority in %s is %q: name the folder of that one (--ca)", file, certs[0].Issuer, ca.file, ca.cert.Subject)
		}
		list = append(list, certs[0].SerialNumber)
	}
	for _, text := range o.Serials {
		n, ok := new(big.Int).SetString(strings.ReplaceAll(text, ":", ""), 16)
		if !ok || n.Sign() <= 0 {
			return nil, fmt.Errorf("revoke: serial %q is no number in hex: causeway ca show prints that of a certificate", text)
		}
		list = append(list, n)
	}
	return list, nil
}

// ListInfo describes a revocation list for people and scripts.
type ListInfo struct {
	File       string        `json:"file"`
	Issuer     string        `json:"issuer"`
	Number     string        `json:"number"`
	ThisUpdate time.Time     `json:"this_update"`
	NextUpdate time.Time     `json:"next_update"`
	DaysLeft   int           `json:"days_left"`
	Revoked    []RevokedInfo `json:"revoked"`
}

// RevokedInfo is an entry of a list.
type RevokedInfo struct {
	Serial string    `json:"serial"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// DescribeLists reads the revocation lists of a file, PEM or DER, as they are: who signed them is not checked.
func DescribeLists(file string) ([]ListInfo, error) {
	data, err := readList(file)
	if err != nil {
		return nil, err
	}
	ders, _, err := splitLists(file, data)
	if err != nil {
		return nil, err
	}
	infos := make([]ListInfo, 0, len(ders))
	for _, der := range ders {
		rl, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		info := ListInfo{File: file, Issuer: rl.Issuer.String(), ThisUpdate: rl.ThisUpdate.UTC(), NextUpdate: rl.NextUpdate.UTC(),
			DaysLeft: int(time.Until(rl.NextUpdate).Hours() / 24), Revoked: []RevokedInfo{}}
		if rl.Number != nil {
			info.Number = rl.Number.String()
		}
		for _, e := range rl.RevokedCertificateEntries {
			info.Revoked = append(info.Revoked, RevokedInfo{e.SerialNumber.Text(16), e.RevocationTime.UTC(), reasonName(e.ReasonCode)})
		}
		infos = append(infos, info)
	}
	return infos, nil
}
