package broker

import "time"

// strain slows newcomers down while those that are served would wait for them: when goroutines run late, or an Attach takes
// longer than it should. What an Attach takes in calm, where disks are slow or zones far apart, is no strain.
type strain struct {
	slow    float64       // times the pace is longer by
	late    mean          // how late who lets in was woken
	attach  mean          // how long an Attach took
	pending int           // Attaches that are under way
	calm    time.Duration // what one takes while nobody waits before TLS
	judged  time.Time
}

const (
	judgeEvery = 100 * time.Millisecond
	lateMost   = 20 * time.Millisecond
	attachMost = 100 * time.Millisecond // or twice as long as in calm
	calmMost   = 500 * time.Millisecond // what is longer waited for an election
	slowMost   = 15                     // however strained, so many times slower than the pace at most
	forget     = time.Second            // without anybody waiting
)

// mean of durations since it was taken.
type mean struct {
	sum time.Duration
	n   int
}

func (m *mean) add(d time.Duration) { m.sum, m.n = m.sum+d, m.n+1 }

func (m *mean) take() (d time.Duration) {
	if m.n > 0 {
		d = m.sum / time.Duration(m.n)
	}
	*m = mean{}
	return d
}

// attached notes how long an Attach took.
func (s *strain) attached(took time.Duration, calm bool) {
	s.pending--
	if s.attach.add(took); calm {
		s.calm += (min(took, calmMost) - s.calm) / 8
	}
}

// judge slows newcomers down at once, and lets them go faster little by little. They come one each every.
func (s *strain) judge(now time.Time, every time.Duration) {
	since := now.Sub(s.judged)
	if since < judgeEvery {
		return
	}
	s.judged = now
	late, attach, most := s.late.take(), s.attach.take(), max(attachMost, 2*s.calm)
	switch {
	case since > forget:
		s.slow = 0
	case late > lateMost || attach > most || time.Duration(s.pending)*every > most: // the first of them waits for so long
		s.slow = min(2*s.slow+0.5, slowMost)
	default:
		s.slow = max(0, 0.9*s.slow-0.05)
	}
}

// longer is a pace under the strain.
func (s *strain) longer(every time.Duration) time.Duration {
	return time.Duration(float64(every) * (1 + s.slow))
}
