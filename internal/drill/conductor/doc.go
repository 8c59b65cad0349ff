// Package conductor is what acts in a drill: it asks drill.Run what comes next, does it
// through the admin APIs of the regions and through the operator's agent, watches the
// guardrails and whoever may approve or abort, and writes each event to the journal before
// anything that relies on it. It runs outside of the regions and outlives them; when it is
// interrupted it cleans up, and when it is killed another one does, from the journal.
//
// It decides nothing about what a drill is: that is internal/drill. One goroutine owns the
// run and the journal; those beside it look, and cancel the step under way.
package conductor
