package boot

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unit: systemd finds nothing to complain of, protects the node as promised, and keeps it to its own user and disk.
func (r *region) unit(t *testing.T) {
	m := r.machines["eu-1"]
	if out := m.run("systemd-analyze", "verify", "--man=no", "causeway.service", "causeway-fetch.service", "causeway-fetch.timer", "causeway-disk.service"); out != "" {
		t.Errorf("systemd-analyze verify says\n%s", out)
	}
	m.run("systemd-analyze", "security", "--no-pager", "--threshold=15", "causeway.service")
	if user := m.run("ps", "-o", "user=", "-C", "causeway"); strings.TrimSpace(user) != "causeway" {
		t.Errorf("the node runs as %q", user)
	}
	if source := m.run("findmnt", "-n", "-o", "SOURCE,FSTYPE", "/var/lib/causeway"); strings.Join(strings.Fields(source), " ") != m.device+" ext4" {
		t.Errorf("the data directory is on %q, want %s", source, m.device)
	}
	if modes := m.run("stat", "-c", "%U %a", "/etc/causeway/eu-1-key.pem", "/var/lib/causeway"); modes != "causeway 600\ncauseway 700" {
		t.Errorf("key and data belong to\n%s", modes)
	}
	if out, err := m.try("ls", "/etc/causeway/eu-2-key.pem"); err == nil {
		t.Errorf("the key of another node is here: %s", out)
	}
}

// device: QoS 1 in and out through HAProxy, over TLS, with a queue that waits for its device.
func (r *region) device(t *testing.T) {
	r.mosquitto(t, "mosquitto_sub", "-i", "lamp", "-c", "-q", "1", "-t", "home/#", "-E")
	r.mosquitto(t, "mosquitto_pub", "-q", "1", "-t", "home/lamp", "-m", "on")
	r.mosquitto(t, "mosquitto_pub", "-q", "1", "-t", "home/lamp", "-m", "off")
	if got := r.mosquitto(t, "mosquitto_sub", "-i", "lamp", "-c", "-q", "1", "-t", "home/#", "-C", "1", "-W", "60"); got != "on" {
		t.Errorf("the lamp got %q, want on", got)
	}
}

