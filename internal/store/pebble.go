package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleFormat is the on-disk format that new stores are written in. Raising it is one-way for a
// directory, so it does not follow Pebble's newest by itself.
const pebbleFormat = pebble.FormatTableFormatV6

// corruptionPause is the pace at which Pebble may run into a damaged table again.
const corruptionPause = 50 * time.Millisecond

// pebbleOptions sizes Pebble for a process that also runs a broker, and sends everything that means
// "this disk cannot be trusted" to fail.
func (s *Store) pebbleOptions() *pebble.Options {
	return &pebble.Options{
		FS:                          gateFS{FS: s.fs, s: s},
		DisableWAL:                  true,
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   s.opts.CacheBytes,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                s.opts.MaxOpenFiles,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 1 },
		Logger:                      pebbleLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fail(fmt.Errorf("background write: %w", err)) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				if s.Err() != nil {
					// A compaction over a damaged table is begun again and again, without a pause, until
					// the store is closed. No lock is held here.
					time.Sleep(corruptionPause)
				}
				s.fail(fmt.Errorf("damaged table %s: %w", i.Path, i.Details))
			},
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				s.stalls.Add(1)
				s.log.Debug("store writes wait for pebble", "reason", i.Reason)
			},
		},
	}
}

// pebbleLogger is Pebble's logger. Pebble calls Fatalf when its manifest cannot be written and
// expects never to return; here the store stops instead, every later call is refused and nothing more
// reaches the disk (gateFS), so the one place that exits a process stays in main.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) { l.debug(format, args) }

func (l pebbleLogger) Errorf(format string, args ...any) { l.debug(format, args) }

func (l pebbleLogger) Fatalf(format string, args ...any) {
	e := loggedError{msg: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.cause = err
		}
	}
	l.s.fail(e)
}

// loggedError is a log line that keeps the error it was printed from: a full disk must be found in it.
type loggedError struct {
	msg   string
	cause error
}

func (e loggedError) Error() string { return e.msg }

func (e loggedError) Unwrap() error { return e.cause }

func (l pebbleLogger) debug(format string, args []any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug(fmt.Sprintf(format, args...))
	}
}
