package app

import (
	"slices"
	"testing"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
)

// Voters are changed one at a time: of two lists that differ by one, two majorities have a voter in common.
func TestTooManyVoters(t *testing.T) {
	for _, c := range []struct {
		have, want []string
		held       bool
	}{
		{nil, []string{"eu", "us", "w1"}, false},
		{[]string{"eu", "us", "w1"}, []string{"w1", "us", "eu"}, false},
		{[]string{"eu", "us", "w1"}, []string{"eu", "us", "w1", "w2"}, false},
		{[]string{"eu", "us", "w1"}, []string{"eu", "us"}, false},
		{[]string{"eu", "us", "w1"}, []string{"eu", "us", "w2"}, true},
		{[]string{"eu", "us", "w1"}, []string{"eu", "us", "w1", "w2", "w3"}, true},
	} {
		if why := tooManyVoters(c.have, c.want); (why != "") != c.held {
			t.Errorf("%v to %v: %q", c.have, c.want, why)
		}
	}
}

// What the ack rules say of late messages goes with the home, in their order.
func TestTakeoverOp_Replay(t *testing.T) {
	cfg := config.Default()
	cfg.Region = "eu"
	if op := takeoverOp(cfg, "eu"); op.Replay != nil {
		t.Errorf("by default %v", op.Replay)
	}
	cfg.Ack = []config.AckRule{{Filter: "cmd/#", MaxReplayAge: time.Minute}, {Filter: "log/#", Replay: config.ReplayReport}, {Filter: "#", Replay: config.ReplayDeliver}}
	want := []home.ReplayRule{{Filter: "cmd/#", MaxAge: time.Minute}, {Filter: "log/#", Replay: home.ReplayReport}, {Filter: "#"}}
	if op := takeoverOp(cfg, "eu"); !slices.Equal(op.Replay, want) {
		t.Errorf("%v, want %v", op.Replay, want)
	}
}
