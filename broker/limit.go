package broker

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// quietLog writes what strangers can cause: at most one line a second of a kind, and how many it left out. A flood of
// bad connections then costs a counter each.
type quietLog struct {
	log *slog.Logger
	mu  sync.Mutex
	at  map[string]*quietKind
}

type quietKind struct {
	next    time.Time
	skipped int
}

func newQuietLog(log *slog.Logger) *quietLog {
	return &quietLog{log: log, at: map[string]*quietKind{}}
}

// warn logs msg, which is a constant of the code: there are as many kinds as calls.
func (q *quietLog) warn(msg string, args ...any) {
	q.mu.Lock()
	k := q.at[msg]
	if k == nil {
		k = &quietKind{}
		q.at[msg] = k
	}
	now := time.Now()
	if now.Before(k.next) {
		k.skipped++
		q.mu.Unlock()
		return
	}
	skipped := k.skipped
	k.skipped, k.next = 0, now.Add(time.Second)
	q.mu.Unlock()
	if skipped > 0 {
		args = append(args, "left_out", skipped)
	}
	q.log.Warn(msg, args...)
}

// pace is a token bucket: wait returns how long to wait before the next one.
type pace struct {
	interval atomic.Int64 // nanoseconds; 0: no bound
	next     time.Time    // of who waits, which is one goroutine
}

func newPace(rate float64) *pace {
	p := &pace{}
	p.set(rate)
	return p
}

func (p *pace) set(rate float64) {
	if rate <= 0 {
		p.interval.Store(0)
		return
	}
	p.interval.Store(max(1, int64(float64(time.Second)/rate)))
}

// wait takes a token; a burst of a tenth of a second is allowed after a silence.
func (p *pace) wait(now time.Time) time.Duration {
	interval := time.Duration(p.interval.Load())
	if interval == 0 {
		return 0
	}
	if floor := now.Add(-100 * time.Millisecond); p.next.Before(floor) {
		p.next = floor
	}
	p.next = p.next.Add(interval)
	return p.next.Sub(now)
}

// quietHandler is a slog.Handler for libraries that log what strangers do.
type quietHandler struct {
	quiet    *quietLog
	listener string
}

func (h quietHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h quietHandler) Handle(_ context.Context, r slog.Record) error {
	h.quiet.warn("http", "listener", h.listener, "error", r.Message)
	return nil
}

func (h quietHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h quietHandler) WithGroup(string) slog.Handler      { return h }
