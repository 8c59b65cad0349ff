package home

// Message is what is delivered or forwarded. Its slices are shared and must not
// be written.
type Message struct {
	Seq       Seq // in this home; 0 for a message that is in no log
	Namespace string
	Topic     string
	Payload   []byte
	Forward   []byte // v5 properties that go to subscribers, in wire form
	Expires   Time   // 0 never
	QoS       byte   // of the publisher
	Retain    bool   // the publisher set RETAIN
	Publisher uint32 // tells publishers apart, for the order towards a foreign broker; 0: unknown, or nobody's peer wanted it
	Withheld  bool   // this region may not store it: there is no topic and no body, and it is skipped
	Trail     string // links to foreign brokers that it came by, the last one last
}

// Delivery is a message for an attached session that is not kept in its queue:
// at most once, or for a session that ends with its connection.
type Delivery struct {
	Session SessionKey
	Epoch   SessionEpoch
	Owner   Owner
	Message *Message
	QoS     byte // granted
	Retain  bool // RETAIN flag to send
	SubIDs  []uint32
}

// Queued is a reference of a session's queue, to be delivered or re-delivered.
type Queued struct {
	Ref      uint64 // its number; PacketID(Ref) is its packet id
	Seq      Seq    // of the message
	Message  Message
	Evicted  bool // the body is on disk only: read it with the replica
	QoS      byte
	Retain   bool
	SubIDs   []uint32
	Received bool // PUBREC'd: send PUBREL instead of PUBLISH
	// ReleaseFirst says that the device may hold the packet id for a message that a lost
	// host sent: PUBREL for it goes out before the PUBLISH. Once the device answered, Ack
	// with Cleared says so, and a re-delivery is not preceded by another one. [E5]
	ReleaseFirst bool
}

// EndReason tells an owner why it does not own a session any more.
type EndReason uint8

// Reasons for Ended.
const (
	EndTakenOver EndReason = 1 // another connection attached the session
	EndDeleted   EndReason = 2 // an operator ended it
	EndNodeDown  EndReason = 3 // the region declared this owner dead
	EndPromoted  EndReason = 4 // another region hosts the home from here on
	EndMoved     EndReason = 5 // its device is in another region, or so it is said
)

// DropReason is a label of causeway_messages_dropped_total.
type DropReason string

// Reasons for which the home drops a message it accepted.
const (
	DropQueueFull  DropReason = "queue_full"
	DropExpired    DropReason = "expired"
	DropTooLarge   DropReason = "packet_too_large"
	DropDenied     DropReason = "denied"
	DropSpoolFull  DropReason = "spool_full"
	DropSpoolAge   DropReason = "spool_age"
	DropForgotten  DropReason = "peer_forgotten"
	DropOperator   DropReason = "operator"
	DropSessionEnd DropReason = "session_ended"
	DropDiskLimit  DropReason = "disk_limit"      // all spools together
	DropResidency  DropReason = "residency"       // a region may not store it
	DropReplay     DropReason = "replay"          // it came back late, and the policy of replay is to report
	DropQuota      DropReason = "namespace_quota" // its namespace has as much waiting as it may
)

// Sink hears what applied records mean for connections and links. It is called
// while the state is locked: it must not block and must not call State.
type Sink interface {
	// Deliver hands over a message for an attached session.
	Deliver(Delivery)
	// Queued says that the session's queue has something new for its owner.
	Queued(SessionKey, SessionEpoch, Owner)
	// Ended says that the owner at this epoch owns the session no more.
	Ended(SessionKey, SessionEpoch, Owner, EndReason)
	// Spooled says that a peer's spool grew.
	Spooled(peer ID)
	// Wanted says that the set of filters this home wants changed.
	Wanted()
	// Dropped counts messages dropped, by place ("queue", "spool").
	Dropped(place string, reason DropReason, n int)
}

// Target is who a filter stands for. It is immutable; Match returns it to
// deliveries that do not go through the log.
type Target struct {
	Peer     ID         // set for a peer's interest
	Group    *Group     // set for a shared subscription
	Session  SessionKey // set otherwise
	Durable  bool       // Session outlives its connection
	QoS      byte
	NoLocal  bool
	RetainAs bool // Retain As Published
	SubID    uint32

	session *session
	peer    *peer
}

// Owner is the run of a node that owns the target's session now; zero if it is
// detached, or no session. It takes no lock, so it may be overtaken.
func (t *Target) Owner() Owner {
	if t.session == nil {
		return Owner{}
	}
	if o := t.session.seen.Load(); o != nil {
		return *o
	}
	return Owner{}
}
