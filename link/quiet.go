package link

import (
	"log/slog"
	"time"
)

// A link that comes and goes says so a few times and then once a minute: forty
// leaves on an unsteady network must not fill the log of their hub.
const (
	quietBurst = 6
	quietEvery = time.Minute
)

// quiet spaces the lines of one link.
type quiet struct {
	left   float64
	at     time.Time
	unsaid int
}

var nowhere = slog.New(slog.DiscardHandler)

// logger returns where a line goes. The next one that is said tells how many were
// not.
func (q *quiet) logger(log *slog.Logger, now time.Time) *slog.Logger {
	if q.at.IsZero() {
		q.left = quietBurst
	} else {
		q.left = min(q.left+float64(now.Sub(q.at))/float64(quietEvery), quietBurst)
	}
	q.at = now
	if q.left < 1 {
		q.unsaid++
		return nowhere
	}
	q.left--
	if q.unsaid > 0 {
		log, q.unsaid = log.With("unsaid", q.unsaid), 0
	}
	return log
}
