package home

import (
	"time"

	"causeway/routing"
)

// Kind is the type of an operation. Numbers are part of the log format
// (docs/wire.md) and are never given to another meaning.
type Kind uint8

// The operations of a home.
const (
	KindGenesis     Kind = 1
	KindNodeUp      Kind = 2
	KindNodeDown    Kind = 3
	KindAttach      Kind = 4
	KindDetach      Kind = 5
	KindSubscribe   Kind = 6
	KindUnsubscribe Kind = 7
	KindPublish     Kind = 8
	KindRelease     Kind = 9
	KindAck         Kind = 10
	KindSkip        Kind = 11
	KindEndSession  Kind = 12
	KindConfigure   Kind = 13
	KindSetPeer     Kind = 14
	KindForgetPeer  Kind = 15
	KindInterest    Kind = 16
	KindFrame       Kind = 17
	KindTrim        Kind = 18
	KindTick        Kind = 19
	KindRaise       Kind = 20
	KindSetShared   Kind = 28
	KindRank        Kind = 29
	KindSetPolicy   Kind = 30
	KindPausePeer   Kind = 31
	KindDropSpooled Kind = 32
	KindCanary      Kind = 40
	KindSpoolLimit  Kind = 42
	KindImport      Kind = 45
	KindReceived    Kind = 46
	KindPromote     Kind = 50
	KindHand        Kind = 51
	KindWithheld    Kind = 52
	KindSetTakeover Kind = 53
	KindPromise     Kind = 54
	KindReconcile   Kind = 55
	KindAdopt       Kind = 56
	KindMove        Kind = 57
	KindDirectory   Kind = 58
	KindSetDocument Kind = 60
	KindSetQuotas   Kind = 61
	KindRestore     Kind = 64
	KindTakeIn      Kind = 66
	KindOwe         Kind = 67
	KindRepay       Kind = 68
)

// An Op is one operation on a home. The slices of an Op belong to the home once
// it was proposed or applied.
type Op interface {
	Kind() Kind
	append(b []byte) []byte
}

// Genesis creates the home. It is the first operation of its log; a later one
// is void.
type Genesis struct {
	Home  ID
	Epoch Epoch
}

// NodeUp registers the proposer's incarnation, taken from the entry's header.
// Sessions that an older incarnation owned are detached.
type NodeUp struct{}

// NodeDown removes an incarnation: its sessions are detached as moved ones.
// It is void after Until, unless that is 0: a leader's word that was held up while
// others led is not about the node as it is now.
type NodeDown struct {
	Owner Owner
	Until Time
}

// Will is what is published for a session whose connection ends without a
// DISCONNECT of reason 0. [MQTT-3.1.2-8]
type Will struct {
	Topic   string
	Payload []byte
	Forward []byte // v5 properties that go to subscribers, in wire form
	Expiry  uint32 // seconds from publication; 0 never
	QoS     byte
	Retain  bool
	Delay   uint32 // seconds

	Withheld bool   // in shipped form: neither topic nor payload
	Size     uint32 // it had

	kept bool // some region could not store it when it was set
}

// Attach makes the proposer the owner of a session at a new session epoch,
// creating it if need be. Its Outcome has SessionPresent, Epoch, Expiry, Resumed
// and Formers.
type Attach struct {
	Session SessionKey
	// Seen is State.SessionEpoch when the CONNECT was heard. The Attach is void when
	// the session was attached after that: an Attach that was held up on its way must
	// not take it from where the device has gone since. 0: it takes it in any case.
	// [A3]
	Seen       SessionEpoch
	CleanStart bool
	Expiry     uint32 // seconds; 0 ends the session with its connection, 0xFFFFFFFF never
	Window     uint16 // Receive Maximum of the client; 0 means MaxWindow
	Will       *Will
}

// Detach ends the proposer's ownership. Sent by the owner when its connection
// is gone.
type Detach struct {
	Session   SessionKey
	Epoch     SessionEpoch
	DropWill  bool   // the client said DISCONNECT with reason 0
	Moved     bool   // the region closed the connection: the will waits for Limits.WillGrace
	SetExpiry bool   // the client's DISCONNECT carried a session expiry
	Expiry    uint32 // seconds
}

