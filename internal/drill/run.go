package drill

import (
	"fmt"
	"slices"
	"time"
)

// A run goes through these states. Whatever ends it early, what was done is undone before it ends,
// also by another process after a crash: undoing is begun over from the journal.
//
//	            step failed, guardrail, abort, interrupt
//	running ────────────────────────────────────────────▶ undoing
//	   │ all steps done                                      │ nothing left to undo
//	   ▼                                                     ▼
//	 ended (done)                       ended (aborted | missed | failed | partly)
type State string

// States of a run.
const (
	Running State = "running"
	Undoing State = "undoing"
	Ended   State = "ended"
)

// Outcomes of a run.
const (
	OutcomeDone    = "done"
	OutcomeMissed  = "missed"  // a goal was missed, or something did not come in time; undone where there was need
	OutcomeAborted = "aborted" // by a guardrail or an operator, and undone
	OutcomeFailed  = "failed"  // something could not be done; what was done is undone
	OutcomePartly  = "partly"  // not all could be undone
)

// What an Event tells.
const (
	EvStarted     = "started"
	EvResumed     = "resumed"
	EvBegun       = "begun" // Step
	EvDone        = "done"
	EvMissed      = "missed" // an await or a check did not come out well; Text says what
	EvFailed      = "failed" // Step could not be done
	EvApproved    = "approved"
	EvMark        = "mark" // something was seen: Name says what
	EvTripped     = "tripped"
	EvAbort       = "abort"
	EvInterrupted = "interrupted"
	EvUndoBegun   = "undo_begun"
	EvUndoDone    = "undo_done"
	EvUndoFailed  = "undo_failed"
	EvNote        = "note" // a finding, or what is worth a line
	EvEnded       = "ended"
)

// Event is one line of a journal.
type Event struct {
	N    int               `json:"n"`
	At   time.Time         `json:"at"`
	What string            `json:"what"`
	Step int               `json:"step"` // -1: none
	Name string            `json:"name,omitempty"`
	Text string            `json:"text,omitempty"`
	By   string            `json:"by,omitempty"`
	Data map[string]string `json:"data,omitempty"`
	Prev string            `json:"prev"` // hash of the line before
	Hash string            `json:"hash,omitempty"`
}

// Open is something that was done and would have to be undone.
type Open struct {
	Key    string
	Action Action
	Tries  int
}

// Run folds the events of a drill. It is a value of one goroutine.
type Run struct {
	Drill   *Drill
	State   State
	At      int  // the step that is under way or comes next
	Begun   bool // it is under way
	Open    []Open
	Left    []Open // could not be undone
	Outcome string
	Why     string // it ended early
	Missed  []string
	Phases  []PhaseTimes
	Started time.Time
	Ended   time.Time
}

// PhaseTimes says when a phase began, and the disaster in it.
type PhaseTimes struct {
	Begin, Mark, End time.Time
	Cut              bool                 // it ended because the drill was given up
	Marks            map[string]time.Time // detected, decided, promoted
}

// undoTries is how often an undo is tried before it is left to the operator.
const undoTries = 3

// NewRun is a run before its first event.
func NewRun(d *Drill) *Run {
	return &Run{Drill: d, State: Running, Phases: make([]PhaseTimes, len(d.Phases))}
}

// Command is what comes next: a step, an undo, or the end.
type Command struct {
	Step *Step
	Undo *Open
	End  bool
}

// Next says what is to be done now. It changes nothing.
func (r *Run) Next() Command {
	switch {
	case r.State == Ended:
		return Command{}
	case r.State == Undoing && len(r.Open) > 0:
		return Command{Undo: &r.Open[len(r.Open)-1]}
	case r.State == Running && r.At < len(r.Drill.Steps):
		return Command{Step: &r.Drill.Steps[r.At]}
	}
	return Command{End: true}
}

// Apply takes in an event. An error says that it does not follow: the journal is another drill's.
func (r *Run) Apply(e Event) error {
	if r.State == Ended {
		return fmt.Errorf("event %d (%s) comes after the end", e.N, e.What)
	}
	switch e.What {
	case EvStarted:
		r.Started = e.At
	case EvBegun, EvDone, EvFailed, EvMissed:
		if r.State != Running || e.Step != r.At || e.Step >= len(r.Drill.Steps) {
			return fmt.Errorf("event %d (%s of step %d) does not follow: the run is %s at step %d", e.N, e.What, e.Step, r.State, r.At)
		}
		r.step(&r.Drill.Steps[e.Step], e)
	case EvMark:
		r.mark(e)
	case EvTripped, EvAbort, EvInterrupted:
		r.giveUp(OutcomeAborted, e)
	case EvUndoBegun, EvUndoDone, EvUndoFailed:
		if r.State != Undoing || len(r.Open) == 0 {
			return fmt.Errorf("event %d (%s) does not follow: nothing is being undone", e.N, e.What)
		}
		r.undo(e)
	case EvEnded:
		r.State, r.Ended, r.Outcome = Ended, e.At, e.Name
	}
	return nil
}

