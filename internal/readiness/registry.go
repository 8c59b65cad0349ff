package readiness

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Item is a check with what it found last.
type Item struct {
	Name string
	Node string // that looked; "" where there is one only
	Result
	Since time.Time // of the state
	At    time.Time // of the result; zero before the first
}

// Report is how ready a region is, as far as one node can tell.
type Report struct {
	Score    int // 0 to 100: of all checks, those that are well, and half of those that warn
	Items    []Item
	Blockers []string // names of checks that fail
}

// Registry runs checks. The zero value has none.
type Registry struct {
	mu     sync.Mutex
	checks []*entry
	begun  bool
}

type entry struct {
	Check
	last    Item
	asked   chan struct{} // of Refresh: look now
	running bool          // a run that outlasted its time goes on, and no other begins
}

// Add adds a check, before Run. A name may be given once.
func (r *Registry) Add(c Check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun || slices.ContainsFunc(r.checks, func(e *entry) bool { return e.Name == c.Name }) {
		panic("readiness: check " + c.Name + " is added twice, or after Run")
	}
	c.Every, c.Within = cmp.Or(c.Every, defaultEvery), cmp.Or(c.Within, defaultWithin)
	r.checks = append(r.checks, &entry{Check: c, last: Item{Name: c.Name, Result: Result{State: StatePending, Reason: "not looked at yet"}}, asked: make(chan struct{}, 1)})
}

// Run runs all checks, each at its pace, until ctx ends. It may be called again after it returned.
func (r *Registry) Run(ctx context.Context) error {
	r.mu.Lock()
	r.begun = true
	checks := slices.Clone(r.checks)
	r.mu.Unlock()
	var all sync.WaitGroup
	for _, e := range checks {
		all.Go(func() { r.watch(ctx, e) })
	}
	all.Wait()
	return nil
}

// Refresh has all checks look again as soon as they can.
func (r *Registry) Refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.checks {
		select {
		case e.asked <- struct{}{}:
		default:
		}
	}
}

func (r *Registry) watch(ctx context.Context, e *entry) {
	tick := time.NewTicker(e.Every)
	defer tick.Stop()
	for {
		r.look(ctx, e)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.asked:
		}
	}
}

// look runs a check once. A run that does not end in time is left alone: it is a
// blocker, and no other run begins until it has ended.
func (r *Registry) look(ctx context.Context, e *entry) {
	late := Fail("find out why it hangs", "it did not answer within %s", e.Within)
	if !r.begin(e) {
		r.note(e, late)
		return
	}
	within, cancel := context.WithTimeout(ctx, e.Within)
	done := make(chan Result, 1)
	go func() {
		defer cancel()
		res := run(within, e.Check)
		r.end(e)
		done <- res
	}()
	select {
	case res := <-done:
		if ctx.Err() == nil { // a result of being stopped says nothing
			r.note(e, res)
		}
	case <-within.Done():
		select {
		case res := <-done: // it heeded the context, or both came at once
			if ctx.Err() == nil {
				r.note(e, res)
			}
		case <-time.After(grace):
			if ctx.Err() == nil {
				r.note(e, late)
			}
		}
	}
}

// grace is what a check has to heed its context.
const grace = 100 * time.Millisecond

func run(ctx context.Context, c Check) (res Result) {
	defer func() {
		if p := recover(); p != nil {
			res = Fail("report it with the node's log", "the check itself failed: %v", p)
		}
	}()
	res = c.Run(ctx)
	if res.State == "" {
		res = Fail("report it", "the check came to no result")
	}
	return res
}

func (r *Registry) begin(e *entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.running {
		return false
	}
	e.running = true
	return true
}

func (r *Registry) end(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.running = false
}

func (r *Registry) note(e *entry, res Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if e.last.State != res.State {
		e.last.Since = now
	}
	e.last.Result, e.last.At = res, now
}

// Report is what is known now. It never waits for a check.
func (r *Registry) Report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	var items []Item
	for _, e := range r.checks {
		items = append(items, e.last)
	}
	return ReportOf(items)
}

// ReportOf says what follows from results: the worst come first.
func ReportOf(items []Item) Report {
	r := Report{Score: 100, Items: slices.Clone(items)}
	slices.SortStableFunc(r.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(rank(b.State), rank(a.State)), strings.Compare(a.Name, b.Name))
	})
	half, n := 0, 0
	for _, i := range r.Items {
		if i.State == StateSkip {
			continue
		}
		n++
		switch i.State {
		case StateOK:
			half += 2
		case StateFail:
			r.Blockers = append(r.Blockers, i.Name)
		default:
			half++
		}
	}
	if n > 0 {
		r.Score = 50 * half / n
	}
	return r
}

// Merge is the report of a region from what its nodes report: of each check the worst.
func Merge(items []Item) Report {
	worst := map[string]int{}
	var all []Item
	for _, i := range items {
		at, known := worst[i.Name]
		switch {
		case !known:
			worst[i.Name] = len(all)
			all = append(all, i)
		case rank(i.State) > rank(all[at].State):
			all[at] = i
		}
	}
	return ReportOf(all)
}

// String is the report for a log.
func (r Report) String() string {
	if len(r.Blockers) == 0 {
		return fmt.Sprintf("score %d", r.Score)
	}
	return fmt.Sprintf("score %d, blocked by %s", r.Score, strings.Join(r.Blockers, ", "))
}
