package health

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestReport_TheGravestSpeaks(t *testing.T) {
	tests := []struct {
		name  string
		parts map[string]Condition
		state State
		why   string
	}{
		{"nothing registered", nil, Starting, "nothing has started yet"},
		{"all well", map[string]Condition{"replica": OK(), "listeners": OK()}, Ready, ""},
		{"one behind", map[string]Condition{"replica": {State: CatchingUp, Reason: "900 entries behind"}, "listeners": OK()}, CatchingUp, "900 entries behind"},
		{"not up hides behind", map[string]Condition{"a": {State: CatchingUp, Reason: "x"}, "b": {State: Starting, Reason: "y"}}, Starting, "y"},
		{"isolated hides evacuating", map[string]Condition{"a": {State: Evacuating, Reason: "x"}, "b": {State: Isolated, Reason: "y"}}, Isolated, "y"},
		{"fenced hides isolated", map[string]Condition{"a": {State: Isolated, Reason: "x"}, "b": {State: Fenced, Reason: "y"}}, Fenced, "y"},
		{"equals: first by name", map[string]Condition{"b": {State: Fenced, Reason: "y"}, "a": {State: Fenced, Reason: "x"}}, Fenced, "x"},
		{"a word nobody knows", map[string]Condition{"a": {State: "sleepy", Reason: "x"}}, Failed, `its check says "sleepy", which is no state: x`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := New(quiet())
			for name, c := range tt.parts {
				n.Set(name, c)
			}
			if r := n.Report(); r.State != tt.state || r.Reason != tt.why || len(r.Parts) != len(tt.parts) {
				t.Errorf("report %+v, want %s %q", r, tt.state, tt.why)
			}
		})
	}
}

// Whatever the parts say, the node is ready only if all of them are.
func TestReport_ReadyOnlyIfAllAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := New(quiet())
		said := rapid.SliceOfN(rapid.SampledFrom(States()), 1, 6).Draw(t, "parts")
		all := true
		for i, s := range said {
			n.Set(string(rune('a'+i)), Condition{State: s, Reason: "r"})
			all = all && s == Ready
		}
		if got := n.Report().State == Ready; got != all {
			t.Fatalf("ready is %v for %v", got, said)
		}
	})
}

func TestSince_StaysWhileTheStateStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(quiet())
		n.Set("replica", Condition{State: CatchingUp, Reason: "900 entries behind"})
		began := time.Now()
		n.Report()
		time.Sleep(time.Minute)
		n.Set("replica", Condition{State: CatchingUp, Reason: "3 entries behind"})
		if r := n.Report(); !r.Since.Equal(began) || !r.Parts[0].Since.Equal(began) || r.Reason != "3 entries behind" {
			t.Errorf("the state changed although only the reason did: %+v", r)
		}
		n.Set("replica", OK())
		if r := n.Report(); !r.Since.Equal(time.Now()) || r.State != Ready {
			t.Errorf("ready since %v", r.Since)
		}
	})
}

func TestStopAndFail(t *testing.T) {
	n := New(quiet())
	n.Set("replica", Condition{State: Fenced, Reason: "epoch 4@us"})
	n.Stop("SIGTERM")
	if r := n.Report(); r.State != Stopping || r.Reason != "SIGTERM" {
		t.Errorf("after Stop: %+v", r)
	}
	n.Fail(errors.New("fsync: input/output error"))
	if r := n.Report(); r.State != Failed || r.Reason != "fsync: input/output error" || r.Next == "" {
		t.Errorf("after Fail: %+v", r)
	}
}

// An answer that took long does not overwrite one that was asked for later.
func TestReport_ASlowRoundDoesNotWin(t *testing.T) {
	n := New(quiet())
	asked, release := make(chan struct{}), make(chan struct{})
	n.Register("replica", func() Condition {
		close(asked)
		<-release
		return Condition{State: CatchingUp, Reason: "old"}
	})
	slow := make(chan Report)
	go func() { slow <- n.Report() }()
	<-asked
	n.Set("replica", OK())
	if r := n.Report(); r.State != Ready {
		t.Fatalf("the later round: %+v", r)
	}
	close(release)
	if r := <-slow; r.State != Ready {
		t.Errorf("the slow round answers %+v", r)
	}
	if r := n.Report(); r.State != Ready {
		t.Errorf("after both: %+v", r)
	}
}

func TestRun_LogsEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := New(slog.New(slog.NewTextHandler(&log, nil)))
		n.Set("replica", Condition{State: CatchingUp, Reason: "900 entries behind"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx) }()
		for i := range 9 { // figures in the reason that move
			n.Set("replica", Condition{State: CatchingUp, Reason: strings.Repeat("*", i)})
			n.Report()
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		n.Set("replica", OK())
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if got := strings.Count(log.String(), `msg="node state"`); got != 2 {
			t.Errorf("%d lines:\n%s", got, log.String())
		}
	})
}
