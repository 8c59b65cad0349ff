package boot

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rendered is what core makes of the variables: boot scripts and secrets by name.
type rendered struct {
	Boot   map[string]string
	Secret map[string]string
}

// render applies the module core, which needs no cloud, with one store's script. More variables win.
func render(t *testing.T, files, packageSum, store string, disks []string, more ...map[string]any) rendered {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Fatal("terraform is missing: install terraform 1.11 or newer")
	}
	dir := t.TempDir()
	core, err := filepath.Abs("../../terraform/core")
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]any{
		"name": "eu", "location": "test", "cidr": "10.77.0.0/20", "zones": []string{"a", "b", "c"},
		"cores": map[string]any{"machine": "test"}, "replicants": map[string]any{"machine": "test", "max": 1},
		"package": map[string]string{"url": "http://" + metadata + "/causeway.deb", "sha256": packageSum},
		"files":   files, "devices": map[string]any{"auth": []string{"password"}},
		"store": store, "limit": 25000, "disks": disks, "balancer": map[string]any{"proxy": true, "notice": "1s"},
	}
	module := map[string]any{"source": core}
	for _, set := range append([]map[string]any{variables}, more...) {
		maps.Copy(module, set)
	}
	root := map[string]any{"module": map[string]any{"core": module}, "output": map[string]any{
		"all": map[string]any{"value": map[string]string{"Boot": "${module.core.boot}", "Secret": "${module.core.secret}"}, "sensitive": true}}}
	text, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	// In JSON a string is a template.
	escaped := strings.NewReplacer("${module.", "${module.", "${", "$${", "%{", "%%{").Replace(string(text))
	if err := os.WriteFile(filepath.Join(dir, "main.tf.json"), []byte(escaped), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-input=false"}, {"apply", "-auto-approve", "-input=false"}} {
		terraform(t, dir, args...)
	}
	var out rendered
	if err := json.Unmarshal([]byte(terraform(t, dir, "output", "-json", "all")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func terraform(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("terraform", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TF_CLI_CONFIG_FILE=/dev/null", "CHECKPOINT_DISABLE=1", "TF_CLI_ARGS=-no-color")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s%s", args[0], err, out, complaint.String())
	}
	return string(out)
}
