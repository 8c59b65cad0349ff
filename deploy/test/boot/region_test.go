package boot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"text/template"

	"causeway/deploy/haproxy"
)

var addresses = map[string]string{"eu-1": "10.77.0.10", "eu-2": "10.77.4.10", "eu-3": "10.77.8.10", "eu": "10.77.0.50"}

// region is three machines and a replicant, each told of its secrets by another cloud's store.
type region struct {
	t        *testing.T
	lan      *lan
	cloud    string // the folder of the clouds
	files    string // what the operator made
	machines map[string]*machine
	boot     map[string]string
}

// The whole way: user data runs, nodes form the region, a device is served through HAProxy, certificates are renewed without a
// restart, and a machine is replaced while nothing that was acknowledged is lost.
func TestRegion_FromUserData(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("machines are made of namespaces, which needs root: run the test as root, or leave it out with -skip TestRegion_FromUserData")
	}
	t.Parallel()
	r := newRegion(t)
	t.Run("unit", r.unit)
	r.await("three votes", r.whole)
	r.balancer()
	t.Run("device", r.device)
	t.Run("takeover", r.takeover)
	t.Run("witness", r.witness)
	t.Run("hook", r.hook)
	t.Run("renewal", r.renewal)
	t.Run("replace refused", r.replaceRefused)
	t.Run("replace", r.replace)
	t.Run("replicant", r.replicant)
}

func newRegion(t *testing.T) *region {
	r := &region{t: t, cloud: t.TempDir(), files: operatorFiles(t), machines: map[string]*machine{}, boot: map[string]string{}}
	sum := putPackage(t, r.cloud)
	r.lan = newLAN(t, "region")
	startCloud(r.lan, r.cloud)
	names, disks := []string{"eu-1", "eu-2", "eu-3"}, []string{}
	for _, name := range names {
		disks = append(disks, disk(t, name))
	}
	for i, store := range stores(t) {
		out := render(t, r.files, sum, store, disks)
		r.boot[names[i]] = out.Boot[names[i]]
		r.boot["eu"] = out.Boot["eu"]
		r.putSecrets(out.Secret)
	}
	for i, name := range names {
		r.machines[name] = &machine{t: t, name: name, ns: r.lan.attach(name, addresses[name]), device: disks[i]}
		r.machines[name].boot(r.boot[name])
	}
	return r
}

// operatorFiles is the folder that the runbook of a first region makes.
func operatorFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	causeway(t, "ca", "init", "--ca", ca)
	for _, id := range [][]string{{"--node", "eu-1"}, {"--node", "eu-2"}, {"--node", "eu-3"}, {}} {
		causeway(t, append([]string{"ca", "issue", "--ca", ca, "--region", "eu", "--out", dir}, id...)...)
	}
	causeway(t, "ca", "issue", "--ca", ca, "--region", "eu", "--node", "device", "--ip", gateway, "--out", dir)
	causeway(t, "ca", "gossip-key", "--out", filepath.Join(dir, "gossip.key"))
	cmd := exec.Command(binary(t), "passwd", "--cost", "4", "--file", filepath.Join(dir, "users"), "lamp")
	cmd.Stdin = strings.NewReader("secret\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("passwd: %v\n%s", err, out)
	}
	return dir
}

// debian is the package, built once.
var debian = sync.OnceValues(func() ([]byte, error) {
	out, err := os.MkdirTemp("", "causeway-boot-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	cmd := exec.Command("../../../scripts/release", out)
	cmd.Env = append(os.Environ(), "ARCHS="+runtime.GOARCH, "VERSION=v0.0.1")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("scripts/release: %w\n%s", err, text)
	}
	return os.ReadFile(filepath.Join(out, "causeway_v0.0.1_"+runtime.GOARCH+".deb"))
})

// putPackage puts the Debian package into dir and returns its sum.
func putPackage(t *testing.T, dir string) string {
	t.Helper()
	deb, err := debian()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "causeway.deb"), deb, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(deb)
	return hex.EncodeToString(sum[:])
}

func (r *region) putSecrets(secret map[string]string) {
	r.t.Helper()
	for name, text := range secret {
		if err := os.MkdirAll(filepath.Join(r.cloud, "secrets"), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.cloud, "secrets", name), []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// whole complains unless all three votes are here.
func (r *region) whole() error {
	out, err := r.ctl("cluster", "status", "-o", "json")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var c struct {
		Leader, Trouble string
		Quorum          struct{ Have int }
		Nodes           []struct {
			Node, State, Disk string
			Alive             bool
		}
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if c.Leader == "" || c.Quorum.Have != 3 || c.Trouble != "" {
		return fmt.Errorf("%s", out)
	}
	return nil
}

// ctl asks eu-1, which stays.
func (r *region) ctl(args ...string) (string, error) {
	return r.machines["eu-1"].try("causeway", append([]string{"ctl", "--socket", "/var/lib/causeway/admin.sock"}, args...)...)
}

func (r *region) await(what string, ask func() error) { r.t.Helper(); await(r.t, what, ask) }

// balancer starts HAProxy as deploy/haproxy says.
func (r *region) balancer() {
	r.t.Helper()
	v := haproxy.Values{Listen: gateway + ":8883"}
	for _, name := range []string{"eu-1", "eu-2", "eu-3"} {
		v.Nodes = append(v.Nodes, haproxy.Node{Name: name, MQTT: addresses[name] + ":8883", Health: addresses[name] + ":9464"})
	}
	file := filepath.Join(r.t.TempDir(), "haproxy.cfg")
	var text strings.Builder
	if err := template.Must(template.New("").Parse(haproxy.Template)).Execute(&text, v); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.lan.start(r.lan.command("haproxy", "-W", "-f", file), "haproxy")
}

func causeway(t *testing.T, args ...string) string { t.Helper(); return run(t, binary(t), args...) }

// binary is what make built.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CAUSEWAY_BINARY")
	if path == "" {
		path, _ = filepath.Abs("../../../bin/causeway")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make build", err)
	}
	return path
}
