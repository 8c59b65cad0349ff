package agent

import (
	"context"
	"time"
)

// plantedDelay is empty, but in the build that drills are checked against: there the linker
// sets for how long an unplanned promotion waits, and a drill has to notice (make drill).
var plantedDelay string

func planted(ctx context.Context) {
	d, err := time.ParseDuration(plantedDelay)
	if err != nil || d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