// Subscription is one filter of a SUBSCRIBE. Filter may be a shared one.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                uint32 // Subscription Identifier; 0 none
	Denied            byte   // reason code already decided (ACL); 0 means granted
}

// Subscribe adds or replaces subscriptions; retained messages are queued at
// this place of the log. Outcome.Codes has one reason code a filter.
type Subscribe struct {
	Session SessionKey
	Epoch   SessionEpoch
	Filters []Subscription
}

// Unsubscribe removes subscriptions. Outcome.Codes has one reason code a filter.
type Unsubscribe struct {
	Session SessionKey
	Epoch   SessionEpoch
	Filters []string
}

// Publish is a message from a device (or, with a zero Epoch, from the system).
// Outcome.Code is the reason code for PUBACK or PUBREC.
type Publish struct {
	Session  SessionKey
	Epoch    SessionEpoch
	PacketID uint16 // for QoS 2: known ids are not published again
	Topic    string
	Payload  []byte
	Forward  []byte // v5 properties that go to subscribers, in wire form
	Expiry   uint32 // seconds; 0 never
	QoS      byte
	Retain   bool

	Withheld bool   // in shipped form: neither topic nor payload
	Size     uint32 // it had
}

// Release is an inbound PUBREL: the id may be used for a new message. PUBCOMP
// goes out after it committed. [A4]
type Release struct {
	Session  SessionKey
	Epoch    SessionEpoch
	PacketID uint16
}

// Range is a closed interval of reference numbers.
type Range struct{ From, To uint64 }

// Ack says what the device acknowledged of its queue: Received were PUBREC'd,
// Done were PUBACK'd or PUBCOMP'd and leave the queue.
type Ack struct {
	Session  SessionKey
	Epoch    SessionEpoch
	Received []Range
	Done     []Range
	// Cleared says that the device holds none of the packet ids of references up to this
	// number for a message of a lost host: it answered PUBREL for them. [E5] It may be above
	// the last reference there is. 0: nothing new.
	Cleared uint64
}

// SkipReason tells why an owner removed a reference it did not deliver.
type SkipReason uint8

// Reasons to skip.
const (
	SkipExpired  SkipReason = 1
	SkipTooLarge SkipReason = 2
	SkipDenied   SkipReason = 3
	SkipWithheld SkipReason = 4 // this region may not store the message, so it has no body; from feature level 3 on Owe takes its place
)

// Skip removes references that the owner must not deliver.
type Skip struct {
	Session SessionKey
	Epoch   SessionEpoch
	Refs    []Range
	Reason  SkipReason
}

// EndSession deletes a session, whoever owns it. Its will is dropped unless
// PublishWill is set.
type EndSession struct {
	Session     SessionKey
	PublishWill bool
}

// Limits bound what one device can make the home keep. A zero field is the
// default.
type Limits struct {
	SessionExpiryMax uint32 // seconds
	QueueMessages    uint32 // references a session
	QueueBytes       uint64 // payload, topic and properties a session
	Subscriptions    uint32 // a session
	Sessions         uint64 // in the home
	Retained         uint64 // retained messages in the home
	// WillGrace is for how long, in seconds, the will of a session waits that lost its
	// connection by the region's doing: its node is gone, or stops. A device that is back
	// by then takes the will along. 0: it does not wait.
	WillGrace uint32
}

// AckPolicy is what a PUBACK means for topics that match Filter.
type AckPolicy struct {
	Filter string
	Policy Policy
}

// Policy of an acknowledgement.
type Policy uint8

// Ack policies. PolicyRegion is the default.
const (
	PolicyRegion  Policy = 1 // fsynced on a majority of the home's core nodes
	PolicyMemory  Policy = 2 // accepted by this node only
	PolicyStandby Policy = 3 // and applied by a majority of the standby's core nodes
)

