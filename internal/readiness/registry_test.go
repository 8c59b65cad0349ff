package readiness

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func item(name string, s State) Item { return Item{Name: name, Result: Result{State: s}} }

func TestReportOf(t *testing.T) {
	for _, c := range []struct {
		items    []Item
		score    int
		blockers []string
		first    string
	}{
		{nil, 100, nil, ""},
		{[]Item{item("a", StateOK), item("b", StateOK)}, 100, nil, "a"},
		{[]Item{item("a", StateOK), item("b", StateWarn)}, 75, nil, "b"},
		{[]Item{item("a", StateOK), item("b", StatePending), item("c", StateFail), item("d", StateFail)}, 37, []string{"c", "d"}, "c"},
	} {
		r := ReportOf(c.items)
		if r.Score != c.score || !slices.Equal(r.Blockers, c.blockers) || len(r.Items) > 0 && r.Items[0].Name != c.first {
			t.Errorf("of %v: %+v", c.items, r)
		}
	}
}

// Of a region the worst of each check counts, and a node that has nothing to say spoils nothing.
func TestMerge(t *testing.T) {
	a, b := item("lag", StateSkip), item("lag", StateFail)
	b.Node = "eu-2"
	r := Merge([]Item{a, item("disk", StateOK), b, item("disk", StateSkip), item("hooks", StateSkip)})
	if r.Score != 50 || !slices.Equal(r.Blockers, []string{"lag"}) || r.Items[0].Node != "eu-2" || len(r.Items) != 3 {
		t.Errorf("%+v", r)
	}
}

func TestWorst(t *testing.T) {
	if got := Worst(OK("fine"), Warn("", "soon"), Fail("", "first"), Fail("", "second"), OK("")); got.Reason != "first" {
		t.Errorf("got %+v", got)
	}
}

func with(t *testing.T, checks ...Check) *Registry {
	t.Helper()
	r := &Registry{}
	for _, c := range checks {
		r.Add(c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// Checks run at their own pace, and one that hangs is a blocker, holds up no other, and is not begun twice.
func TestRegistry_OneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked, hung := 0, 0
		free := make(chan struct{})
		r := with(t,
			Check{Name: "quick", Every: time.Second, Run: func(context.Context) Result { looked++; return OK("look %d", looked) }},
			Check{Name: "hangs", Every: time.Second, Within: 3 * time.Second, Run: func(context.Context) Result { hung++; <-free; return OK("at last") }})
		synctest.Wait()
		if rep := r.Report(); rep.Score != 75 || len(rep.Blockers) != 0 {
			t.Errorf("at first: %+v", rep)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		rep := r.Report()
		if looked < 10 || hung != 1 || !slices.Equal(rep.Blockers, []string{"hangs"}) || rep.Items[0].Reason != "it did not answer within 3s" {
			t.Errorf("looked %d times, hung %d times: %+v", looked, hung, rep)
		}
		close(free)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if rep := r.Report(); rep.Score != 100 || hung < 2 {
			t.Errorf("hung %d times: %+v", hung, rep)
		}
	})
}

// What a check panics with is its result, and what it finds is dated from when the state changed.
func TestRegistry_PanicsAndSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, bad := time.Now(), true
		r := with(t, Check{Name: "c", Every: time.Second, Run: func(context.Context) Result {
			if bad {
				panic("oh")
			}
			return OK("fine")
		}})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		i := r.Report().Items[0]
		if i.State != StateFail || i.Reason != "the check itself failed: oh" || i.Since.Sub(began) > time.Second || i.At.Sub(began) < 4*time.Second {
			t.Errorf("%+v", i)
		}
		bad = false
		r.Refresh()
		synctest.Wait()
		if i := r.Report().Items[0]; i.State != StateOK || i.Since.Sub(began) < 5*time.Second {
			t.Errorf("%+v", i)
		}
	})
}
