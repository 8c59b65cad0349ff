package link

import (
	"testing"
	"time"
)

// A peer that falls silent was heard last when it was, and not when its tunnel ended:
// whoever takes its home over counts from there. One that has nothing to say is heard
// all the same.
func TestHeard_CountsFromTheLastWord(t *testing.T) {
	for name, to := range map[string]func(string) Peer{"udp": peerTo, "tcp": peerOverTCP} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				us := w.region("us", peerFrom("eu"))
				eu := w.region("eu", to("us"))
				if !eu.status("us").Heard.IsZero() {
					t.Error("heard before there was a tunnel")
				}
				up(t, eu, "us")
				const idle = 2 * time.Second // more than a keep-alive, there and back
				for range 30 {
					time.Sleep(time.Second)
					for _, s := range []Status{eu.status("us"), us.status("eu")} {
						if quiet := time.Since(s.Heard); quiet > idle {
							t.Fatalf("%s: silent for %v on a path that works", s.Peer, quiet)
						}
					}
				}

				w.wan.setCut(ip("eu"), ip("us"), true)
				cut := time.Now()
				eventually(t, 10*time.Second, "down", func() bool { return eu.status("us").State != Up })
				for range 2 {
					s := eu.status("us")
					if late, early := s.Heard.Sub(cut), cut.Sub(s.Heard); late > 2*heardPoll || early > idle {
						t.Errorf("heard %v after the cut; it was noticed after %v", late, time.Since(cut))
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}
