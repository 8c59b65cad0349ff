package foreign

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// canaryLevels begin the topics of canaries of all links. What comes under them is never taken in.
const canaryLevels = "causeway/canary/"

// canaries is what is known of the messages that a link sends to know whether messages cross. Guarded by linkTo.mu.
type canaries struct {
	first   time.Time // when the first was sent; zero: none was
	out, in time.Time // when the newest was sent that was acknowledged, and that came back
	trip    time.Duration
}

// Canaries says how long messages take. An age counts from when a canary was sent; without one, since the first was.
type Canaries struct {
	Known     bool          // some were sent
	OutAge    time.Duration // of the newest that the broker acknowledged
	InAge     time.Duration // of the newest that came back; grows for ever where nothing comes in
	RoundTrip time.Duration // of that one, to the broker and back; 0: none came back
}

func (c *canaries) read() Canaries {
	if c.first.IsZero() {
		return Canaries{}
	}
	age := func(at time.Time) time.Duration {
		if at.IsZero() {
			at = c.first
		}
		return time.Since(at)
	}
	return Canaries{Known: true, OutAge: age(c.out), InAge: age(c.in), RoundTrip: c.trip}
}

func isCanary(topic string) bool { return strings.HasPrefix(topic, canaryLevels) }

// sendCanaries sends one now and then. They go past the spool, whose lag is known.
func (t *term) sendCanaries(ctx context.Context) error {
	if t.l.cfg.CanaryTopic == "" || t.waitSettled(ctx) != nil {
		return nil
	}
	t.l.firstCanary()
	c := t.lanes[len(t.lanes)-1]
	for {
		wait := t.l.cfg.CanaryEvery
		if now := time.Now(); c.connected.Load() {
			c.enqueueLive(&flight{canary: now, msg: home.Message{Topic: t.l.cfg.CanaryTopic, QoS: 1, Payload: t.canary(now)}})
		} else {
			wait = gatewayPoll
		}
		if group.Pause(ctx, wait) != nil {
			return nil
		}
	}
}

func (t *term) canary(at time.Time) []byte {
	return fmt.Appendf(nil, "%s/%s %d", t.l.m.o.Region, t.l.cfg.Name, at.UnixNano())
}

func (l *linkTo) firstCanary() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.canaries.first.IsZero() {
		l.canaries.first = time.Now()
	}
}

// canaryOut notes that the broker acknowledged a canary.
func (l *linkTo) canaryOut(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.canaries.out) {
		l.canaries.out = sent
	}
}

// canaryIn notes a canary that came back, and says whether it was ours. One of another link, or of a time that cannot be,
// is not.
func (l *linkTo) canaryIn(payload []byte) bool {
	name, stamp, _ := strings.Cut(string(payload), " ")
	ns, err := strconv.ParseInt(stamp, 10, 64)
	sent := time.Unix(0, ns)
	if err != nil || name != l.m.o.Region+"/"+l.cfg.Name || sent.After(time.Now()) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.canaries.in) {
		l.canaries.in, l.canaries.trip = sent, time.Since(sent)
	}
	return true
}