func (r *region) mosquitto(t *testing.T, program string, args ...string) string {
	t.Helper()
	var got string
	await(t, program, func() error {
		all := append([]string{"-h", gateway, "-p", "8883", "--cafile", filepath.Join(r.files, "ca.pem"), "-u", "lamp", "-P", "secret"}, args...)
		out, err := r.lan.command(program, all...).CombinedOutput()
		got = strings.TrimSpace(string(out))
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return got
}

// takeover: what the module renders of peers, standbys and a witness is a node file that the binary takes.
func (r *region) takeover(t *testing.T) {
	out := render(t, r.files, strings.Repeat("0", 64), "", []string{"", "", ""}, map[string]any{
		"peers":  map[string]any{"us": map[string]any{"dial": []string{"udp://192.0.2.1:7444"}, "never": []string{"pii/#"}, "prefix": "us/"}},
		"backup": true, "place": "s3://bucket/eu",
		"takeover": map[string]any{
			"regions": []any{map[string]any{"name": "eu"}, map[string]any{"name": "us", "standby_of": []string{"eu"}},
				map[string]any{"name": "w1", "witness": true, "dial": []string{"udp://192.0.2.2:7444"}}},
			"takeover": map[string]any{"mode": "auto"},
		},
	})
	var files map[string]string
	if err := json.Unmarshal([]byte(out.Secret["eu-1"]), &files); err != nil {
		t.Fatal(err)
	}
	m := r.machines["eu-1"]
	m.write("/tmp/takeover.yaml", files["causeway.yaml"])
	m.run("causeway", "config", "validate", "--config", "/tmp/takeover.yaml")
}

// witness: its file, too, and its unit runs once its directory was begun by hand.
func (r *region) witness(t *testing.T) {
	out := render(t, r.files, strings.Repeat("0", 64), "", []string{""}, map[string]any{
		"kind": "witness", "replicants": map[string]any{},
		"takeover": map[string]any{"regions": []any{map[string]any{"name": "us"}, map[string]any{"name": "ap", "standby_of": []string{"us"}},
			map[string]any{"name": "eu", "witness": true}}},
	})
	var files map[string]string
	if err := json.Unmarshal([]byte(out.Secret["eu-1"]), &files); err != nil {
		t.Fatal(err)
	}
	m := r.machines["eu-1"]
	m.write("/etc/causeway/witness.yaml", files["witness.yaml"])
	m.run("install", "-d", "-o", "causeway", "-m", "0700", "/var/lib/causeway-witness")
	m.run("chown", "causeway:", "/etc/causeway/witness.yaml")
	m.run("runuser", "-u", "causeway", "--", "causeway", "witness", "init", "--config", "/etc/causeway/witness.yaml")
	m.run("systemctl", "start", "causeway-witness.service")
	m.await("the witness answers", func() error {
		_, err := m.try("sh", "-c", "journalctl -u causeway-witness.service -o cat | grep -q 'the witness answers'")
		return err
	})
	m.run("systemctl", "stop", "causeway-witness.service")
}

// hook: each cloud's program for takeover.hooks.promote, by the node's user, takes a region out of the name and puts it back.
func (r *region) hook(t *testing.T) {
	const (
		dry  = `{"event":"promote","home":"us","region":"eu","host":"eu","epoch":2,"dry_run":true}`
		away = `{"event":"promote","home":"us","region":"eu","host":"eu","epoch":2,"dry_run":false}`
		back = `{"event":"promote","home":"us","region":"us","host":"us","epoch":3,"dry_run":false}`
		none = `{"event":"promote","home":"ap","region":"eu","host":"eu","epoch":2,"dry_run":false}`
	)
	loop := regexp.MustCompile(`(?s)%{ for .* endfor ~}\n`)
	m := r.machines["eu-1"]
	said := filepath.Join(r.cloud, "names")
	for _, c := range []struct {
		cloud, known     string // what its case knows of region us
		dry, away, back  string // what is asked of the cloud
		login, loggedOut string // files/dns-login of a machine elsewhere, and what is asked then
	}{
		{cloud: "aws", known: "check=check-us", dry: "GET check-us ",
			away: "<Inverted>true</Inverted><Disabled>true</Disabled>", back: "<Inverted>false</Inverted><Disabled>false</Disabled>"},
		{cloud: "gcp", known: `item='{"location":"us-east1","healthCheckedTargets":{"externalEndpoints":["192.0.2.3"]}}'`, dry: "GET mqtt.example.com. google\n",
			away:  `"additions":[{"name":"mqtt.example.com.","type":"A","ttl":30,"routingPolicy":{"geo":{"items":[{"location":"europe-west3"}]}}}]`,
			back:  `"additions":[{"name":"mqtt.example.com.","type":"A","ttl":30,"routingPolicy":{"geo":{"items":[{"location":"europe-west3"},{"location":"us-east1","healthCheckedTargets":{"externalEndpoints":["192.0.2.3"]}}]}}}]`,
			login: r.serviceAccount(t), loggedOut: "GET mqtt.example.com. account\n"},
		{cloud: "azure", known: "ids='/profile/us-0 /profile/us-1'", dry: "GET us-0 azure \nGET us-1 azure \n",
			away: `PATCH us-1 azure {"properties":{"endpointStatus":"Disabled"}}`, back: `PATCH us-0 azure {"properties":{"endpointStatus":"Enabled"}}`,
			login: "tenant:client:s3cret\n", loggedOut: "GET us-0 application \n"},
	} {
		text, err := os.ReadFile("../../terraform/dns/" + c.cloud + "/hook.sh.tftpl")
		if err != nil {
			t.Fatal(err)
		}
		at := "http://" + metadata
		script := strings.NewReplacer("${endpoint}", at+"/names/"+c.cloud, "${login}", at+"/login", "${project}", "example", "${zone}", "devices",
			"${name}", "mqtt.example.com.").Replace(loop.ReplaceAllString(string(text), "us) "+c.known+" ;;\n"))
		m.write("/etc/causeway/dns-hook", script)
		m.run("sh", "-c", "chown causeway: /etc/causeway/dns-hook && chmod 700 /etc/causeway/dns-hook")
		ask := func(event, says, asks string) {
			t.Helper()
			_ = os.Remove(said)
			out := m.run("runuser", "-u", "causeway", "--", "sh", "-c", "echo '"+event+"' | /etc/causeway/dns-hook")
			asked, _ := os.ReadFile(said)
			if !strings.Contains(out, says) || !strings.Contains(string(asked), asks) || (asks == "") != (len(asked) == 0) {
				t.Errorf("%s: %s: it says %q and asked %q", c.cloud, event, out, asked)
			}
		}
		ask(dry, "would take us out of the name: true", c.dry)
		ask(away, "us is out of the name: true", c.away)
		ask(back, "us is out of the name: false", c.back)
		ask(none, "not in the name", "")
		if c.login != "" {
			m.write("/etc/causeway/dns-login", c.login)
			m.run("sh", "-c", "chown causeway: /etc/causeway/dns-login && chmod 600 /etc/causeway/dns-login")
			ask(dry, "would take us out of the name: true", c.loggedOut)
			m.run("rm", "/etc/causeway/dns-login")
		}
	}
}

// serviceAccount is the key of a service account of Google's, as its file has it. The clouds know it, too.
func (r *region) serviceAccount(t *testing.T) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.cloud, accountKey), x509.MarshalPKCS1PublicKey(&key.PublicKey), 0o600); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"client_email": "dns@example.com", "token_uri": "http://" + metadata + "/login/google",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// renewal: a certificate that is new in the store is at the node after the timer's next run, without a restart.
func (r *region) renewal(t *testing.T) {
	m := r.machines["eu-2"]
	pid := m.run("systemctl", "show", "-P", "MainPID", "causeway.service")
	causeway(t, "ca", "issue", "--ca", filepath.Join(r.files, "ca"), "--region", "eu", "--node", "eu-2", "--out", r.files, "--force")
	secret, err := os.ReadFile(filepath.Join(r.cloud, "secrets", "eu-2"))
	if err != nil {
		t.Fatal(err)
	}
	out := render(t, r.files, strings.Repeat("0", 64), stores(t)[1], []string{"", "", ""})
	if out.Secret["eu-2"] == string(secret) {
		t.Fatal("the renewed certificate is not in the secret")
	}
	r.putSecrets(out.Secret)
	if state := m.run("systemctl", "is-active", "causeway-fetch.timer"); state != "active" {
		t.Errorf("the timer is %s", state)
	}
	m.run("systemctl", "start", "causeway-fetch.service")
	renewed, err := os.ReadFile(filepath.Join(r.files, "eu-2.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.run("cat", "/etc/causeway/eu-2.pem"); got != strings.TrimSpace(string(renewed)) {
		t.Error("the node has the old certificate")
	}
	m.await("the node says that it took it up", func() error {
		_, err := m.try("sh", "-c", "journalctl -u causeway.service -o cat | grep -q 'certificates replaced'")
		return err
	})
	if now := m.run("systemctl", "show", "-P", "MainPID", "causeway.service"); now != pid {
		t.Errorf("the node was restarted: process %s, was %s", now, pid)
	}
}

// replaceNode runs scripts/replace-node with a stand-in for terraform: a program.
func (r *region) replaceNode(t *testing.T, node, terraform string) (string, error) {
	t.Helper()
	ctl := filepath.Join(t.TempDir(), "ctl")
	text := fmt.Sprintf("#!/bin/sh\nexec nsenter --target %s --all /usr/bin/causeway ctl --socket /var/lib/causeway/admin.sock \"$@\"\n", r.machines["eu-1"].pid)
	if err := os.WriteFile(ctl, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("../../../scripts/replace-node", ".", "module.eu.test", node)
	cmd.Env = append(os.Environ(), "CTL="+ctl, "TERRAFORM="+terraform, "WAIT=240", "EVACUATE=--wait-health-check 2s --wait-takeover 1s")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// replaceRefused: while eu-3 is away, the machine of eu-2 is not touched.
func (r *region) replaceRefused(t *testing.T) {
	r.machines["eu-3"].run("systemctl", "stop", "causeway.service")
	await(t, "eu-3 is missed", func() error {
		if r.whole() == nil {
			return fmt.Errorf("all votes are here")
		}
		return nil
	})
	var exit *exec.ExitError
	out, err := r.replaceNode(t, "eu-2", "/bin/false")
	if exit, _ = err.(*exec.ExitError); exit == nil || exit.ExitCode() != 3 || !strings.Contains(out, "refused") {
		t.Errorf("replacing another node was not refused: %v\n%s", err, out)
	}
	r.machines["eu-3"].run("systemctl", "start", "causeway.service")
	await(t, "three votes", r.whole)
}

// replace: the machine of eu-2 dies and a new one takes its disk and address.
func (r *region) replace(t *testing.T) {
	m := r.machines["eu-2"]
	before := m.run("sha256sum", "/var/lib/causeway/FORMAT")
	done := make(chan struct{})
	ready := filepath.Join(t.TempDir(), "replaced")
	if out, err := exec.Command("mkfifo", ready).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v\n%s", err, out)
	}
	// Terraform's part: the script waits at the pipe until the machine has been replaced here.
	standIn := filepath.Join(t.TempDir(), "terraform")
	if err := os.WriteFile(standIn, fmt.Appendf(nil, "#!/bin/sh\necho >'%s'\ncat '%s'\n", ready, ready), 0o700); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(done)
		if _, err := os.ReadFile(ready); err != nil {
			t.Error(err)
		}
	}()
	finished := make(chan string, 1)
	go func() {
		out, err := r.replaceNode(t, "eu-2", standIn)
		finished <- fmt.Sprint(err, "\n", out)
	}()
	<-done
	m.kill()
	m.boot(r.boot["eu-2"])
	if err := os.WriteFile(ready, []byte("replaced\n"), 0); err != nil {
		t.Fatal(err)
	}
	if said := <-finished; !strings.HasPrefix(said, "<nil>") || !strings.Contains(said, "eu-2 is back") {
		t.Errorf("replace-node: %s", said)
	}
	if after := m.run("sha256sum", "/var/lib/causeway/FORMAT"); after != before {
		t.Errorf("the node came back on another disk: %s, was %s", after, before)
	}
	if got := r.mosquitto(t, "mosquitto_sub", "-i", "lamp", "-c", "-q", "1", "-t", "home/#", "-C", "1", "-W", "60"); got != "off" {
		t.Errorf("what waited for the lamp is %q, want off", got)
	}
}

// replicant: a machine of the scaled group joins by the region's certificate and under its own name.
func (r *region) replicant(t *testing.T) {
	m := &machine{t: r.t, name: "eu-r-x1", ns: r.lan.attach("x1", addresses["eu"])}
	m.boot(r.boot["eu"])
	await(t, "the replicant is ready", func() error {
		out, err := m.try("curl", "-fsS", "http://127.0.0.1:9464/readyz")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if out, err := r.ctl("cluster", "status"); err != nil || !strings.Contains(out, "eu-eu-r-x1") || !strings.Contains(out, "replicant") {
		t.Errorf("the region does not know the replicant: %v\n%s", err, out)
	}
}
