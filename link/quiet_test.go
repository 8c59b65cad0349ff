package link

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestQuiet(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var q quiet
	now := time.Unix(0, 0)
	for range 600 { // up and down every second for ten minutes
		q.logger(log, now).Info("link down")
		now = now.Add(time.Second)
	}
	lines := strings.Count(out.String(), "link down")
	if lines < quietBurst+8 || lines > quietBurst+11 || !strings.Contains(out.String(), "unsaid=59") {
		t.Errorf("%d lines of 600:\n%s", lines, out.String())
	}
	out.Reset()
	now = now.Add(time.Hour)
	q.logger(log, now).Info("link up")
	q.logger(log, now).Info("link down")
	if strings.Count(out.String(), "link") != 2 {
		t.Errorf("after a quiet hour: %s", out.String())
	}
}