// Configure replaces the home's limits, ack policies and rules of residency.
type Configure struct {
	Revision uint64
	Limits   Limits
	Acks     []AckPolicy // first match wins; none means PolicyRegion
	// Residency says where messages may be stored; all that match count.
	Residency []Residency
}

// SetPeer adds a peer or changes the base of its policy, which is what the node
// file of the leader says. Its spool begins here; retained messages of the home
// are spooled when Retained is set and the policy did not let them out before.
type SetPeer struct {
	Peer       ID
	In         []string // filters that may come in, as the peer names them; empty means all
	Out        []string // filters that may go out; empty means all
	Never      []string // filters that cross in neither direction
	InPrefix   string   // put before the topics of what comes in; ends with "/", or is empty
	QoSMax     byte     // at which messages go out at most; 0 means 2
	Rate       uint64   // bytes a second that are sent; 0 is no bound
	Retained   bool     // retained messages cross whether wanted or not
	Refuse     bool     // a full spool refuses publishers instead of dropping its oldest
	SpoolBytes uint64   // 0 is the default
	SpoolAge   time.Duration
	Classes    []Class // first match wins; what matches none is in class ""
}

// PolicyKeys is a set of keys of a peer's policy.
type PolicyKeys uint32

// The keys that an operator may set for the whole region.
const (
	KeyIn PolicyKeys = 1 << iota
	KeyOut
	KeyNever
	KeyInPrefix
	KeyQoSMax
	KeyRate
	KeyRetained
	KeyRefuse
	KeySpoolBytes
	KeySpoolAge
)

// SetPolicy replaces what an operator set of a peer's policy, over its base: the
// fields of Values that Keys names. No keys leave the base alone.
type SetPolicy struct {
	Peer ID
	// Revision is the one of the policy that this was made from. The outcome is
	// CodeGap when it has changed since.
	Revision uint64
	Keys     PolicyKeys
	Values   SetPeer
}

// PausePeer stops a link, or lets it go on. While it is paused no message crosses
// it in either direction; its tunnel, its interest and its spool stay.
type PausePeer struct {
	Peer   ID
	Paused bool
	For    time.Duration // after which it goes on by itself, by home time; 0: never
	Reason string
}

// DropSpooled drops from a peer's spool what an operator wants gone. Without a
// filter it is dropped here; runs go as a whole, when the newest of a run is as old
// as asked. With a filter it becomes a rule that is kept with the spool, since apply
// does not read the bodies on the disk: who sends leaves out what the rule names.
// Outcome.Count is the number dropped here; CodeQuota: the peer has too many rules.
type DropSpooled struct {
	Peer       ID
	Filter     string // empty means everything
	Class      string
	AllClasses bool
	Age        time.Duration // at least; 0 means everything spooled so far
}

// Class is a lane of a spool with an order of its own.
type Class struct {
	Name    string
	Filters []string
}

// ForgetPeer removes a peer with its interest and its spool. Outcome.Count is
// the number of spooled messages dropped.
type ForgetPeer struct{ Peer ID }

// InterestFilter is a filter some session of a peer wants.
type InterestFilter = routing.Filter

// Interest changes what a peer wants. Full replaces the table; otherwise Base
// must be the version applied last, or the outcome is CodeGap. Without filters it
// says that what is held is of another Epoch from now on, or of a lower Version.
type Interest struct {
	Peer    ID
	Epoch   Epoch // of the peer's home
	Full    bool
	Base    uint64
	Version uint64
	Add     []InterestFilter // sorted, distinct
	Remove  []InterestFilter // sorted, distinct
}

// FrameMessage is a message that came by a link.
type FrameMessage struct {
	Seq           Seq // in the source home
	Namespace     string
	Topic         string
	Payload       []byte
	Forward       []byte
	ExpiryIn      time.Duration // left of its life when it was sent; 0 never expires
	QoS           byte
	Retain        bool     // the publisher set RETAIN
	Live          bool     // the peer's interest matched it
	Groups        []string // global groups it was sent on behalf of, as "group/filter"
	RetainVersion uint64   // version of the retained message; 0 if it is not one
	Withheld      bool     // in shipped form: neither topic nor payload
	Size          uint32   // it had
}

