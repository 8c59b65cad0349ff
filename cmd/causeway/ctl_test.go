package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var rewriteCtl = flag.Bool("rewrite-ctl", false, "write the answers of testdata/ctl anew")

// ctlRun is one command line of a test.
type ctlRun struct {
	dir      string // HOME; the node's data directory is DIR/data
	env      []string
	input    string
	terminal bool // whether somebody can be asked
	told     func(stdout string)
}

// telling is a buffer that tells what is in it after each write.
type telling struct {
	bytes.Buffer
	told func(string)
}

func (b *telling) Write(p []byte) (int, error) {
	n, err := b.Buffer.Write(p)
	if b.told != nil {
		b.told(b.String())
	}
	return n, err
}

// run executes a command line and returns what it wrote and its exit code.
func (r ctlRun) run(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	out := telling{told: r.told}
	var err bytes.Buffer
	std := stdio{in: strings.NewReader(r.input), out: &out, err: &err, env: append([]string{"HOME=" + r.dir}, r.env...)}
	c := &ctl{std: std, now: func() time.Time { return noon }, interactive: func(stream any) bool { return r.terminal && (stream == std.in || stream == std.err) }}
	root := &cobra.Command{Use: "causeway", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(c.command())
	root.SetArgs(append([]string{"ctl"}, args...))
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	ran := markRuns(root)
	cmd, e := root.ExecuteContextC(ctx)
	if e != nil && !*ran {
		e = usageError(cmd, e)
	}
	code = report(std.err, e)
	return out.String(), err.String(), code
}

// Each file of testdata/ctl is a conversation: prose, then command lines with what they print.
// "2> " marks standard error, "< " what is typed before the command runs (and that there is a
// terminal), "exit" a code that is not 0.
func TestCtl_Conversations(t *testing.T) {
	files, err := filepath.Glob("testdata/ctl/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := converse(t, string(b))
			if *rewriteCtl {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(b) && !*rewriteCtl {
				t.Errorf("%s: got\n%s", file, firstDifference(string(b), got))
			}
		})
	}
}

// converse runs the commands of a conversation and returns it with the answers of today.
func converse(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	api := &fakeAPI{answers: answers()}
	maps.Copy(api.answers, linkAnswers())
	maps.Copy(api.answers, regionAnswers())
	maps.Copy(api.answers, drillAnswers())
	api.serve(t, filepath.Join(dir, "data"))
	var out strings.Builder
	r := ctlRun{dir: dir}
	prose := true
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		typed, isTyped := strings.CutPrefix(line, "< ")
		command, isCommand := strings.CutPrefix(line, "$ causeway ctl ")
		switch {
		case isTyped:
			r.terminal, r.input = true, r.input+typed+"\n"
			prose = false
		case isCommand:
			prose = false
			args := append([]string{"--data-dir", filepath.Join(dir, "data")}, strings.Fields(command)...)
			stdout, stderr, code := r.run(t.Context(), args...)
			fmt.Fprintf(&out, "%s%s\n", typedLines(r.input), line)
			out.WriteString(strings.ReplaceAll(stdout, dir, "DIR"))
			for l := range strings.Lines(strings.ReplaceAll(stderr, dir, "DIR")) {
				out.WriteString("2> " + strings.TrimSuffix(l, "\n") + "\n")
			}
			if code != 0 {
				fmt.Fprintf(&out, "exit %d\n", code)
			}
			out.WriteString("\n")
			r.input, r.terminal = "", false
		case prose:
			out.WriteString(line + "\n")
		}
	}
	for _, call := range api.calls {
		out.WriteString("changed: " + call + "\n")
	}
	return out.String()
}

