package broker

import (
	"context"

	"causeway/internal/home"
)

// Home is the home the broker's sessions live in: a log to propose to and a state to ask. All methods may be called
// from any goroutine. The home calls Server.Deliver, Queued and Ended while it applies.
type Home interface {
	// Propose puts an operation into the log, or returns an error and has not taken it: there is no room (Room waits)
	// or the home has stopped. It never blocks. done is called exactly once, in the order of the Propose calls, from
	// the goroutine that applies: after the operation was committed and applied, or with an error when its fate is not
	// known.
	Propose(op home.Op, done func(home.Outcome, error)) error
	// Room waits until Propose has room again. An error means that it never will, or that ctx ended.
	Room(ctx context.Context) error
	// Queue appends references of the session's queue with a number above after, in order and at most max. It appends
	// nothing when epoch is not the session's.
	Queue(k home.SessionKey, epoch home.SessionEpoch, after uint64, max int, dst []home.Queued) []home.Queued
	// Match appends who wants the topic. It keeps no reference to topic.
	Match(namespace, topic string, dst []*home.Target) []*home.Target
	// Body reads a message that Queue returned as Evicted. It may read a disk.
	Body(seq home.Seq) (home.Message, error)
	// Owes says that the home keeps what this region may not store until one serves it that may: Owe takes the place of
	// Skip for it.
	Owes() bool
	// PolicyOf is what an acknowledgement means for a topic. It keeps no reference to topic.
	PolicyOf(topic string) home.Policy
	// Now estimates home time.
	Now() home.Time
	// SessionEpoch is the highest session epoch given, as far as this node knows.
	SessionEpoch() home.SessionEpoch
	// AwaitShipped calls done once a standby of the home has applied the record of that number too, or while the home is
	// to do without one. It may call at once; it is not called for a home that is served here no more. done must not block.
	AwaitShipped(record uint64, done func())
	// Owner is this run of this node.
	Owner() home.Owner
	// Fresh says whether this node may speak for its sessions: it has applied what was committed a moment ago. It is
	// asked before every write of messages. [C1]
	Fresh() bool
	// Ready says whether the home serves sessions, and if not, why. A CONNECT is parked until it does.
	Ready() (ok bool, reason string)
}

// Forwarder takes messages that are in no log to the regions that want them.
type Forwarder interface {
	// Forward hands over a message for a peer, and what it is to cross for. It must not block; what it cannot take it
	// drops and counts. m is shared and not written by anybody.
	Forward(peer home.ID, m *home.Message, c home.Claim)
}

// noForwarder is used when there are no links.
type noForwarder struct{}

func (noForwarder) Forward(home.ID, *home.Message, home.Claim) {}
