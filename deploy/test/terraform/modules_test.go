package terraform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestModules_Formatted(t *testing.T) {
	need(t, "terraform", "install terraform 1.11 or newer")
	if out, err := (tool{}).run(modules, "fmt", "-check", "-diff", "-recursive"); err != nil {
		t.Errorf("run terraform fmt -recursive deploy/terraform: %v\n%s", err, out)
	}
}

// Each module and root is valid by the schemas of the providers.
func TestModules_Valid(t *testing.T) {
	tl := newTool(t)
	dir := tl.copy(t)
	for _, module := range moduleDirs(t, dir) {
		t.Run(module, func(t *testing.T) {
			tl.init(t, filepath.Join(dir, module))
			if _, err := tl.run(filepath.Join(dir, module), "validate"); err != nil {
				t.Error(err)
			}
		})
	}
}

// The modules' own tests: what they make of their variables, with mocks for the clouds.
func TestModules_Plan(t *testing.T) {
	tl := newTool(t)
	dir := tl.copy(t)
	for _, module := range moduleDirs(t, dir) {
		if tests, _ := filepath.Glob(filepath.Join(dir, module, "tests/*.tftest.hcl")); len(tests) == 0 {
			continue
		}
		t.Run(module, func(t *testing.T) {
			tl.init(t, filepath.Join(dir, module))
			out, err := tl.run(filepath.Join(dir, module), "test")
			if err != nil {
				t.Error(err)
			}
			if !strings.Contains(out, "Success!") {
				t.Errorf("nothing was tested:\n%s", out)
			}
		})
	}
}

// A region moves from cloud to cloud with its variables, and is told of by the same outputs.
func TestModules_SameInEachCloud(t *testing.T) {
	for _, same := range []struct{ file, of string }{
		{"aws/variables.tf", "core/variables.tf"}, {"gcp/variables.tf", "core/variables.tf"}, {"azure/variables.tf", "core/variables.tf"},
		{"dns/aws/variables.tf", "dns/variables.tf"}, {"dns/gcp/variables.tf", "dns/variables.tf"}, {"dns/azure/variables.tf", "dns/variables.tf"},
	} {
		if read(t, same.file) != read(t, same.of) {
			t.Errorf("%s is not %s", same.file, same.of)
		}
	}
	want := outputs(t, "aws")
	for _, cloud := range []string{"gcp", "azure"} {
		if got := outputs(t, cloud); got != want {
			t.Errorf("outputs of %s are %s, of aws %s", cloud, got, want)
		}
	}
}

// outputs are the names of a module's outputs.
func outputs(t *testing.T, module string) string {
	t.Helper()
	var names []string
	for _, line := range strings.Split(read(t, module+"/outputs.tf"), "\n") {
		if name, ok := strings.CutPrefix(line, "output "); ok {
			names = append(names, strings.Trim(name, `" {`))
		}
	}
	return strings.Join(names, " ")
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(modules, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// moduleDirs are the folders with configuration, by their path below the modules.
func moduleDirs(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == ".terraform" {
			return filepath.SkipDir
		}
		if filepath.Base(path) == "main.tf" || filepath.Base(path) == "terraform.tf" {
			found = append(found, strings.TrimPrefix(filepath.Dir(path), dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var once []string
	for _, f := range found {
		if !seen[f] {
			once, seen[f] = append(once, f), true
		}
	}
	return once
}
