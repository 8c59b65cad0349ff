package link

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// outcome is the test's steps as one line each.
func outcome(x Test) (s string) {
	for _, step := range x.Steps {
		s += step.Name + " " + string(step.State) + ": " + step.Detail + "\n"
	}
	return s
}

func stepOf(t *testing.T, x Test, name string) TestStep {
	t.Helper()
	for _, s := range x.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no step %q in\n%s", name, outcome(x))
	return TestStep{}
}

// A link that works passes every step, with the figures of its path; also where the
// policy lets nothing through, and while the home's own canaries go.
func TestTest_OfALinkThatWorks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		eu, us := pairWithCanaries(w, peerTo("us"), peerFrom("eu"))
		eu.home.do(t, &home.SetPeer{Peer: "us", In: []string{"back/#"}, Retained: true})
		us.home.subscribe(t, "dev", "events/#")
		eu.home.subscribe(t, "dev", "back/a", "other/b")
		wantsKnown(t, eu, us)
		x, err := eu.m.Test(context.Background(), "us", TestOptions{Topic: "events/a", Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + outcome(x))
		if len(x.Steps) != 8 {
			t.Errorf("%d steps", len(x.Steps))
		}
		for _, s := range x.Steps {
			if s.State != TestOK || s.Next != "" {
				t.Errorf("%s is %s: %s", s.Name, s.State, s.Detail)
			}
		}
		for name, want := range map[string][3]string{"ping": {"round_trip_seconds"}, "canary": {"p50_seconds", "p99_seconds"}} {
			for _, figure := range want {
				if v := stepOf(t, x, name).Figures[figure]; figure != "" && (v < 0.040 || v > 0.1) {
					t.Errorf("%s of %s is %v on a path of 40 ms", figure, name, v)
				}
			}
		}
		if v := x.View; v == nil || v.Region != "us" || v.Topic == nil || !v.Topic.MayCome || !v.Topic.Wanted || v.YourCertificateUntil.IsZero() {
			t.Errorf("view %+v", x.View)
		}
		if s := us.status("eu"); s.Counters.MessagesIn+s.Counters.MessagesOut != 0 || s.LagMessages != 0 {
			t.Errorf("the test left %+v", s)
		}
	})
}

// What is wrong is named, and what does not depend on it is tried all the same.
func TestTest_NamesTheStepThatFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		break_ func(t *testing.T, w *world, eu, us *node)
		step   string
		state  TestState
		says   string
	}{
		{"no tunnel", func(_ *testing.T, w *world, _, _ *node) {
			w.wan.setCut(ip("eu"), ip("us"), true)
			time.Sleep(20 * time.Second)
		}, "tunnel", TestFailed, "no answer"},
		{"no commit there", func(_ *testing.T, _ *world, _, us *node) { us.home.hold(true) }, "canary", TestFailed, "canary 1 of 5 did not come back"},
		{"interest changed behind our back", func(t *testing.T, _ *world, eu, us *node) {
			v, _ := us.home.st.Wanted()
			eu.home.do(t, &home.Interest{Peer: "us", Epoch: us.home.st.Epoch(), Full: true, Version: v, Add: []home.InterestFilter{{Filter: "forged"}}})
		}, "interest", TestFailed, "the contents differ"},
		{"held", func(_ *testing.T, _ *world, eu, _ *node) { eu.m.linkWith("us").hold("cmd", "a message cannot be read") }, "spool", TestFailed, "held back: a message cannot be read"},
		{"held there", func(_ *testing.T, _ *world, _, us *node) { us.m.linkWith("eu").hold("cmd", "a message cannot be read") }, "peer", TestFailed, "held back there: a message cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				us := w.tuned("us", func(o *tuning) { o.DigestEvery = time.Hour }, peerFrom("eu"))
				eu := w.region("eu", peerTo("us"))
				us.home.subscribe(t, "dev", "events/#")
				wantsKnown(t, eu, us)
				eventually(t, time.Second, "us to know eu's epoch", func() bool { info, _ := us.home.st.Peer("eu"); return info.Epoch.Number == 1 })
				c.break_(t, w, eu, us)
				x, err := eu.m.Test(context.Background(), "us", TestOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range x.Steps {
					switch {
					case s.Name == c.step:
						if s.State != c.state || !strings.Contains(s.Detail, c.says) || s.Next == "" {
							t.Errorf("%s is %s: %s; %s", s.Name, s.State, s.Detail, s.Next)
						}
					case s.State != TestOK:
						t.Errorf("%s is %s, too: %s", s.Name, s.State, s.Detail)
					}
				}
				stepOf(t, x, c.step)
			})
		})
	}
}

// A peer of a version that answers no questions is tested as far as that goes; one
// that hangs fails the step and ends it in time.
func TestTest_OfAnotherVersionAndOfAPeerThatHangs(t *testing.T) {
	for _, features := range []uint64{wire.Features &^ (wire.FeatureTest | wire.FeatureCanary), wire.Features} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 20*time.Millisecond)
			defer w.close()
			eu := w.region("eu", peerFrom("us"))
			s := w.stranger(t, "us", "eu")
			defer s.close()
			h := helloOf("us")
			h.Features = features
			s.open(h)
			up(t, eu, "us")
			began := time.Now()
			x, err := eu.m.Test(context.Background(), "us", TestOptions{Bytes: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"ping", "canary", "peer", "interest", "padding"} {
				want := TestSkipped
				if name == "ping" && features&wire.FeatureTest != 0 {
					want = TestFailed
				}
				if step := stepOf(t, x, name); step.State != want {
					t.Errorf("%s is %s: %s", name, step.State, step.Detail)
				}
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A link is tested once at a time, and only if there is one; whoever asks may leave.
func TestTest_OneAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		if _, err := eu.m.Test(context.Background(), "ap", TestOptions{}); !errors.Is(err, ErrNoLink) {
			t.Errorf("no such link: %v", err)
		}
		us.home.hold(true)
		ctx, leave := context.WithCancel(context.Background())
		first := make(chan error)
		go func() { _, err := eu.m.Test(ctx, "us", TestOptions{}); first <- err }()
		time.Sleep(time.Second)
		if _, err := eu.m.Test(context.Background(), "us", TestOptions{}); !errors.Is(err, ErrTesting) {
			t.Errorf("a second test: %v", err)
		}
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
	})
}

// Padding that the peer does not read ends in time.
func TestTest_PaddingThatNobodyReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerFrom("us"))
		s := w.stranger(t, "us", "eu")
		defer s.close()
		h := helloOf("us")
		h.Features &^= wire.FeatureBundle
		s.open(h)
		up(t, eu, "us")
		ctx, cancel := context.WithTimeout(context.Background(), padWait)
		defer cancel()
		began := time.Now()
		if _, err := eu.peer("us").current().pad(ctx, maxPadding); err == nil {
			t.Error("it got through")
		}
		if took := time.Since(began); took > padWait+time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
