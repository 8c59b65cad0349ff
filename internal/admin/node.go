package admin

import (
	"context"
	"errors"
)

// Node is what the API asks of the node it speaks for. Methods are called from many goroutines;
// those that change something take a context and may wait for the home, the others answer from
// memory (or, for one body, from disk) at once.
//
// Errors: ErrNotFound when what the caller named is not there, ErrUnavailable (wrapped with the
// reason) while the node cannot answer yet, a *Refused when a precondition is not met. Anything
// else is reported as an internal error.
type Node interface {
	Overview
	Clients
	Sessions
	Roaming
	Links
	LinkControl
	Routing
	RetainedMessages
	Sharing
	Configuration
	Region
	Takeover
	Drills
	HomeConfig
	// ConfigOf is the same for a home that this region has a copy of. ErrNotFound: it has none.
	ConfigOf(home string) (HomeConfig, error)
	Evacuations
	RegionEvacuations
	Backups
	Devices
	Traces
	Forgetting
	Upgrades
	Admissions
}

// Overview tells how the node is.
type Overview interface {
	// Status describes the node. It leaves State, Trouble, Totals and Services empty: the server
	// fills them in.
	Status() Status
	// Counts are totals since the node started, for metrics.
	Counts() Counts
}

// Clients are the connected devices.
type Clients interface {
	// ClientsAfter returns at most max connected clients whose key is above after, in the order of
	// Key.Compare.
	ClientsAfter(after Key, max int) ([]Client, error)
	Client(k Key) (Client, error)
	// Kick closes a client's connection. Its session stays.
	Kick(ctx context.Context, k Key) error
}

// Sessions are what the home keeps of devices.
type Sessions interface {
	// SessionsAfter returns at most max sessions whose key is above after, in the order of
	// Key.Compare.
	SessionsAfter(after Key, max int) ([]Session, error)
	Session(k Key) (SessionDetail, error)
	// Queue returns at most max references above after of a session's queue, in order. The
	// payloads are left out unless asked for.
	Queue(k Key, after uint64, max int, payloads bool) ([]QueuedMessage, error)
	// DeleteSession ends a session with its queue, and its connection if it has one.
	DeleteSession(ctx context.Context, k Key, publishWill bool) error
}

// Links are the relations to peer regions.
type Links interface {
	Links() []Link // by peer
	Link(peer string) (LinkDetail, error)
	// TestLink tries a link now; it takes seconds, up to half a minute. The steps' states are
	// those of LinkTest.
	TestLink(ctx context.Context, peer string, o LinkTestOptions) (LinkTest, error)
	// ForgetPeer drops a peer's interest and its spool. With dryRun it only says what that would
	// drop, or refuses as it would.
	ForgetPeer(ctx context.Context, peer string, dryRun bool) (Forgotten, error)
}

// Routing tells where messages go.
type Routing interface {
	// Route says where a message with this topic would go. It names at most max targets.
	Route(namespace, topic string, max int) (Route, error)
}

// RetainedMessages are the retained messages of the home.
type RetainedMessages interface {
	// RetainedAfter returns at most max retained messages whose key (namespace, topic) is above
	// after, in the order of Key.Compare.
	RetainedAfter(after Key, max int) ([]Retained, error)
	Retained(k Key) (RetainedDetail, error)
	// DeleteRetained removes a retained message, here and at the peers.
	DeleteRetained(ctx context.Context, k Key) error
	// ExportRetained is a retained message whole, to be taken in elsewhere.
	ExportRetained(k Key) (RetainedMessage, error)
	// ImportRetained publishes one, as a device would. With dryRun it only says whether it could be: what is
	// wrong with it is a BadRequest, what the namespace has no room for a *Refused.
	ImportRetained(ctx context.Context, m RetainedMessage, dryRun bool) error
}

// Sharing are the shared subscriptions of the home.
type Sharing interface {
	// SharedGroups returns at most max groups, those for which most waits first; with a name those
	// of that name only.
	SharedGroups(name string, max int) ([]SharedGroup, error)
}

// Configuration is what the node runs with.
type Configuration interface {
	// Config lists every key. Values hold no secrets.
	Config() []ConfigValue
	// Reload reads the node file again and takes over what can change while the node runs. It refuses a file of which not
	// all can be, naming the keys.
	Reload(ctx context.Context, dryRun bool) ([]string, error)
}

// BadRequest says that what the caller sent makes no sense, and what would.
func BadRequest(detail, fix string) error { return badRequest(fix, "%s", detail) }

// What a Node answers when it cannot do what was asked.
var (
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("not available now")
)

// Refused says that preconditions are not met. Nothing was done.
type Refused struct{ Reasons []Refusal }

// Error is the first reason.
func (r *Refused) Error() string {
	if len(r.Reasons) == 0 {
		return "refused"
	}
	return r.Reasons[0].Reason
}

// Refuse makes a Refused of one reason.
func Refuse(condition, reason, fix string) *Refused {
	return &Refused{Reasons: []Refusal{{Condition: condition, Reason: reason, Fix: fix}}}
}
