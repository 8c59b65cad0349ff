package drill

import (
	"fmt"
	"time"
)

// Sample is how things are at one moment, as canaries and regions show.
type Sample struct {
	At       time.Time
	Canaries int // devices of the drill's
	Live     Live
	Devices  int // connected, of all regions that answer; -1: not known
	Baseline int // at the start
}

// Live is what a canary process says of itself twice a second.
type Live struct {
	Devices   int     `json:"devices"`
	Connected int     `json:"connected"`
	Sent      uint64  `json:"sent"`
	Acked     uint64  `json:"acked"`
	Received  uint64  `json:"received"`
	Connects  uint64  `json:"connects"`
	Waiting   uint64  `json:"waiting"` // acknowledged and not arrived
	Late      uint64  `json:"late"`    // of these, for more than a few seconds
	Missing   uint64  `json:"missing"` // of these, for long, while both ends are connected
	Silence   float64 `json:"silence"` // seconds since the quietest device had a sign of life
	Settled   bool    `json:"settled"` // nothing is under way
	Served    int     `json:"served"`  // devices that had a sign of life since their last connection
}

// Plus adds up two processes.
func (l Live) Plus(o Live) Live {
	l.Devices += o.Devices
	l.Connected += o.Connected
	l.Sent += o.Sent
	l.Acked += o.Acked
	l.Received += o.Received
	l.Connects += o.Connects
	l.Waiting += o.Waiting
	l.Late += o.Late
	l.Missing += o.Missing
	l.Served += o.Served
	l.Silence = max(l.Silence, o.Silence)
	l.Settled = l.Settled && o.Settled
	return l
}

// Guard holds samples against guardrails. A part that has to last is counted from the first
// sample that showed it.
type Guard struct {
	g    Guardrails
	away time.Time // since too many canaries are away
}

// NewGuard watches for what a plan wants.
func NewGuard(g Guardrails) *Guard { return &Guard{g: g} }

// Tripped says which guardrail a sample breaks; "" none.
func (g *Guard) Tripped(s Sample) string {
	if g.g.Lost >= 0 && float64(s.Live.Missing) > g.g.Lost {
		return fmt.Sprintf("guardrails.lost: %d acknowledged messages are missing; %g may be", s.Live.Missing, g.g.Lost)
	}
	if limit := g.g.Gap; limit > 0 && s.Live.Silence > limit.Seconds() {
		return fmt.Sprintf("guardrails.gap: a canary heard nothing for %s; %s is the limit", seconds(s.Live.Silence), limit)
	}
	if part := float64(s.Live.Devices-s.Live.Connected) / float64(max(s.Live.Devices, 1)); g.g.Away >= 0 && part > g.g.Away {
		if g.away.IsZero() {
			g.away = s.At
		}
		if lasts := s.At.Sub(g.away); lasts >= g.g.AwayFor {
			return fmt.Sprintf("guardrails.away: %.0f%% of the canaries are not connected, for %s; %.0f%% may be", 100*part, lasts.Round(time.Second), 100*g.g.Away)
		}
	} else {
		g.away = time.Time{}
	}
	if g.g.Disconnected >= 0 && s.Devices >= 0 && s.Baseline > 0 {
		if part := 1 - float64(s.Devices)/float64(s.Baseline); part > g.g.Disconnected {
			return fmt.Sprintf("guardrails.disconnected: %.1f%% of the fleet is gone (%d of %d devices); %.1f%% may be", 100*part, s.Baseline-s.Devices, s.Baseline, 100*g.g.Disconnected)
		}
	}
	return ""
}
