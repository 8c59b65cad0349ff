package replica

import (
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes raft's own talk on at debug level: what matters of it is
// reported by the replica in its own words.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(raftSink{to})
	return l
}

type raftSink struct{ to *slog.Logger }

func (s raftSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level <= hclog.Trace {
		return
	}
	s.to.Debug("raft: "+msg, append([]any{"raft_level", level.String()}, args...)...)
}