func typedLines(input string) (out string) {
	for l := range strings.Lines(input) {
		out += "< " + l
	}
	return out
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			return fmt.Sprintf("line %d: %s\nwant:   %s", i+1, g[i], strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
	return "fewer lines than wanted"
}

func TestCtl_FindsTheNode(t *testing.T) {
	api := &fakeAPI{answers: answers()}
	home, other := t.TempDir(), t.TempDir()
	api.serve(t, filepath.Join(other, "data"))
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(".config/causeway/contexts.yaml", fmt.Sprintf("contexts:\n  - { name: here, data_dir: %s/data }\n  - { name: gone, socket: ~/none.sock }\n  - { name: empty }\n", other), 0o600)
	open := write("open.token", "cwy_x\n", 0o644)
	two := write("two.token", "a b\n", 0o600)
	bad := t.TempDir()
	if err := os.MkdirAll(filepath.Join(bad, "causeway"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "causeway", "contexts.yaml"), []byte("contexts:\n  - { nam: x }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		env  []string
		code int
		want string // in stderr; empty: the version is printed
	}{
		{"socket", []string{"--socket", filepath.Join(other, "data/admin.sock")}, nil, 0, ""},
		{"context", []string{"--context", "here"}, nil, 0, ""},
		{"context variable", nil, []string{"CAUSEWAY_CONTEXT=here"}, 0, ""},
		{"data directory variable", nil, []string{"CAUSEWAY_DATA_DIR=" + filepath.Join(other, "data")}, 0, ""},
		{"none", nil, []string{"CAUSEWAY_DATA_DIR=/nonexistent"}, 1, "no node at /nonexistent/admin.sock: there is no such socket; start a node, or point at its data directory with --data-dir"},
		{"two places", []string{"--socket", "x", "--context", "here"}, nil, 2, "each name a node; give one of them"},
		{"home is expanded", []string{"--context", "gone"}, nil, 1, "no node at " + home + "/none.sock"},
		{"unknown context", []string{"--context", "mars"}, nil, 1, `context "mars" is not in ` + home + "/.config/causeway/contexts.yaml; it has here, gone, empty"},
		{"empty context", []string{"--context", "empty"}, nil, 1, `context "empty" names no node`},
		{"no contexts", []string{"--context", "here"}, []string{"XDG_CONFIG_HOME=/nonexistent"}, 1, "there is no /nonexistent/causeway/contexts.yaml"},
		{"bad contexts", nil, []string{"XDG_CONFIG_HOME=" + bad}, 1, "field nam not found"},
		{"server without token", []string{"--server", "http://127.0.0.1:1"}, nil, 1, "asks for a token; give --token-file"},
		{"token others may read", []string{"--server", "http://127.0.0.1:1", "--token-file", open}, nil, 1, "chmod 600 " + open},
		{"token of two words", []string{"--server", "http://127.0.0.1:1", "--token-file", two}, nil, 1, "must hold one token"},
		{"no URL", []string{"--server", "localhost", "--token-file", write("good.token", "cwy_x\n", 0o600)}, nil, 2, "want http://host:port"},
		{"form", []string{"-o", "xml"}, nil, 2, "want table or json or yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := ctlRun{dir: home, env: tt.env}.run(t.Context(), append([]string{"version"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stderr, tt.want) || (tt.want == "") != strings.Contains(stdout, "v0.1.0") {
				t.Errorf("exit %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// A token made here is one the API admits, over TCP, with its role and no more.
func TestCtl_TokensNew(t *testing.T) {
	dir := t.TempDir()
	stdout, stderr, code := ctlRun{dir: dir}.run(t.Context(), "tokens", "new", "ops", "viewer")
	token := strings.TrimSpace(stdout)
	if code != 0 || !strings.HasPrefix(token, "cwy_") || strings.Contains(stderr, token) {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	i := slices.IndexFunc(strings.Split(stderr, "\n"), func(l string) bool { return strings.HasPrefix(l, "  ops viewer sha256:") })
	if i < 0 {
		t.Fatalf("no line for the file:\n%s", stderr)
	}
	for _, args := range [][]string{{"tokens", "new", "ops", "root"}, {"tokens", "new", "two words", "viewer"}, {"tokens", "new", "ops"}} {
		if _, _, code := (ctlRun{dir: dir}).run(t.Context(), args...); code != exitUsage {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}

// watch goes on while the node is away and ends with the context, as by Ctrl-C, with code 0.
func TestCtl_StatusWatch(t *testing.T) {
	dir := t.TempDir()
	api := &fakeAPI{answers: answers()}
	api.serve(t, filepath.Join(dir, "data"))
	for name, want := range map[string]string{"data": "ready for 3h", "elsewhere": "there is no such socket"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		twice := func(stdout string) {
			if strings.Count(stdout, want) == 2 {
				cancel()
			}
		}
		stdout, stderr, code := ctlRun{dir: dir, told: twice}.run(ctx, "status", "--watch", "--interval", "100ms", "--data-dir", filepath.Join(dir, name))
		cancel()
		if n := strings.Count(stdout, want); code != 0 || n < 2 {
			t.Errorf("%s: exit %d, shown %d times\n%s%s", name, code, n, stdout, stderr)
		}
	}
	if _, stderr, code := (ctlRun{dir: dir}).run(t.Context(), "status", "--watch", "--interval", "1ms"); code != exitUsage {
		t.Errorf("exit %d %s", code, stderr)
	}
}

// An old node says what it offers; ctl does not guess.
func TestCtl_FeatureMissing(t *testing.T) {
	dir := t.TempDir()
	old := &fakeAPI{answers: answers()}
	old.serve(t, filepath.Join(dir, "data"))
	c := &ctl{output: &choice{value: "table"}, std: stdio{env: []string{"HOME=" + dir}}, dataDir: filepath.Join(dir, "data")}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	_, err := c.call(cmd, "GET", "telepathy", "/v1/status", nil, nil)
	if err == nil || !strings.Contains(err.Error(), `the node runs v0.1.0, which does not offer "telepathy"`) {
		t.Errorf("%v", err)
	}
}

func TestCtl_IsInTheBinary(t *testing.T) {
	var out, err bytes.Buffer
	code := execute(t.Context(), []string{"ctl", "--help"}, stdio{in: strings.NewReader(""), out: &out, err: &err, env: []string{"HOME=" + t.TempDir()}})
	if code != 0 || !strings.Contains(out.String(), "causeway ctl [command]") {
		t.Errorf("exit %d\n%s%s", code, out.String(), err.String())
	}
}
