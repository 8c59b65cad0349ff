package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Built twice, in folders of other names from copies of the sources, each file is the same.
func TestRelease_Reproducible(t *testing.T) {
	a, b := build(t, "a"), build(t, "a much longer name")
	for name, content := range a {
		if !bytes.Equal(content, b[name]) {
			t.Errorf("%s differs between two builds: %d and %d bytes", name, len(content), len(b[name]))
		}
	}
	if len(a) != 4 || len(b) != 4 {
		t.Errorf("a release has %d and %d files, want binary, package, SPDX document and SHA256SUMS", len(a), len(b))
	}
	checkPackage(t, a)
}

// build copies the sources and releases them; it returns what came out by name.
func build(t *testing.T, name string) map[string][]byte {
	t.Helper()
	src, out := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), "out")
	run(t, "../../..", nil, "sh", "-c", `git ls-files -z | xargs -0 cp --parents -P -t "$0"`, mkdir(t, src))
	env := append(os.Environ(), "VERSION=v1.2.3", "SOURCE_DATE_EPOCH=1700000000", "ARCHS="+runtime.GOARCH)
	run(t, src, env, "scripts/release", out)
	run(t, out, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	files := map[string][]byte{}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(out, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// checkPackage looks into the Debian package: who owns what, and what an upgrade leaves alone.
func checkPackage(t *testing.T, files map[string][]byte) {
	t.Helper()
	deb := filepath.Join(t.TempDir(), "causeway.deb")
	if err := os.WriteFile(deb, files["causeway_v1.2.3_"+runtime.GOARCH+".deb"], 0o600); err != nil {
		t.Fatal(err)
	}
	listing := run(t, "", nil, "dpkg-deb", "--contents", deb)
	for _, want := range []string{
		"-rwxr-xr-x root/root", "./usr/bin/causeway",
		"drwxr-x--- root/causeway", "./etc/causeway/",
		"-rw-r----- root/causeway", "./etc/causeway/causeway.yaml",
		"./usr/lib/systemd/system/causeway.service", "./usr/lib/sysusers.d/causeway.conf", "./usr/share/doc/causeway/copyright",
	} {
		if !strings.Contains(listing, want) {
			t.Errorf("no %q in the package:\n%s", want, listing)
		}
	}
	control := t.TempDir()
	run(t, "", nil, "dpkg-deb", "--control", deb, control)
	if conffiles, err := os.ReadFile(filepath.Join(control, "conffiles")); err != nil || strings.TrimSpace(string(conffiles)) != "/etc/causeway/causeway.yaml" {
		t.Errorf("conffiles are %q, %v", conffiles, err)
	}
	if version := run(t, "", nil, "dpkg-deb", "--field", deb, "Version"); strings.TrimSpace(version) != "1.2.3" {
		t.Errorf("version %q", version)
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs a command in dir and returns what it printed.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
