package agent

import (
	"context"
	"log/slog"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// Options configure an Agent.
type Options struct {
	Region string // ours
	Votes  *Votes // ours, required; Run starts and stops it
	Caller Caller // required
	// Copies are the region's copies of homes, its own among them. They do not change.
	Copies []Copy
	// Room tells what the region has left. nil: no bound.
	Room func() Room
	// Hooks are run when a home begins or ceases to be served here.
	Hooks Hooks
	// Audit takes a line of what was done without an operator. nil: only the log.
	Audit  func(action, target, outcome, detail string)
	Logger *slog.Logger // default slog.Default()
	// Keep runs what decides for a home until ctx ends, starting it again when it fails. nil: a plain loop.
	Keep func(ctx context.Context, id home.ID, run func(context.Context) error)
	// Crashed is told of what was done beside that, with nil or why it ended, which may be a *group.Panic. nil: nobody.
	Crashed func(what string, err error)

	// Pace is how fast this node's clock runs beside the true one; 0 is 1. Tests set it.
	Pace float64
}

// Hooks are programs that an operator wants run. Each gets a JSON object on its
// standard input, see HookEvent. Empty paths are none.
type Hooks struct {
	Promote string        // the region serves a home that another one did
	Fence   string        // the region ceased to serve a home
	Timeout time.Duration // of one run; default 30 s
}

// VotesOptions configure the voter of a region or a witness.
type VotesOptions struct {
	Name string // of the region or witness
	Book Book   // required
	// Mute says that the region has no vote; what it hears is kept all the same.
	Mute bool
	// Terms are this voter's: it promises for Terms.Hold, and to nobody who relies on
	// more than that.
	Terms takeover.Terms
	// Hosts are the regions that may host a home as configured here. nil: any that may call.
	Hosts  func(id home.ID) []string
	Logger *slog.Logger // default slog.Default()

	Pace float64 // as in Options
}

// Look is what a region tells of itself before it takes a home over.
type Look struct {
	Has      bool // a copy of the home
	Ready    bool // that is complete and follows
	Records  uint64
	Room     Room
	Supports uint32 // feature level
	Why      string // it is not ready; ""
}

// Order is what an operator asks for.
type Order struct {
	Home home.ID
	To   string // of a switchover: the region
	// Force does without a majority, or with a copy that is behind.
	Force bool
	// Wait bounds how long a switchover waits for the standby; default 10 s.
	Wait time.Duration
	By   string // who asked
}

// Runner is what the admin API asks of the agent; each node has one, and those of the
// nodes that are not at work return ErrElsewhere.
type Runner interface {
	Homes() []HomeStatus
	// Plan says what an order would do, or refuses with every reason there is.
	Plan(ctx context.Context, a Action, o Order) (Plan, error)
	// Begin checks again and begins; Homes shows how it goes on.
	Begin(ctx context.Context, a Action, o Order) (Plan, error)
}

// Action is what an operator may do with a home.
type Action string

// The actions.
const (
	Switchover Action = "switchover" // here, to another region: nothing is lost
	Failover   Action = "failover"   // from another region that is gone, to here
	Fence      Action = "fence"      // stop serving here
	Resume     Action = "resume"     // serve again: after a fence, or a cold start
)

// Plan says what an order does.
type Plan struct {
	Effects []string
	Risk    string // that the operator has to accept by typing Confirm; ""
	Confirm string
	Target  string
}

// Refused lists the preconditions that are not met. Nothing was done.
type Refused struct{ Reasons []Reason }

// Reason is one precondition that is not met.
type Reason struct{ Condition, Reason, Fix string }

func (r *Refused) Error() string {
	if len(r.Reasons) == 0 {
		return "refused"
	}
	return r.Reasons[0].Reason
}

// HomeStatus is how a home is in this region.
type HomeStatus struct {
	Home     home.ID
	Role     string // host, standby, handed, retired, empty
	Standing string // of a host: takeover.Standing as a word
	Reason   string // why it does not serve; ""
	Copy     CopyState
	InForce  home.Epoch
	Held     bool
	Short    bool
	Lease    time.Duration // left; negative: none
	Voters   []VoterStatus
	Act      *ActStatus // the last or present one; nil: none
}

// VoterStatus is what a voter said last.
type VoterStatus struct {
	Voter    string
	Votes    bool          // it is a voter; otherwise a region that is told
	Heard    time.Duration // ago; negative: never
	Answer   string
	Promised home.Epoch
}

// ActStatus is how far an action is.
type ActStatus struct {
	Action   Action
	To       string
	By       string
	Began    time.Time
	Ended    time.Time // zero: under way
	Step     string
	Steps    []Step
	Outcome  string // one of the outcomes; "" while under way
	Detail   string
	Messages int // that the standby still lacks
}

// Step is a step that was taken.
type Step struct {
	Name string
	At   time.Time
}
