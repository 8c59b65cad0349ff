package takeover

import (
	"testing"
	"time"

	"causeway/internal/home"
)

func TestVoter_RefusesWhoIsBehindALivingStandby(t *testing.T) {
	terms := Terms{Lease: 5 * time.Second, Hold: 6 * time.Second}
	old, behind, ahead := home.Epoch{Number: 1, Host: "eu"}, home.Epoch{Number: 2, Host: "us"}, home.Epoch{Number: 2, Host: "ap"}
	for _, c := range []struct {
		name string
		told Position // by ap
		wait time.Duration
		ask  Ask
		want Answer
	}{
		{"as far", Position{old, 100}, 0, Ask{Epoch: behind, Candidate: true, At: Position{old, 100}}, Yes},
		{"behind", Position{old, 101}, 0, Ask{Epoch: behind, Candidate: true, At: Position{old, 100}}, Behind},
		{"of an older epoch", Position{behind, 1}, 0, Ask{Epoch: home.Epoch{Number: 3, Host: "us"}, Candidate: true, At: Position{old, 100}}, Behind},
		{"forced", Position{old, 101}, 0, Ask{Epoch: behind, Candidate: true, Forced: true, At: Position{old, 100}}, Yes},
		{"the other is silent", Position{old, 101}, terms.Hold, Ask{Epoch: behind, Candidate: true, At: Position{old, 100}}, Yes},
		{"the other itself", Position{old, 101}, 0, Ask{Epoch: ahead, Candidate: true, At: Position{old, 99}}, Yes},
	} {
		v := Voter{Promised: old}
		v.Tell(time.Minute, "ap", c.told)
		if got := v.Answer(time.Minute+c.wait, c.ask, terms); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if kept := v.Promised == old; kept != (c.want != Yes) {
			t.Errorf("%s: promised %v", c.name, v.Promised)
		}
	}
}

// A lease begins when it was asked for: the answer may have been under way for long.
func TestPromises_LastFromTheQuestion(t *testing.T) {
	terms := Terms{Lease: 5 * time.Second, Hold: 6 * time.Second}
	e, voters := home.Epoch{Number: 1, Host: "eu"}, []string{"eu", "us", "w1"}
	p := Promises{Epoch: e}
	p.Take("eu", e, 10*time.Second)
	if _, ok := p.Until(voters, terms); ok {
		t.Error("one of three is enough")
	}
	p.Take("stranger", e, 10*time.Second)
	p.Take("us", home.Epoch{Number: 2, Host: "us"}, 10*time.Second)
	if _, ok := p.Until(voters, terms); ok {
		t.Error("who has no vote, or promised another epoch, counts")
	}
	p.Take("us", e, 7*time.Second)
	p.Take("w1", e, 4*time.Second)
	p.Take("us", e, 6*time.Second) // an answer that was overtaken
	if until, ok := p.Until(voters, terms); !ok || until != 12*time.Second {
		t.Errorf("until %v, %v; want 12s, the second newest question and a lease", until, ok)
	}
}
