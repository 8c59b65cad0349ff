package meshtls

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
)

// deviceClient trusts ca and presents cert, if there is one.
func deviceClient(ca *CA, cert *tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	cfg := &tls.Config{RootCAs: pool, ServerName: "broker.example.com"}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return cfg
}

func deviceCert(t *testing.T, ca *CA) *tls.Certificate {
	t.Helper()
	issued := mustIssue(t, ca, Identity{Region: "devices", Node: "d-1"})
	pair, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

func TestDeviceConfig(t *testing.T) {
	ca, devices, foreign := newCA(t, CAOptions{}), newCA(t, CAOptions{}), newCA(t, CAOptions{})
	server := issueTo(t, ca, Identity{Region: "eu", DNSNames: []string{"broker.example.com"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	known, unknown := deviceCert(t, devices), deviceCert(t, foreign)

	for _, tc := range []struct {
		name     string
		cas      []string
		optional bool
		min      string
		cert     *tls.Certificate
		max      uint16
		ok       bool
	}{
		{name: "no client CA asks for nothing", ok: true},
		{name: "TLS 1.2 by default", max: tls.VersionTLS12, ok: true},
		{name: "1.3 refuses 1.2", min: "1.3", max: tls.VersionTLS12},
		{name: "1.1 never", max: tls.VersionTLS11},
		{name: "known device", cas: []string{devices.file}, cert: known, ok: true},
		{name: "one of two CAs", cas: []string{foreign.file, devices.file}, cert: known, ok: true},
		{name: "unknown device", cas: []string{devices.file}, cert: unknown},
		{name: "device without certificate", cas: []string{devices.file}},
		{name: "optional, without", cas: []string{devices.file}, optional: true, ok: true},
		{name: "optional, unknown", cas: []string{devices.file}, optional: true, cert: unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := NewDevice(DeviceOptions{CertFile: server.Cert, KeyFile: server.Key,
				ClientCAFiles: tc.cas, ClientCertOptional: tc.optional, MinVersion: tc.min})
			if err != nil {
				t.Fatal(err)
			}
			client := deviceClient(ca, tc.cert)
			client.MinVersion, client.MaxVersion = tls.VersionTLS10, tc.max
			_, _, cerr, serr := handshake(t, client, d.Config())
			if ok := cerr == nil && serr == nil; ok != tc.ok {
				t.Errorf("client %v, server %v; want success %v", cerr, serr, tc.ok)
			}
		})
	}
}

func TestDeviceConfig_Static(t *testing.T) {
	ca := newCA(t, CAOptions{})
	server := issueTo(t, ca, Identity{Region: "eu", DNSNames: []string{"broker.example.com"}})
	cfg, err := DeviceConfig(server.Cert, server.Key, nil, "1.3")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, cerr, serr := handshake(t, deviceClient(ca, nil), cfg); cerr != nil || serr != nil {
		t.Errorf("client %v, server %v", cerr, serr)
	}
	if _, err := DeviceConfig(server.Cert, server.Key, nil, "1.1"); err == nil || !strings.Contains(err.Error(), `"1.1"`) {
		t.Errorf("version 1.1: %v", err)
	}
	if _, err := DeviceConfig(server.Cert, server.Key, []string{"nowhere.pem"}, ""); err == nil || !strings.Contains(err.Error(), "nowhere.pem") {
		t.Errorf("missing client CA: %v", err)
	}
}

// A renewed certificate reaches the next device through the configuration the listener holds.
func TestDevice_Reload(t *testing.T) {
	ca, next := newCA(t, CAOptions{}), newCA(t, CAOptions{})
	id := Identity{Region: "eu", DNSNames: []string{"broker.example.com"}}
	server := issueTo(t, ca, id)
	d, err := NewDevice(DeviceOptions{CertFile: server.Cert, KeyFile: server.Key})
	if err != nil {
		t.Fatal(err)
	}
	cfg, before := d.Config(), d.Expiry()

	if err := os.WriteFile(server.Key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.Reload(); changed || err == nil {
		t.Fatalf("broken key: %v, %v", changed, err)
	}
	if _, _, cerr, serr := handshake(t, deviceClient(ca, nil), cfg); cerr != nil || serr != nil {
		t.Fatalf("after a failed reload: client %v, server %v", cerr, serr)
	}

	copyFiles(t, issueTo(t, next, id), server)
	if changed, err := d.Reload(); !changed || err != nil {
		t.Fatalf("reload: %v, %v", changed, err)
	}
	if _, _, cerr, serr := handshake(t, deviceClient(next, nil), cfg); cerr != nil || serr != nil {
		t.Errorf("client of the new CA: client %v, server %v", cerr, serr)
	}
	if _, _, cerr, _ := handshake(t, deviceClient(ca, nil), cfg); cerr == nil {
		t.Error("the old certificate is still served")
	}
	if d.Expiry().Before(before) {
		t.Errorf("expiry went from %v to %v", before, d.Expiry())
	}
}
