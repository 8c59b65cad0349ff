package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxExposure is the worst score of systemd-analyze security that a unit may have, in tenths; 0 is best, 100 is a service
// without any protection. What is left is the network, which a broker needs.
const maxExposure = "15"

func TestUnits_Hardened(t *testing.T) {
	units, err := filepath.Glob("../../systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("units %v, %v", units, err)
	}
	for _, unit := range units {
		if out, err := analyze(t, unit); err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// The threshold is one: a unit that gives away one protection fails.
func TestUnits_ThresholdCanFail(t *testing.T) {
	unit, err := os.ReadFile("../../systemd/causeway.service")
	if err != nil {
		t.Fatal(err)
	}
	weak := filepath.Join(t.TempDir(), "causeway.service")
	if err := os.WriteFile(weak, []byte(strings.Replace(string(unit), "CapabilityBoundingSet=\n", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, weak); err == nil {
		t.Errorf("all capabilities pass:\n%s", out)
	}
}

func analyze(t *testing.T, unit string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: run make deps (Debian's package systemd)")
	}
	out, err := exec.Command(path, "security", "--offline=yes", "--no-pager", "--threshold="+maxExposure, unit).CombinedOutput()
	return string(out), err
}
