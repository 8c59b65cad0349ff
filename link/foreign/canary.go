package foreign

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"causeway/internal/home"
)

// canaryLevels begin the topics of canaries of all links. What comes under them is never taken in.
const canaryLevels = "causeway/canary/"

// canaries is what is known of the messages that a link sends to know whether messages cross. Guarded by linkTo.mu.
type canaries struct {
	out, in time.Time // when the newest was sent that was acknowledged, and that came back
	trip    time.Duration
}

// Canaries says how messages cross.
type Canaries struct {
	Out  time.Time     // when the newest one was sent that the broker acknowledged; zero: none
	In   time.Time     // when the newest one was sent that came back; zero: none
	Trip time.Duration // of that one, there and back
}

func (c *canaries) read() Canaries { return Canaries{Out: c.out, In: c.in, Trip: c.trip} }

func isCanary(topic string) bool { return strings.HasPrefix(topic, canaryLevels) }

// sendCanaries sends one now and then. They go past the spool, whose lag is known.
func (t *term) sendCanaries(ctx context.Context) error {
	if t.l.cfg.CanaryTopic == "" || t.waitSettled(ctx) != nil {
		return nil
	}
	for {
		if c := t.lanes[len(t.lanes)-1]; c.connected.Load() {
			now := time.Now()
			c.enqueueLive(&flight{canary: now, msg: home.Message{Topic: t.l.cfg.CanaryTopic, QoS: 1, Payload: t.canary(now)}})
		}
		if pause(ctx, t.l.cfg.CanaryEvery) != nil {
			return nil
		}
	}
}

func (t *term) canary(at time.Time) []byte {
	return fmt.Appendf(nil, "%s/%s %d", t.l.m.o.Region, t.l.cfg.Name, at.UnixNano())
}

// canaryOut notes that the broker acknowledged a canary.
func (l *linkTo) canaryOut(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.canaries.out) {
		l.canaries.out = sent
	}
}

// canaryIn notes a canary that came back. One of another link, or of a time that cannot be, is none of ours.
func (l *linkTo) canaryIn(payload []byte) {
	name, stamp, _ := strings.Cut(string(payload), " ")
	ns, err := strconv.ParseInt(stamp, 10, 64)
	sent := time.Unix(0, ns)
	if err != nil || name != l.m.o.Region+"/"+l.cfg.Name || sent.After(time.Now()) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.canaries.in) {
		l.canaries.in, l.canaries.trip = sent, time.Since(sent)
	}
}
