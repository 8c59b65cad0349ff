package conductor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"causeway/internal/drill"
)

// AgentRequest is what the agent reads on its standard input, as one line of JSON.
type AgentRequest struct {
	Version int               `json:"version"` // of this object: 1
	Drill   string            `json:"drill"`
	Action  string            `json:"action"` // one of drill.AgentDoes
	Region  string            `json:"region"`
	Node    string            `json:"node"` // "" for a whole region
	Peer    string            `json:"peer"` // of a link
	Params  map[string]string `json:"params"`
	DryRun  bool              `json:"dry_run"` // check that it would work, and change nothing
}

const agentOutput = 4 << 10

// agent runs the operator's program. It must bear being asked for the same twice.
type agent struct {
	plan  drill.AgentPlan
	drill string
}

func (a *agent) do(ctx context.Context, x drill.Action, dry bool) (string, error) {
	line, err := json.Marshal(AgentRequest{Version: 1, Drill: a.drill, Action: x.Do, Region: x.Region, Node: x.Node, Peer: x.Peer, Params: x.Params, DryRun: dry})
	if err != nil {
		return "", err
	}
	return program(ctx, a.plan.Exec, a.plan.Timeout, append(line, '\n'))
}

// program runs a program without a shell and returns the end of what it wrote.
func program(ctx context.Context, args []string, limit time.Duration, input []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // what it started in the background may keep the pipe open
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it was ended after %s: %w", limit, ctx.Err())
	}
	text := out.String()
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", args[0], err, text)
	}
	return text, nil
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-agentOutput):]...)
	t.b = t.b[max(0, len(t.b)-agentOutput):]
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(strings.TrimSpace(string(t.b)), "?") }
