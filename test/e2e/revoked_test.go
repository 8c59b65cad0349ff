package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
	meshtls "causeway/tls"
)

// A device whose certificate is revoked while it is connected is closed at the next look at the list, which is had by HTTP, and
// not let in again; also not after a restart of the node while nobody serves the list. Its neighbour notices nothing.
func TestRevoked_DeviceIsShutOut(t *testing.T) {
	t.Parallel()
	tr := layOut(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	ca, dir := authority(t)
	server := issue(t, ca, "server", []net.IP{net.IPv4(127, 0, 0, 1)})
	stolen, other := issue(t, ca, "car-7", nil), issue(t, ca, "car-8", nil)
	revoke := func(o meshtls.RevokeOptions) {
		t.Helper()
		if _, err := ca.Revoke(dir, o); err != nil {
			t.Fatal(err)
		}
	}
	revoke(meshtls.RevokeOptions{})
	lists := httptest.NewServer(http.FileServerFS(os.DirFS(dir)))
	defer lists.Close()
	trusted := filepath.Join(dir, "ca.pem")
	edit(t, eu, "type: mqtt, ", fmt.Sprintf("type: mqtts, tls: { cert: %s, key: %s, client_ca: [%s], crl: [%s/crl.pem], crl_stale: refuse }, ", server.Cert, server.Key, trusted, lists.URL))
	edit(t, eu, "auth: [anonymous]", "auth: [cert]")
	restart(t, eu, 0)
	as := func(f meshtls.Files, more ...string) []string {
		return append([]string{"--cafile", trusted, "--cert", f.Cert, "--key", f.Key}, more...)
	}
	crl := func() (l admin.CRL) {
		var st admin.Status
		if get(t, eu, "/v1/status", &st) == nil && len(st.CRLs) == 1 {
			l = st.CRLs[0]
		}
		return l
	}
	await(t, "the list", func() bool { return crl().State == admin.CRLCurrent && crl().Number == "1" })
	subscribe(t, eu.MQTT, as(stolen, "-i", "car-7", "-q", "1", "-t", "cmd/#")...)
	sub := subscribe(t, eu.MQTT, as(other, "-i", "car-8", "-q", "1", "-t", "cmd/#", "-C", "1")...)
	awaitRoute(t, eu, "cmd/1", 2, 0)

	revoke(meshtls.RevokeOptions{Certs: []string{stolen.Cert}, Reason: "key-compromise"})
	ctl(t, eu, "config", "reload", "--yes")
	await(t, "the device to be closed", func() bool {
		var h admin.DeviceHistory
		ctlJSON(t, eu, &h, "clients", "history", "car-7")
		return slices.ContainsFunc(h.Events, func(e admin.DeviceEvent) bool { return e.Reason == "revoked" })
	})
	refused := func() {
		t.Helper()
		if out, err := runBounded(mosquitto(t, "mosquitto_pub", eu.MQTT, as(stolen, "-i", "car-7", "-q", "1", "-t", "cmd/1", "-m", "stop")...)); err == nil {
			t.Errorf("a device with a revoked certificate was served: %s", out)
		}
	}
	refused()
	publish(t, eu.MQTT, as(other, "-q", "1", "-t", "cmd/1", "-m", "go")...)
	if got := sub.wait(); got != "go\n" {
		t.Errorf("the other device got %q", got)
	}
	resp, err := http.Get("http://" + eu.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`causeway_disconnects_total{reason="revoked"} 1`, `causeway_connects_total{listener="mqtt",result="revoked"} [1-9]`,
		`causeway_crl_age_seconds{issuer="Causeway CA",use="listener mqtt"} \d`, `causeway_crl_revoked_certificates{.*} 1`, `causeway_certificate_expires_seconds{certificate="listener mqtt"} 3`} {
		if !regexp.MustCompile(want).Match(page) {
			t.Errorf("no metric %s", want)
		}
	}

	lists.Close()
	if err := eu.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	restart(t, eu, 0)
	await(t, "the list to be missed", func() bool { return crl().Problem != "" && crl().Number == "2" })
	refused()
	publish(t, eu.MQTT, as(other, "-q", "1", "-t", "cmd/1", "-m", "go")...)
}
