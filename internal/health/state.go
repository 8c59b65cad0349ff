package health

import "slices"

// State is what a node is, in one word. Ready is the only one in which devices should be sent to
// it.
type State string

// The states of a node, from the one that hides all others to the one without trouble.
//
//	starting -> catching_up -> ready <-> isolated, evacuating, standby, fenced
//	any of them -> stopping          any of them -> failed
const (
	Failed     State = "failed"      // something is broken that a restart of a part does not repair
	Stopping   State = "stopping"    // asked to end
	Fenced     State = "fenced"      // a newer epoch of the home is served elsewhere
	Standby    State = "standby"     // the region's homes were handed over, and are followed here
	Isolated   State = "isolated"    // does not hear enough of its region, or of others, to answer for sessions
	Starting   State = "starting"    // parts are not up yet
	CatchingUp State = "catching_up" // up, but behind the log
	Evacuating State = "evacuating"  // serves, and sends its devices elsewhere at a pace
	Ready      State = "ready"
)

// States lists every state, the gravest first.
func States() []State {
	return []State{Failed, Stopping, Fenced, Standby, Isolated, Starting, CatchingUp, Evacuating, Ready}
}

// rank orders states by gravity; a word nobody knows is as grave as can be.
func rank(s State) int { return slices.Index(States(), s) }

// Condition is what one check says about its part of the node.
type Condition struct {
	// State the node has to be in because of this part; Ready when there is no trouble.
	State State
	// Reason says why in a few words, for an operator; mostly empty when Ready.
	Reason string
	// Next is the command or act that helps, if one is known.
	Next string
	// Progress says how far a part is that is CatchingUp; nil otherwise.
	Progress *Progress
}

// Progress is how far a copy of the home has come. Zero fields are not known, or not to be done.
type Progress struct {
	From           string // node that the state is fetched from
	Fetched, Total int64  // bytes of it
	Behind         uint64 // entries of the log to be applied, as far as known
}

// OK is the Condition of a part without trouble.
func OK() Condition { return Condition{State: Ready} }
