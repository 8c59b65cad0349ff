package meshtls

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxPEMFile bounds what is read of a certificate, key or CA file: a bundle of every public
// authority is about 250 KiB.
const maxPEMFile = 4 << 20

// modes of written files: a key is its owner's alone.
const (
	modeKey  fs.FileMode = 0o600
	modeCert fs.FileMode = 0o644
)

// readPEM reads a file whole, within bounds.
func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEMFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxPEMFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: not a PEM file of certificates or keys", path, maxPEMFile)
	}
	return data, nil
}

// readKey reads a key file and refuses one that every user of the machine may open.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("key file %s may be opened by every user (mode %04o): chmod 600 %s",
			path, info.Mode().Perm(), path)
	}
	return readPEM(path)
}

// parseCerts reads every certificate of a PEM file's content; path is for errors.
func parseCerts(path string, data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate: want a file with BEGIN CERTIFICATE lines", path)
	}
	return certs, nil
}

// readPair reads a certificate chain and its key, and says which file is at fault.
func readPair(certFile, keyFile string) (tls.Certificate, error) {
	certPEM, err := readPEM(certFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	chain, err := parseCerts(certFile, certPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := readKey(keyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("private key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s and private key %s do not belong together: %w", certFile, keyFile, err)
	}
	pair.Leaf = chain[0]
	return pair, nil
}

// readPool reads CA files into one pool.
func readPool(files ...string) (*x509.CertPool, []*x509.Certificate, error) {
	pool := x509.NewCertPool()
	var all []*x509.Certificate
	for _, file := range files {
		data, err := readPEM(file)
		if err != nil {
			return nil, nil, fmt.Errorf("CA: %w", err)
		}
		certs, err := parseCerts(file, data)
		if err != nil {
			return nil, nil, fmt.Errorf("CA: %w", err)
		}
		for _, cert := range certs {
			if !cert.IsCA {
				return nil, nil, fmt.Errorf("CA: %s: %q is not an authority; name the CA's certificate (ca.pem), not a node's", file, cert.Subject)
			}
			pool.AddCert(cert)
			all = append(all, cert)
		}
	}
	return pool, all, nil
}

// marshalKey writes a private key as PKCS #8 PEM.
func marshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func marshalCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// outFile is one file of a set that is written together.
type outFile struct {
	path string
	data []byte
	mode fs.FileMode
}

// writeFiles writes a set in order. Without force nothing is written if any of them exists (the
// error is fs.ErrExist), and files of a set that fails half-way are removed again.
func writeFiles(files []outFile, force bool) error {
	if !force {
		for _, f := range files {
			if _, err := os.Lstat(f.path); err == nil {
				return existsError(f.path)
			}
		}
	}
	for i, f := range files {
		if err := writeFile(f, force); err != nil {
			if !force { // with force the old file is gone already; the new one is the better half
				for _, done := range files[:i] {
					_ = os.Remove(done.path)
				}
			}
			return err
		}
	}
	return nil
}

func existsError(path string) error {
	return fmt.Errorf("%s: %w; it is not overwritten unless forced (--force), because what it vouches for would stop being trusted",
		path, fs.ErrExist)
}

// writeFile makes the file appear complete or not at all: temporary file in the same folder, fsync,
// then a rename, or without force a link, which alone refuses a file that appeared meanwhile.
func writeFile(f outFile, force bool) (err error) {
	dir := filepath.Dir(f.path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(f.path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	defer os.Remove(tmp.Name())
	if err := fillAndSync(tmp, f); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	if err := publish(tmp.Name(), f.path, force); err != nil {
		return err
	}
	return syncDir(dir)
}

func fillAndSync(tmp *os.File, f outFile) error {
	err := errors.Join(tmp.Chmod(f.mode), writeAll(tmp, f.data))
	if err == nil {
		err = tmp.Sync()
	}
	return errors.Join(err, tmp.Close())
}

func writeAll(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

func publish(tmp, path string, force bool) error {
	if force {
		return os.Rename(tmp, path)
	}
	err := os.Link(tmp, path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return existsError(path)
	default: // no hard links on this file system: the check in writeFiles has to do
		return os.Rename(tmp, path)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
