package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// binary is the causeway executable that the nodes run.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	binary = os.Getenv("CAUSEWAY_BINARY")
	for _, v := range os.Environ() { // the nodes would read them, and refuse the one above
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "CAUSEWAY_") {
			os.Unsetenv(name)
		}
	}
	if binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "causeway-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "causeway")
	build := exec.Command("go", "build", "-race", "-o", binary, "causeway/cmd/causeway")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the executable under test:", err)
		return 1
	}
	return m.Run()
}
