package terraform

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// modules is where they lie in the repository.
const modules = "../../terraform"

// provider is a cloud's provider: its name, what its resources begin with, a version that fits the modules, and the npm package
// that has its schema.
type provider struct{ name, prefix, version, npm string }

var providers = []provider{
	{"aws", "aws", "6.25.0", "@cdktf/provider-aws@21.22.1"},
	{"google", "google", "7.13.0", "@cdktf/provider-google@16.12.1"},
	{"azurerm", "azurerm", "4.54.0", "@cdktf/provider-azurerm@14.23.1"},
}

// tool is terraform with the schema-only providers installed.
type tool struct {
	config string // its CLI configuration file
	files  string // what `causeway ca` makes for regions eu, us, ap and the witness w1
}

var theTool struct {
	once sync.Once
	tool tool
	err  error
	dir  string
}

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(theTool.dir)
	os.Exit(code)
}

// newTool installs the providers, once for all tests.
func newTool(t *testing.T) tool {
	t.Helper()
	need(t, "terraform", "install terraform 1.11 or newer")
	need(t, "npm", "run make deps: the schemas of the clouds come from npm packages")
	theTool.once.Do(func() { theTool.err = install() })
	if theTool.err != nil {
		t.Fatal(theTool.err)
	}
	return theTool.tool
}

func need(t *testing.T, program, hint string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: %s", program, hint)
	}
}

func install() error {
	dir, err := os.MkdirTemp("", "causeway-terraform-")
	if err != nil {
		return err
	}
	theTool.dir = dir
	binary := filepath.Join(dir, "schema")
	if _, err := command("../schema", nil, "go", "build", "-o", binary, "."); err != nil {
		return err
	}
	errs := make(chan error, len(providers))
	for _, p := range providers {
		go func() { errs <- p.install(dir, binary) }()
	}
	for range providers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	theTool.tool = tool{config: filepath.Join(dir, "terraformrc"), files: filepath.Join(dir, "files")}
	// No direct {}: what is not in the mirror is not looked for elsewhere.
	rc := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(dir, "mirror"))
	if e := os.WriteFile(theTool.tool.config, []byte(rc), 0o600); e != nil {
		return e
	}
	if e := makeFiles(theTool.tool.files); e != nil {
		return e
	}
	return err
}

// install puts the schema of the types that our modules use, and a copy of the binary beside it, where terraform looks.
func (p provider) install(dir, binary string) error {
	at := filepath.Join(dir, "mirror/registry.terraform.io/hashicorp", p.name, p.version, runtime.GOOS+"_"+runtime.GOARCH)
	pack := filepath.Join(dir, "npm-"+p.name)
	for _, d := range []string{at, pack} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if _, err := command(pack, nil, "npm", "pack", "--silent", p.npm); err != nil {
		return err
	}
	archives, _ := filepath.Glob(filepath.Join(pack, "*.tgz"))
	if len(archives) != 1 {
		return fmt.Errorf("npm pack %s left %d archives", p.npm, len(archives))
	}
	types, err := used(p.prefix)
	if err != nil {
		return err
	}
	schema, err := command("", nil, binary, append([]string{"extract", archives[0], p.prefix}, types...)...)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(at, "schema.json"), []byte(schema), 0o600); err != nil {
		return err
	}
	return os.Link(binary, filepath.Join(at, "terraform-provider-"+p.name+"_v"+p.version))
}

var typeLine = regexp.MustCompile(`(?m)^(resource|data) "(\w+)"`)

// used are the types of a provider that our modules have: aws_instance, data.aws_ami.
func used(prefix string) ([]string, error) {
	var types []string
	err := filepath.WalkDir(modules, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".tf" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range typeLine.FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(m[2], prefix+"_") {
				types = append(types, strings.TrimPrefix(m[1]+"."+m[2], "resource."))
			}
		}
		return err
	})
	slices.Sort(types)
	return slices.Compact(types), err
}

// copy gives the test a copy of all modules, with the files of a region in each root that wants them.
func (tl tool) copy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "terraform")
	if out, err := exec.Command("cp", "-a", modules, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the modules: %v\n%s", err, out)
	}
	roots, _ := filepath.Glob(filepath.Join(dir, "roots/*"))
	for _, root := range append(roots, filepath.Join(dir, "core")) {
		if err := os.Symlink(tl.files, filepath.Join(root, "files")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs terraform in a module and returns what it said.
func (tl tool) run(dir string, args ...string) (string, error) {
	return command(dir, []string{"TF_CLI_CONFIG_FILE=" + tl.config, "TF_IN_AUTOMATION=1", "TF_CLI_ARGS=-no-color"}, "terraform", args...)
}

// init installs the providers into a copied module.
func (tl tool) init(t *testing.T, dir string) {
	t.Helper()
	if out, err := tl.run(dir, "init", "-backend=false", "-input=false"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// command runs a program in dir with more in its environment. It returns what it printed, and in an error what it complained of.
func command(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), complaint.String())
	}
	return out.String(), nil
}
