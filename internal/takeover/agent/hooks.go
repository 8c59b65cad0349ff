package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"causeway/internal/home"
)

// HookEvent is what a hook reads on its standard input, as one line of JSON.
type HookEvent struct {
	Event  string    `json:"event"`  // promote: this region serves the home now; fence: no more
	Home   string    `json:"home"`   // the region whose home it is
	Region string    `json:"region"` // this one
	Host   string    `json:"host"`   // the region that serves the home now, as far as is known
	Epoch  uint64    `json:"epoch"`
	Time   time.Time `json:"time"`
	DryRun bool      `json:"dry_run"` // check that it would work, and change nothing
}

// hookOutput bounds what is kept of a hook's output, in bytes.
const hookOutput = 4 << 10

// hook runs the hook of an event beside everything else: devices are served whatever it does.
func (a *Agent) hook(event string, id home.ID, e home.Epoch) {
	path := a.hookOf(event)
	if path == "" {
		return
	}
	ev := HookEvent{Event: event, Home: string(id), Region: a.o.Region, Host: e.Host, Epoch: e.Number, Time: time.Now().UTC()}
	a.call(func() {
		began := time.Now()
		out, err := runHook(context.Background(), path, a.o.Hooks.Timeout, ev)
		outcome := "done"
		if err != nil {
			outcome = "failed"
			a.o.Logger.Error("hook", "event", event, "home", id, "program", path, "problem", err, "output", out)
		} else {
			a.o.Logger.Info("hook", "event", event, "home", id, "program", path, "took", time.Since(began), "output", out)
		}
		a.o.Audit("hook "+event, string(id), outcome, path)
	})
}

func (a *Agent) hookOf(event string) string {
	if event == "promote" {
		return a.o.Hooks.Promote
	}
	return a.o.Hooks.Fence
}

// runHook runs a program with an event on its standard input and returns the end of
// what it wrote. It gets no shell, no arguments and no environment but PATH.
func runHook(ctx context.Context, path string, limit time.Duration, ev HookEvent) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	line, err := json.Marshal(ev)
	if err != nil {
		return "", fmt.Errorf("write the event: %w", err)
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin = bytes.NewReader(append(line, '\n'))
	out := &tail{most: hookOutput}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a child of it may keep the pipe open
	if err = cmd.Run(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; what it started in the background is its own
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it was ended after %s: %w", limit, ctx.Err())
	}
	return out.String(), err
}

// tail keeps the end of what is written to it.
type tail struct {
	most int
	b    []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-t.most):]...)
	if over := len(t.b) - t.most; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.ToValidUTF8(bytes.TrimSpace(t.b), []byte("?"))) }
