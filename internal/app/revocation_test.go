package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/config"
	"causeway/internal/health"
	"causeway/internal/readiness"
	"causeway/link"
	meshtls "causeway/tls"
)

// The stolen key of a region is shut out by a list that a running node is told of: the tunnel that stands is closed, no other
// one is made, and both sides say why.
func TestRevoked_RegionIsShutOut(t *testing.T) {
	dir := t.TempDir()
	ca, err := meshtls.CreateCA(filepath.Join(dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yaml := func(name, peer, dial, crl string) string {
		return fmt.Sprintf(`
region: %[1]s
data_dir: %[2]s/%[1]s/data
identity: { cert: %[2]s/%[1]s/node.pem, key: %[2]s/%[1]s/node-key.pem, ca: %[2]s/%[1]s/ca.pem %[5]s }
listeners: [ { name: mqtt, type: mqtt, listen: "127.0.0.1:0", auth: [anonymous] } ]
admin: { socket: %[2]s/%[1]s/s }
link: { listen: "127.0.0.1:0" }
links: [ { peer: %[3]s %[4]s } ]
`, name, dir, peer, dial, crl)
	}
	for _, name := range []string{"eu", "us"} {
		is, err := meshtls.Issue(ca, meshtls.Identity{Region: name, Node: name + "-1"}, time.Hour)
		if err == nil {
			_, err = is.Write(filepath.Join(dir, name), "node", false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b := start(t, yaml("us", "eu", "", ""), app.Options{})
	await(t, "the link's socket", func() bool { return b.Links().Endpoint().Addr() != nil })
	dial := fmt.Sprintf(", dial: [\"udp://%s\"]", b.Links().Endpoint().Addr())
	var now atomic.Pointer[config.Config]
	a := start(t, yaml("eu", "us", dial, ""), app.Options{Load: func() (*config.Config, *config.Sources, error) { return now.Load(), &config.Sources{}, nil }})
	await(t, "the link", func() bool { return a.Links().Status()[0].State == link.Up })

	list, err := ca.Revoke(dir, meshtls.RevokeOptions{Certs: []string{filepath.Join(dir, "us", "node.pem")}, Reason: "key-compromise"})
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload := func(crl string) ([]string, error) {
		now.Store(load(t, yaml("eu", "us", dial, crl)))
		return a.Node().Reload(t.Context(), false)
	}
	if _, err := reload(", crl: [" + bad + "]"); err == nil || !strings.Contains(err.Error(), "identity.crl: "+bad) {
		t.Fatalf("a list that is none: %v", err)
	}
	if a.Links().Status()[0].State != link.Up || len(a.Node().Status().CRLs) > 0 {
		t.Fatal("a refused file changed something")
	}
	if said, err := reload(", crl: [" + list + "]"); err != nil || !strings.Contains(strings.Join(said, "\n"), "identity.crl") {
		t.Fatal(said, err)
	}
	await(t, "the link to be down for it", func() bool {
		s := a.Links().Status()[0]
		return s.State != link.Up && strings.Contains(s.Reason, "was revoked")
	})
	await(t, "the other side to be told", func() bool { return b.Links().Status()[0].State != link.Up })
	if l := a.Node().Status().CRLs; len(l) != 1 || l[0].State != admin.CRLCurrent || l[0].Revoked != 1 || l[0].Use != "identity" {
		t.Errorf("status %+v", l)
	}
	if r := a.ReadyCRL(); r.State != readiness.StateOK {
		t.Errorf("readiness %+v", r)
	}
	if _, err := reload(""); err != nil {
		t.Fatal(err)
	}
	await(t, "the link, as nothing is revoked any more", func() bool { return a.Links().Status()[0].State == link.Up })
}

// A node whose certificate is revoked loses its region, and the others go on without it; what it says of itself is why.
func TestRevoked_NodeIsShutOut(t *testing.T) {
	c := startThree(t, func(int) string { return "" })
	if _, err := c.ca.Revoke(c.lists, meshtls.RevokeOptions{Certs: []string{c.cert[3]}}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		if err := c.at[n].Reload(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "eu-3 to be alone", func() bool { return c.at[3].Health() == health.Isolated })
	await(t, "the others to go on", func() bool { return c.at[1].Health() == health.Ready && c.at[2].Health() == health.Ready })
	client(t, c.at[1].Addr("mqtt"), "dev", false)
	if r := c.at[3].ReadyCRL(); r.State != readiness.StateFail || !strings.Contains(r.Reason, "refuse this node") {
		t.Errorf("readiness of eu-3: %+v", r)
	}
	if r := c.at[1].ReadyCRL(); r.State != readiness.StateOK {
		t.Errorf("readiness of eu-1: %+v", r)
	}
}

// What readiness says of a list, by its state and what is done when it is not current.
func TestReadiness_CRL(t *testing.T) {
	at := time.Now()
	day := 24 * time.Hour
	in := func(d time.Duration) *time.Time { x := at.Add(d); return &x }
	current := admin.CRL{Use: "listener cars", Issuer: "Fleet", Source: "a", State: admin.CRLCurrent, Stale: "alarm", ThisUpdate: in(-day), NextUpdate: in(day)}
	with := func(change func(*admin.CRL)) admin.CRL { l := current; change(&l); return l }
	for name, tc := range map[string]struct {
		list  admin.CRL
		state readiness.State
		want  string
	}{
		"in date":         {current, readiness.StateOK, "in date"},
		"without an end":  {with(func(l *admin.CRL) { l.NextUpdate = nil }), readiness.StateOK, "in date"},
		"ends soon":       {with(func(l *admin.CRL) { l.NextUpdate = in(day / 20) }), readiness.StateWarn, "ends in 1h12m"},
		"not refreshed":   {with(func(l *admin.CRL) { l.Problem = "404" }), readiness.StateWarn, "holds: 404"},
		"stale":           {with(func(l *admin.CRL) { l.State, l.NextUpdate = admin.CRLStale, in(-time.Hour) }), readiness.StateFail, "ended 1h ago; certificates that it does not revoke are taken"},
		"stale, refuse":   {with(func(l *admin.CRL) { l.State, l.NextUpdate, l.Stale = admin.CRLStale, in(-time.Hour), "refuse" }), readiness.StateFail, "are refused"},
		"never had":       {admin.CRL{Use: "identity", Source: "http://a", State: admin.CRLMissing, Stale: "alarm", Problem: "down"}, readiness.StateFail, "http://a gave no list yet"},
		"no list":         {admin.CRL{Use: "identity", Issuer: "B", State: admin.CRLMissing, Stale: "alarm"}, readiness.StateWarn, `"B" has no list`},
		"no list, refuse": {admin.CRL{Use: "identity", Issuer: "B", State: admin.CRLMissing, Stale: "refuse"}, readiness.StateFail, `"B" has no list`},
	} {
		if r := app.JudgeCRL(&tc.list, "fix", at); r.State != tc.state || !strings.Contains(r.Reason, tc.want) || r.State != readiness.StateOK && r.Fix == "" {
			t.Errorf("%s: %+v, want %s: %q", name, r, tc.state, tc.want)
		}
	}
}
