package link

import (
	"context"
	"sync"
	"time"

	"causeway/internal/group"
)

// A burst is what a link may send at once after a silence: a tenth of a second's
// worth, but a frame of some size at any rate.
const (
	burstTime  = 100 * time.Millisecond
	leastBurst = 16 << 10
)

// Shares of a burst that must have gathered before something is sent. The spool
// leaves the first half to the messages in no log: those go first.
const (
	liveShare  = 0.0
	spoolShare = 0.5
)

// meter bounds the bytes a second that a link sends, over all its tunnels. What is
// sent may take it below zero by a frame: the next one waits for that.
type meter struct {
	mu    sync.Mutex
	bytes float64 // that may be sent; below 0: debt
	at    time.Time
}

func burst(rate uint64) float64 { return max(float64(rate)*burstTime.Seconds(), leastBurst) }

// gathered is what a meter has after a time.
func gathered(bytes float64, elapsed time.Duration, rate uint64) float64 {
	return min(bytes+float64(rate)*elapsed.Seconds(), burst(rate))
}

// until says how long it takes to gather a share of a burst.
func until(bytes float64, rate uint64, share float64) time.Duration {
	lacks := burst(rate)*share - bytes
	if lacks < 0 {
		return 0
	}
	return time.Duration(lacks/float64(rate)*float64(time.Second)) + 1
}

// wait is how long something has to wait at a rate in bytes a second, of which 0 is
// no bound.
func (m *meter) wait(rate uint64, share float64) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rate == 0 {
		m.bytes, m.at = 0, time.Time{}
		return 0
	}
	now := time.Now()
	if m.at.IsZero() {
		m.bytes = burst(rate)
	} else {
		m.bytes = gathered(m.bytes, now.Sub(m.at), rate)
	}
	m.at = now
	return until(m.bytes, rate, share)
}

func (m *meter) spend(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.at.IsZero() {
		m.bytes -= float64(n)
	}
}

// meterPoll bounds one wait, since the rate may change meanwhile.
const meterPoll = 100 * time.Millisecond

// delay is how long something has to wait for the link's rate, as far as it is
// worth waiting before looking again; it is counted.
func (p *peer) delay(share float64) time.Duration {
	policy := p.policy()
	if policy == nil {
		return 0
	}
	d := min(p.meter.wait(policy.Rate, share), meterPoll)
	p.counts.throttled.Add(uint64(d))
	return d
}

// frameRoom is how large a frame may become: at a low rate no larger than a burst.
func (p *peer) frameRoom() int {
	if policy := p.policy(); policy != nil && policy.Rate > 0 {
		return int(min(burst(policy.Rate), frameBytes))
	}
	return frameBytes
}

// throttle waits until messages in no log may be sent.
func (p *peer) throttle(ctx context.Context) error {
	for {
		d := p.delay(liveShare)
		if d == 0 {
			return nil
		}
		if err := group.Pause(ctx, d); err != nil {
			return err
		}
	}
}
