package e2e

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"causeway/internal/trial"
	meshtls "causeway/tls"
)

// A listener that wants client certificates serves the device that has one of its authority,
// and nobody else: not without one, not with one of another authority.
func TestTLS_DeviceWithCertificate(t *testing.T) {
	t.Parallel()
	tr := layOut(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	trusted, trustedDir := authority(t)
	_, otherDir := authority(t)
	server := issue(t, trusted, "server", []net.IP{net.IPv4(127, 0, 0, 1)})
	device := issue(t, trusted, "car-7", nil)
	ca := filepath.Join(trustedDir, "ca.pem")
	edit(t, eu, "type: mqtt, ", "type: mqtts, tls: { cert: "+server.Cert+", key: "+server.Key+", client_ca: ["+ca+"] }, ")
	edit(t, eu, "auth: [anonymous]", "auth: [cert]")
	restart(t, eu, 0)
	with := []string{"--cafile", ca, "--cert", device.Cert, "--key", device.Key}

	sub := subscribe(t, eu.MQTT, append(with, "-i", "car-7", "-q", "1", "-t", "cmd/#", "-C", "1")...)
	awaitRoute(t, eu, "cmd/1", 1, 0)
	publish(t, eu.MQTT, append(with, "-q", "1", "-t", "cmd/1", "-m", "go")...)
	if got := sub.wait(); got != "go\n" {
		t.Errorf("got %q", got)
	}

	if _, err := runBounded(mosquitto(t, "mosquitto_pub", eu.MQTT, "--cafile", ca, "-q", "1", "-t", "cmd/1", "-m", "stop")); err == nil {
		t.Error("a device without a certificate was served")
	}
	foreign := issue(t, load(t, otherDir), "car-7", nil)
	if _, err := runBounded(mosquitto(t, "mosquitto_pub", eu.MQTT, "--cafile", ca, "--cert", foreign.Cert, "--key", foreign.Key, "-q", "1", "-t", "cmd/1", "-m", "stop")); err == nil {
		t.Error("a device of another authority was served")
	}

	// With bind_client_id a device is who its certificate says, and nobody else.
	if err := eu.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	edit(t, eu, "listeners:", "auth: { cert: { bind_client_id: true } }\nlisteners:")
	restart(t, eu, 0)
	publish(t, eu.MQTT, append(with, "-i", "car-7", "-q", "1", "-t", "cmd/1", "-m", "go")...)
	if _, err := runBounded(mosquitto(t, "mosquitto_pub", eu.MQTT, append(with, "-i", "car-8", "-q", "1", "-t", "cmd/1", "-m", "stop")...)); err == nil {
		t.Error("a device was served under the client id of another one")
	}
}

func authority(t *testing.T) (*meshtls.CA, string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := meshtls.CreateCA(dir, meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ca, dir
}

func load(t *testing.T, dir string) *meshtls.CA {
	t.Helper()
	ca, err := meshtls.LoadCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *meshtls.CA, name string, ips []net.IP) meshtls.Files {
	t.Helper()
	is, err := meshtls.Issue(ca, meshtls.Identity{Region: "devices", Node: name, IPs: ips}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files, err := is.Write(t.TempDir(), name, false)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
