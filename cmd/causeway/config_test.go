package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"causeway/internal/config"
)

func TestConfigPrint_FlagOverEnvOverFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(file, []byte("region: file\nnode: file\ndata_dir: file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"CAUSEWAY_NODE=env", "CAUSEWAY_DATA_DIR=env", "CAUSEWAY_CONFIG=" + file}
	code, out, err := command(t, "", env, "config", "print", "--data-dir", "flag")
	if code != 0 {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		rows[f[0]] = strings.Join(f[1:], " ")
	}
	for key, want := range map[string]string{
		"region": "file " + file + ":1", "node": "env env CAUSEWAY_NODE", "data_dir": "flag flag --data-dir",
		"limits.packet": "2MiB default", "admin.socket": "flag/admin.sock default",
	} {
		if rows[key] != want {
			t.Errorf("%s: %q, want %q", key, rows[key], want)
		}
	}
}

// What config print -o yaml writes is a file config validate accepts.
func TestConfigPrint_YAMLIsANodeFile(t *testing.T) {
	code, out, err := command(t, "", nil, "config", "print", "-o", "yaml")
	if code != 0 {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, err = command(t, "", nil, "config", "validate", "--config", file)
	if code != 0 || !strings.HasPrefix(out, "valid: node local-1 of region local") {
		t.Errorf("%d, %s%s", code, out, err)
	}
}

// Every problem is told at once, each with the place, the key and the fix.
func TestConfigValidate_AllProblems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "causeway.yaml")
	content := "listeners:\n- listen: 0.0.0.0:1883\n  auth: [anonymous]\nack: [{filter: '#', policy: standby}]\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, err := command(t, "", []string{"CAUSEWAY_LIMITS_INFLIGHT=0"}, "config", "validate", "--config", file)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"3 problems", file + ":3: listeners[0].auth: anonymous devices are admitted on loopback only",
		file + ":4: ack[0].policy: ", "env CAUSEWAY_LIMITS_INFLIGHT: limits.inflight: 0 is out of range; want 1 to 1024"} {
		if !strings.Contains(err, want) {
			t.Errorf("lacks %q:\n%s", want, err)
		}
	}
}

// The files a configuration names are read: a valid text with a missing certificate cannot run.
func TestConfigValidate_Files(t *testing.T) {
	dir := t.TempDir()
	command(t, "", nil, "ca", "init", "--ca", dir)
	command(t, "", nil, "ca", "issue", "--ca", dir, "--region", "eu", "--node", "eu-1", "--out", dir)
	cert, key, ca := filepath.Join(dir, "eu-1.pem"), filepath.Join(dir, "eu-1-key.pem"), filepath.Join(dir, "ca.pem")
	node := func(region, rest string) string {
		file := filepath.Join(t.TempDir(), "causeway.yaml")
		content := "region: " + region + "\nidentity: {cert: " + cert + ", key: " + key + ", ca: " + ca + "}\n" + rest
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	tls := "listeners: [{type: mqtts, listen: ':8883', auth: [cert], tls: {cert: " + cert + ", key: " + key + ", client_ca: [" + ca + "]}}]\n"
	for _, tc := range []struct{ name, file, want string }{
		{"all there", node("eu", tls), ""},
		{"certificate of another region", node("us", ""), "identity: " + cert + " is the certificate of causeway://region/eu/node/eu-1"},
		{"missing client CA", node("eu", strings.Replace(tls, "client_ca: ["+ca, "client_ca: [nowhere.pem", 1)), "listeners[0].tls: "},
		{"missing users", node("eu", "auth: {password_file: nowhere}\n"), "auth.password_file: open nowhere"},
		{"missing tokens", node("eu", "admin: {listen: '127.0.0.1:1', tokens: 'file:nowhere'}\n"), "admin.tokens: open nowhere"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, err := command(t, "", nil, "config", "validate", "--config", tc.file)
			if tc.want == "" && code != 0 || tc.want != "" && (code != exitFailed || !strings.Contains(err, tc.want)) {
				t.Errorf("%d, %s%s; want %q", code, out, err, tc.want)
			}
		})
	}
}

func TestAnnounce_SaysWhoMayComeIn(t *testing.T) {
	open := config.Default()
	open.Listeners[0].Listen, open.Listeners[0].AnonymousBeyondLoopback = ":1883", true
	for _, tc := range []struct {
		name string
		cfg  *config.Config
		want []string
	}{
		{"defaults", config.Default(), []string{"region=local", "devices on this machine need no credentials", "address=127.0.0.1:1883"}},
		{"anonymous everywhere", open, []string{"level=WARN", "from any machine", "address=:1883"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			announce(slog.New(slog.NewTextHandler(&out, nil)), tc.cfg)
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %q: %s", want, out.String())
				}
			}
		})
	}
}

func TestNewLogger(t *testing.T) {
	var out strings.Builder
	log := newLogger(&out, config.Log{Level: config.LogWarn, Format: config.LogJSON}, &slog.LevelVar{})
	log.Info("unseen")
	log.Warn("seen")
	if got := out.String(); strings.Contains(got, "unseen") || !strings.HasPrefix(got, "{") || !strings.Contains(got, `"msg":"seen"`) {
		t.Errorf("log: %s", got)
	}
}
