package e2e

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot work is refused at the start, in words that name the place and what to do.
func TestConfigWrong_NodeSaysWhereAndWhat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, yaml string
		want       []string
	}{
		{"unknown key", "region: eu\nlisteners:\n  - { name: cars, listen: \"127.0.0.1:1\", max_conections: 5 }\n",
			[]string{"causeway.yaml:3", "listeners[0].max_conections", "unknown key", "max_connections"}},
		{"unknown section", "region: eu\nlimit: { packet: 1MiB }\n", []string{"causeway.yaml:2", "limit", "unknown key", "limits"}},
		{"bad value", "region: eu\nlimits: { packet: two lots }\n", []string{"causeway.yaml:2", "limits.packet", `"two lots"`, "2MiB"}},
		{"anonymous for everybody", "region: eu\nlisteners:\n  - { name: cars, listen: \":1883\", auth: [anonymous] }\n",
			[]string{"causeway.yaml:3", "listeners[0]", "anonymous_beyond_loopback"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "causeway.yaml")
			write(t, file, c.yaml)
			out, code := causeway(t, "", "", "serve", "--config", file)
			wantRefusal(t, out, code, 1, c.want...)
		})
	}
}

// A taken port is named with its listener and what to do, and nothing is left running.
func TestPortTaken_NodeNamesListenerAndFix(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "causeway.yaml")
	write(t, file, "region: eu\ndata_dir: "+dir+"/d\nadmin: { socket: "+dir+"/s }\nlisteners:\n  - { name: cars, listen: \""+taken.Addr().String()+"\" }\n")

	out, code := causeway(t, "", "", "serve", "--config", file)

	wantRefusal(t, out, code, 1, `"cars"`, taken.Addr().String(), "address already in use", "listen")
}

func wantRefusal(t *testing.T, out string, code, wantCode int, words ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("it does not name %s", w)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// causeway runs the executable to its end in a directory ("" for this one).
func causeway(t *testing.T, dir, stdin string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := runBounded(cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out, cmd.ProcessState.ExitCode()
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
