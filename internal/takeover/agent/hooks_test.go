package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A hook gets JSON, no arguments and no environment of the node.
func TestHook_GetsJSONAndNothingElse(t *testing.T) {
	t.Setenv("SECRET", "of the node")
	ev := HookEvent{Event: "promote", Home: "eu", Region: "us", Host: "us", Epoch: 2, Time: time.Unix(0, 0).UTC(), DryRun: true}
	out, err := runHook(t.Context(), script(t, `cat; echo "$# [$SECRET]"`), time.Minute, ev)
	line, rest, _ := strings.Cut(out, "\n")
	var got HookEvent
	if jerr := json.Unmarshal([]byte(line), &got); err != nil || jerr != nil || got != ev || rest != "0 []" {
		t.Errorf("%v %v\n%s", err, jerr, out)
	}
}

func TestHook_FailuresAndBounds(t *testing.T) {
	if out, err := runHook(t.Context(), script(t, "echo no; exit 3"), time.Minute, HookEvent{}); err == nil || out != "no" {
		t.Errorf("%q %v", out, err)
	}
	if _, err := runHook(t.Context(), "/nonexistent/hook", time.Minute, HookEvent{}); err == nil {
		t.Error("a program that is not there ran")
	}
	if _, err := runHook(t.Context(), script(t, "exec sleep 60"), 50*time.Millisecond, HookEvent{}); err == nil || !strings.Contains(err.Error(), "ended after 50ms") {
		t.Errorf("%v", err)
	}
	out, err := runHook(t.Context(), script(t, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"), time.Minute, HookEvent{})
	if err != nil || len(out) > hookOutput || !strings.HasSuffix(out, "line 2999") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	// What a hook leaves running does not hold it up.
	if _, err := runHook(t.Context(), script(t, "sleep 3 &\nexit 0"), 30*time.Second, HookEvent{}); err != nil {
		t.Errorf("%v", err)
	}
}
