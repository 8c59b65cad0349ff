package simlab

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// logbook keeps the last lines that the regions logged, to be shown with a
// failure.
type logbook struct {
	mu    sync.Mutex
	lines []string
	next  int
}

// logLines is how many lines are kept.
const logLines = 400

func newLogbook() *logbook { return &logbook{} }

func (b *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// note adds what the lab itself did.
func (b *logbook) note(region, what string) { b.logger().Info(what, "region", region, "by", "lab") }

// Write takes a line.
func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := string(bytes.TrimSpace(p))
	if len(b.lines) < logLines {
		b.lines = append(b.lines, line)
	} else {
		b.lines[b.next] = line
		b.next = (b.next + 1) % logLines
	}
	return len(p), nil
}

// last returns the newest lines, oldest first.
func (b *logbook) last(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := append(append([]string(nil), b.lines[b.next:]...), b.lines[:b.next]...)
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