// Frame is a span of a peer's spool: everything it had for us in (From, To] of
// its class. Known prefixes are skipped, a gap is refused with CodeGap. [D1]
type Frame struct {
	Source   Source
	Class    string
	From, To Seq
	Messages []FrameMessage
}

// Trim drops what a peer acknowledged from its spool.
type Trim struct {
	Peer  ID
	Class string
	Epoch Epoch // of our home, as the peer knows it
	To    Seq
}

// Tick only carries home time.
type Tick struct{}

// Raise raises the home's feature level: from here on its log may hold operations
// that only builds of that level know. Every host of the home supports it by
// then. A level that is not higher than the one in force is void.
type Raise struct{ Level uint32 }

// Kinds of the operations.
func (*Genesis) Kind() Kind     { return KindGenesis }
func (*NodeUp) Kind() Kind      { return KindNodeUp }
func (*NodeDown) Kind() Kind    { return KindNodeDown }
func (*Attach) Kind() Kind      { return KindAttach }
func (*Detach) Kind() Kind      { return KindDetach }
func (*Subscribe) Kind() Kind   { return KindSubscribe }
func (*Unsubscribe) Kind() Kind { return KindUnsubscribe }
func (*Publish) Kind() Kind     { return KindPublish }
func (*Release) Kind() Kind     { return KindRelease }
func (*Ack) Kind() Kind         { return KindAck }
func (*Skip) Kind() Kind        { return KindSkip }
func (*EndSession) Kind() Kind  { return KindEndSession }
func (*Configure) Kind() Kind   { return KindConfigure }
func (*SetPeer) Kind() Kind     { return KindSetPeer }
func (*ForgetPeer) Kind() Kind  { return KindForgetPeer }
func (*Interest) Kind() Kind    { return KindInterest }
func (*Frame) Kind() Kind       { return KindFrame }
func (*Trim) Kind() Kind        { return KindTrim }
func (*Tick) Kind() Kind        { return KindTick }
func (*Raise) Kind() Kind       { return KindRaise }
func (*SetPolicy) Kind() Kind   { return KindSetPolicy }
func (*PausePeer) Kind() Kind   { return KindPausePeer }
func (*DropSpooled) Kind() Kind { return KindDropSpooled }
func (*SetShared) Kind() Kind   { return KindSetShared }
func (*Rank) Kind() Kind        { return KindRank }

// Code is the result of an operation. Values from 0x80 on are MQTT 5 reason
// codes; those below CodeVoid are ours.
type Code uint8

// Results. CodeVoid: the operation spoke for a session at a stale epoch and did
// nothing. CodeGap: a delta or frame does not follow what was applied.
const (
	CodeOK            Code = 0x00
	CodeNoSubscribers Code = 0x10 // No matching subscribers
	CodeNoSuchSub     Code = 0x11 // No subscription existed
	CodeVoid          Code = 0x40
	CodeGap           Code = 0x41
	CodeUnknown       Code = 0x42 // no such peer, session or cursor
	CodeNotAuthorized Code = 0x87 // Not authorized: the region may not store it
	CodeTopicInvalid  Code = 0x90 // Topic Name invalid
	CodeQuota         Code = 0x97 // Quota exceeded
)

// Outcome is the result of an operation; the same on every replica.
type Outcome struct {
	Code           Code
	SessionPresent bool         // Attach
	Arriving       bool         // Attach: the session came from another home, which still keeps it
	Epoch          SessionEpoch // Attach
	Expiry         uint32       // Attach: the session expiry in force, seconds
	Resumed        uint64       // Attach: references up to this number may have been sent before
	Formers        []Owner      // Attach: runs of other nodes that may still be sending for the session
	Codes          []byte       // Subscribe, Unsubscribe
	Seq            Seq          // Publish: its number; Frame: the cursor now
	Count          int          // Publish: how many sessions, groups and peers got it
	Record         uint64       // the number of the operation's record: who must waits until the standby has it
	Fill           uint8        // Frame, Import: how full, in percent, the fullest queue of an attached session is that it went to
}