func (r *Run) step(s *Step, e Event) {
	var p *PhaseTimes
	if s.Phase >= 0 {
		p = &r.Phases[s.Phase]
	}
	switch e.What {
	case EvBegun:
		r.Begun = true
		if s.Kind == KindBegin && p.Begin.IsZero() {
			p.Begin, p.Marks = e.At, map[string]time.Time{}
		}
		if s.Mark && p.Mark.IsZero() {
			p.Mark = e.At
		}
		// Before it is done: after a crash in the middle it may have been.
		if len(s.Undo) > 0 && !slices.ContainsFunc(r.Open, func(o Open) bool { return o.Key == s.Key }) {
			for _, a := range s.Undo {
				r.Open = append(r.Open, Open{Key: s.Key, Action: a})
			}
		}
	case EvDone:
		if s.Kind == KindEnd {
			p.End = e.At
		}
		r.Open = slices.DeleteFunc(r.Open, func(o Open) bool { return slices.Contains(s.Settles, o.Key) })
		r.At, r.Begun = r.At+1, false
	case EvMissed:
		r.Missed = append(r.Missed, s.Name+": "+e.Text)
		if s.Lenient {
			r.At, r.Begun = r.At+1, false
			return
		}
		e.Text = s.Name + ": " + e.Text
		r.giveUp(OutcomeMissed, e)
	case EvFailed:
		e.Text = s.Name + ": " + e.Text
		r.giveUp(OutcomeFailed, e)
	}
}

// giveUp begins to undo. What gave the first reason stays the reason.
func (r *Run) giveUp(outcome string, e Event) {
	if r.State != Running {
		return
	}
	r.State, r.Begun, r.Outcome, r.Why = Undoing, false, outcome, e.Text
	for i := range r.Phases {
		if p := &r.Phases[i]; !p.Begin.IsZero() && p.End.IsZero() {
			p.End, p.Cut = e.At, true
		}
	}
}

func (r *Run) undo(e Event) {
	last := len(r.Open) - 1
	switch e.What {
	case EvUndoDone:
		r.Open = r.Open[:last]
	case EvUndoFailed:
		if r.Open[last].Tries++; r.Open[last].Tries >= undoTries {
			r.Left = append(r.Left, r.Open[last])
			r.Open = r.Open[:last]
		}
	}
}

// mark keeps when the regions were first seen to have come so far.
func (r *Run) mark(e Event) {
	if r.State != Running || r.At >= len(r.Drill.Steps) {
		return
	}
	s := &r.Drill.Steps[r.At]
	if s.Phase < 0 || r.Phases[s.Phase].Marks == nil {
		return
	}
	if m := r.Phases[s.Phase].Marks; m[e.Name].IsZero() {
		m[e.Name] = e.At
	}
}

// Conclude is the outcome once there is nothing left to do, if the goals that were measured came out so.
func (r *Run) Conclude(goalsMissed bool) string {
	switch {
	case r.State == Ended:
		return r.Outcome
	case len(r.Left) > 0 || len(r.Open) > 0:
		return OutcomePartly
	case r.State == Undoing:
		return r.Outcome
	case goalsMissed || len(r.Missed) > 0:
		return OutcomeMissed
	}
	return OutcomeDone
}

// ExitCode is that of an outcome.
func ExitCode(outcome string) int {
	switch outcome {
	case OutcomeDone:
		return 0
	case OutcomeMissed:
		return 4
	case OutcomeAborted:
		return 5
	case OutcomePartly:
		return 6
	}
	return 1
}

// Progress is the step in words: "4 of 12: hold".
func (r *Run) Progress() string {
	switch {
	case r.State == Ended:
		return r.Outcome
	case r.State == Undoing:
		return fmt.Sprintf("undoing, %d left: %s", len(r.Open), r.Why)
	case r.At < len(r.Drill.Steps):
		return fmt.Sprintf("%d of %d: %s", r.At+1, len(r.Drill.Steps), r.Drill.Steps[r.At].Name)
	}
	return "judging"
}

// Spans are the phases as they are judged: from the disaster on, of those that got so far.
func (r *Run) Spans() (spans []Span, of []int) {
	for i, p := range r.Phases {
		if p.Begin.IsZero() {
			continue
		}
		s := Span{Name: r.Drill.Phases[i].Name, Begin: p.Mark, End: p.End, Planned: r.Drill.Phases[i].Planned, Moves: r.Drill.Phases[i].Moves}
		if s.Begin.IsZero() {
			s.Begin = p.Begin
		}
		spans, of = append(spans, s), append(of, i)
	}
	return spans, of
}
