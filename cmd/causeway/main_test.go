package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The test binary is the command when it is started with this variable, so that exit codes and
// signals are those of a process.
const runAs = "RUN_TEST_BINARY_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(runAs) {
	case "causeway":
		main()
	case "waiter":
		waitForSignals()
	default:
		os.Exit(m.Run())
	}
}

// waitForSignals is a node that does not manage to stop.
func waitForSignals() {
	ctx, stop := withSignals(context.Background())
	defer stop()
	fmt.Println("waiting")
	<-ctx.Done()
	fmt.Println("stopping")
	select {}
}

// process prepares the command as a process of its own, in an environment without our variables.
func process(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(plainEnv(), runAs+"="+as)
	cmd.Dir = t.TempDir()
	return cmd
}

func plainEnv() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CAUSEWAY_") {
			env = append(env, pair)
		}
	}
	return env
}

// command runs the command in this process and gives what it wrote.
func command(t *testing.T, stdin string, env []string, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), args, stdio{in: strings.NewReader(stdin), out: &stdout, err: &stderr, env: env})
	return code, stdout.String(), stderr.String()
}

func TestExitCodes(t *testing.T) {
	full := t.TempDir()
	if code, _, err := command(t, "", nil, "ca", "init", "--ca", full); code != exitOK {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(bad, []byte("regoin: eu\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		err  []string // parts of stderr
	}{
		{"help", []string{"--help"}, 0, nil},
		{"no command", nil, 0, nil},
		{"version", []string{"version"}, 0, nil},
		{"version flag", []string{"--version"}, 0, nil},
		{"completion", []string{"completion", "bash"}, 0, nil},
		{"unknown command", []string{"sevre"}, 2, []string{"sevre", "did you mean serve?", "causeway --help"}},
		{"unknown command in a group", []string{"ca", "create"}, 2, []string{"create", "init, intermediate, issue, revoke, show"}},
		{"unknown flag", []string{"serve", "--prot"}, 2, []string{"--prot", "causeway serve --help"}},
		{"bad flag value", []string{"version", "-o", "xml"}, 2, []string{"xml", "want text or json"}},
		{"argument too many", []string{"version", "now"}, 2, []string{"now"}},
		{"missing flag", []string{"ca", "issue"}, 2, []string{"--region is missing"}},
		{"missing argument", []string{"passwd"}, 2, []string{"want one USER"}},
		{"missing file", []string{"serve", "--config", "nowhere.yaml"}, 1, []string{"nowhere.yaml", "--config"}},
		{"bad file", []string{"serve", "--config", bad}, 1, []string{bad + ":1", "regoin", "did you mean region?"}},
		{"bad value", []string{"serve", "--region", "EU"}, 1, []string{"flag --region", "want 1 to 63"}},
		{"no authority", []string{"ca", "issue", "--region", "eu"}, 1, []string{"ca.pem", "causeway ca init"}},
		{"authority in the way", []string{"ca", "init", "--ca", full}, 3, []string{full, "--force"}},
		{"user who is not there", []string{"passwd", "--file", "users", "--delete", "eve"}, 3, []string{"eve", "users"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := process(t, "causeway", tc.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("exit code %d, want %d: %s", code, tc.code, stderr.String())
			}
			for _, part := range tc.err {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("stderr lacks %q: %s", part, stderr.String())
				}
			}
			if tc.code == 0 && stderr.Len() > 0 {
				t.Errorf("stderr: %s", stderr.String())
			}
		})
	}
}

// The first signal asks the node to stop, the second ends it although it has not.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			if signal.Ignored(sig) {
				t.Skip("whoever started this test has the signal ignored, as a shell does for what runs in its background")
			}
			cmd := process(t, "waiter")
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(pipe)
			for _, want := range []string{"waiting", "stopping"} {
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("the process says %q, want %q", lines.Text(), want)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != sig {
				t.Errorf("ended by %v, want %v", status, sig)
			}
		})
	}
}

// Each command says what it is for, and it or its group shows how; what is shown is a command line
// that works.
func TestEveryCommandHasAnExample(t *testing.T) {
	eachCommand(newRoot(stdio{}), func(cmd *cobra.Command) {
		shows := func(c *cobra.Command) bool { return c.Long != "" && c.Example != "" }
		above := cmd
		for !shows(above) && above.HasParent() && above.Parent().HasParent() {
			above = above.Parent()
		}
		if cmd.Short == "" || !shows(above) {
			t.Errorf("%s: want a short help, and a long one with an example for it or its group", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			for _, part := range strings.Split(strings.TrimSpace(line), " && ") {
				checkExample(t, part)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s says nothing", cmd.CommandPath(), f.Name)
			}
		})
	})
}

// checkExample parses an example as the shell and cobra would, without running it.
func checkExample(t *testing.T, line string) {
	t.Helper()
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " > ")
	_, line, ok := strings.Cut(line, "causeway ")
	if !ok {
		t.Errorf("example %q names no command", line)
		return
	}
	args := strings.Fields(strings.ReplaceAll(line, `"Example fleet"`, "Example"))
	cmd, rest, err := newRoot(stdio{}).Find(args)
	// One with a file of its own runs by itself, and has commands beside.
	if err == nil && cmd.HasSubCommands() && cmd.LocalFlags().Lookup("config") == nil {
		err = fmt.Errorf("%s needs a command", cmd.CommandPath())
	}
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("example %q: %v", line, err)
	}
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, do)
	}
}

func TestVersion(t *testing.T) {
	before := version
	version = "v1.2.3"
	t.Cleanup(func() { version = before })

	code, text, _ := command(t, "", nil, "version")
	if code != 0 || !strings.HasPrefix(text, "causeway v1.2.3 ") {
		t.Errorf("version: %d, %q", code, text)
	}
	if _, flag, _ := command(t, "", nil, "--version"); flag != text {
		t.Errorf("--version says %q, version %q", flag, text)
	}
	_, out, _ := command(t, "", nil, "version", "-o", "json")
	var got build
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Version != "v1.2.3" || !strings.HasPrefix(got.Go, "go1") {
		t.Errorf("json: %v, %+v", err, got)
	}
	version = ""
	if got := readBuild(); got.Version == "" {
		t.Error("a build without a version set has none")
	}
}
