package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// There is no container engine where tests run, so the image is never built here. What can be read off the file is checked:
// the last stage has no shell and no root, and everything it copies is there.
func TestDockerfile(t *testing.T) {
	stages := parse(t, "../../docker/Dockerfile")
	last := stages[len(stages)-1]
	if from := last.only(t, "FROM"); !strings.HasPrefix(from, "gcr.io/distroless/static-") || !strings.HasSuffix(from, ":nonroot") {
		t.Errorf("the image is made from %q, want distroless/static:nonroot", from)
	}
	if user := last.only(t, "USER"); user != "65532:65532" {
		t.Errorf("USER %q: want numbers, which Kubernetes can tell from root", user)
	}
	if run := last["RUN"]; len(run) != 0 {
		t.Errorf("the last stage has no shell to run %q", run)
	}
	if entry := last.only(t, "ENTRYPOINT"); !strings.HasPrefix(entry, "[") {
		t.Errorf("ENTRYPOINT %s: without a shell it must be a list", entry)
	}
	for _, stage := range stages {
		if len(stage["ADD"]) > 0 {
			t.Errorf("ADD %q: nothing is fetched that go.sum does not know", stage["ADD"])
		}
		if tag := strings.Fields(stage.only(t, "FROM"))[0]; !strings.Contains(tag, ":") || strings.HasSuffix(tag, ":latest") {
			t.Errorf("FROM %s: name a version", tag)
		}
		for _, line := range stage["COPY"] {
			checkCopy(t, line)
		}
	}
}

func checkCopy(t *testing.T, line string) {
	t.Helper()
	if strings.HasPrefix(line, "--from=build") {
		return
	}
	fields := strings.Fields(line)
	for _, src := range fields[:len(fields)-1] {
		if _, err := os.Stat(filepath.Join("../../..", src)); err != nil {
			t.Errorf("COPY %s: %v", line, err)
		}
	}
}

// stage has the arguments of each instruction.
type stage map[string][]string

func (s stage) only(t *testing.T, instruction string) string {
	t.Helper()
	if len(s[instruction]) != 1 {
		t.Fatalf("%d %s in a stage, want one", len(s[instruction]), instruction)
	}
	return s[instruction][0]
}

func parse(t *testing.T, file string) []stage {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var stages []stage
	for _, line := range strings.Split(string(text), "\n") {
		instruction, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if instruction == "" || strings.HasPrefix(instruction, "#") {
			continue
		}
		if instruction == "FROM" {
			stages = append(stages, stage{})
		}
		if len(stages) == 0 {
			t.Fatalf("%q stands before the first FROM", line)
		}
		s := stages[len(stages)-1]
		s[instruction] = append(s[instruction], args)
	}
	return stages
}
