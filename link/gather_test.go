package link

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
)

func TestDistance_IsAShareOfALongRoundTrip(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{
		0: 0, 300 * time.Microsecond: 0, 7 * time.Millisecond: 0, // side by side, and in one cloud
		16 * time.Millisecond: time.Millisecond, 80 * time.Millisecond: gatherMost, time.Second: gatherMost,
	} {
		if got := distance(rtt); got != want {
			t.Errorf("a round trip of %v: %v, want %v", rtt, got, want)
		}
	}
}

// Over a long path messages that follow each other closely share frames; one that comes
// alone does not wait for company.
func TestGather_WhatComesCloseTogetherSharesFrames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.subscribe(t, "dev", "e")
		eu := w.region("eu", peerTo("us"))
		wantsKnown(t, eu, us)
		message := func(n int) *home.Publish {
			return &home.Publish{Topic: "e", Payload: fmt.Appendf(nil, "eu e %d", n), QoS: 1}
		}
		frames := func() uint64 { return eu.status("us").Counters.FramesOut }
		const alone, close = 10, 1000
		eu.home.do(t, message(0))
		drained(t, eu, "us", 10*time.Second) // the stream is open
		for n := 1; n < alone; n++ {
			eu.home.do(t, message(n)) // committed when it returns
			synctest.Wait()
			if frames() != uint64(n+1) {
				t.Errorf("message %d, alone, waits: %d frames", n, frames())
			}
			time.Sleep(50 * time.Millisecond)
		}
		began := time.Now()
		for n := range close {
			eu.home.do1(t, message(alone+n))
			time.Sleep(200 * time.Microsecond)
		}
		drained(t, eu, "us", 10*time.Second)
		took := time.Since(began)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e", 0, alone+close))
		if n := frames() - alone; n > close/6 { // the home commits each millisecond: a fifth without gathering
			t.Errorf("%d frames for %d messages in %v", n, close, took)
		}
	})
}
