package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// panics calls nobody.
type panics struct{}

func (panics) Call(context.Context, string, byte, []byte) ([]byte, error) { panic("index 7") }

// A hook's run, or a question to a voter, that panics costs itself and is counted: what decides goes on.
func TestCrash_AHookOrAQuestionCostsItself(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	a := &Agent{o: Options{Region: "us", Caller: panics{}, Hooks: Hooks{Promote: script(t, "exit 0"), Timeout: time.Minute}, Logger: slog.New(slog.DiscardHandler),
		Audit: func(string, string, string, string) { panic("index 8") },
		Crashed: func(what string, err error) {
			if p := group.Panicked(err); p != nil {
				mu.Lock()
				defer mu.Unlock()
				seen[what+" "+p.Error()]++
			}
		}}}
	a.hook("promote", "eu", home.Epoch{Number: 2, Host: "us"})
	a.calls.Wait()
	if _, err := a.ask(t.Context(), "ap", &request{Subject: served, Home: "eu", Epoch: home.Epoch{Number: 2, Host: "us"}}, time.Second); group.Panicked(err) == nil {
		t.Errorf("the question: %v", err)
	}
	if len(seen) != 2 || seen["call panic: index 8"] != 1 || seen["call panic: index 7"] != 1 {
		t.Errorf("counted %v", seen)
	}
}
