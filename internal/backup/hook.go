package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Hook is a place behind a program: object storage, as the cloud's own tools reach it. The program is
// run for each file, with one line of JSON on its standard input; see HookCall.
type Hook struct {
	Program string // its path
	To      string // what it takes for a place, such as s3://bucket/eu
	Temp    string // a folder for files on their way
	Timeout time.Duration
}

// HookCall is what the program reads. Its exit code says whether it was done: 0 done, 3 there is no such
// file (get), else it failed and is tried again.
type HookCall struct {
	Call string `json:"call"` // put, get, list, remove
	To   string `json:"to"`
	Name string `json:"name"` // of the file below To, such as eu-…/part-00001; of a folder for remove
	File string `json:"file"` // on this machine: what to put, or where get leaves it
}

const (
	hookAgain   = 3                // how often a call is tried
	hookPause   = 2 * time.Second  // between
	hookTimeout = 15 * time.Minute // for one file
	hookWords   = 4 << 10
	maxListing  = 64 << 20
	exitNone    = 3
)

func (h *Hook) String() string { return h.To }

// Stage implements Place.
func (h *Hook) Stage() (string, error) {
	if err := os.MkdirAll(h.Temp, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(h.Temp, stagePrefix)
}

// Put implements Place.
func (h *Hook) Put(ctx context.Context, name, file, path string) error {
	if _, err := h.call(ctx, HookCall{Call: "put", To: h.To, Name: name + "/" + file, File: path}); err != nil {
		return err
	}
	return os.Remove(path)
}

// Get implements Place.
func (h *Hook) Get(ctx context.Context, name, file string) (io.ReadCloser, error) {
	dir, err := h.Stage()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "file")
	if _, err := h.call(ctx, HookCall{Call: "get", To: h.To, Name: name + "/" + file, File: path}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	f, err := os.Open(path)
	// The file stays readable without a name.
	return f, errors.Join(err, os.RemoveAll(dir))
}

// Names implements Place. The program lists the names of all files, one a line.
func (h *Hook) Names(ctx context.Context) ([]string, error) {
	out, err := h.call(ctx, HookCall{Call: "list", To: h.To})
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), "/"+manifestFile); ok && ValidName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Remove implements Place.
func (h *Hook) Remove(ctx context.Context, name string) error {
	if !ValidName(name) {
		return fmt.Errorf("%w: %q is no name of one", ErrNoBackup, name)
	}
	_, err := h.call(ctx, HookCall{Call: "remove", To: h.To, Name: name})
	if errors.Is(err, ErrNoBackup) {
		return nil
	}
	return err
}

// call runs the program, again if it fails.
func (h *Hook) call(ctx context.Context, c HookCall) (out []byte, err error) {
	for i := range hookAgain {
		if i > 0 {
			select {
			case <-time.After(hookPause):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if out, err = h.once(ctx, c); err == nil || errors.Is(err, ErrNoBackup) || ctx.Err() != nil {
			return out, err
		}
	}
	return nil, err
}

// once runs it. It gets no shell, no arguments and no environment but PATH and HOME.
func (h *Hook) once(ctx context.Context, c HookCall) ([]byte, error) {
	limit := h.Timeout
	if limit <= 0 {
		limit = hookTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	line, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, h.Program)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + h.Temp}
	cmd.Stdin = bytes.NewReader(append(line, '\n'))
	out, words := &limited{most: maxListing}, &limited{most: hookWords}
	cmd.Stdout, cmd.Stderr = out, words
	cmd.WaitDelay = time.Second // a child of it may keep the pipe open
	if err = cmd.Run(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s %s: it was ended after %s: %w", h.Program, c.Call, limit, ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == exitNone && (c.Call == "get" || c.Call == "remove"):
		return nil, fmt.Errorf("%w: %s in %s", ErrNoBackup, c.Name, h.To)
	case err != nil:
		return nil, fmt.Errorf("%s %s %s: %w: %s", h.Program, c.Call, c.Name, err, bytes.ToValidUTF8(bytes.TrimSpace(words.b), []byte("?")))
	case out.over:
		return nil, fmt.Errorf("%s %s: it lists more than %d bytes", h.Program, c.Call, maxListing)
	}
	return out.b, nil
}

// limited keeps the beginning of what is written.
type limited struct {
	b    []byte
	most int
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.most-len(l.b))
	l.b = append(l.b, p[:n]...)
	l.over = l.over || n < len(p)
	return len(p), nil
}
