package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Home is how a home is in a region, as far as a trial looks at it.
type Home struct {
	Home     string
	Node     string // that decides for the region
	Role     string // host, standby, handed, retired, empty
	Standing string
	Reason   string
	Epoch    uint64
	Host     string
	Records  uint64
	Short    bool // what is acknowledged is on no standby

	DownAfterSeconds float64 `json:"down_after_seconds"`
	Standbys         []Standby
	Voters           []Voter
}

// Standby is how far a standby is, as the home's host knows.
type Standby struct {
	Region      string
	Connected   bool
	LagMessages int `json:"lag_messages"`
}

// Voter is what another region, or a witness, said last.
type Voter struct {
	Name         string
	HeardSeconds float64 `json:"heard_seconds"` // ago; below 0 never
	Promised     string  // epoch@region
}

// Serves says that the region serves the home.
func (h *Home) Serves() bool { return h.Role == "host" && h.Standing == "serving" }

// Follows says that a standby is at most so many messages behind the home's host, as the host knows.
func (h *Home) Follows(standby string, lag int) bool {
	return !h.Short && slices.ContainsFunc(h.Standbys, func(s Standby) bool { return s.Region == standby && s.Connected && s.LagMessages <= lag })
}

// Misses says that nothing was heard of a region for some time.
func (h *Home) Misses(region string, silence time.Duration) bool {
	return slices.ContainsFunc(h.Voters, func(v Voter) bool { return v.Name == region && v.HeardSeconds >= silence.Seconds() })
}

// Promises says that a voter promised a region an epoch above that of the copy here.
func (h *Home) Promises(region string) bool {
	return slices.ContainsFunc(h.Voters, func(v Voter) bool {
		n, to, _ := strings.Cut(v.Promised, "@")
		epoch, err := strconv.ParseUint(n, 10, 64)
		return err == nil && to == region && epoch > h.Epoch
	})
}

// Home asks a region's nodes how a home is there.
func (t *Trial) Home(ctx context.Context, region, id string) (h Home, err error) {
	err = errors.New("no node of it runs")
	for _, n := range t.Region(region) {
		if !n.Running() {
			continue
		}
		if err = n.Get(ctx, "/v1/homes/"+id, &h); err == nil {
			return h, nil
		}
	}
	return h, fmt.Errorf("home %s in region %s: %w", id, region, err)
}

// AwaitHome waits until a home is in a region as it shall be.
func (t *Trial) AwaitHome(ctx context.Context, region, id, what string, ok func(*Home) bool) error {
	every := time.NewTicker(25 * time.Millisecond) // nodes that do not decide ask the one that does
	defer every.Stop()
	for {
		h, err := t.Home(ctx, region, id)
		if err == nil && ok(&h) {
			return nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("home %s in region %s does not %s: %+v, %w", id, region, what, h, err)
		}
	}
}

// Watched is when a region noticed that a home's host is gone, when the first voter promised it an epoch, and when it
// served the home. Zero: not seen.
type Watched struct{ Detected, Decided, Promoted time.Time }

// Watch looks until the region serves the home.
func (t *Trial) Watch(ctx context.Context, region, id string) (w Watched, err error) {
	h, err := t.Home(ctx, region, id)
	if err != nil {
		return w, err
	}
	host := h.Host
	err = t.AwaitHome(ctx, region, id, "serve", func(h *Home) bool {
		now := time.Now()
		if w.Detected.IsZero() && h.Misses(host, time.Duration(h.DownAfterSeconds*float64(time.Second))) {
			w.Detected = now
		}
		if w.Decided.IsZero() && h.Promises(region) {
			w.Decided = now
		}
		if h.Serves() && h.Host == region {
			w.Promoted = now
		}
		return !w.Promoted.IsZero()
	})
	return w, err
}
