package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"causeway/internal/trial"
)

// What an operator hands to who helps holds no secret of the node: no key, no password hash, no payload.
func TestDoctor_NoSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users := dir + "/users"
	if out, code := causeway(t, "", "secret-eve\n", "passwd", "--cost", "4", "--file", users, "eve"); code != 0 {
		t.Fatalf("passwd: exit code %d\n%s", code, out)
	}
	tr := start(t, trial.Options{Regions: []string{"eu", "us"}, Extra: func(string) string { return "auth: { password_file: " + users + " }\n" }})
	eu := tr.Node("eu")
	publish(t, eu.MQTT, "-r", "-q", "1", "-t", "door/1", "-m", "the-code-is-4711")

	file := dir + "/bundle.tar.gz"
	if out, code := causeway(t, dir, "", "ctl", "--socket", eu.Socket(), "doctor", "-f", file); code != 0 || strings.Contains(out, "missing") {
		t.Fatalf("doctor: exit code %d\n%s", code, out)
	}
	secrets := map[string][]byte{"a payload": []byte("the-code-is-4711")}
	for _, root := range []string{filepath.Dir(eu.Dir), users} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "key.pem") && path != users {
				return err
			}
			b, err := os.ReadFile(path)
			secrets[path] = lastWord(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(secrets) < 4 {
		t.Fatalf("only %d secrets were found to look for", len(secrets))
	}
	files := bundle(t, file)
	for name, content := range files {
		for what, secret := range secrets {
			if bytes.Contains(content, secret) {
				t.Errorf("%s holds %s", name, what)
			}
		}
	}
	for name, want := range map[string]string{"status.json": `"region":"eu"`, "config.json": "password_file", "link-us.json": `"peer":"us"`,
		"metrics.txt": "causeway_build_info", "goroutines.txt": "goroutine ", "audit-verify.json": `"intact":true`} {
		if !bytes.Contains(files[name], []byte(want)) {
			t.Errorf("%s has no %s", name, want)
		}
	}
}

// lastWord is what of a key or a password file is secret: of a PEM file the line before its end.
func lastWord(b []byte) []byte {
	lines := bytes.Fields(b)
	for i := len(lines) - 1; i >= 0; i-- {
		if len(lines[i]) >= 16 && !bytes.HasPrefix(lines[i], []byte("-----")) {
			return lines[i]
		}
	}
	return b
}

func bundle(t *testing.T, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle's mode is %v, %v", info.Mode(), err)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
