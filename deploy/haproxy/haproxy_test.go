package haproxy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

// HAProxy itself judges the template; the end-to-end tests run behind it.
func TestTemplate(t *testing.T) {
	var b strings.Builder
	v := Values{Listen: "127.0.0.1:1883", Stats: "/run/haproxy.sock", Nodes: []Node{{"eu-1", "127.0.0.1:1884", "127.0.0.1:9464"}, {"eu-2", "127.0.0.2:1884", "127.0.0.2:9464"}}}
	if err := template.Must(template.New("").Parse(Template)).Execute(&b, v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"server eu-1 127.0.0.1:1884 port 9464", "server eu-2 127.0.0.2:1884 port 9464", "bind 127.0.0.1:1883"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is missing: run make deps")
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "-c", "-f", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, b.String())
	}
}
