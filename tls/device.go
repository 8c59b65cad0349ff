package meshtls

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// DeviceOptions says what TLS a device listener speaks.
type DeviceOptions struct {
	// CertFile holds the server certificate with its intermediates, KeyFile its private key.
	CertFile, KeyFile string
	// ClientCAFiles hold the authorities of device certificates. Empty: none is asked for.
	ClientCAFiles []string
	// ClientCertOptional also admits devices without a certificate, to be asked for a password; a
	// certificate that is presented must still verify.
	ClientCertOptional bool
	// MinVersion is "1.2" or "1.3"; empty is "1.2".
	MinVersion string
	// Tickets, when set, has session tickets that every listener of this name with the same private key understands, at any node
	// and after a restart. They live for a day or two. Without it they are this process's own.
	Tickets string
}

// Device is the loaded TLS of one device listener. Its methods may be called concurrently.
type Device struct {
	opts    DeviceOptions // fixed after NewDevice
	revoked Revocations

	mu  sync.Mutex // held by Reload
	cur atomic.Pointer[deviceMaterial]
}

// deviceMaterial is one reading of the files; never changed once published. The config is kept
// whole so that its session tickets live as long as the certificates they were given under.
type deviceMaterial struct {
	config *tls.Config
	cas    []*x509.Certificate
	digest []byte
	expiry time.Time
	secret []byte       // of tickets; nil: they are the process's own
	day    atomic.Int64 // that the ticket keys are of
}

// DeviceConfig is the configuration of a device listener whose files are read once. With client
// CAs every device must present a certificate they issued. NewDevice is the same with reload.
func DeviceConfig(certFile, keyFile string, clientCAFiles []string, minVersion string) (*tls.Config, error) {
	d, err := NewDevice(DeviceOptions{CertFile: certFile, KeyFile: keyFile, ClientCAFiles: clientCAFiles, MinVersion: minVersion})
	if err != nil {
		return nil, err
	}
	return d.cur.Load().config, nil
}

// NewDevice reads a device listener's files.
func NewDevice(opts DeviceOptions) (*Device, error) {
	d := &Device{opts: opts}
	m, err := d.read()
	if err != nil {
		return nil, fmt.Errorf("load listener TLS: %w", err)
	}
	m.turnTickets(time.Now())
	d.cur.Store(m)
	d.revoked.trusted = func() []*x509.Certificate { return d.cur.Load().cas }
	return d, nil
}

// Revocations are the lists by which devices are refused; until Set nothing is revoked.
func (d *Device) Revocations() *Revocations { return &d.revoked }

// verify runs at the end of every handshake, also of one that resumes a session: the certificate may have been revoked since.
func (d *Device) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	return d.revoked.Check(state.VerifiedChains)
}

// Config is the configuration to listen with; each handshake uses what was loaded last.
func (d *Device) Config() *tls.Config {
	cfg := d.cur.Load().config.Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return d.cur.Load().config, nil
	}
	return cfg
}

// Expiry is when the server certificate ends.
func (d *Device) Expiry() time.Time { return d.cur.Load().expiry }

// Reload reads the files again and reports whether they had changed; on an error what was loaded
// stays in use.
func (d *Device) Reload() (changed bool, err error) {
	changed, err = d.reload()
	lists, lerr := d.revoked.Reload()
	return changed || lists, errors.Join(err, lerr)
}

func (d *Device) reload() (changed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next, err := d.read()
	if err != nil {
		return false, fmt.Errorf("reload listener TLS, keeping what was loaded before: %w", err)
	}
	if now := d.cur.Load(); bytes.Equal(next.digest, now.digest) {
		now.turnTickets(time.Now())
		return false, nil
	}
	next.turnTickets(time.Now())
	d.cur.Store(next)
	return true, nil
}

func (d *Device) read() (*deviceMaterial, error) {
	version, err := tlsVersion(d.opts.MinVersion)
	if err != nil {
		return nil, err
	}
	pair, err := readPair(d.opts.CertFile, d.opts.KeyFile)
	if err != nil {
		return nil, err
	}
	pool, cas, err := readPool(d.opts.ClientCAFiles...)
	if err != nil {
		return nil, err
	}
	// No ALPN: a server that names none accepts clients that offer some ("mqtt", "http/1.1"), and
	// WebSocket must not be talked into HTTP/2.
	cfg := &tls.Config{MinVersion: version, Certificates: []tls.Certificate{pair}, VerifyConnection: d.verify}
	if len(d.opts.ClientCAFiles) > 0 {
		cfg.ClientCAs, cfg.ClientAuth = pool, tls.RequireAndVerifyClientCert
		if d.opts.ClientCertOptional {
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	m := &deviceMaterial{config: cfg, cas: cas, digest: digestOf(pair, cas), expiry: pair.Leaf.NotAfter}
	if d.opts.Tickets != "" {
		m.secret, err = ticketSecret(pair.PrivateKey, d.opts.Tickets)
	}
	return m, err
}

// ticketSecret is what all listeners of a name with this private key have in common, and nobody else.
func ticketSecret(key crypto.PrivateKey, name string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("derive the keys of session tickets: %w", err)
	}
	mac := hmac.New(sha256.New, der)
	mac.Write([]byte("causeway: session tickets of " + name))
	return mac.Sum(nil), nil
}

// turnTickets has tickets made with the key of the day, and takes those of the day before and, of a node whose clock is ahead,
// of the next one.
func (m *deviceMaterial) turnTickets(now time.Time) {
	day := now.Unix() / 86400
	if m.secret == nil || m.day.Swap(day) == day {
		return
	}
	of := func(day int64) [32]byte {
		mac := hmac.New(sha256.New, m.secret)
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(day)))
		return [32]byte(mac.Sum(nil))
	}
	m.config.SetSessionTicketKeys([][32]byte{of(day), of(day - 1), of(day + 1)})
}

func tlsVersion(s string) (uint16, error) {
	switch s {
	case "", "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	default:
		return 0, fmt.Errorf("TLS version %q: want \"1.2\" or \"1.3\"", s)
	}
}
